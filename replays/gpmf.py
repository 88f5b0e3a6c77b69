"""GPS of a GoPro video: streams GPS5 and GPS9 of the telemetry track (docs of github.com/gopro/gpmf-parser).

GPS5 has five numbers a sample (latitude and longitude in degrees, altitude in m, speed over ground and in space in
m/s); time, kind of fix and dilution are told once per payload, about a second. GPS9 has them in every sample.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from gnss.types import Fix, FixQuality
from perception.errors import DriveError
from replays.mp4 import Sample, track_samples

_FORMS = {
    b"b": "b", b"B": "B", b"s": "h", b"S": "H", b"l": "i", b"L": "I", b"f": "f", b"d": "d", b"j": "q", b"J": "Q",
}  # fmt: skip
_DAY_NS = 86_400 * 10**9
_Y2000_NS = 946_684_800 * 10**9


@dataclass(frozen=True, slots=True)
class Row:
    """One sample; `utc_ns` only where the sample itself tells it."""

    stamp_s: float
    lat_deg: float
    lon_deg: float
    alt_m: float
    speed_mps: float
    dop: float
    lock: int
    utc_ns: int | None


def gopro_fixes(video: Path) -> list[Fix]:
    """Fixes with stamps in ns from the video's first frame, in order; [] when the video has no GPS telemetry.

    Samples without a fix are left out. Raises DriveError when the telemetry is broken, or never has a fix.
    """
    samples = track_samples(video, b"gpmd")
    rows: list[Row] = []
    clocks: list[tuple[float, int]] = []
    for nth, sample in enumerate(samples):
        try:
            payload, utc_ns = _payload(sample)
        except (struct.error, ValueError, KeyError, OverflowError) as error:
            remedy = "give the track with --track instead"
            raise DriveError(f"telemetry sample {nth} is broken: {error}", file=video, remedy=remedy) from error
        rows += payload
        if utc_ns is not None and payload and payload[0].lock > 0:
            clocks.append((sample.start_s, utc_ns))
    if not rows:
        return []
    fixes = _fixes(rows, clocks)
    if not fixes:
        problem = f"its GPS never had a fix in {len(rows)} samples"
        raise DriveError(problem, file=video, remedy="give the track with --track instead")
    return fixes


def _fixes(rows: list[Row], clocks: list[tuple[float, int]]) -> list[Fix]:
    """UTC of stamp 0 is the median over what the payloads tell: the camera rounds and delays them."""
    starts = [utc_ns - round(stamp_s * 1e9) for stamp_s, utc_ns in clocks]
    starts += [row.utc_ns - round(row.stamp_s * 1e9) for row in rows if row.utc_ns is not None and row.lock > 0]
    start_ns = int(np.median(np.array(starts, np.int64) - starts[0])) + starts[0] if starts else None
    fixes: list[Fix] = []
    for row in rows:
        stamp_ns = round(row.stamp_s * 1e9)
        earthly = abs(row.lat_deg) <= 90 and abs(row.lon_deg) <= 180 and (row.lat_deg, row.lon_deg) != (0.0, 0.0)
        if row.lock > 0 and earthly and (not fixes or stamp_ns > fixes[-1].stamp_ns):
            hdop = row.dop if 0 < row.dop < 50 else None
            alt = row.alt_m if row.lock == 3 else None
            utc_ns = None if start_ns is None else start_ns + stamp_ns
            quality = FixQuality.SINGLE
            fixes.append(
                Fix(stamp_ns, utc_ns, row.lat_deg, row.lon_deg, alt, None, row.speed_mps, quality=quality, hdop=hdop)
            )
    return fixes


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes, int, int, bytes]]:
    """(key, type, size of a sample, count, content) of entries one after the other, padded to 4 bytes."""
    at = 0
    while at + 8 <= len(data):
        key, kind, size, count = struct.unpack_from(">4scBH", data, at)
        length = size * count
        if key == b"\0\0\0\0":
            return
        if at + 8 + length > len(data):
            raise ValueError(f"entry {key!r} of {length} bytes at {at}, {len(data) - at - 8} are left")
        yield key, kind, size, count, data[at + 8 : at + 8 + length]
        at += 8 + length + (-length) % 4


def _payload(sample: Sample) -> tuple[list[Row], int | None]:
    """GPS rows of one telemetry sample, spread evenly over its time, and the UTC of its begin when it is told."""
    for key, kind, _, _, device in _entries(sample.data):
        if key == b"DEVC" and kind == b"\0":
            for inner, inner_kind, _, _, stream in _entries(device):
                if inner == b"STRM" and inner_kind == b"\0":
                    entries = {e[0]: e[1:] for e in _entries(stream)}
                    if b"GPS9" in entries or b"GPS5" in entries:
                        return _stream(entries, sample)
    return [], None


def _stream(entries: dict[bytes, tuple[bytes, int, int, bytes]], sample: Sample) -> tuple[list[Row], int | None]:
    scale = _numbers(entries[b"SCAL"])
    nine = b"GPS9" in entries
    if nine:
        _, size, count, content = entries[b"GPS9"]
        raw = [struct.unpack_from(">7i2H", content, n * size) for n in range(count)]
    else:
        kind, size, count, content = entries[b"GPS5"]
        form = ">5" + _FORMS[kind]
        raw = [struct.unpack_from(form, content, n * size) for n in range(count)]
    width = 9 if nine else 5
    scales = scale * width if len(scale) == 1 else scale
    if len(scales) != width or not all(scales):
        raise ValueError(f"{len(scale)} scales for {width} numbers")
    lock = int(_numbers(entries[b"GPSF"])[0]) if b"GPSF" in entries else 0
    dop = _numbers(entries[b"GPSP"])[0] / 100 if b"GPSP" in entries else 0.0
    rows = []
    for nth, numbers in enumerate(raw):
        values = [v / s for v, s in zip(numbers, scales, strict=True)]
        stamp_s = sample.start_s + sample.duration_s * nth / max(len(raw), 1)
        utc_ns = None
        if nine:
            utc_ns = _Y2000_NS + round(values[5]) * _DAY_NS + round(values[6] * 1e9)
            dop, lock = values[7], round(values[8])
        rows.append(Row(stamp_s, values[0], values[1], values[2], values[3], dop, lock, utc_ns))
    utc = entries.get(b"GPSU")
    return rows, None if utc is None else _utc_ns(utc[3])


def _numbers(entry: tuple[bytes, int, int, bytes]) -> list[float]:
    kind, size, count, content = entry
    form = _FORMS[kind]
    step = struct.calcsize(form)
    return [float(v) for v in struct.unpack(f">{size * count // step}{form}", content[: size * count // step * step])]


def _utc_ns(text: bytes) -> int | None:
    """yymmddhhmmss.sss as UTC ns; None when the camera does not know it."""
    try:
        stamp = datetime.strptime(text.decode("ascii").strip("\0 "), "%y%m%d%H%M%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None
    delta = stamp - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000
