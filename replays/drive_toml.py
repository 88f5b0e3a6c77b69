"""drive.toml: the head, the antenna and the cameras of a drive, strictly read; complaints name the line of the key."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perception.camera import CameraModel
from perception.errors import DriveError
from perception.serial import utc_ns_of

DRIVE_VERSION = 1
DATUMS = ("WGS-84", "WGS84", "CGCS2000")
_TOP = {"version", "name", "vehicle", "start_utc", "note", "gnss", "camera"}
_GNSS = {"x_m", "y_m", "z_m", "latency_s", "datum"}
_MOUNT = ("x_m", "y_m", "z_m", "yaw_deg", "pitch_deg", "roll_deg")
_LENS = ("fx", "fy", "cx", "cy")
DIST_LENGTHS = {"pinhole": (0, 4, 5, 8, 12, 14), "fisheye": (0, 4)}
"""How many distortion coefficients OpenCV takes, by camera model."""
CAMERA_KEYS = {"name", "file", "stamps", "width", "height", "dist", "model", *_LENS, *_MOUNT}


@dataclass(frozen=True, slots=True)
class DriveMeta:
    """Head of drive.toml. `antenna_m` is (x, y, z) in the vehicle frame.

    `latency_s` > 0: a fix is older than its arrival. `start_utc_ns` is None when drive.toml does not say it.
    """

    name: str
    vehicle: str
    note: str = ""
    start_utc_ns: int | None = None
    antenna_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    latency_s: float = 0.0
    datum: str = "WGS-84"


def read_toml(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DriveError(
            f"cannot be read: {error.strerror}", file=file, remedy="a drive folder needs a drive.toml"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DriveError(f"is not TOML: {error}", file=file, remedy="mend it there") from error
    if table.get("version") != DRIVE_VERSION:
        raise DriveError(
            f"version is {table.get('version')!r}", file=file, remedy=f"this software reads version = {DRIVE_VERSION}"
        )
    refuse_unknown(file, table, _TOP, "")
    return table


def line_of(file: Path, key: str, nth: int = 0) -> int | None:
    """Line (from 1) where `key` is assigned the nth time: tomllib keeps no places."""
    lines = [
        n
        for n, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if text.split("=")[0].strip() == key
    ]
    return lines[nth] if nth < len(lines) else (lines[0] if lines else None)


def refuse_unknown(file: Path, table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    for key in table:
        if key not in allowed:
            problem = f"key {key!r} is not known" + (f" in {where}" if where else "")
            raise DriveError(
                problem, file=file, line=line_of(file, key), remedy=f"use one of {', '.join(sorted(allowed))}"
            )


def text_of(file: Path, table: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or (not value and default is None):
        raise DriveError(
            f"key {key!r} is missing or not a text", file=file, line=line_of(file, key), remedy=f'write {key} = "..."'
        )
    return value


def _number(file: Path, table: Mapping[str, Any], key: str, default: float) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DriveError(
            f"key {key!r} holds {value!r}", file=file, line=line_of(file, key), remedy="write a finite number"
        )
    return float(value)


def read_meta(file: Path, table: Mapping[str, Any]) -> DriveMeta:
    gnss = table.get("gnss", {})
    if not isinstance(gnss, dict):
        raise DriveError(
            "key 'gnss' is not a table", file=file, line=line_of(file, "gnss"), remedy="write [gnss] x_m = 0.0 ..."
        )
    refuse_unknown(file, gnss, _GNSS, "[gnss]")
    datum = text_of(file, gnss, "datum", DATUMS[0])
    if datum not in DATUMS:
        line = line_of(file, "datum")
        raise DriveError(
            f"datum {datum!r} is not read",
            file=file,
            line=line,
            remedy=f"convert the fixes to one of {', '.join(DATUMS)}",
        )
    antenna = (_number(file, gnss, "x_m", 0.0), _number(file, gnss, "y_m", 0.0), _number(file, gnss, "z_m", 0.0))
    name, vehicle = text_of(file, table, "name"), text_of(file, table, "vehicle")
    start, latency = _start_utc(file, table.get("start_utc")), _number(file, gnss, "latency_s", 0.0)
    return DriveMeta(name, vehicle, text_of(file, table, "note", ""), start, antenna, latency, datum)


def _start_utc(file: Path, value: object) -> int | None:
    if value is None:
        return None
    remedy = 'write it in UTC: start_utc = "2026-04-01T02:00:00Z"'
    text = value.isoformat() if isinstance(value, datetime) else value
    if not isinstance(text, str):
        raise DriveError(f"start_utc is {value!r}", file=file, line=line_of(file, "start_utc"), remedy=remedy)
    try:
        return utc_ns_of(text)
    except ValueError as error:
        raise DriveError(f"start_utc: {error}", file=file, line=line_of(file, "start_utc"), remedy=remedy) from error


def utc_iso(utc_ns: int) -> str:
    """ISO 8601 in UTC with microseconds, as drive.toml's start_utc wants it."""
    seconds, rest = divmod(utc_ns, 1_000_000_000)
    stamp = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return stamp.isoformat().replace("+00:00", "Z")


def read_model(file: Path, row: Mapping[str, Any], name: str, nth: int) -> CameraModel:
    """Calibration of one [[camera]]; without fx, or without a mount height, it counts as guessed."""
    size = []
    for key in ("width", "height"):
        value = row.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DriveError(
                f"camera {name!r}: key {key!r} is {value!r}",
                file=file,
                line=line_of(file, key, nth),
                remedy="write it in pixels",
            )
        size.append(value)
    fx = _number(file, row, "fx", 0.0) if "fx" in row else None
    if fx is not None and (fx <= 0 or _number(file, row, "fy", fx) <= 0):
        raise DriveError(
            f"camera {name!r}: fx and fy must be positive",
            file=file,
            line=line_of(file, "fx", nth),
            remedy="write them in pixels",
        )
    guess = CameraModel.guess(name, size[0], size[1], fx)
    lens = {key: _number(file, row, key, getattr(guess, key)) for key in _LENS}
    mount = {key: _number(file, row, key, getattr(guess, key)) for key in _MOUNT}
    dist, kind = row.get("dist", []), text_of(file, row, "model", "pinhole")
    if kind not in ("pinhole", "fisheye"):
        raise DriveError(
            f"camera {name!r}: model {kind!r}",
            file=file,
            line=line_of(file, "model", nth),
            remedy='write "pinhole" or "fisheye"',
        )
    numbers = isinstance(dist, list) and all(type(v) in (int, float) and math.isfinite(v) for v in dist)
    lengths = DIST_LENGTHS[kind]
    if not numbers or len(dist) not in lengths:
        # OpenCV takes these lengths only, and would fail at the first box.
        what = "k1, k2, k3, k4" if kind == "fisheye" else "k1, k2, p1, p2, k3"
        counts = " or ".join(", ".join(map(str, lengths)).rsplit(", ", 1))
        raise DriveError(
            f"camera {name!r}: dist is {dist!r}",
            file=file,
            line=line_of(file, "dist", nth),
            remedy=f"write {counts} numbers, dist = [{what}], zeros for what is unknown",
        )
    guessed = fx is None or "z_m" not in row
    return CameraModel(
        name, size[0], size[1], **lens, dist=tuple(float(v) for v in dist), model=kind, **mount, guessed=guessed
    )
