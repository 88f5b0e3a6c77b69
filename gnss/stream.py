"""Reads a receiver's byte stream: NMEA and UBX in any mixture, with corrections, reports and junk between."""

from __future__ import annotations

import datetime

from gnss.epoch import EpochAssembler
from gnss.framing import Frame, FrameKind, Framer
from gnss.nmea_sentence import parse_sentence
from gnss.refusal import MessageError, Refusal
from gnss.types import Fix
from gnss.ubx import Fusion, parse_ubx


class StreamReader:
    """Incremental and strict; any bytes are taken, none raise. `counters` counts what gave nothing, by reason.

    See `Framer` for what is a frame and `EpochAssembler` for when a fix leaves and what its stamp is.
    """

    def __init__(self, not_before: datetime.date | None = None) -> None:
        self.counters: dict[Refusal, int] = dict.fromkeys(Refusal, 0)
        self.sentences = 0
        """Sentences and UBX messages that were read, of the kinds that are used."""
        self._framer = Framer(self.counters)
        self._assembler = EpochAssembler(self.counters, not_before)

    @property
    def fixes(self) -> int:
        """How many fixes have left."""
        return self._assembler.fixes

    @property
    def fusion(self) -> Fusion | None:
        """What the receiver last said of its sensor fusion (ESF-STATUS)."""
        return self._assembler.fusion

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return self._framer.held

    def feed(self, data: bytes, stamp_ns: int) -> list[Fix]:
        """Take bytes that arrived at `stamp_ns`; returns the fixes that they complete."""
        return self._read(self._framer.feed(data, stamp_ns))

    def flush(self) -> list[Fix]:
        """End of the stream: the last sentence may lack its line end, the last epoch is complete."""
        return self._read(self._framer.flush()) + self._assembler.close()

    def _read(self, frames: list[Frame]) -> list[Fix]:
        fixes: list[Fix] = []
        for kind, data, stamp_ns in frames:
            try:
                if kind is FrameKind.NMEA:
                    sentence = parse_sentence(data)
                    self.sentences += 1
                    fixes += self._assembler.add_sentence(sentence, stamp_ns)
                elif kind is FrameKind.UBX:
                    message = parse_ubx(data)
                    self.sentences += 1
                    fixes += self._assembler.add_ubx(message, stamp_ns)
                else:
                    self.counters[Refusal.RTCM if kind is FrameKind.RTCM else Refusal.GPSD] += 1
            except MessageError as error:
                self.counters[error.reason] += 1
        return fixes
