"""Receiver messages made by hand: NMEA lines, UBX and RTCM frames."""

from __future__ import annotations

import struct

from gnss.checksums import crc24q, fletcher, xor

LEAP_MS = 18_000


def line(body: str) -> bytes:
    """`$body*hh` with its line end."""
    return f"${body}*{xor(body.encode()):02X}\r\n".encode()


def gga(time: str = "021417.00", quality: int = 1, place: str = "3725.58362,N,12205.61915,W") -> bytes:
    return line(f"GNGGA,{time},{place},{quality},12,0.76,4.4,M,-30.0,M,0.0,2000")


def rmc(time: str = "021417.00", date: str = "070220", status: str = "A", speed: str = "10.0") -> bytes:
    return line(f"GNRMC,{time},{status},3725.58362,N,12205.61915,W,{speed},65.1,{date},,,A")


def ubx(kind: bytes, payload: bytes) -> bytes:
    """A whole frame; `kind` is class and id."""
    body = kind + struct.pack("<H", len(payload)) + payload
    return b"\xb5\x62" + body + fletcher(body)


def rtcm(payload: bytes) -> bytes:
    """A whole RTCM 3 message."""
    body = b"\xd3" + struct.pack(">H", len(payload)) + payload
    return body + crc24q(body).to_bytes(3, "big")


def pvt(
    second: int = 17, *, lat: int = 374263937, lon: int = -1220936525, fix_type: int = 3, flags: int = 1,
    valid: int = 7, nano: int = 0, speed: int = 5000, h_acc: int = 1414, heading: int = 0, tail: bool = True,
    hour: int = 2, minute: int = 14, year: int = 2020, month: int = 2, day: int = 7, itow: int | None = None,
) -> bytes:  # fmt: skip
    """NAV-PVT of Friday 2020-02-07 02:14:`second`."""
    if itow is None:
        itow = (5 * 86_400 + 3600 * hour + 60 * minute + second) * 1000 + LEAP_MS
    payload = struct.pack(
        "<IHBBBBBBIiBBBBiiiiIIiiiiiIIHH4x",
        itow, year, month, day, hour, minute, second, valid, 20, nano, fix_type, flags, 0, 14,
        lon, lat, 9000, 4500, h_acc, 2500, 0, 0, 0, speed, 6_500_000, 200, 150_000, 120, 0,
    )  # fmt: skip
    return ubx(b"\x01\x07", payload + (struct.pack("<ihH", heading, 0, 0) if tail else b""))


def itow_ms(second: int) -> int:
    """GPS time of week of 02:14:`second` on that Friday."""
    return (5 * 86_400 + 2 * 3600 + 14 * 60 + second) * 1000 + LEAP_MS


def cov(second: int = 17, nn: float = 4.0, ne: float = 1.0, ee: float = 2.0, valid: int = 1) -> bytes:
    cells = (nn, ne, 0.0, ee, 0.0, 9.0) + (0.01,) * 6
    return ubx(b"\x01\x36", struct.pack("<IBBB9x12f", itow_ms(second), 0, valid, 1, *cells))


def att(second: int = 17, heading_deg: float = 70.0, accuracy_deg: float = 0.5) -> bytes:
    cells = (0, 0, round(heading_deg * 1e5), 0, 0, round(accuracy_deg * 1e5))
    return ubx(b"\x01\x05", struct.pack("<IB3xiiiIII", itow_ms(second), 0, *cells))


def esf(second: int = 17, mode: int = 1) -> bytes:
    return ubx(b"\x10\x10", struct.pack("<IB7xB2xB", itow_ms(second), 2, mode, 0))
