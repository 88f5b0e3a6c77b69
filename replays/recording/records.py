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

from perception.errors import DriveError
from replays.recording.chunks import CHUNK_LIMIT, BrokenError, Cursor, unpacked

MAGIC = b"\x89MCAP0\r\n"
TEXT_LIMIT = 16 << 20
"""Bytes of any other record outside a chunk but an attachment."""
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 1, 2, 3, 4, 5, 6
_ATTACHMENT, _METADATA, _DATA_END = 9, 12, 15
_HEAD = struct.Struct("<BQ")
_MESSAGE_HEAD = struct.Struct("<HIQQ")


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
