"""The recorder's tap: writes the events that the pipeline eats into a drive that replays to the same cases.

It sits behind detector and redactor, so it holds detections, fixes and motion and no pixel: pictures of the street are
kept only as the redacted evidence of cases.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from gnss.cityfile import named_members
from gnss.types import Fix, Motion
from perception.camera import CameraModel
from perception.events import Event
from perception.types import CalibrationUpdate, KnownObjects, Seen, Shed
from replays.atomic import drop_folder, move_folder, part_folder, refuse_foreign
from replays.detections import detection_line
from replays.drive_toml import utc_iso
from replays.events import event_line
from replays.members import FIX_COLUMNS, FIX_FURTHER, MOTION_COLUMNS, MOTION_FURTHER

_MARKER = "drive.toml"
_LENS = ("fx", "fy", "cx", "cy")


def _toml_value(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _untold(camera: CameraModel) -> frozenset[str]:
    """What to leave out of a guessed camera so that it reads back guessed, with the same numbers."""
    if not camera.guessed:
        return frozenset()
    guess = CameraModel.guess(camera.name, camera.width, camera.height, None)
    lens_guessed = all(getattr(camera, key) == getattr(guess, key) for key in _LENS)
    return frozenset(_LENS) if lens_guessed else frozenset({"z_m"})


def drive_head(
    name: str,
    vehicle: str,
    note: str,
    cameras: Mapping[str, CameraModel],
    antenna_m: tuple[float, float, float] = (0.0, 0.0, 0.0),
    start_utc_ns: int | None = None,
) -> str:
    """Text of a drive.toml for recorded detections; a guessed camera stays guessed."""
    lines = [
        "version = 1",
        f"name = {_toml_value(name)}",
        f"vehicle = {_toml_value(vehicle)}",
        f"note = {_toml_value(note)}",
    ]
    if start_utc_ns is not None:
        lines.append(f"start_utc = {_toml_value(utc_iso(start_utc_ns))}")
    if any(antenna_m):
        lines += ["", "[gnss]", *(f"{axis}_m = {value!r}" for axis, value in zip("xyz", antenna_m, strict=True))]
    for camera in cameras.values():
        lines += ["", "[[camera]]", f"stamps = {_toml_value(camera.name + '.csv')}"]
        left_out = _untold(camera) | {"guessed"}
        names = [field.name for field in fields(CameraModel) if field.name not in left_out]
        lines += [f"{key} = {_toml_value(getattr(camera, key))}" for key in names]
    return "\n".join(lines) + "\n"


class Recorder:
    """Records one drive; a context manager. `tap` takes each event in the order the pipeline gets it.

    With `city` (a city.toml) the drive carries a copy of it and of the files it names: the rules it was judged by.
    """

    def __init__(
        self,
        out: Path,
        name: str,
        vehicle: str,
        cameras: Mapping[str, CameraModel],
        note: str = "",
        *,
        city: Path | None = None,
        antenna_m: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        """`out` must be new, empty or an older drive folder, which is replaced at `close`; else DriveError."""
        refuse_foreign(out, _MARKER, "drive")
        self._out = out
        self._part = part_folder(out)
        self._head = partial(drive_head, name, vehicle, note, antenna_m=antenna_m)
        self._cameras = dict(cameras)
        self._seen: set[str] = set()
        self._files: dict[str, TextIO] = {}
        self._fixes = self._table("fixes.csv", (*FIX_COLUMNS, *FIX_FURTHER))
        self._motion: Any = None
        self._frames = {camera: self._table(f"{camera}.csv", ("index", "stamp_ns")) for camera in cameras}
        self._detections = self._open("detections.jsonl")
        if city is not None:
            for name, file in named_files(city).items():
                shutil.copyfile(file, self._part / name)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self._shut()
        drop_folder(self._part)

    def tap(self, event: Event) -> None:
        """Write one event."""
        if isinstance(event, Seen):
            self._seen.add(event.camera)
            self._frames[event.camera].writerow((event.index, event.stamp_ns))
            line = detection_line(event.camera, event.index, event.detections, event.sharpness, event.exposure)
            self._detections.write(line + "\n")
        elif isinstance(event, Fix):
            self._fixes.writerow(record_cells(event, (*FIX_COLUMNS, *FIX_FURTHER)))
        elif isinstance(event, Motion):
            if self._motion is None:
                self._motion = self._table("motion.csv", (*MOTION_COLUMNS, *MOTION_FURTHER))
            self._motion.writerow(record_cells(event, (*MOTION_COLUMNS, *MOTION_FURTHER)))
        elif isinstance(event, KnownObjects | Shed | CalibrationUpdate):
            stream = self._files.get("events.jsonl") or self._open("events.jsonl")
            stream.write(event_line(event) + "\n")

    def close(self) -> Path:
        """Put the drive in place; returns its folder. A camera that never gave a frame is left out."""
        self._shut()
        for camera in set(self._cameras) - self._seen:
            (self._part / f"{camera}.csv").unlink()
        head = self._head({name: model for name, model in self._cameras.items() if name in self._seen})
        (self._part / _MARKER).write_text(head, encoding="utf-8")
        move_folder(self._part, self._out)
        return self._out

    def _open(self, name: str) -> TextIO:
        self._files[name] = (self._part / name).open("w", encoding="utf-8", newline="")
        return self._files[name]

    def _table(self, name: str, columns: tuple[str, ...]) -> Any:
        writer = csv.writer(self._open(name), lineterminator="\n")
        writer.writerow(columns)
        return writer

    def _shut(self) -> None:
        for stream in self._files.values():
            stream.close()


def named_files(city: Path) -> dict[str, Path]:
    """city.toml and the files beside it that it names, by the names they have in a drive; nothing for an imported city.

    An imported city is one large file that the car has anyway; a replay is told of it by --config.
    """
    if city.suffix.lower() != ".toml":
        return {}
    return {"city.toml": city} | {file.name: file for file in named_members(city) if file.is_file()}


def record_cells(record: Fix | Motion, columns: tuple[str, ...]) -> list[str]:
    """Exact text of every field: a float's shortest form that reads back to the same number."""
    values = [getattr(record, name) for name in columns]
    return ["" if v is None else repr(float(v)) if isinstance(v, float) else str(int(v)) for v in values]
