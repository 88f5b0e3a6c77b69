"""Samples of a track of an MP4 file (ISO/IEC 14496-12), without decoding: for telemetry beside the video."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from perception.errors import DriveError

MOOV_LIMIT = 256 << 20
SAMPLE_LIMIT = 16 << 20
_COUNT_LIMIT = 10_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a track: when it begins and how long it lasts in s, and its bytes."""

    start_s: float
    duration_s: float
    data: bytes


def track_samples(file: Path, codec: bytes) -> list[Sample]:
    """Samples of the first track whose sample entry is `codec`; [] when there is none.

    Raises DriveError when the file is no MP4, or its tables point outside it.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            moov = _moov(file, stream, size)
            tables = next((t for t in (_tables(trak) for trak in _named(moov, b"trak")) if t.codec == codec), None)
            return [] if tables is None else _samples(file, stream, size, tables)
    except OSError as error:
        raise DriveError(f"cannot be read: {error.strerror}", file=file, remedy="name the video file") from error
    except (struct.error, ValueError, IndexError) as error:
        remedy = "copy it again from the recorder"
        raise DriveError(f"has a broken index (box 'moov'): {error}", file=file, remedy=remedy) from error


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of boxes one after the other; ValueError when one runs past the end."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        if size == 0:
            size = len(data) - at
        if size < head or at + size > len(data):
            raise ValueError(f"box {kind!r} of {size} bytes, {len(data) - at} are left")
        yield kind, data[at + head : at + size]
        at += size


def _named(data: bytes, *path: bytes) -> Iterator[bytes]:
    """Contents of all boxes at a path of types."""
    for kind, content in _boxes(data):
        if kind == path[0]:
            if len(path) == 1:
                yield content
            else:
                yield from _named(content, *path[1:])


def _moov(file: Path, stream: BinaryIO, size: int) -> bytes:
    at = 0
    while at + 8 <= size:
        stream.seek(at)
        length, kind = struct.unpack(">I4s", stream.read(8))
        head = 8
        if length == 1:
            (length,), head = struct.unpack(">Q", stream.read(8)), 16
        if length == 0:
            length = size - at
        if length < head or at + length > size:
            raise ValueError(f"box {kind!r} at offset {at} has {length} bytes, {size - at} are left")
        if kind == b"moov":
            if length > MOOV_LIMIT:
                raise ValueError(f"it has {length} bytes")
            return stream.read(length - head)
        at += length
    raise DriveError("has no index (box 'moov')", file=file, remedy="name an MP4 video, or copy it again")


@dataclass(frozen=True, slots=True)
class _Tables:
    """Sample tables of one track: durations in units of 1/timescale s, sizes, chunks."""

    codec: bytes
    timescale: int
    times: list[tuple[int, int]]
    sizes: list[int]
    per_chunk: list[tuple[int, int]]
    offsets: list[int]


def _tables(trak: bytes) -> _Tables:
    (mdhd,) = _named(trak, b"mdia", b"mdhd")
    (timescale,) = struct.unpack_from(">I", mdhd, 20 if mdhd[0] == 1 else 12)
    (stbl,) = _named(trak, b"mdia", b"minf", b"stbl")
    found = dict(_boxes(stbl))
    codec = found[b"stsd"][12:16] if b"stsd" in found else b""
    times = [(count, delta) for count, delta in _rows(found.get(b"stts", bytes(8)), ">II")]
    fixed, count = struct.unpack_from(">II", found.get(b"stsz", bytes(12)), 4)
    _check_count(count)
    if fixed:
        sizes = [fixed] * count
    else:
        sizes = list(struct.unpack_from(f">{count}I", found.get(b"stsz", bytes(12)), 12))
    per_chunk = [(first, n) for first, n, _ in _rows(found.get(b"stsc", bytes(8)), ">III")]
    wide = b"co64" in found
    offsets = [row[0] for row in _rows(found.get(b"co64" if wide else b"stco", bytes(8)), ">Q" if wide else ">I")]
    return _Tables(codec, max(timescale, 1), times, sizes, per_chunk, offsets)


def _check_count(count: int) -> None:
    if count > _COUNT_LIMIT:
        raise ValueError(f"a table of {count} rows")


def _rows(box: bytes, form: str) -> list[tuple[int, ...]]:
    """A table with version, flags and count before it."""
    (count,) = struct.unpack_from(">I", box, 4)
    _check_count(count)
    step = struct.calcsize(form)
    if 8 + count * step > len(box):
        raise ValueError(f"a table of {count} rows in {len(box)} bytes")
    return [struct.unpack_from(form, box, 8 + n * step) for n in range(count)]


def _samples(file: Path, stream: BinaryIO, size: int, tables: _Tables) -> list[Sample]:
    durations = [delta for count, delta in tables.times for _ in range(min(count, len(tables.sizes)))]
    samples: list[Sample] = []
    clock, nth = 0, 0
    for chunk, offset in enumerate(tables.offsets, 1):
        inside = max((row for row in tables.per_chunk if row[0] <= chunk), default=(1, 0))[1]
        for _ in range(inside):
            if nth >= len(tables.sizes):
                return samples
            length = tables.sizes[nth]
            if offset + length > size or length > SAMPLE_LIMIT:
                problem = f"sample {nth} has {length} bytes at offset {offset}, the file has {size}"
                raise DriveError(problem, file=file, remedy="copy it again from the recorder")
            stream.seek(offset)
            duration = durations[nth] if nth < len(durations) else 0
            samples.append(Sample(clock / tables.timescale, duration / tables.timescale, stream.read(length)))
            offset, clock, nth = offset + length, clock + duration, nth + 1
    return samples
