"""Reads the records of an MCAP file by the letter of its specification, from front to back, whatever its state.

The file may be torn anywhere (a power cut), hold broken chunks, or be hostile: every size is checked against what is
there before anything is read, and what is skipped is told with its offset. https://mcap.dev/spec, version 0.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import lz4.frame
import zstandard

from perception.errors import DriveError

MAGIC = b"\x89MCAP0\r\n"
CHUNK_LIMIT = 256 << 20
"""Bytes of a chunk after decompression; recorders use 1 to 20 MB."""
TEXT_LIMIT = 16 << 20
"""Bytes of any other record outside a chunk but an attachment."""
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 1, 2, 3, 4, 5, 6
_ATTACHMENT, _METADATA, _DATA_END = 9, 12, 15
_HEAD = struct.Struct("<BQ")
_MESSAGE_HEAD = struct.Struct("<HIQQ")
_CHUNK_HEAD = struct.Struct("<QQQI")


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic: how its messages are written and by which schema."""

    id: int
    topic: str
    encoding: str
    schema: str
    schema_encoding: str
    schema_data: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message's data is: in the chunk (or, outside chunks, the record) at `offset`, bytes `start` to `end`."""

    offset: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `data` are the bytes that its channel's schema describes."""

    channel: Channel
    sequence: int
    log_ns: int
    publish_ns: int
    data: bytes
    place: Place


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file within the file."""

    name: str
    data: bytes


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


@dataclass(slots=True)
class McapFile:
    """One MCAP file. Iterate `messages()` once; what it holds beside messages, and its damage, is known afterwards.

    `damage` says in words what was lost, with offsets; `torn` that the file ends before its end.
    """

    file: Path
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    attachments: list[Attachment] = field(default_factory=list)
    channels: dict[int, Channel] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    profile: str = ""
    torn: bool = False
    _schemas: dict[int, tuple[str, str, bytes]] = field(default_factory=dict)

    def messages(self) -> Iterator[Message]:
        """Yield every readable message in the order of the file; raises DriveError when this is no MCAP file."""
        size = self.file.stat().st_size
        with self.file.open("rb") as stream:
            self._check_magic(stream, size)
            offset = len(MAGIC)
            while True:
                kind, length = self._head(stream, offset, size)
                if kind is None:
                    return
                if kind in (_FOOTER, _DATA_END):
                    return
                yield from self._record(stream, kind, offset, length)
                offset += _HEAD.size + length

    def _check_magic(self, stream: BinaryIO, size: int) -> None:
        if size == 0:
            raise DriveError("is empty", file=self.file, remedy="copy it again from the recorder")
        magic = stream.read(len(MAGIC))
        if magic != MAGIC:
            if MAGIC.startswith(magic):
                raise DriveError(f"is torn after {size} bytes", file=self.file, remedy="there is nothing in it")
            problem = f"is no MCAP file: it begins with {magic[:8]!r} at offset 0"
            raise DriveError(problem, file=self.file, remedy="name a recording, *.mcap, version 0")

    def _head(self, stream: BinaryIO, offset: int, size: int) -> tuple[int | None, int]:
        """Opcode and length of the record at `offset`; None where the file is torn."""
        stream.seek(offset)
        head = stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            self._tear(offset, size, "the file ends there without its footer")
            return None, 0
        kind, length = _HEAD.unpack(head)
        if kind == 0:
            self._tear(offset, size, "no record begins there")
            return None, 0
        if offset + _HEAD.size + length > size:
            self._tear(offset, size, f"a record of {length} bytes begins there and {size - offset - 9} are left")
            return None, 0
        return kind, length

    def _tear(self, offset: int, size: int, why: str) -> None:
        self.torn = True
        self.damage.append(f"torn at offset {offset}: {why}; {size - offset} bytes are lost")

    def _record(self, stream: BinaryIO, kind: int, offset: int, length: int) -> Iterator[Message]:
        wanted = (_HEADER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _ATTACHMENT, _METADATA)
        if kind not in wanted:
            return
        limit = CHUNK_LIMIT if kind in (_CHUNK, _MESSAGE, _ATTACHMENT) else TEXT_LIMIT
        if length > limit:
            self.damage.append(f"a record of {length} bytes at offset {offset} is skipped: the limit is {limit}")
            return
        data = stream.read(length)
        try:
            if kind == _CHUNK:
                yield from self._inner(unpacked(data), offset)
            elif kind == _MESSAGE:
                yield self._message(data, 0, len(data), offset)
            elif kind == _METADATA:
                cursor = Cursor(data)
                name = cursor.text()
                self.metadata[name] = cursor.table()
            elif kind == _ATTACHMENT:
                self.attachments.append(_attachment(data))
            elif kind == _HEADER:
                self.profile = Cursor(data).text()
            else:
                self._define(kind, data)
        except BrokenError as error:
            what = "chunk" if kind == _CHUNK else "record"
            self.damage.append(f"a {what} of {length} bytes at offset {offset} is skipped: {error}")

    def _inner(self, data: bytes, offset: int) -> Iterator[Message]:
        """The records of one chunk."""
        at = 0
        while at + _HEAD.size <= len(data):
            kind, length = _HEAD.unpack_from(data, at)
            start = at + _HEAD.size
            if start + length > len(data):
                raise BrokenError(f"a record of {length} bytes at {at} within it, {len(data) - start} are left")
            if kind == _MESSAGE:
                yield self._message(data, start, start + length, offset)
            elif kind in (_SCHEMA, _CHANNEL):
                self._define(kind, data[start : start + length])
            at = start + length

    def _message(self, data: bytes, start: int, end: int, offset: int) -> Message:
        if end - start < _MESSAGE_HEAD.size:
            raise BrokenError(f"a message of {end - start} bytes")
        number, sequence, log_ns, publish_ns = _MESSAGE_HEAD.unpack_from(data, start)
        channel = self.channels.get(number)
        if channel is None:
            raise BrokenError(f"a message of channel {number}, which nothing describes")
        begin = start + _MESSAGE_HEAD.size
        return Message(channel, sequence, log_ns, publish_ns, data[begin:end], Place(offset, begin, end))

    def _define(self, kind: int, data: bytes) -> None:
        cursor = Cursor(data)
        number = cursor.number(2)
        if kind == _SCHEMA:
            name, encoding = cursor.text(), cursor.text()
            self._schemas[number] = (name, encoding, cursor.take(cursor.number(4)))
            return
        schema = cursor.number(2)
        topic, encoding = cursor.text(), cursor.text()
        if schema and schema not in self._schemas:
            raise BrokenError(f"channel {topic!r} names schema {schema}, which nothing describes")
        name, schema_encoding, content = self._schemas.get(schema, ("", "", b""))
        self.channels[number] = Channel(number, topic, encoding, name, schema_encoding, content)


def _attachment(data: bytes) -> Attachment:
    cursor = Cursor(data)
    cursor.take(16)
    name, _ = cursor.text(), cursor.text()
    content = cursor.take(cursor.number(8))
    crc = cursor.number(4)
    if crc and zlib.crc32(data[: cursor.at - 4]) != crc:
        raise BrokenError(f"the checksum of {name!r} is wrong")
    return Attachment(name, content)


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


def read_chunk(stream: BinaryIO, offset: int) -> bytes:
    """Content of the chunk, or of the message record, at `offset`, as `Place` counts in it; raises BrokenError."""
    stream.seek(offset)
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise BrokenError("the file has become shorter")
    kind, length = _HEAD.unpack(head)
    if length > CHUNK_LIMIT:
        raise BrokenError(f"a record of {length} bytes")
    data = stream.read(length)
    return unpacked(data) if kind == _CHUNK else data
