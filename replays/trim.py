"""Cuts a stretch out of a drive, or makes a torn recording whole: messages and rows are copied, never made anew."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
from mcap.writer import CompressionType, Writer

from perception.errors import DriveError
from perception.types import KnownObjects
from replays.atomic import drop_folder, new_folder, part_folder
from replays.detections import DetectionFile
from replays.drive import CameraMember, Drive, open_drive
from replays.drive_files import write_camera_csv
from replays.events import read_events, write_events
from replays.members import FIX_COLUMNS, FIX_FURTHER, MOTION_COLUMNS, MOTION_FURTHER
from replays.recorder import named_files, record_cells
from replays.recording.foreign import LENS_SCHEMAS
from replays.recording.opening import mcap_files
from replays.recording.part import CHUNK_BYTES
from replays.recording.records import McapFile, Message

MARGIN_S = 2.0
"""What is no picture is kept this long before and after, so that the first and last frame have fixes on both sides."""
JPEG_QUALITY = 95
_ALWAYS = (*LENS_SCHEMAS, "foxglove.FrameTransform", "qiji.Event")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Seconds from the drive's first frame."""

    from_s: float = 0.0
    to_s: float = float("inf")

    def around(self, zero_ns: int) -> tuple[float, float, float, float]:
        """First and last ns of the pictures, and of all else, when the drive begins at `zero_ns`."""
        begin, end = zero_ns + self.from_s * 1e9, zero_ns + self.to_s * 1e9
        return begin, end, begin - MARGIN_S * 1e9, end + MARGIN_S * 1e9


def trim_drive(path: Path, out: Path, stretch: Stretch) -> Drive:
    """Write the stretch as a new drive: an MCAP drive as the file `out`, a folder as the folder `out`.

    Of a video each frame becomes a JPEG of quality 95. Raises DriveError; then nothing is left behind.
    """
    if not 0 <= stretch.from_s < stretch.to_s:
        raise DriveError(f"{stretch.from_s} s to {stretch.to_s} s is no stretch", remedy="give --from before --to")
    files = mcap_files(path)
    if not files:
        return _trim_folder(open_drive(path), out, stretch)
    if out.suffix.lower() != ".mcap":
        raise DriveError("is no name for a recording", file=out, remedy="name a file *.mcap")
    if out.exists():
        raise DriveError("exists", file=out, remedy="name a new file")
    drive = open_drive(path)
    begin = min(int(member.stamp_ns[0]) for member in drive.members.values())
    # The part has the name of the drive: what is said of it, and a foreign drive's name, are then those of `out`.
    folder = part_folder(out)
    try:
        part = folder / out.name
        _copy(files, part, _times(drive, files, begin), stretch)
        open_drive(part)
        part.replace(out)
    finally:
        drop_folder(folder)
    return open_drive(out)


def _times(drive: Drive, files: list[Path], begin_ns: int) -> int:
    """The file's time of the drive's first frame: exact for a recording of ours, else that of the first message."""
    for file in files:
        source = McapFile(file)
        first = next(source.messages(), None)
        told = source.metadata.get("qiji.drive")
        if told is not None:
            return int(told["epoch_ns"]) + begin_ns
        if first is not None:
            return first.log_ns + begin_ns
    raise DriveError("holds no message", file=drive.path, remedy="there is nothing to trim")


def _copy(files: list[Path], out: Path, zero_ns: int, stretch: Stretch) -> None:
    first_ns, last_ns, early_ns, late_ns = stretch.around(zero_ns)
    with out.open("xb") as stream:
        writer = Writer(stream, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD)
        channels: dict[tuple[str, str], int] = {}
        schemas: dict[tuple[str, bytes], int] = {}
        heads: McapFile | None = None
        for file in files:
            source = McapFile(file)
            for message in source.messages():
                if heads is None:
                    heads = source
                    writer.start(profile=source.profile)
                    _copy_head(source, writer)
                picture = "Image" in message.channel.schema or message.channel.schema == "qiji.Detections"
                low, high = (first_ns, last_ns) if picture else (early_ns, late_ns)
                if message.channel.schema in _ALWAYS:
                    low = 0
                if low <= message.log_ns <= high:
                    _copy_message(message, writer, channels, schemas)
        if heads is not None:
            for attachment in heads.attachments:
                writer.add_attachment(0, 0, attachment.name, "application/octet-stream", attachment.data)
        writer.finish()  # type: ignore[no-untyped-call]


def _copy_head(source: McapFile, writer: Writer) -> None:
    for name, table in source.metadata.items():
        writer.add_metadata(name, {**table, "part": "1"} if name == "qiji.drive" else table)


