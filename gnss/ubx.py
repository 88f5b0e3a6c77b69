"""The UBX messages that say where the car is: NAV-PVT, NAV-COV, NAV-ATT and ESF-STATUS.

Layouts and scales: u-blox F9 interface description. Angles in degrees clockwise from true north.
"""

from __future__ import annotations

import datetime
import enum
import math
import struct
from collections.abc import Callable
from typing import NamedTuple

from gnss.refusal import MessageError, Refusal
from gnss.types import FixQuality

_PVT = struct.Struct("<IHBBBBBBIiBBBBiiiiIIiiiiiIIHH4x")
_PVT_VEHICLE = struct.Struct("<ihH")
_COV = struct.Struct("<IBBB9x12f")
_ATT = struct.Struct("<IB3xiiiIII")
_ESF = struct.Struct("<IB7xB2xB")
_WEEK_MS = 604_800_000
_RTK = {1: FixQuality.RTK_FLOAT, 2: FixQuality.RTK_FIXED}


class UbxError(MessageError):
    """A UBX message that is refused, with its typed reason."""


class Fusion(enum.IntEnum):
    """ESF-STATUS fusionMode: does the receiver fuse its inertial sensors?"""

    INITIALISING = 0
    FUSION = 1
    SUSPENDED = 2
    DISABLED = 3


class NavPvt(NamedTuple):
    """NAV-PVT; None is what the message does not claim. `utc` is the day, `time_ns` UTC of that day, which a negative
    nanosecond part may put just before its midnight. Accuracies are 1 sigma, `h_acc_m` per axis."""

    itow_ms: int
    date: datetime.date | None
    time_ns: int | None
    quality: FixQuality
    lat_deg: float | None
    lon_deg: float | None
    alt_m: float | None
    h_acc_m: float | None
    v_acc_m: float | None
    speed_mps: float
    speed_acc_mps: float | None
    course_deg: float
    course_acc_deg: float | None
    satellites: int
    heading_deg: float | None


class NavCov(NamedTuple):
    """NAV-COV: covariance of the position (m^2, east and north), 1-sigma heights; None where it is not valid."""

    itow_ms: int
    cov_nn_m2: float | None
    cov_ne_m2: float | None
    cov_ee_m2: float | None
    v_acc_m: float | None

    @property
    def h_acc_m(self) -> float | None:
        """1 sigma per axis."""
        if self.cov_nn_m2 is None or self.cov_ee_m2 is None:
            return None
        return math.sqrt((self.cov_nn_m2 + self.cov_ee_m2) / 2.0)


class NavAtt(NamedTuple):
    """NAV-ATT: where the vehicle's body points."""

    itow_ms: int
    heading_deg: float
    heading_acc_deg: float


class EsfStatus(NamedTuple):
    """ESF-STATUS: state of the fusion and the number of its sensors."""

    itow_ms: int
    fusion: Fusion
    sensors: int


UbxMessage = NavPvt | NavCov | NavAtt | EsfStatus


def parse_ubx(body: bytes) -> UbxMessage:
    """Read class, id, length and payload of a checked message; raises UbxError with the reason when it is refused."""
    reader = _READERS.get(body[:2])
    if reader is None:
        raise UbxError(Refusal.UBX_IGNORED, body[:2].hex())
    payload = body[4:]
    try:
        return reader(payload)
    except struct.error as error:
        raise UbxError(Refusal.BAD_FIELD, f"{body[:2].hex()} has {len(payload)} bytes") from error


