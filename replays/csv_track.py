"""A track from somebody's CSV: columns are found by their usual names, times are read in any usual form."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from gnss.types import Fix, FixQuality
from perception.errors import DriveError
from perception.serial import utc_ns_of

_NAMES: dict[str, tuple[str, ...]] = {
    "time": ("utc_ns", "time", "timestamp", "utc", "datetime", "date_time", "gps_time", "unix", "epoch", "t", "time_s"),
    "lat": ("lat_deg", "lat", "latitude"),
    "lon": ("lon_deg", "lon", "lng", "long", "longitude"),
    "alt": ("alt_m", "alt", "altitude", "ele", "elevation", "height"),
    "speed": ("speed_mps", "speed", "velocity", "speed_m_s", "speed_ms"),
    "speed_kmh": ("speed_kmh", "speed_kph", "speed_km_h", "kmh"),
    "course": ("course_deg", "course", "bearing", "heading", "track"),
    "h_acc": ("h_acc_m", "accuracy", "accuracy_m", "h_acc", "horizontal_accuracy"),
    "hdop": ("hdop",),
    "quality": ("quality", "fix_quality"),
    "satellites": ("satellites", "sats", "num_sats"),
}  # fmt: skip
_NEEDED = ("time", "lat", "lon")
_UNITS = ((1e17, 1), (1e14, 1_000), (1e11, 1_000_000), (1e8, 1_000_000_000))
"""A number this large is a time since 1970 in units of so many ns."""


def read_csv_track(file: Path, start_utc_ns: int | None = None) -> list[Fix]:
    """Fixes of a CSV in order of time; rows of equal time keep the first.

    Stamps count from `start_utc_ns`, else from the first row. Times without a date are seconds of a clock of their own:
    those fixes have no UTC. Raises DriveError naming the line.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            sample = stream.read(4096)
            stream.seek(0)
            rows = list(csv.reader(stream, delimiter=max(",;\t", key=sample.count)))
    except OSError as error:
        raise DriveError(f"cannot be read: {error.strerror}", file=file, remedy="name the CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DriveError(f"is no UTF-8 CSV: {error}", file=file, remedy="export it again") from error
    columns = _columns(file, rows[0] if rows else [])
    fixes = [
        _fix(file, line, row, columns) for line, row in enumerate(rows[1:], 2) if any(cell.strip() for cell in row)
    ]
    return _stamped(file, fixes, start_utc_ns)


def _columns(file: Path, header: Sequence[str]) -> dict[str, int]:
    """Position of each known column."""
    plain = [name.strip().lower().replace(" ", "_").split("(")[0].split("[")[0].rstrip("_") for name in header]
    found = {
        what: next(plain.index(name) for name in names if name in plain)
        for what, names in _NAMES.items()
        if any(name in plain for name in names)
    }
    for what in _NEEDED:
        if what not in found:
            remedy = f"the header must name one of {', '.join(_NAMES[what])}"
            raise DriveError(f"has no column for {what}", file=file, line=1, remedy=remedy)
    return found


def _time(text: str) -> tuple[int, bool]:
    """ns and whether they count from 1970 in UTC; raises ValueError."""
    try:
        number = float(text)
    except ValueError:
        zoned = text if text.endswith("Z") or "+" in text[10:] or "-" in text[10:] else text + "Z"
        datetime.fromisoformat(zoned)
        return utc_ns_of(zoned), True
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no time")
    for size, unit in _UNITS:
        if number >= size:
            return (int(text) if text.isdigit() else round(number)) * unit if unit == 1 else round(number * unit), True
    return round(number * 1e9), False


def _fix(file: Path, line: int, row: Sequence[str], columns: dict[str, int]) -> tuple[Fix, bool]:
    """A fix whose stamp is its time, and whether that is UTC."""
    try:
        said = {what: row[at].strip() for what, at in columns.items()}
        time_ns, is_utc = _time(said["time"])
        numbers = {what: float(text) for what, text in said.items() if what != "time" and text}
        lat, lon = numbers["lat"], numbers["lon"]
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError("a number is not finite")
        quality = FixQuality(int(numbers.get("quality", 1)))
    except (KeyError, ValueError, IndexError) as error:
        raise DriveError(f"is broken: {error}", file=file, line=line, remedy="mend or delete the row") from error
    if not (abs(lat) <= 90 and abs(lon) <= 180):
        raise DriveError("is not on the earth", file=file, line=line, remedy="mend or delete the row")
    speed = numbers.get("speed", numbers["speed_kmh"] / 3.6 if "speed_kmh" in numbers else None)
    course, acc = numbers.get("course"), numbers.get("h_acc")
    satellites = int(numbers["satellites"]) if "satellites" in numbers else None
    fix = Fix(
        time_ns, time_ns if is_utc else None, lat, lon, numbers.get("alt"), acc if acc and acc > 0 else None, speed,
        None if course is None else course % 360.0, None, quality, satellites, numbers.get("hdop") or None,
    )  # fmt: skip
    return fix, is_utc


def _stamped(file: Path, rows: list[tuple[Fix, bool]], start_utc_ns: int | None) -> list[Fix]:
    kinds = {is_utc for _, is_utc in rows}
    if not rows:
        raise DriveError("has no rows", file=file, remedy="export the track again")
    if len(kinds) > 1:
        raise DriveError("mixes dates and bare seconds in its times", file=file, remedy="write all times in one form")
    ordered = sorted((fix for fix, _ in rows if fix.quality is not FixQuality.INVALID), key=lambda fix: fix.stamp_ns)
    if not ordered:
        raise DriveError("has no usable fix", file=file, remedy="every row has quality 0: record with sky in view")
    start = start_utc_ns if start_utc_ns is not None and kinds == {True} else ordered[0].stamp_ns
    rising = [ordered[0], *(b for a, b in pairwise(ordered) if b.stamp_ns > a.stamp_ns)]
    return [replace(fix, stamp_ns=fix.stamp_ns - start) for fix in rising]
