"""Random and mutated byte strings for the receiver's readers, and what must hold whatever comes."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gnss.checksums import crc24q, fletcher, xor
from gnss.fixes import FixStream
from gnss.framing import MAX_REPORT
from gnss.nmea_sentence import NmeaError, parse_sentence
from gnss.refusal import Refusal
from gnss.stream import StreamReader
from gnss.types import Fix
from gnss.ubx import UbxError, parse_ubx
from tests.gnss.messages import att, cov, esf, gga, line, pvt, rmc, rtcm, ubx

SEEDS = (
    gga(), rmc(), pvt(), pvt(18), cov(), att(), esf(), rtcm(b"\x3e\xd0" + bytes(60)), ubx(b"\x02\x15", bytes(400)),
    line("GNGST,021417.00,1.2,,,,3.0,4.0,5.5"), line("GNVTG,65.13,T,52.07,M,0.028,N,0.053,K,D"),
    line("GNGSA,A,3,10,28,09,13,,,,,,,,,03.4,01.7,03.0,1"), line("GPZDA,021417.00,07,02,2020,00,00"),
    line("GNHDT,123.4,T"), line("GNTHS,123.4,A"), b'{"class":"DEVICE","path":"/dev/ttyUSB0"}\r\n',
)  # fmt: skip
_WORDS = (
    b"", b",", b"*", b"$", b"\r\n", b"nan", b"inf", b"1e308", b"-0", b"9" * 40, b"99999.99", b"\x00", b"\xff\xff",
    b"\xb5\x62", b"\xb5\x62\x01\x07\x5c\x00", b"\xd3\x00\x13", b'{"class":"', b"235960.00", b"060180", b"\xd9\xa1",
    b"x" * 1100,
)  # fmt: skip


def strings(rng: random.Random) -> Iterator[bytes]:
    """Without end: random bytes, and seeds that were mutated, cut, joined, and often given a right checksum again."""
    while True:
        if rng.random() < 0.2:
            yield rng.randbytes(rng.randrange(200))
            continue
        data = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randrange(4)):
            _mutate(data, rng)
        whole = bytes(data)
        if rng.random() < 0.6:
            whole = mended(whole)
        if rng.random() < 0.1:
            whole += rng.choice(SEEDS)[: rng.randrange(60)]
        yield whole


def _mutate(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    kind = rng.randrange(6)
    if kind == 0:
        data[at:at] = rng.choice(_WORDS)
    elif kind == 1:
        del data[at : at + rng.randrange(12)]
    elif kind == 2 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 3 and at < len(data):
        data[at] = rng.randrange(256)
    elif kind == 4:
        data[at : at + 8] = rng.randbytes(8)
    elif data[:1] == b"$":
        fields = bytes(data).split(b",")
        fields[rng.randrange(len(fields))] = rng.choice(_WORDS)
        data[:] = b",".join(fields)


def mended(data: bytes) -> bytes:
    """The same with a right length and checksum, so that what is inside is really read."""
    if data[:1] == b"$":
        body = data[1:].partition(b"*")[0].replace(b"\r", b"").replace(b"\n", b"")
        return b"$" + body + b"*%02X\r\n" % xor(body)
    if data[:2] == b"\xb5\x62" and len(data) >= 8:
        payload = data[6:-2]
        body = data[2:4] + struct.pack("<H", len(payload)) + payload
        return b"\xb5\x62" + body + fletcher(body)
    if data[:1] == b"\xd3" and len(data) >= 6:
        return data[:-3] + crc24q(data[:-3]).to_bytes(3, "big")
    return data


@dataclass(slots=True)
class Fuzz:
    """One long-lived stream of all strings, and a fresh reader for each. Any exception but a typed refusal goes up."""

    stream: FixStream
    rng: random.Random
    strings: int = 0
    size: int = 0
    fixes: int = 0
    stamp_ns: int = 0
    last_ns: int | None = None

    @staticmethod
    def begin(seed: int) -> Fuzz:
        return Fuzz(FixStream(), random.Random(seed))

    def step(self, data: bytes) -> None:
        """Feed one string everywhere."""
        self.strings += 1
        self.size += len(data)
        self.stamp_ns += self.rng.choice((0, 1_000, 40_000_000, 3_000_000_000))
        fixes = self.stream.feed(data, self.stamp_ns)
        if self.strings % 1000 == 0:
            fixes += self.stream.flush()
        for fix in fixes:
            sound(fix)
            assert self.last_ns is None or fix.stamp_ns > self.last_ns
            self.last_ns = fix.stamp_ns
        assert self.stream.reader.held <= MAX_REPORT + len(data)
        fresh = StreamReader()
        for fix in fresh.feed(data, 0) + fresh.flush():
            sound(fix)
            self.fixes += 1
        with contextlib.suppress(NmeaError):
            parse_sentence(data.strip())
        with contextlib.suppress(UbxError):
            parse_ubx(data[2:-2])

    @property
    def counters(self) -> dict[Refusal, int]:
        return self.stream.counters


def sound(fix: Fix) -> None:
    """Numbers of a fix are finite and in their ranges."""
    assert all(math.isfinite(v) for v in dataclasses.astuple(fix) if isinstance(v, float))
    assert abs(fix.lat_deg) <= 90.0
    assert abs(fix.lon_deg) <= 180.0
    for value in (fix.h_acc_m, fix.v_acc_m, fix.speed_acc_mps, fix.course_acc_deg, fix.heading_acc_deg):
        assert value is None or value > 0.0
    assert fix.speed_mps is None or fix.speed_mps >= 0.0
    assert fix.course_deg is None or 0.0 <= fix.course_deg <= 360.0
