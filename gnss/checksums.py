"""The three checks of receiver streams, each on whole buffers in C loops: bytes one by one in Python are too slow."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

_CRC24_POLYNOMIAL = 0x1864CFB
_LONG = 192
"""Bytes from which numpy is faster."""


def xor(body: bytes) -> int:
    """NMEA 0183: XOR of the bytes between `$` and `*`.

    As one large integer, its upper half is folded onto the lower one until a byte is left; what stands above the
    lower half then is never looked at.
    """
    value = int.from_bytes(body, "little")
    size = 4 * len(body)
    bits = 512
    while bits < size:
        bits *= 2
    while bits >= 8:
        value ^= value >> bits
        bits //= 2
    return value & 0xFF


def fletcher(body: bytes) -> bytes:
    """UBX: the two check bytes (8-bit Fletcher, u-blox interface description) over class, id, length and payload."""
    if len(body) < _LONG:
        return bytes((sum(body) & 0xFF, sum(accumulate(body)) & 0xFF))
    values = np.frombuffer(body, np.uint8).astype(np.uint64)  # up to 65,543 of 255: the sum of sums stays below 2^40
    return bytes((int(values.sum()) & 0xFF, int(values.cumsum().sum()) & 0xFF))


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
