"""Frames out of a receiver's bytes: NMEA sentences, UBX and RTCM 3 messages and gpsd's reports, between any junk."""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from gnss.checksums import crc24q, fletcher
from gnss.refusal import Refusal

MAX_SENTENCE = 1024
"""Bytes; NMEA 0183 says 82, but $PUBX,03 lists all satellites in one sentence: some 700 bytes."""
MAX_UBX = 4096
"""Bytes of payload. RXM-RAWX of 92 signals has 2960; a longer one is a false start, which would hold up the stream."""
MAX_REPORT = 16_384
GAP_NS = 1_000_000_000
"""A binary message that bytes coming so much later do not complete was cut: the cable was out."""

_START = re.compile(rb"[$\xb5\xd3{]")
_SENTENCE = re.compile(rb"\$[\x20-\x23\x25-\x7e]{0,%d}" % MAX_SENTENCE)
_REPORT_HEAD = b'{"class":"'
_REPORT = re.compile(rb'\{"class":"[\x20-\x7e]{0,%d}' % MAX_REPORT)
_LINE_END = b"\r\n"
_WAIT = -1
"""The frame may be whole when more bytes have come."""


class FrameKind(enum.Enum):
    """What a frame is written in."""

    NMEA = enum.auto()
    UBX = enum.auto()
    RTCM = enum.auto()
    GPSD = enum.auto()


class Frame(NamedTuple):
    """One frame and the arrival of its first byte.

    `data` of NMEA: `$` to before the line end, not yet checked; of UBX: class, id, length and payload, checked; of
    RTCM: the whole message, checked; of gpsd: one line of JSON.
    """

    kind: FrameKind
    data: bytes
    stamp_ns: int


