"""Finds the rate of a serial line by what can be read at it, and finds it anew when the receiver changes its own."""

from __future__ import annotations

from gnss.checksums import xor
from gnss.framing import FrameKind, Framer

RATES = (115_200, 9_600, 38_400, 57_600, 230_400, 460_800, 921_600, 4_800)
"""In the order in which they are tried: what receivers come with first."""
ENOUGH = 2
"""Frames with a right checksum that make a rate believed: the eight bits of one may be right by chance."""
PATIENCE_NS = 2_500_000_000
"""A receiver of 1 Hz has said two sentences by then."""
JUNK_BYTES = 200
"""Fewer may be the rest of a sentence."""
PATIENCE_BYTES = 4096
"""So many without one frame are enough, at whatever speed they came."""


class BaudFinder:
    """Listens along; says when another rate is to be tried. A silent line is no sign of a wrong rate."""

    def __init__(self, first: int = RATES[0]) -> None:
        self.baud = first
        self._framer = Framer()
        self._good = 0
        self._bytes = 0
        self._since_ns: int | None = None

    @property
    def found(self) -> bool:
        """Has the rate proved right?"""
        return self._good >= ENOUGH

    def feed(self, data: bytes, stamp_ns: int) -> bool:
        """Take what came at the present rate; True when `baud` has changed and the line must be set to it."""
        good = sum(_valid(kind, raw) for kind, raw, _ in self._framer.feed(data, stamp_ns))
        if good:
            self._good += good
            self._bytes, self._since_ns = 0, None
            return False
        self._bytes += len(data)
        if self._since_ns is None:
            self._since_ns = stamp_ns
        waited = stamp_ns - self._since_ns > PATIENCE_NS and self._bytes >= JUNK_BYTES
        if not waited and (self.found or self._bytes < PATIENCE_BYTES):
            return False
        here = RATES.index(self.baud) if self.baud in RATES else -1
        self.baud = RATES[(here + 1) % len(RATES)]
        self._framer, self._good, self._bytes, self._since_ns = Framer(), 0, 0, None
        return True

    def gap(self) -> None:
        """The line was lost: waiting for it is no sign of a wrong rate."""
        self._bytes, self._since_ns = 0, None


def _valid(kind: FrameKind, raw: bytes) -> bool:
    if kind is FrameKind.NMEA:
        body, star, check = raw[1:].partition(b"*")
        return bool(star) and check.strip().upper() == b"%02X" % xor(body)
    return kind is not FrameKind.GPSD
