"""The three checks of receiver streams, each on whole buffers in C loops: bytes one by one in Python are too slow."""

from __future__ import annotations

from itertools import accumulate

_CRC24_POLYNOMIAL = 0x1864CFB


def xor(body: bytes) -> int:
    """NMEA 0183: XOR of the bytes between `$` and `*`. Halves are folded onto each other as one large integer."""
    value = int.from_bytes(body, "little")
    bits = 8
    while bits < 8 * len(body):
        bits *= 2
    while bits > 8:
        bits //= 2
        value = (value >> bits) ^ (value & ((1 << bits) - 1))
    return value


def fletcher(body: bytes) -> bytes:
    """UBX: the two check bytes (8-bit Fletcher, u-blox interface description) over class, id, length and payload."""
    return bytes((sum(body) & 0xFF, sum(accumulate(body)) & 0xFF))


def _crc24_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 16
        for _ in range(8):
            value <<= 1
            if value & 0x1000000:
                value ^= _CRC24_POLYNOMIAL
        table.append(value)
    return table


_CRC24 = _crc24_table()


def crc24q(message: bytes) -> int:
    """RTCM 3: CRC-24Q over header and payload; over a whole message with its CRC it is 0."""
    value = 0
    table = _CRC24
    for byte in message:
        value = ((value << 8) & 0xFFFFFF) ^ table[(value >> 16) ^ byte]
    return value
