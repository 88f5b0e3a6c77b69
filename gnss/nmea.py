"""Reads a receiver's byte stream: sentences out of any bytes, and one `Fix` per epoch out of its sentences."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field, replace

from gnss.nmea_sentence import NmeaError, NmeaReason, Sentence, parse_sentence
from gnss.types import Fix, FixQuality

__all__ = ["NmeaReader", "NmeaReason", "stamped_by_utc"]

MAX_SENTENCE = 256
"""Bytes; NMEA 0183 says 82, receivers with many decimals or long proprietary sentences use more."""
_DAY_NS = 86_400 * 10**9
_STOP = re.compile(rb"[\r\n$]")
_EPOCH_KINDS = ("GGA", "RMC", "VTG", "GST", "ZDA")


@dataclass(slots=True)
class _Epoch:
    """The sentences of one UTC time of day. `kinds` is what came so far; `done` once its fix is out."""

    stamp_ns: int
    time_ns: int | None
    said: dict[str, Sentence] = field(default_factory=dict)
    done: bool = False


class NmeaReader:
    """Incremental and strict; any bytes are taken, none raise. `counters` counts what gave nothing, by reason.

    A fix leaves when its epoch has all kinds of sentences that the two epochs before it had, when the next epoch
    begins, or on `flush`. Its stamp is the arrival of the epoch's first sentence.
    """

    def __init__(self) -> None:
        self.counters: dict[NmeaReason, int] = dict.fromkeys(NmeaReason, 0)
        self.sentences = 0
        self.fixes = 0
        self._buffer = bytearray()
        self._buffer_stamp_ns = 0
        self._epoch: _Epoch | None = None
        self._usual: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self._date: datetime.date | None = None
        self._date_time_ns = 0

    def feed(self, data: bytes, stamp_ns: int) -> list[Fix]:
        """Take bytes that arrived at `stamp_ns`; returns the fixes that they complete."""
        fixes: list[Fix] = []
        position = 0
        while position < len(data):
            if not self._buffer:
                start = data.find(b"$", position)
                self._noise(data[position : len(data) if start < 0 else start])
                if start < 0:
                    break
                self._buffer += b"$"
                self._buffer_stamp_ns = stamp_ns
                position = start + 1
                continue
            stop = _STOP.search(data, position)
            end = len(data) if stop is None else stop.start()
            if len(self._buffer) + end - position > MAX_SENTENCE:
                self.counters[NmeaReason.OVERLONG] += 1
                self._buffer.clear()
            else:
                self._buffer += data[position:end]
                if stop is not None:
                    fixes += self._sentence(bytes(self._buffer), self._buffer_stamp_ns)
                    self._buffer.clear()
            position = end
        return fixes

    def flush(self) -> list[Fix]:
        """End of the stream: the last sentence may lack its line end, the last epoch is complete."""
        fixes: list[Fix] = []
        if self._buffer:
            fixes += self._sentence(bytes(self._buffer), self._buffer_stamp_ns)
            self._buffer.clear()
        return fixes + self._close()

    def _noise(self, data: bytes) -> None:
        if data.strip(b"\r\n"):
            self.counters[NmeaReason.NOISE] += 1

    def _sentence(self, raw: bytes, stamp_ns: int) -> list[Fix]:
        try:
            sentence = parse_sentence(raw)
        except NmeaError as error:
            self.counters[error.reason] += 1
            return []
        self.sentences += 1
        fixes: list[Fix] = []
        epoch = self._epoch
        if sentence.time_ns is not None and (epoch is None or epoch.time_ns not in (None, sentence.time_ns)):
            fixes = self._close()
            epoch = None
        if epoch is None:
            epoch = self._epoch = _Epoch(stamp_ns, sentence.time_ns)
        if epoch.time_ns is None:
            epoch.time_ns = sentence.time_ns
        if epoch.done and sentence.kind not in epoch.said and sentence.kind != "GSA":
            self.counters[NmeaReason.LATE] += 1
        if sentence.date is not None and sentence.time_ns is not None:
            self._date, self._date_time_ns = sentence.date, sentence.time_ns
        epoch.said.setdefault(sentence.kind, sentence)
        if not epoch.done and self._usual[0] and self._usual[0] == self._usual[1] and self._usual[0] <= set(epoch.said):
            fixes += self._emit(epoch)
        return fixes

    def _close(self) -> list[Fix]:
        epoch, self._epoch = self._epoch, None
        if epoch is None:
            return []
        kinds = frozenset(kind for kind in epoch.said if kind in _EPOCH_KINDS)
        self._usual = (self._usual[1], kinds)
        return [] if epoch.done else self._emit(epoch)

    def _emit(self, epoch: _Epoch) -> list[Fix]:
        epoch.done = True
        said = epoch.said
        gga, rmc = said.get("GGA"), said.get("RMC")
        bearers = [s for s in (gga, rmc) if s is not None]
        if not bearers:
            self.counters[NmeaReason.NO_POSITION] += 1
            return []
        if any(s.quality is FixQuality.INVALID for s in bearers):
            self.counters[NmeaReason.NO_FIX] += 1
            return []
        place = next((s for s in bearers if s.lat_deg is not None and s.lon_deg is not None), None)
        if place is None or place.lat_deg is None or place.lon_deg is None:
            self.counters[NmeaReason.NO_POSITION] += 1
            return []
        self.fixes += 1
        motion = [s for s in (rmc, said.get("VTG")) if s is not None]
        accuracy = said.get("GST")
        hdop = gga.hdop if gga is not None and gga.hdop is not None else said["GSA"].hdop if "GSA" in said else None
        return [
            Fix(
                stamp_ns=epoch.stamp_ns,
                utc_ns=self._utc_ns(epoch.time_ns),
                lat_deg=place.lat_deg,
                lon_deg=place.lon_deg,
                alt_m=None if gga is None else gga.alt_m,
                h_acc_m=None if accuracy is None else accuracy.h_acc_m,
                speed_mps=next((s.speed_mps for s in motion if s.speed_mps is not None), None),
                course_deg=next((s.course_deg for s in motion if s.course_deg is not None), None),
                quality=place.quality or FixQuality.SINGLE,
                satellites=None if gga is None else gga.satellites,
                hdop=hdop,
                v_acc_m=None if accuracy is None else accuracy.v_acc_m,
            )
        ]

    def _utc_ns(self, time_ns: int | None) -> int | None:
        """UTC of a time of day: on the day of the last date, or a day later when midnight has passed since."""
        if time_ns is None or self._date is None:
            return None
        if time_ns < self._date_time_ns - _DAY_NS // 2 and self._date < datetime.date.max:
            self._date += datetime.timedelta(days=1)
        # An epoch without a date of its own moves the reference along, so that the next midnight is found too.
        self._date_time_ns = time_ns
        return (self._date - datetime.date(1970, 1, 1)).days * _DAY_NS + time_ns


def stamped_by_utc(fix: Fix, start_utc_ns: int) -> Fix | None:
    """The fix with the stamp its UTC gives when stamp 0 is `start_utc_ns`; None when the fix has no UTC."""
    return None if fix.utc_ns is None else replace(fix, stamp_ns=fix.utc_ns - start_utc_ns)