class Framer:
    """Incremental; any bytes are taken, none raise. Memory is bounded by the longest frame.

    A frame that fails its check costs one byte: what lies inside a false or broken frame is looked at again, so that
    no valid message is swallowed. Where frames begin and end does not depend on how the bytes were cut into pieces.
    """

    def __init__(self, counters: dict[Refusal, int] | None = None) -> None:
        self.counters: dict[Refusal, int] = dict.fromkeys(Refusal, 0) if counters is None else counters
        self._buffer = b""
        self._stamps: list[tuple[int, int]] = [(0, 0)]
        """(offset in the buffer, arrival) of the pieces, rising."""
        self._last_ns = 0
        self._quiet = True
        self._stale = 0
        self._broken = 0
        """Where the last broken message ends in the buffer."""
        self._ended = False

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes, stamp_ns: int) -> list[Frame]:
        """Take bytes that arrived at `stamp_ns`; returns the frames that they complete, in order."""
        held = len(self._buffer)
        if held:
            self._stale = held if stamp_ns - self._last_ns > GAP_NS else 0
            self._buffer += data
            self._stamps.append((held, stamp_ns))
        else:
            self._stale = 0
            self._buffer = data
            self._stamps = [(0, stamp_ns)]
        self._last_ns = stamp_ns
        return self._scan()

    def flush(self) -> list[Frame]:
        """End of the stream: the last sentence may lack its line end, a binary message cannot lack anything."""
        self._ended = True
        frames = self._scan()
        self._ended = False
        self._quiet = True
        return frames

    def _scan(self) -> list[Frame]:
        buffer, frames, position = self._buffer, [], 0
        while True:
            found = _START.search(buffer, position)
            start = len(buffer) if found is None else found.start()
            if start > position:
                self._noise(buffer[position:start])
            position = start
            if found is None:
                break
            end, frame = self._frame(buffer, start)
            if end == _WAIT:
                break
            position = end
            if frame is not None:
                self._quiet = True
                frames.append(frame)
        self._keep(position)
        return frames

    def _frame(self, buffer: bytes, start: int) -> tuple[int, Frame | None]:
        """(end, frame or None) of what begins at `start`, or _WAIT."""
        first = buffer[start]
        if first == 0x24:
            return self._sentence(buffer, start)
        if first == 0xB5:
            return self._ubx(buffer, start)
        if first == 0xD3:
            return self._rtcm(buffer, start)
        return self._report(buffer, start)

    def _sentence(self, buffer: bytes, start: int) -> tuple[int, Frame | None]:
        match = _SENTENCE.match(buffer, start)
        end = start + 1 if match is None else match.end()
        if end - start > MAX_SENTENCE:
            self.counters[Refusal.OVERLONG] += 1
            self._quiet = False  # the rest of it is noise that is counted already
            return end, None
        if end == len(buffer) and not self._ended:
            return _WAIT, None
        return end, Frame(FrameKind.NMEA, buffer[start:end], self._arrival(start))

    def _ubx(self, buffer: bytes, start: int) -> tuple[int, Frame | None]:
        have = len(buffer) - start
        if have < 2:
            return self._incomplete(start, None)
        if buffer[start + 1] != 0x62:
            return self._refused(start, None)
        if have < 6:
            return self._incomplete(start, Refusal.UBX_CUT)
        length = buffer[start + 4] | buffer[start + 5] << 8
        if length > MAX_UBX:
            return self._refused(start, Refusal.UBX_BAD_LENGTH)
        end = start + 8 + length
        if end > len(buffer):
            return self._incomplete(start, Refusal.UBX_CUT)
        body = buffer[start + 2 : end - 2]
        if fletcher(body) != buffer[end - 2 : end]:
            return self._refused(start, Refusal.UBX_BAD_CHECKSUM, end)
        return end, Frame(FrameKind.UBX, body, self._arrival(start))

    def _rtcm(self, buffer: bytes, start: int) -> tuple[int, Frame | None]:
        have = len(buffer) - start
        if have < 3:
            if have == 2 and buffer[start + 1] & 0xFC:
                return self._refused(start, None)
            return self._incomplete(start, None)
        length = (buffer[start + 1] & 0x03) << 8 | buffer[start + 2]
        if buffer[start + 1] & 0xFC or length < 2:  # six reserved bits; a message begins with its number of 12 bits
            return self._refused(start, None)
        end = start + 6 + length
        if end > len(buffer):
            return self._incomplete(start, Refusal.RTCM_CUT)
        message = buffer[start:end]
        if crc24q(message):
            return self._refused(start, Refusal.RTCM_BAD_CRC, end)
        return end, Frame(FrameKind.RTCM, message, self._arrival(start))

    def _report(self, buffer: bytes, start: int) -> tuple[int, Frame | None]:
        match = _REPORT.match(buffer, start)
        if match is None:
            head = buffer[start : start + len(_REPORT_HEAD)]
            return self._incomplete(start, None) if _REPORT_HEAD.startswith(head) else self._refused(start, None)
        end = match.end()
        if end == len(buffer) and end - start < MAX_REPORT:
            return self._incomplete(start, None)
        if buffer[end : end + 1] not in (b"\r", b"\n"):
            return self._refused(start, None)
        return end, Frame(FrameKind.GPSD, buffer[start:end], self._arrival(start))

    def _incomplete(self, start: int, reason: Refusal | None) -> tuple[int, Frame | None]:
        if self._ended or start < self._stale:
            return self._refused(start, reason)
        return _WAIT, None

    def _refused(self, start: int, reason: Refusal | None, end: int = 0) -> tuple[int, Frame | None]:
        """A false start is noise; a broken message has a reason of its own, and its bytes are no further noise.

        What looks like the start of a message inside a broken one (up to `end`) is tried, but is no second error.
        """
        if start < self._broken:
            return start + 1, None
        if reason is None:
            self._noise(self._buffer[start : start + 1])
        else:
            self.counters[reason] += 1
            self._quiet = False
            self._broken = max(end, start + 1)
        return start + 1, None

    def _noise(self, data: bytes) -> None:
        """Counted once per run of bytes between two frames."""
        if self._quiet and data.strip(_LINE_END):
            self.counters[Refusal.NOISE] += 1
            self._quiet = False

    def _arrival(self, offset: int) -> int:
        for begin, stamp_ns in reversed(self._stamps):
            if begin <= offset:
                return stamp_ns
        return self._stamps[0][1]

    def _keep(self, position: int) -> None:
        """Forget what is read, and the stamps of it."""
        rest = self._buffer[position:]
        if rest and (position or len(self._stamps) > 1):
            older = [(0, self._arrival(position))]
            self._stamps = older + [(begin - position, stamp) for begin, stamp in self._stamps if begin > position]
        self._broken = max(self._broken - position, 0)
        self._buffer = rest
