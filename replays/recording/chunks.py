"""Fields and chunks of an MCAP file: bounds are checked before anything is read or unpacked."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import lz4.frame
import zstandard

CHUNK_LIMIT = 256 << 20
"""Bytes of a chunk after decompression; recorders use 1 to 20 MB."""
_CHUNK_HEAD = struct.Struct("<QQQI")


class BrokenError(ValueError):
    """A record does not hold what it should."""


@dataclass(slots=True)
class Cursor:
    """Reads little-endian fields from bytes; BrokenError instead of running past the end."""

    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count < 0 or self.at + count > len(self.data):
            raise BrokenError(f"{count} bytes wanted at {self.at}, {len(self.data) - self.at} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        """An unsigned whole number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def text(self) -> str:
        """A text with its length before it."""
        try:
            return self.take(self.number(4)).decode()
        except UnicodeDecodeError as error:
            raise BrokenError(f"a text is not UTF-8: {error}") from error

    def table(self) -> dict[str, str]:
        """A map of texts."""
        end = self.number(4) + self.at
        found: dict[str, str] = {}
        while self.at < end:
            name = self.text()
            found[name] = self.text()
        return found


def unpacked(data: bytes) -> bytes:
    """Records of a Chunk record; BrokenError when it is larger than allowed or told, or its checksum is wrong."""
    cursor = Cursor(data)
    size, crc = _CHUNK_HEAD.unpack(cursor.take(_CHUNK_HEAD.size))[2:]
    compression = cursor.text()
    packed = cursor.take(cursor.number(8))
    if size > CHUNK_LIMIT:
        raise BrokenError(f"it would unpack to {size} bytes, the limit is {CHUNK_LIMIT}")
    content = _decompressed(compression, packed, size)
    if len(content) != size:
        raise BrokenError(f"it unpacks to {len(content)} bytes, not to {size}")
    if crc and zlib.crc32(content) != crc:
        raise BrokenError("its checksum is wrong")
    return content


def _decompressed(compression: str, packed: bytes, size: int) -> bytes:
    try:
        if compression == "zstd":
            if size and zstandard.frame_content_size(packed) not in (-1, size):
                raise BrokenError("its size within differs from the size it tells")
            return zstandard.ZstdDecompressor().decompress(packed, max_output_size=size) if size else b""
        if compression == "lz4":
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(packed, max_length=size + 1))
    except (zstandard.ZstdError, RuntimeError, EOFError, MemoryError) as error:
        raise BrokenError(f"it cannot be unpacked: {error}") from error
    if compression:
        raise BrokenError(f"compression {compression!r} is not known")
    return packed


def unpacked_message(data: bytes) -> bytes:
    """A message that was compressed by itself; raises BrokenError."""
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= CHUNK_LIMIT:
            raise BrokenError(f"it would unpack to {size} bytes")
        return zstandard.ZstdDecompressor().decompress(data)
    except (zstandard.ZstdError, MemoryError) as error:
        raise BrokenError(f"it cannot be unpacked: {error}") from error
