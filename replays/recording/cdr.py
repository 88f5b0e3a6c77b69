"""ROS 2 messages in CDR (OMG DDS-RTPS 2.3, 10; classic CDR of both byte orders), just those that a drive needs."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from replays.recording.chunks import BrokenError, unpacked_message

_ZSTD = bytes.fromhex("28b52ffd")


class Cdr:
    """Reads fields in their order; each is aligned to its size, counted after the 4 bytes of the encapsulation."""

    def __init__(self, data: bytes) -> None:
        """A message that rosbag2 compressed by itself is unpacked. BrokenError when it is not classic CDR."""
        if data.startswith(_ZSTD):
            data = unpacked_message(data)
        if len(data) < 4 or data[0] != 0 or data[1] not in (0, 1):
            raise BrokenError(f"is not classic CDR (begins with {data[:4].hex()})")
        self._order = "<" if data[1] == 1 else ">"
        self._data = data
        self._at = 4

    def values(self, code: str, count: int = 1) -> tuple[float, ...]:
        """`count` numbers of one struct code."""
        size = struct.calcsize(code)
        self._at += -(self._at - 4) % size
        if count < 0 or self._at + size * count > len(self._data):
            raise BrokenError(f"{count} x {size} bytes wanted at {self._at} of {len(self._data)}")
        found: tuple[float, ...] = struct.unpack_from(f"{self._order}{count}{code}", self._data, self._at)
        self._at += size * count
        return found

    def whole(self, code: str = "I") -> int:
        """One whole number."""
        return int(self.values(code)[0])

    def text(self) -> str:
        """A string: its length with the closing zero, its bytes."""
        return self.blob().rstrip(b"\0").decode("utf-8", "replace")

    def blob(self) -> bytes:
        """A sequence of bytes."""
        count = self.whole()
        if self._at + count > len(self._data):
            raise BrokenError(f"{count} bytes wanted at {self._at} of {len(self._data)}")
        self._at += count
        return self._data[self._at - count : self._at]

    def stamp_ns(self) -> int:
        """A std_msgs/Header: its time in ns; the frame is passed over."""
        seconds, nanos = self.whole("i"), self.whole()
        self.text()
        return seconds * 1_000_000_000 + nanos


@dataclass(frozen=True, slots=True)
class RosImage:
    """A sensor_msgs/Image; `data` has `step` bytes per row."""

    height: int
    width: int
    encoding: str
    step: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RosFix:
    """A sensor_msgs/NavSatFix; `covariance_m2` (9,) east, north, up, `covariance_type` 0: unknown."""

    status: int
    lat_deg: float
    lon_deg: float
    alt_m: float
    covariance_m2: tuple[float, ...]
    covariance_type: int


@dataclass(frozen=True, slots=True)
class RosLens:
    """A sensor_msgs/CameraInfo."""

    height: int
    width: int
    model: str
    d: tuple[float, ...]
    k: tuple[float, ...]


def stamp_of(data: bytes) -> int:
    """Time of the header that every message here begins with."""
    return Cdr(data).stamp_ns()


def compressed_image(data: bytes) -> tuple[str, bytes]:
    """Format and encoded bytes of a sensor_msgs/CompressedImage."""
    cdr = Cdr(data)
    cdr.stamp_ns()
    return cdr.text(), cdr.blob()


def image(data: bytes) -> RosImage:
    """A sensor_msgs/Image."""
    cdr = Cdr(data)
    cdr.stamp_ns()
    height, width, encoding = cdr.whole(), cdr.whole(), cdr.text()
    cdr.whole("B")
    step = cdr.whole()
    return RosImage(height, width, encoding, step, cdr.blob())


def nav_sat_fix(data: bytes) -> RosFix:
    """A sensor_msgs/NavSatFix."""
    cdr = Cdr(data)
    cdr.stamp_ns()
    status = cdr.whole("b")
    cdr.whole("H")
    lat, lon, alt = cdr.values("d", 3)
    return RosFix(status, lat, lon, alt, cdr.values("d", 9), cdr.whole("B"))


def imu(data: bytes) -> tuple[float, float]:
    """Turn about z in rad/s and acceleration along x in m/s2 of a sensor_msgs/Imu."""
    cdr = Cdr(data)
    cdr.stamp_ns()
    cdr.values("d", 13)
    turn = cdr.values("d", 3)[2]
    cdr.values("d", 9)
    return turn, cdr.values("d", 3)[0]


def odometry(data: bytes) -> tuple[float, float]:
    """Speed along x in m/s and turn about z in rad/s of a nav_msgs/Odometry."""
    cdr = Cdr(data)
    cdr.stamp_ns()
    cdr.text()
    cdr.values("d", 43)
    twist = cdr.values("d", 6)
    return twist[0], twist[5]


def sentence(data: bytes) -> str:
    """The text of a nmea_msgs/Sentence."""
    cdr = Cdr(data)
    cdr.stamp_ns()
    return cdr.text()


def camera_info(data: bytes) -> RosLens:
    """A sensor_msgs/CameraInfo, as far as the matrix K."""
    cdr = Cdr(data)
    cdr.stamp_ns()
    height, width, model = cdr.whole(), cdr.whole(), cdr.text()
    d = cdr.values("d", cdr.whole())
    return RosLens(height, width, model, d, cdr.values("d", 9))
