"""RTKLIB solution files (.pos) as fixes.

Format: RTKLIB manual 2.4.2, appendix B.1. Comment lines begin with %; the last one names the columns. Read are the
latitude/longitude/height solutions with calendar or GPS week times in GPS time or UTC.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from gnss.types import Fix, FixQuality
from perception.errors import DriveError

GPS_EPOCH_UNIX_S = 315_964_800
"""1980-01-06T00:00:00Z."""
GPS_MINUS_UTC_S = 18
"""Since 2017-01-01; a solution older than that needs another value."""
WEEK_S = 604_800

_QUALITY = {
    1: FixQuality.RTK_FIXED,
    2: FixQuality.RTK_FLOAT,
    3: FixQuality.DIFFERENTIAL,
    4: FixQuality.DIFFERENTIAL,
    5: FixQuality.SINGLE,
    6: FixQuality.RTK_FLOAT,
}
"""RTKLIB's Q to the GGA quality indicator; a precise point position converges like a float one."""
_STATED_FLOOR_M = {FixQuality.RTK_FIXED: 0.05, FixQuality.RTK_FLOAT: 7.0, FixQuality.DIFFERENTIAL: 1.5}
"""The file's sigmas are those of the least squares alone, without reflections: never believed below these. A float
solution of a moving car in a city is off by 3 m in the median, and by ten times that in the tail (docs/ego.md)."""
_SINGLE_FLOOR_M = 2.0


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the header tells: the time system, and whether velocities follow the position's columns."""

    gps_time: bool
    velocity: bool


def read_rtklib(file: Path, start_utc_ns: int | None = None, *, gps_minus_utc_s: int = GPS_MINUS_UTC_S) -> list[Fix]:
    """Fixes of a .pos file in order of time; stamps count from `start_utc_ns` (None: from the first row).

    `h_acc_m` is the file's own sigma per axis, not below what a moving car can expect of that class. Velocities, where
    the file has them, become speed and course with their sigmas. Raises DriveError, with the line, for what it is not.
    """
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise DriveError(f"cannot be read: {error.strerror}", file=file, remedy="name the .pos file") from error
    layout = _layout(file, lines)
    leap_s = gps_minus_utc_s if layout.gps_time else 0
    fixes: list[Fix] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("%"):
            continue
        try:
            fix = _fix(line.replace(",", " ").split(), leap_s, layout)
        except (ValueError, IndexError, KeyError) as error:
            problem = f"is no solution row: {error}"
            raise DriveError(problem, file=file, line=number, remedy="mend or delete the row") from error
        if fix is not None and (not fixes or fix.stamp_ns > fixes[-1].stamp_ns):
            fixes.append(fix)
    if not fixes:
        raise DriveError("holds no solution", file=file, remedy="solve it again: every epoch failed")
    start = start_utc_ns if start_utc_ns is not None else fixes[0].stamp_ns
    return [replace(fix, stamp_ns=fix.stamp_ns - start) for fix in fixes]


def _layout(file: Path, lines: Sequence[str]) -> _Layout:
    head = next((line for line in reversed(lines) if line.startswith("%") and "latitude" in line), None)
    if head is None:
        remedy = "write it with out-solformat = llh and out-outhead = on"
        raise DriveError("has no header that names latitude(deg)", file=file, line=1, remedy=remedy)
    words = head.lstrip("% ").split()
    if words[0] not in ("GPST", "UTC"):
        raise DriveError(f"has times in {words[0]}", file=file, remedy="write it with out-timesys = gpst or utc")
    return _Layout(words[0] == "GPST", "vn(m/s)" in words)


def _fix(cells: Sequence[str], leap_s: int, layout: _Layout) -> Fix | None:
    """One row; the stamp is its UTC. None for a quality that is no solution."""
    utc_ns = _time_ns(cells[0], cells[1]) - leap_s * 10**9
    number = int(cells[5])
    if number == 0:
        return None
    quality = _QUALITY[number]
    values = [float(cell) for cell in cells[2:]]
    if not all(math.isfinite(v) for v in values):
        raise ValueError("a number is not finite")
    lat, lon, height, _, count, sigma_n, sigma_e, sigma_u = values[:8]
    if not (abs(lat) <= 90.0 and abs(lon) <= 180.0):
        raise ValueError(f"{lat}, {lon} is not on the earth")
    floor = _STATED_FLOOR_M.get(quality, _SINGLE_FLOOR_M)
    h_acc = max(math.hypot(sigma_n, sigma_e) / math.sqrt(2.0), floor)
    speed, course, speed_acc, course_acc = _velocity(values) if layout.velocity else (None, None, None, None)
    return Fix(
        utc_ns, utc_ns, lat, lon, height, h_acc, speed, course, course_acc, quality, int(count),
        v_acc_m=sigma_u, speed_acc_mps=speed_acc,
    )  # fmt: skip


def _velocity(values: Sequence[float]) -> tuple[float, float | None, float, float | None]:
    """(speed m/s, course deg or None, speed sigma, course sigma deg) of the columns vn, ve and their sigmas."""
    north, east = values[13], values[14]
    sigma = math.hypot(values[16], values[17]) / math.sqrt(2.0)
    speed = math.hypot(north, east)
    if speed < 0.1:
        return speed, None, sigma, None
    return speed, math.degrees(math.atan2(east, north)) % 360.0, sigma, math.degrees(min(sigma / speed, math.pi))


def _time_ns(first: str, second: str) -> int:
    """Nanoseconds since 1970 in the file's own time system: `YYYY/MM/DD hh:mm:ss.sss` or GPS week and seconds."""
    if "/" not in first:
        seconds, _, rest = second.partition(".")
        return (GPS_EPOCH_UNIX_S + int(first) * WEEK_S + int(seconds)) * 10**9 + int(f"{rest:0<9.9}" or 0)
    clock, _, rest = second.partition(".")
    day = datetime.strptime(f"{first} {clock}", "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC)
    return int(day.timestamp()) * 10**9 + int(f"{rest:0<9.9}" or 0)
