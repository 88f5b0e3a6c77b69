"""`qiji drive info|check|trim|record|import|detect`: look into a drive, cut it, make one, record detections."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from perception.camera import CameraModel
from perception.errors import SetupError
from perception.network import NetworkFault
from perception.redaction import quality
from perception.types import Frame
from replays.detections import DetectedFrame, write_detections
from replays.drive import open_drive
from replays.source import DriveSource
from vehicle.commands.replay import configured
from vehicle.commands.run import add_limits, limits_of, positive
from vehicle.setup import Equipment, equip
from vehicle.signals import stop_on_signals
from vehicle.terminal import print_json, progress_bar


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("drive", help="look into a drive, import one, record its detections")
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("info", help="what a drive holds, its gaps and its track")
    v.add_argument("drive", type=Path, metavar="DRIVE")
    v.add_argument(
        "--picture", type=Path, metavar="FILE.png", help="draw the track, its gaps, and all streams over time"
    )
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_info)
    v = verbs.add_parser("check", help="what is wrong with a drive that can be replayed; exit code 1 on findings")
    v.add_argument("drives", type=Path, nargs="+", metavar="DRIVE")
    v.add_argument("--pixels", action="store_true", help="decode every picture too")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_check)
    v = verbs.add_parser("trim", help="cut a stretch out of a drive, or make a torn recording whole")
    v.add_argument("drive", type=Path, metavar="DRIVE")
    v.add_argument("--from", dest="from_s", type=float, default=0.0, metavar="S", help="seconds from its first frame")
    v.add_argument("--to", dest="to_s", type=float, default=math.inf, metavar="S")
    v.add_argument("--out", type=Path, required=True, metavar="DRIVE", help="a new *.mcap, or a folder for a folder")
    v.set_defaults(handle=handle_trim)
    v = verbs.add_parser("record", help="record the car's cameras and receiver, redacted, without making cases")
    v.add_argument("config", type=Path, metavar="CAR.toml")
    v.add_argument(
        "--out", type=Path, required=True, metavar="FILE.mcap|DIR", help="a new file, or a folder of recordings"
    )
    v.add_argument("--seconds", type=positive, metavar="S", help="stop after this time (default: until Ctrl-C)")
    v.add_argument("--model", type=Path, metavar="MODEL.toml")
    v.add_argument("--json", action="store_true")
    add_limits(v)
    v.set_defaults(handle=handle_record)
    v = verbs.add_parser("import", help="make a drive from a video, geotagged photos, or comma2k19")
    v.add_argument("source", type=Path, help="a video file, or a folder: photos, or a segment of comma2k19")
    v.add_argument("--out", type=Path, required=True, metavar="DRIVE")
    v.add_argument("--track", type=Path, metavar="FILE", help="NMEA, GPX, CSV or RTKLIB (.pos) track (GoPro: its own)")
    v.add_argument("--clock-offset", type=float, default=0.0, metavar="S", help="video time + offset = track time")
    v.add_argument("--find-offset", action="store_true", help="search the clock offset in how both turned and moved")
    v.add_argument("--vehicle", default="imported")
    v.add_argument("--name", help="name of the drive (default: the folder's)")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_import)
    v = verbs.add_parser("detect", help="run the model and write detections.jsonl into the drive")
    v.add_argument("drive", type=Path, metavar="DRIVE")
    v.add_argument("--config", type=Path, metavar="CAR.toml")
    v.add_argument("--model", type=Path, metavar="MODEL.toml")
    v.add_argument("--out", type=Path, metavar="FILE", help="default: detections.jsonl in the drive")
    v.set_defaults(handle=handle_detect)


def handle_info(arguments: argparse.Namespace) -> int:
    """Print the facts of a drive."""
    from replays.drive_info import drive_info, info_rows, info_text

    drive = open_drive(arguments.drive)
    info = drive_info(drive)
    print_json(info) if arguments.json else print(info_text(info_rows(info)))
    if arguments.picture is not None:
        from replays.drive_picture import draw_drive

        draw_drive(drive, arguments.picture)
    return 0


def handle_check(arguments: argparse.Namespace) -> int:
    """Say what is wrong; 1 when anything is."""
    from replays.drive_check import check_drive

    found = {str(path): check_drive(open_drive(path), pixels=arguments.pixels) for path in arguments.drives}
    if arguments.json:
        print_json({path: [asdict(finding) for finding in findings] for path, findings in found.items()})
    else:
        for path, findings in found.items():
            print(
                f"{path}: {len(findings)} finding{'s' * (len(findings) > 1)}"
                if findings
                else f"{path}: nothing is wrong"
            )
            for finding in findings:
                print(f"  {finding.code}: {finding.text}")
    return int(any(found.values()))


def handle_trim(arguments: argparse.Namespace) -> int:
    """Write the stretch as a drive of its own."""
    from replays.trim import Stretch, trim_drive

    drive = trim_drive(arguments.drive, arguments.out, Stretch(arguments.from_s, arguments.to_s))
    frames = sum(len(member.index) for member in drive.members.values())
    print(f"{frames} frames written to {arguments.out}")
    return 0


def handle_record(arguments: argparse.Namespace) -> int:
    """Record until the time is up, the files end, or SIGTERM or Ctrl-C."""
    from vehicle.record import record_live

    config = configured(arguments.config, arguments.model)
    with stop_on_signals() as stopper:
        result = record_live(config, arguments.out, limits_of(arguments), stopper, arguments.seconds)
    if arguments.json:
        print_json({"drive": None if result.path is None else str(result.path), "counts": result.counts})
        return 0
    print("nothing came: there is no recording" if result.path is None else f"recorded: {result.path}")
    for name, count in result.counts.items():
        print(f"{name}: {count}")
    return 0


def handle_import(arguments: argparse.Namespace) -> int:
    """Import; says what was guessed."""
    from replays.import_comma import is_comma

    if is_comma(arguments.source):
        from replays.import_comma import import_comma

        result = import_comma(arguments.source, arguments.out, vehicle=arguments.vehicle, name=arguments.name)
    elif arguments.source.is_dir():
        from replays.import_photos import import_photos

        result = import_photos(arguments.source, arguments.out, vehicle=arguments.vehicle, name=arguments.name)
    else:
        from replays.import_video import import_video

        result = import_video(
            arguments.source, arguments.track, arguments.out, clock_offset_s=arguments.clock_offset,
            search=arguments.find_offset, vehicle=arguments.vehicle, name=arguments.name,
        )  # fmt: skip
    if arguments.json:
        print_json({"drive": str(result.drive.path), "note": result.note})
    else:
        print(f"imported into {result.drive.path}\n{result.note}")
    return 0


def handle_detect(arguments: argparse.Namespace) -> int:
    """Look at every frame once; the file appears only when complete."""
    drive = open_drive(arguments.drive)
    if drive.scratch is not None and arguments.out is None:
        remedy = "give --out, or replay it with --detections model and --record"
        raise SetupError("a recording is not added to", file=arguments.drive, remedy=remedy)
    source = DriveSource(drive, "model")
    kit = equip(configured(arguments.config, arguments.model), detect=True)
    out = arguments.out or arguments.drive / "detections.jsonl"
    with progress_bar() as tell:
        count = write_detections(out, _detected(source, drive.cameras, kit, partial(tell, drive.meta.name)))
    print(f"{count} frames written to {out}")
    return 0


def _detected(
    source: DriveSource, cameras: Mapping[str, CameraModel], kit: Equipment, tell: Callable[[int, int], None]
) -> Iterator[DetectedFrame]:
    """Every frame of the source with its boxes, sharpness and exposure."""
    detector = kit.eyes(cameras)
    if detector is None:
        raise RuntimeError("detection needs a detector")
    done = 0
    for item in source:
        if isinstance(item, Frame):
            done += 1
            tell(done, source.totals.frames)
            sharpness, exposure = quality(item.image)
            try:
                found = detector.detect(item)
            except NetworkFault as fault:  # no line means not looked
                print(f"{item.camera}: frame {item.index} left out: {fault}", file=sys.stderr)
                continue
            yield DetectedFrame(item.camera, item.index, found, sharpness, exposure, kit.card.sha256)
