"""Writes the members of a drive folder for importers: drive.toml, camera and fix tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gnss.types import Fix, Motion
from replays.members import CAMERA_COLUMNS, FIX_COLUMNS, FIX_FURTHER, MOTION_COLUMNS, MOTION_FURTHER


@dataclass(frozen=True, slots=True)
class CameraEntry:
    """A [[camera]] of an imported drive: nobody measured its mount, so only what is known is written."""

    name: str
    file: str
    width: int
    height: int
    fx: float | None = None


def write_drive_toml(
    file: Path, name: str, vehicle: str, note: str, camera: CameraEntry, start_utc: str | None
) -> None:
    """Write drive.toml; `start_utc` None when the drive has no UTC."""
    lines = ["version = 1", f"name = {_quoted(name)}", f"vehicle = {_quoted(vehicle)}", f"note = {_quoted(note)}"]
    if start_utc is not None:
        lines.append(f"start_utc = {_quoted(start_utc)}")
    lines += ["", "[[camera]]", f"name = {_quoted(camera.name)}", f"file = {_quoted(camera.file)}"]
    lines += [f"width = {camera.width}", f"height = {camera.height}"]
    if camera.fx is not None:
        lines.append(f"fx = {camera.fx:.2f}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's."""
    return json.dumps(text, ensure_ascii=False)


def write_camera_csv(file: Path, stamps_ns: Sequence[int], indices: Sequence[int] | None = None) -> None:
    """Write index,stamp_ns; frames are numbered from 0 when `indices` is None."""
    numbered = enumerate(stamps_ns) if indices is None else zip(indices, stamps_ns, strict=True)
    rows = [",".join(CAMERA_COLUMNS), *(f"{index},{stamp}" for index, stamp in numbered)]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_fixes_csv(file: Path, fixes: Iterable[Fix]) -> None:
    """Write fixes.csv with all columns; None becomes an empty field. Positions to 1e-9 deg, the rest to 1e-4."""
    columns = (*FIX_COLUMNS, *FIX_FURTHER)
    lines = [",".join(columns)]
    for fix in fixes:
        lines.append(",".join(_cell(column, getattr(fix, column)) for column in columns))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_motion_csv(file: Path, motions: Iterable[Motion]) -> None:
    """Write motion.csv; None becomes an empty field, numbers to 1e-4."""
    columns = (*MOTION_COLUMNS, *MOTION_FURTHER)
    lines = [",".join(columns)]
    for motion in motions:
        lines.append(",".join(_cell(column, getattr(motion, column)) for column in columns))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(column: str, value: float | int | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.9f}" if column in ("lat_deg", "lon_deg") else f"{value:.4f}"
    return str(int(value))
