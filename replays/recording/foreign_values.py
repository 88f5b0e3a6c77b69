"""What one message of somebody else's file says, as the fields of a member's row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.LocationFix_pb2 import LocationFix
from google.protobuf.message import DecodeError

from gnss.types import FixQuality
from replays.recording import cdr
from replays.recording.chunks import BrokenError

_ROS_QUALITY = {-1: FixQuality.INVALID, 0: FixQuality.SINGLE, 1: FixQuality.DIFFERENTIAL, 2: FixQuality.DIFFERENTIAL}
PROTOBUF: dict[str, Any] = {
    "foxglove.CompressedImage": CompressedImage,
    "foxglove.LocationFix": LocationFix,
    "foxglove.CameraCalibration": CameraCalibration,
}
"""Foxglove's messages that are read, by schema."""


def parsed_message(schema: str, data: bytes) -> Any:
    if schema not in PROTOBUF:
        return None
    try:
        return PROTOBUF[schema].FromString(data)
    except DecodeError as error:
        raise BrokenError(f"is no {schema}: {error}") from error


def header_ns(schema: str, data: bytes, parsed: Any) -> int:
    return cdr.stamp_of(data) if parsed is None else int(parsed.timestamp.ToNanoseconds())


def _fix_values(status: FixQuality, lat: float, lon: float, alt: float, cov: tuple[float, ...]) -> tuple[Any, ...]:
    """Fields of fixes.csv behind the stamp. Raises BrokenError when the place is none."""
    if not (abs(lat) <= 90 and abs(lon) <= 180):
        raise BrokenError(f"position {lat}, {lon} is not on the earth")
    variance = (cov[0] + cov[4]) / 2 if len(cov) == 9 else 0.0
    accuracy = math.sqrt(variance) if math.isfinite(variance) and variance > 0 else None
    height = alt if math.isfinite(alt) else None
    return (None, lat, lon, height, accuracy, None, None, None, int(status), None, None)


def _ros_fix(data: bytes, _: Any) -> tuple[Any, ...]:
    fix = cdr.nav_sat_fix(data)
    cov = fix.covariance_m2 if fix.covariance_type else ()
    return _fix_values(_ROS_QUALITY.get(fix.status, FixQuality.INVALID), fix.lat_deg, fix.lon_deg, fix.alt_m, cov)


def _foxglove_fix(_: bytes, fix: Any) -> tuple[Any, ...]:
    cov = tuple(fix.position_covariance) if fix.position_covariance_type else ()
    return _fix_values(FixQuality.SINGLE, fix.latitude, fix.longitude, fix.altitude, cov)


def _motion(speed: float | None, turn: float, accel: float | None) -> tuple[Any, ...]:
    """Fields of motion.csv behind the stamp; turn in rad/s."""
    if not all(math.isfinite(v) for v in (speed, turn, accel) if v is not None):
        raise BrokenError("a number is not finite")
    return (speed, math.degrees(turn), accel)


def _imu(data: bytes, _: Any) -> tuple[Any, ...]:
    turn, accel = cdr.imu(data)
    return _motion(None, turn, accel)


def _odometry(data: bytes, _: Any) -> tuple[Any, ...]:
    speed, turn = cdr.odometry(data)
    return _motion(speed, turn, None)


def _lens(data: bytes, parsed: Any) -> tuple[Any, ...]:
    if parsed is not None:
        return ((parsed.width, parsed.height), parsed.distortion_model, tuple(parsed.D), tuple(parsed.K))
    lens = cdr.camera_info(data)
    return ((lens.width, lens.height), lens.model, lens.d, lens.k)


def _text(data: bytes, _: Any) -> tuple[Any, ...]:
    return (cdr.sentence(data),)


VALUES: dict[str, Callable[[bytes, Any], tuple[Any, ...]]] = {
    "sensor_msgs/msg/NavSatFix": _ros_fix,
    "foxglove.LocationFix": _foxglove_fix,
    "nmea_msgs/msg/Sentence": _text,
    "sensor_msgs/msg/Imu": _imu,
    "nav_msgs/msg/Odometry": _odometry,
    "sensor_msgs/msg/CameraInfo": _lens,
    "foxglove.CameraCalibration": _lens,
}
