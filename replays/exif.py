"""What a photo says about itself: position, accuracy, time and focal length (EXIF 2.32)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from perception.errors import DriveError

_EXIF, _GPS = 0x8769, 0x8825
_ORIENTATION, _ORIGINAL, _OFFSET, _SUBSEC, _EQ35 = 0x0112, 0x9003, 0x9011, 0x9291, 0xA405
_LAT_REF, _LAT, _LON_REF, _LON, _ALT_REF, _ALT, _TIME, _DOP, _DATE, _H_ERROR = 1, 2, 3, 4, 5, 6, 7, 11, 29, 31


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """One photo. `time_ns`: capture time; since 1970 in UTC when `time_is_utc`, else on the camera's own clock."""

    file: Path
    width: int
    height: int
    lat_deg: float
    lon_deg: float
    alt_m: float | None
    h_acc_m: float | None
    time_ns: int | None
    time_is_utc: bool
    focal_35mm: float | None
    turned: bool
    sideways: bool


def read_photo(file: Path) -> PhotoFacts:
    """Read one photo's EXIF; raises DriveError when it is no photo or has no position."""
    try:
        with PillowImage.open(file) as image:
            width, height = image.size
            exif = image.getexif()
            gps, shot = exif.get_ifd(_GPS), exif.get_ifd(_EXIF)
            orientation = exif.get(_ORIENTATION, 1)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DriveError(f"is no photo that can be read: {error}", file=file, remedy="restore or remove it") from error
    if _LAT not in gps or _LON not in gps:
        raise DriveError("has no GPS position in its EXIF", file=file, remedy="geotag it or remove it from the folder")
    try:
        lat = _angle(gps[_LAT]) * (-1 if str(gps.get(_LAT_REF, "N")).upper().startswith("S") else 1)
        lon = _angle(gps[_LON]) * (-1 if str(gps.get(_LON_REF, "E")).upper().startswith("W") else 1)
    except (TypeError, ValueError, ZeroDivisionError, IndexError) as error:
        raise DriveError(f"has a broken GPS position: {error!r}", file=file, remedy="geotag it again") from error
    if not (abs(lat) <= 90 and abs(lon) <= 180):
        raise DriveError(f"says it was taken at {lat}, {lon}", file=file, remedy="geotag it again")
    below = gps.get(_ALT_REF) in (1, b"\x01")
    altitude = _positive(gps.get(_ALT))
    time_ns, is_utc = _time(gps, shot)
    return PhotoFacts(
        file, width, height, lat, lon, None if altitude is None else -altitude if below else altitude,
        _positive(gps.get(_H_ERROR)) or _positive(gps.get(_DOP)), time_ns, is_utc, _positive(shot.get(_EQ35)),
        orientation not in (0, 1), orientation in (5, 6, 7, 8),
    )  # fmt: skip


def _angle(parts: Any) -> float:
    degrees, minutes, seconds = (float(part) for part in (*parts, 0, 0)[:3])
    return degrees + minutes / 60 + seconds / 3600


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if 0 < number < 1e9 else None


def _time(gps: Mapping[int, Any], shot: Mapping[int, Any]) -> tuple[int | None, bool]:
    """GPS time is UTC; DateTimeOriginal is UTC only with its offset; neither: None. A broken one counts as none."""
    try:
        if gps.get(_DATE) and gps.get(_TIME):
            day = datetime.strptime(str(gps[_DATE]).strip("\x00 "), "%Y:%m:%d").replace(tzinfo=UTC)
            hours, minutes, seconds = (float(part) for part in gps[_TIME])
            return _ns(day + timedelta(hours=hours, minutes=minutes, seconds=seconds)), True
        if shot.get(_ORIGINAL):
            text = str(shot[_ORIGINAL]).strip("\x00 ")
            fraction = str(shot.get(_SUBSEC, "")).strip("\x00 ") or "0"
            offset = str(shot.get(_OFFSET, "")).strip("\x00 ")
            local = datetime.strptime(text + (offset or "+00:00"), "%Y:%m:%d %H:%M:%S%z")
            return _ns(local + timedelta(seconds=float(f"0.{fraction}"))), bool(offset)
    except (TypeError, ValueError):
        return None, False
    return None, False


def _ns(stamp: datetime) -> int:
    delta = stamp - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000
