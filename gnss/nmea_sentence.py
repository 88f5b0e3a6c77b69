"""One NMEA 0183 sentence: checksum, fields, ranges. Strict: what is not clearly right is refused with a reason."""

from __future__ import annotations

import datetime
import math
import re
from typing import NamedTuple

from gnss.checksums import xor
from gnss.refusal import MessageError, Refusal
from gnss.types import FixQuality

KNOT_MPS = 1852.0 / 3600.0
_FIRST_YEAR = 2000
"""Receivers without an almanac report 1980 (start of the GPS weeks) or other dates before their own making."""
_SENTENCE = re.compile(rb"\$([\x20-\x23\x25-\x29\x2b-\x7e]*)\*([0-9A-Fa-f]{2})[ ]*")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?|[+-]?\.\d+", re.ASCII)
_TIME = re.compile(r"(\d\d)(\d\d)(\d\d(?:\.\d*)?)", re.ASCII)
_DATE = re.compile(r"(\d\d)(\d\d)(\d\d)", re.ASCII)
_LAT = re.compile(r"(\d\d)(\d\d(?:\.\d*)?)", re.ASCII)
_LON = re.compile(r"(\d\d\d)(\d\d(?:\.\d*)?)", re.ASCII)
_MODES = {
    "A": FixQuality.SINGLE,
    "D": FixQuality.DIFFERENTIAL,
    "P": FixQuality.PPS,
    "R": FixQuality.RTK_FIXED,
    "F": FixQuality.RTK_FLOAT,
    "E": FixQuality.DEAD_RECKONING,
    "M": FixQuality.MANUAL,
    "S": FixQuality.SIMULATION,
    "N": FixQuality.INVALID,
}


class NmeaError(MessageError):
    """A sentence that is refused, with its typed reason."""


class Sentence(NamedTuple):
    """What one accepted sentence says; None is what it does not say. `time_ns` is the UTC time of day.

    `h_acc_m` is 1 sigma per axis. A named tuple: a frozen dataclass takes four times as long to make.
    """

    kind: str
    time_ns: int | None = None
    date: datetime.date | None = None
    lat_deg: float | None = None
    lon_deg: float | None = None
    alt_m: float | None = None
    quality: FixQuality | None = None
    satellites: int | None = None
    hdop: float | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    h_acc_m: float | None = None
    v_acc_m: float | None = None
    heading_deg: float | None = None


def parse_sentence(raw: bytes) -> Sentence:
    """Read `$...*hh` (without line end); raises NmeaError with the reason when it is refused or not one of ours."""
    match = _SENTENCE.fullmatch(raw)
    if match is None:
        reason = Refusal.CUT if b"*" in raw else Refusal.NO_CHECKSUM
        raise NmeaError(reason, repr(raw[:40]))
    body = match[1]
    if xor(body) != int(match[2], 16):
        raise NmeaError(Refusal.BAD_CHECKSUM, repr(raw[:40]))
    address, *fields = body.decode("ascii").split(",")
    reader = _READERS.get(address[2:]) if len(address) == 5 and address[0] != "P" else None
    if reader is None:
        raise NmeaError(Refusal.IGNORED, address)
    minimum, read = reader
    if len(fields) < minimum:
        raise NmeaError(Refusal.BAD_FIELD, f"{address} has {len(fields)} fields, needs {minimum}")
    return read(fields)


def _gga(f: list[str]) -> Sentence:
    quality = _integer(f[5], 0, 8)
    lat, lon = _position(f[1:5])
    return Sentence(
        "GGA",
        time_ns=_time(f[0]),
        lat_deg=lat,
        lon_deg=lon,
        alt_m=_number(f[8], -1_000.0, 20_000.0),
        quality=FixQuality.INVALID if quality is None else FixQuality(quality),
        satellites=_integer(f[6], 0, 200),
        hdop=_number(f[7], 0.0, 1_000.0),
    )


def _rmc(f: list[str]) -> Sentence:
    if f[1] not in ("A", "V"):
        raise NmeaError(Refusal.BAD_FIELD, f"status {f[1]!r}")
    mode = f[11] if len(f) > 11 else ""
    quality = _MODES.get(mode, FixQuality.SINGLE)
    lat, lon = _position(f[2:6])
    speed = _number(f[6], 0.0, 1_000.0)
    return Sentence(
        "RMC",
        time_ns=_time(f[0]),
        date=_date(f[8]),
        lat_deg=lat,
        lon_deg=lon,
        quality=FixQuality.INVALID if f[1] == "V" else quality,
        speed_mps=None if speed is None else speed * KNOT_MPS,
        course_deg=_number(f[7], 0.0, 360.0),
    )


def _vtg(f: list[str]) -> Sentence:
    knots, kmh = _number(f[4], 0.0, 1_000.0), _number(f[6], 0.0, 2_000.0)
    speed = knots * KNOT_MPS if knots is not None else None if kmh is None else kmh / 3.6
    return Sentence("VTG", speed_mps=speed, course_deg=_number(f[0], 0.0, 360.0))