def _pvt(payload: bytes) -> NavPvt:
    (
        itow, year, month, day, hour, minute, second, valid, _, nano, fix_type, flags, _, satellites, lon, lat, _,
        alt, h_acc, v_acc, _, _, _, speed, course, speed_acc, course_acc, _, flags3,
    ) = _PVT.unpack_from(payload)  # fmt: skip
    _in_week(itow)
    date, time_ns = None, None
    if valid & 0x07 == 0x07:  # date and time valid and fully resolved: no doubt about whole seconds
        date, time_ns = _utc(year, month, day, hour, minute, second, nano)
    quality = _quality(fix_type, flags)
    heading: float | None = None
    if flags & 0x20 and len(payload) >= 92:
        heading = _PVT_VEHICLE.unpack_from(payload, 84)[0] / 1e5 % 360.0
    place = quality is not FixQuality.INVALID and not flags3 & 1
    if place and (abs(lat) > 900_000_000 or abs(lon) > 1_800_000_000):
        raise UbxError(Refusal.OUT_OF_RANGE, f"{lat}, {lon} e-7 deg is no position")
    return NavPvt(
        itow, date, time_ns, quality, lat / 1e7 if place else None, lon / 1e7 if place else None,
        alt / 1e3 if place else None, h_acc / 1e3 * math.sqrt(0.5) or None, v_acc / 1e3 or None, abs(speed) / 1e3,
        speed_acc / 1e3 or None, course / 1e5 % 360.0, course_acc / 1e5 or None, satellites, heading,
    )  # fmt: skip


def _quality(fix_type: int, flags: int) -> FixQuality:
    """fixType alone qualifies nothing: gnssFixOK says whether the fix is within the receiver's own limits.

    A timing receiver in its fixed-position mode (type 5) repeats a position that it was told.
    """
    if not flags & 0x01 or fix_type not in (1, 2, 3, 4, 5):
        return FixQuality.INVALID
    if fix_type == 5:
        return FixQuality.MANUAL
    if fix_type == 1:
        return FixQuality.DEAD_RECKONING
    return _RTK.get(flags >> 6, FixQuality.DIFFERENTIAL if flags & 0x02 else FixQuality.SINGLE)


def _utc(year: int, month: int, day: int, hour: int, minute: int, second: int, nano: int) -> tuple[datetime.date, int]:
    if hour > 23 or minute > 59 or second > 60 or abs(nano) > 10**9:  # 60 is a leap second
        raise UbxError(Refusal.OUT_OF_RANGE, f"{hour}:{minute}:{second} + {nano} ns is no time of day")
    try:
        date = datetime.date(year, month, day)
    except ValueError as error:
        raise UbxError(Refusal.OUT_OF_RANGE, f"{year}-{month}-{day}") from error
    return date, (3600 * hour + 60 * minute + second) * 10**9 + nano


def _cov(payload: bytes) -> NavCov:
    itow, _, place_valid, _, nn, ne, _, ee, _, dd, *_ = _COV.unpack_from(payload)
    _in_week(itow)
    if not place_valid:
        return NavCov(itow, None, None, None, None)
    if not all(map(math.isfinite, (nn, ne, ee, dd))) or min(nn, ee, dd) < 0.0 or ne * ne > nn * ee:
        raise UbxError(Refusal.OUT_OF_RANGE, f"{nn}, {ne}, {ee}, {dd} m2 is no covariance")
    return NavCov(itow, nn, ne, ee, math.sqrt(dd) or None)


def _att(payload: bytes) -> NavAtt:
    itow, _, _, _, heading, _, _, accuracy = _ATT.unpack_from(payload)
    _in_week(itow)
    return NavAtt(itow, heading / 1e5 % 360.0, accuracy / 1e5)


def _esf(payload: bytes) -> EsfStatus:
    itow, _, mode, sensors = _ESF.unpack_from(payload)
    _in_week(itow)
    if mode > 3:
        raise UbxError(Refusal.OUT_OF_RANGE, f"fusion mode {mode}")
    return EsfStatus(itow, Fusion(mode), sensors)


def _in_week(itow_ms: int) -> None:
    if itow_ms >= _WEEK_MS:
        raise UbxError(Refusal.OUT_OF_RANGE, f"time of week {itow_ms} ms")


_READERS: dict[bytes, Callable[[bytes], UbxMessage]] = {
    b"\x01\x07": _pvt,
    b"\x01\x36": _cov,
    b"\x01\x05": _att,
    b"\x10\x10": _esf,
}
