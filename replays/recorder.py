"""The recorder's tap: writes the events that the pipeline eats into a drive that replays to the same cases.

It sits behind detector and redactor, so it holds detections, fixes and motion and no pixel: pictures of the street are
kept only as the redacted evidence of cases.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from gnss.types import Fix, Motion
from perception.camera import CameraModel
from perception.events import Event
from perception.serial import canonical_json
from perception.types import CalibrationUpdate, KnownObjects, Seen, Shed
from replays.atomic import drop_folder, move_folder, part_folder, refuse_foreign
from replays.detections import detection_line
from replays.events import event_to_dict
from replays.members import FIX_COLUMNS, FIX_FURTHER, MOTION_COLUMNS, MOTION_FURTHER

_MARKER = "drive.toml"


def _toml_value(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def drive_head(name: str, vehicle: str, note: str, cameras: Mapping[str, CameraModel]) -> str:
    """Text of a drive.toml for recorded detections; a guessed camera stays guessed (no fx)."""
    lines = [
        "version = 1",
        f"name = {_toml_value(name)}",
        f"vehicle = {_toml_value(vehicle)}",
        f"note = {_toml_value(note)}",
    ]
    for camera in cameras.values():
        lines += ["", "[[camera]]", f"stamps = {_toml_value(camera.name + '.csv')}"]
        for field in fields(CameraModel):
            if field.name == "guessed" or (camera.guessed and field.name in ("fx", "fy", "cx", "cy")):
                continue
            lines.append(f"{field.name} = {_toml_value(getattr(camera, field.name))}")
    return "\n".join(lines) + "\n"


class Recorder:
    """Records one drive; a context manager. `tap` takes each event in the order the pipeline gets it."""

    def __init__(self, out: Path, name: str, vehicle: str, cameras: Mapping[str, CameraModel], note: str = "") -> None:
        """`out` must be new, empty or an older drive folder, which is replaced at `close`; else DriveError."""
        refuse_foreign(out, _MARKER, "drive")
        self._out = out
        self._part = part_folder(out)
        (self._part / "drive.toml").write_text(drive_head(name, vehicle, note, cameras), encoding="utf-8")
        self._files: dict[str, TextIO] = {}
        self._fixes = self._table("fixes.csv", (*FIX_COLUMNS, *FIX_FURTHER))
        self._motion: Any = None
        self._frames = {camera: self._table(f"{camera}.csv", ("index", "stamp_ns")) for camera in cameras}
        self._detections = self._open("detections.jsonl")

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self._shut()
        drop_folder(self._part)

    def tap(self, event: Event) -> None:
        """Write one event."""
        if isinstance(event, Seen):
            self._frames[event.camera].writerow((event.index, event.stamp_ns))
            line = detection_line(event.camera, event.index, event.detections, event.sharpness, event.exposure)
            self._detections.write(line + "\n")
        elif isinstance(event, Fix):
            self._fixes.writerow(_cells(event, (*FIX_COLUMNS, *FIX_FURTHER)))
        elif isinstance(event, Motion):
            if self._motion is None:
                self._motion = self._table("motion.csv", (*MOTION_COLUMNS, *MOTION_FURTHER))
            self._motion.writerow(_cells(event, (*MOTION_COLUMNS, *MOTION_FURTHER)))
        elif isinstance(event, KnownObjects | Shed | CalibrationUpdate):
            stream = self._files.get("events.jsonl") or self._open("events.jsonl")
            stream.write(canonical_json(event_to_dict(event)) + "\n")

    def close(self) -> Path:
        """Put the drive in place; returns its folder."""
        self._shut()
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


def _cells(record: Fix | Motion, columns: tuple[str, ...]) -> list[str]:
    """Exact text of every field: a float's shortest form that reads back to the same number."""
    values = [getattr(record, name) for name in columns]
    return ["" if v is None else repr(float(v)) if isinstance(v, float) else str(int(v)) for v in values]