def _copy_message(
    message: Message, writer: Writer, channels: dict[tuple[str, str], int], schemas: dict[tuple[str, bytes], int]
) -> None:
    channel = message.channel
    schema, key = (channel.schema, channel.schema_data), (channel.topic, channel.schema)
    if key not in channels:
        if schema not in schemas:
            schemas[schema] = writer.register_schema(channel.schema, channel.schema_encoding, channel.schema_data)
        channels[key] = writer.register_channel(channel.topic, channel.encoding, schemas[schema])
    writer.add_message(channels[key], message.log_ns, message.data, message.publish_ns, message.sequence)


def _trim_folder(drive: Drive, out: Path, stretch: Stretch) -> Drive:
    begin = min(int(member.stamp_ns[0]) for member in drive.members.values())
    first_ns, last_ns, early_ns, late_ns = stretch.around(begin)
    if out.resolve() == drive.path.resolve():
        raise DriveError("is what is trimmed", file=out, remedy="name another folder")

    def within(stamp_ns: int) -> bool:
        return early_ns <= stamp_ns <= late_ns

    with new_folder(out, "drive.toml", "drive") as part:
        frames: set[tuple[str, int]] = set()
        for name, member in drive.members.items():
            kept = (member.stamp_ns >= first_ns) & (member.stamp_ns <= last_ns)
            if not kept.any():
                problem = f"camera {name} has no frame from {stretch.from_s:g} s to {stretch.to_s:g} s"
                raise DriveError(problem, file=drive.path, remedy="`qiji drive info` tells how long the drive is")
            frames |= {(name, int(index)) for index in member.index[kept]}
            stamps = member.stamp_ns[kept].tolist()
            write_camera_csv(part / f"{name}.csv", stamps, member.index[kept].tolist())
            _trim_pictures(member, name, part, kept)
        (part / "drive.toml").write_text(_head_without_files(drive.path / "drive.toml"), encoding="utf-8")
        _write_rows(part / "fixes.csv", (*FIX_COLUMNS, *FIX_FURTHER), drive.fixes, within)
        if drive.motion is not None:
            _write_rows(part / "motion.csv", (*MOTION_COLUMNS, *MOTION_FURTHER), drive.motion, within)
        _trim_rest(drive, part, frames, within)
        open_drive(part)
    return open_drive(out)


def _head_without_files(head: Path) -> str:
    """drive.toml without the names of videos and tables: the parts have their default names. Latency is spent."""
    lines = head.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not re.match(r"\s*(file|stamps|latency_s)\s*=", line)) + "\n"


def _trim_pictures(member: CameraMember, name: str, part: Path, kept: object) -> None:
    if member.pictures is None:
        return
    (part / name).mkdir()
    for row, image in member.pictures.read(kept):  # type: ignore[arg-type]
        target = part / name / f"{int(member.index[row]):06d}.jpg"
        source = member.pictures.source / target.name
        if member.pictures.source.is_dir() and source.exists():
            shutil.copyfile(source, target)
        else:
            cv2.imwrite(str(target), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _write_rows(file: Path, columns: tuple[str, ...], records: object, within: Callable[[int], bool]) -> None:
    rows = [",".join(record_cells(r, columns)) for r in records if within(r.stamp_ns)]  # type: ignore[attr-defined]
    file.write_text("\n".join([",".join(columns), *rows]) + "\n", encoding="utf-8")


def _trim_rest(drive: Drive, part: Path, frames: set[tuple[str, int]], within: Callable[[int], bool]) -> None:
    """Detections of the frames that are kept, events, city and truth."""
    if drive.detections is not None:
        with (part / "detections.jsonl").open("wb") as stream:
            stream.writelines(_lines(drive.detections, frames))
    if drive.events is not None:
        events = [e for e in read_events(drive.events) if within(e.stamp_ns) or _lasts(e)]
        write_events(part / "events.jsonl", events)
    files = {} if drive.city is None else named_files(drive.city)
    if drive.truth is not None:
        files["truth.geojson"] = drive.truth
    for name, file in files.items():
        shutil.copyfile(file, part / name)


def _lasts(event: object) -> bool:
    """Known objects hold on after they were told."""
    return isinstance(event, KnownObjects)


def _lines(detections: DetectionFile, frames: set[tuple[str, int]]) -> Iterator[bytes]:
    places = [
        (offset, camera, index)
        for camera, found in detections.places.items()
        for index, (offset, _) in found.items()
        if (camera, index) in frames
    ]
    with detections.file.open("rb") as stream:
        for offset, _, _ in sorted(places):
            stream.seek(offset)
            line = stream.readline()
            yield line if line.endswith(b"\n") else line + b"\n"