def _gst(f: list[str]) -> Sentence:
    lat, lon, alt = (_number(text, 0.0, 1e6) for text in f[5:8])
    h_acc = None if lat is None or lon is None else math.sqrt((lat * lat + lon * lon) / 2.0)
    return Sentence("GST", time_ns=_time(f[0]), h_acc_m=h_acc or None, v_acc_m=alt or None)


def _gsa(f: list[str]) -> Sentence:
    return Sentence("GSA", hdop=_number(f[15], 0.0, 1_000.0))


def _zda(f: list[str]) -> Sentence:
    day, month, year = _integer(f[1], 1, 31), _integer(f[2], 1, 12), _integer(f[3], 0, 9999)
    date = None if day is None or month is None or year is None else _day(year, month, day)
    return Sentence("ZDA", time_ns=_time(f[0]), date=date)


def _hdt(f: list[str]) -> Sentence:
    return Sentence("HDT", heading_deg=_heading(f[0]) if f[1] in ("T", "") else None)


def _ths(f: list[str]) -> Sentence:
    """THS mode A is a measured heading; E (estimated), M (manual), S (simulated) and V (invalid) are not."""
    if f[1] not in ("A", "E", "M", "S", "V"):
        raise NmeaError(Refusal.BAD_FIELD, f"mode {f[1]!r}")
    return Sentence("THS", heading_deg=_heading(f[0]) if f[1] == "A" else None)


def _heading(text: str) -> float | None:
    value = _number(text, 0.0, 360.0)
    return 0.0 if value == 360.0 else value


_READERS = {
    "GGA": (10, _gga),
    "RMC": (9, _rmc),
    "VTG": (7, _vtg),
    "GST": (8, _gst),
    "GSA": (17, _gsa),
    "ZDA": (4, _zda),
    "HDT": (2, _hdt),
    "THS": (2, _ths),
}


def _number(text: str, low: float, high: float) -> float | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise NmeaError(Refusal.BAD_FIELD, f"{text!r} is no number")
    value = float(text)
    if not low <= value <= high:
        raise NmeaError(Refusal.OUT_OF_RANGE, f"{text} is not in {low:g}..{high:g}")
    return value


def _integer(text: str, low: int, high: int) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise NmeaError(Refusal.BAD_FIELD, f"{text!r} is no whole number")
    value = int(text)
    if not low <= value <= high:
        raise NmeaError(Refusal.OUT_OF_RANGE, f"{text} is not in {low}..{high}")
    return value


def _time(text: str) -> int | None:
    if not text:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise NmeaError(Refusal.BAD_FIELD, f"{text!r} is no time")
    whole, _, fraction = match[3].partition(".")
    hour, minute, second = int(match[1]), int(match[2]), int(whole)
    if hour > 23 or minute > 59 or second > 60:  # 60 is a leap second
        raise NmeaError(Refusal.OUT_OF_RANGE, f"{text} is no time of day")
    return (3600 * hour + 60 * minute + second) * 10**9 + int(fraction[:9].ljust(9, "0"))


def _date(text: str) -> datetime.date | None:
    if not text:
        return None
    match = _DATE.fullmatch(text)
    if match is None:
        raise NmeaError(Refusal.BAD_FIELD, f"{text!r} is no date")
    year = int(match[3])
    return _day(year + (1900 if year >= 80 else 2000), int(match[2]), int(match[1]))


def _day(year: int, month: int, day: int) -> datetime.date:
    try:
        date = datetime.date(year, month, day)
    except ValueError as error:
        raise NmeaError(Refusal.OUT_OF_RANGE, f"{year}-{month}-{day}") from error
    if year < _FIRST_YEAR:
        raise NmeaError(Refusal.BAD_DATE, str(date))
    return date


def _position(f: list[str]) -> tuple[float | None, float | None]:
    """Latitude and longitude of `[ddmm.m, N|S, dddmm.m, E|W]`: both or none."""
    if not any(f):
        return None, None
    lat, lon = _angle(_LAT, f[0], f[1], "NS", 90.0), _angle(_LON, f[2], f[3], "EW", 180.0)
    return lat, lon


def _angle(pattern: re.Pattern[str], text: str, side: str, sides: str, limit: float) -> float:
    match = pattern.fullmatch(text)
    if match is None or len(side) != 1 or side not in sides:
        raise NmeaError(Refusal.BAD_FIELD, f"{text!r},{side!r} is no angle")
    minutes = float(match[2])
    value = int(match[1]) + minutes / 60.0
    if minutes >= 60.0 or value > limit:
        raise NmeaError(Refusal.OUT_OF_RANGE, f"{text} is no angle")
    return value if side == sides[0] else -value
