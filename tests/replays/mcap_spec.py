"""A second MCAP reader, written from the specification alone (https://mcap.dev/spec) and sharing nothing with ours."""

from __future__ import annotations

import json
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import zstandard
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields

MAGIC = bytes([0x89, 0x4D, 0x43, 0x41, 0x50, 0x30, 0x0D, 0x0A])


class Read(NamedTuple):
    """Everything in a file: schemas and channels by id, (channel, log time, sequence, data), metadata, attachments."""

    schemas: dict[int, tuple[str, str, bytes]]
    channels: dict[int, tuple[int, str, str]]
    messages: list[tuple[int, int, int, bytes]]
    metadata: dict[str, dict[str, str]]
    attachments: dict[str, bytes]
    statistics: tuple[int, int, int]


def prefixed(data: bytes, at: int) -> tuple[bytes, int]:
    (size,) = struct.unpack_from("<I", data, at)
    assert at + 4 + size <= len(data)
    return data[at + 4 : at + 4 + size], at + 4 + size


def records(data: bytes) -> list[tuple[int, int, bytes]]:
    """(opcode, offset, content) of back-to-back records; they must fill `data` to the last byte."""
    found, at = [], 0
    while at < len(data):
        opcode, size = struct.unpack_from("<BQ", data, at)
        assert at + 9 + size <= len(data), f"a record at {at} runs past the end"
        found.append((opcode, at, data[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def read(file: Path) -> Read:
    """Read a complete file and check what the specification asks for: magic, footer, checksums, indexes, statistics."""
    data = file.read_bytes()
    assert data[:8] == MAGIC
    assert data[-8:] == MAGIC
    body = records(data[8:-8])
    assert body[0][0] == 0x01, "a file begins with its header"
    assert body[-1][0] == 0x02, "a file ends with its footer"
    summary_start, _, crc = struct.unpack("<QQI", body[-1][2])
    footer_at = 8 + body[-1][1]
    assert zlib.crc32(data[summary_start : footer_at + 9 + 16]) == crc
    out = Read({}, {}, [], {}, {}, (0, 0, 0))
    chunks: dict[int, int] = {}
    statistics = (0, 0, 0)
    for opcode, at, content in body:
        offset = 8 + at
        if opcode == 0x06:
            (start, end, size, chunk_crc), (kind, after) = struct.unpack_from("<QQQI", content), prefixed(content, 28)
            (packed,) = struct.unpack_from("<Q", content, after)
            assert after + 8 + packed == len(content)
            assert kind in (b"zstd", b"")
            raw = content[after + 8 :]
            plain = zstandard.ZstdDecompressor().decompressobj().decompress(raw) if kind else raw
            assert len(plain) == size
            assert zlib.crc32(plain) == chunk_crc
            before = len(out.messages)
            for inner, _, inner_content in records(plain):
                take(out, inner, inner_content)
            times = [time for _, time, _, _ in out.messages[before:]]
            assert (min(times), max(times)) == (start, end)
            chunks[offset] = 9 + len(content)
        elif opcode == 0x08:
            index = struct.unpack_from("<QQQQ", content)
            assert chunks[index[2]] == index[3], "a chunk index names a chunk that is not there"
        elif opcode == 0x0B:
            count, _, channel_count, _, _, chunk_count = struct.unpack_from("<QHIIII", content)
            statistics = (count, channel_count, chunk_count)
        else:
            take(out, opcode, content)
    assert statistics == (len(out.messages), len(out.channels), len(chunks))
    return out._replace(statistics=statistics)


def take(out: Read, opcode: int, content: bytes) -> None:
    """One record that is not a container."""
    if opcode == 0x03:
        (number,) = struct.unpack_from("<H", content)
        name, at = prefixed(content, 2)
        encoding, at = prefixed(content, at)
        out.schemas[number] = (name.decode(), encoding.decode(), prefixed(content, at)[0])
    elif opcode == 0x04:
        number, schema = struct.unpack_from("<HH", content)
        topic, at = prefixed(content, 4)
        out.channels[number] = (schema, topic.decode(), prefixed(content, at)[0].decode())
        assert schema in out.schemas
    elif opcode == 0x05:
        channel, sequence, log_ns, _ = struct.unpack_from("<HIQQ", content)
        assert channel in out.channels
        out.messages.append((channel, log_ns, sequence, content[22:]))
    elif opcode == 0x0C:
        name, at = prefixed(content, 0)
        body, _ = prefixed(content, at)
        at, found = 0, {}
        while at < len(body):
            key, at = prefixed(body, at)
            value, at = prefixed(body, at)
            found[key.decode()] = value.decode()
        out.metadata[name.decode()] = found
    elif opcode == 0x09:
        name, at = prefixed(content, 16)
        _, at = prefixed(content, at)
        (size,) = struct.unpack_from("<Q", content, at)
        (crc,) = struct.unpack_from("<I", content, at + 8 + size)
        assert zlib.crc32(content[: at + 8 + size]) == crc
        out.attachments[name.decode()] = content[at + 8 : at + 8 + size]


@cache
def message_class(name: str, content: bytes) -> Any:
    """The protobuf class that a schema's descriptors describe."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def decode(schema: tuple[str, str, bytes], data: bytes) -> Any:
    """A message by its own schema: JSON validated against it, protobuf built from the descriptors in the file."""
    name, encoding, content = schema
    if encoding == "jsonschema":
        plain, rules = json.loads(data), json.loads(content)
        jsonschema.Draft7Validator.check_schema(rules)
        jsonschema.validate(plain, rules, jsonschema.Draft7Validator)
        return plain
    assert encoding == "protobuf"
    message = message_class(name, content).FromString(data)
    assert len(unknown_fields.UnknownFieldSet(message)) == 0
    return message
