"""A drive: the folder or MCAP recording `replay` reads, validated member by member before anything runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gnss.types import Fix
from perception.camera import CameraModel
from perception.errors import DriveError
from replays.detections import DetectionFile
from replays.drive_toml import (
    CAMERA_KEYS,
    DriveMeta,
    line_of,
    read_meta,
    read_model,
    read_toml,
    refuse_unknown,
    text_of,
)
from replays.events import read_events
from replays.gnss_member import GnssMember, read_gnss
from replays.members import MotionColumns, Stamps, read_camera_csv, read_motion_csv
from replays.pictures import FilePictures, open_pictures
from replays.recording.opening import lay_out, mcap_files
from replays.recording.pictures import McapPictures
from replays.recording.unpack import Scratch

Pictures = FilePictures | McapPictures
"""The pictures of one camera of a drive."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraMember:
    """One camera: rows of its CSV, index and stamp_ns (N,), and its pictures (None: recorded detections only)."""

    model: CameraModel
    index: Stamps
    stamp_ns: Stamps
    pictures: Pictures | None


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """A validated drive.

    `start_utc_ns` is the UTC of stamp_ns 0; None: it can be replayed alone, never joined to others. `notices` say what
    was lost or left out. Members of an MCAP file lie in `scratch`, which is gone when the drive is.
    """

    path: Path
    meta: DriveMeta
    members: Mapping[str, CameraMember]
    gnss: GnssMember
    motion: MotionColumns | None
    detections: DetectionFile | None
    start_utc_ns: int | None
    city: Path | None
    truth: Path | None
    events: Path | None
    notices: tuple[str, ...] = ()
    scratch: Scratch | None = None

    @property
    def cameras(self) -> dict[str, CameraModel]:
        """Calibration of each camera by name."""
        return {name: member.model for name, member in self.members.items()}

    @property
    def fixes(self) -> tuple[Fix, ...]:
        """All fixes in order of their stamps."""
        return self.gnss.fixes

    @property
    def has_pixels(self) -> bool:
        """Every camera has a picture of every frame."""
        return all(m.pictures is not None and m.pictures.present is None for m in self.members.values())

    @property
    def has_detections(self) -> bool:
        """There is a detections.jsonl."""
        return self.detections is not None


def open_drive(path: Path) -> Drive:
    """Read and validate a drive folder, an MCAP file or a folder of its parts. No picture is decoded yet.

    Raises DriveError naming file, line or offset, and remedy.
    """
    files = mcap_files(path)
    if files:
        return _open_mcap(path, files)
    if not path.is_dir():
        remedy = "name a drive folder (one that holds drive.toml), or a recording *.mcap"
        raise DriveError("is not a folder" if path.exists() else "does not exist", file=path, remedy=remedy)
    return _open_folder(path, {})


def _open_mcap(path: Path, files: list[Path]) -> Drive:
    """Lay the recording out as a folder and open that; complaints name the recording."""
    layout = lay_out(path, files)
    try:
        drive = _open_folder(layout.scratch.folder, layout.pictures)
        if drive.events is not None:
            for _ in read_events(drive.events):
                pass
    except DriveError as error:
        member = "" if error.file is None else error.file.name
        place = member if error.line is None else f"{member}, row {error.line}"
        raise DriveError(f"{place}: {error.problem}", file=path, remedy=error.remedy) from error
    return replace(drive, path=path, notices=tuple(layout.notices), scratch=layout.scratch)


def _open_folder(path: Path, pictures: Mapping[str, Pictures]) -> Drive:
    file = path / "drive.toml"
    table = read_toml(file)
    meta = read_meta(file, table)
    detections = DetectionFile.open(path / "detections.jsonl") if (path / "detections.jsonl").exists() else None
    members = _cameras(file, table, detections, pictures)
    gnss = read_gnss(path, meta.start_utc_ns, meta.latency_s)
    if detections is not None:
        detections.check_frames({name: member.index for name, member in members.items()})
    motion_file = path / "motion.csv"
    motion = read_motion_csv(motion_file) if motion_file.exists() else None
    start = meta.start_utc_ns if meta.start_utc_ns is not None else _start_of(gnss.fixes)
    city, truth, events = (_present(path / name) for name in ("city.toml", "truth.geojson", "events.jsonl"))
    return Drive(path, meta, members, gnss, motion, detections, start, city, truth, events)


def _present(file: Path) -> Path | None:
    return file if file.exists() else None


def _start_of(fixes: tuple[Fix, ...]) -> int | None:
    """UTC of stamp 0 as the median over the fixes: single late arrivals do not move it."""
    starts = [fix.utc_ns - fix.stamp_ns for fix in fixes if fix.utc_ns is not None]
    return statistics.median_low(starts) if starts else None


def _cameras(
    file: Path, table: Mapping[str, Any], detections: DetectionFile | None, pictures: Mapping[str, Pictures]
) -> dict[str, CameraMember]:
    rows = table.get("camera")
    if not isinstance(rows, list) or not rows:
        raise DriveError("has no [[camera]]", file=file, remedy="add a [[camera]] with name, width and height")
    members: dict[str, CameraMember] = {}
    for nth, row in enumerate(rows):
        refuse_unknown(file, row, CAMERA_KEYS, "[[camera]]")
        name = text_of(file, row, "name")
        if name in members:
            raise DriveError(
                f"camera {name!r} stands there twice",
                file=file,
                line=line_of(file, "name", nth + 1),
                remedy="rename one",
            )
        members[name] = _camera(file, row, name, nth, detections, pictures.get(name))
    return members


def _camera(
    file: Path,
    row: Mapping[str, Any],
    name: str,
    nth: int,
    detections: DetectionFile | None,
    pictures: Pictures | None,
) -> CameraMember:
    model = read_model(file, row, name, nth)
    index, stamp_ns = read_camera_csv(file.parent / text_of(file, row, "stamps", f"{name}.csv"))
    if pictures is not None:
        return CameraMember(model, index, stamp_ns, pictures)
    explicit = "file" in row
    source = file.parent / text_of(file, row, "file", f"{name}.mp4")
    if not explicit and not source.exists() and (file.parent / name).is_dir():
        source = file.parent / name
    if source.exists():
        return CameraMember(model, index, stamp_ns, open_pictures(source, model, index))
    if detections is None or name not in detections.cameras:
        remedy = f"restore it, correct key file of camera {name!r} in drive.toml, or add a detections.jsonl"
        raise DriveError(f"the pictures of camera {name!r} are missing", file=source, remedy=remedy)
    return CameraMember(model, index, stamp_ns, None)
