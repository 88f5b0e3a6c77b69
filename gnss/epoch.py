"""One `Fix` per epoch out of the sentences and messages of that epoch, whatever they are written in."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from gnss.epoch_fix import Said, fix_of
from gnss.nmea_sentence import Sentence
from gnss.receiver_date import DAY_NS, DateKeeper
from gnss.refusal import Refusal
from gnss.types import Fix, FixQuality
from gnss.ubx import EsfStatus, Fusion, NavAtt, NavCov, NavPvt, UbxMessage

_EPOCH_KINDS = frozenset({"GGA", "RMC", "VTG", "GST", "ZDA", "HDT", "THS", "PVT", "COV", "ATT"})
_SAME_NS = 6_000_000
"""NMEA times are rounded to 10 ms or 1 ms, those of UBX are exact."""
_DAY_MS = 86_400_000
LEAP_MS = 18_000
"""GPS time minus UTC since 2017-01-01 (IERS Bulletin C): until the first NAV-PVT, which says both, tells otherwise."""


@dataclass(slots=True)
class _Epoch:
    """What was said of one time. `time_ns` is the UTC time of day, `itow_ms` GPS time of week; None: not said yet.

    `exact` when the time is that of UBX; `done` once the fix is out.
    """

    stamp_ns: int
    time_ns: int | None = None
    itow_ms: int | None = None
    exact: bool = False
    said: Said = field(default_factory=Said)
    kinds: set[str] = field(default_factory=set)
    done: bool = False


class EpochAssembler:
    """Takes messages in order of arrival. UBX is preferred for what it says better; no epoch gives two fixes.

    A fix leaves when its epoch has all kinds of messages that the two epochs before it had, when the next epoch
    begins, or on `close`. Its stamp is the arrival of the epoch's first message. `not_before`: a date before it is
    one of a receiver whose week number has rolled over, and is moved on by 1024 weeks.
    """

    def __init__(self, counters: dict[Refusal, int], not_before: datetime.date | None = None) -> None:
        self.fixes = 0
        self.fusion: Fusion | None = None
        self._counters = counters
        self._dates = DateKeeper(counters, not_before)
        self._epoch: _Epoch | None = None
        self._past: _Epoch | None = None
        self._usual: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self._leap_ms = LEAP_MS

    def add_sentence(self, sentence: Sentence, stamp_ns: int) -> list[Fix]:
        """Take an NMEA sentence whose first byte arrived at `stamp_ns`; returns the fixes that it completes."""
        kind, time_ns = sentence.kind, sentence.time_ns
        epoch, fixes = self._epoch, list[Fix]()
        if time_ns is not None:
            if epoch is None or not _same(epoch, time_ns, False):
                if self._late(time_ns, False):
                    return []
                fixes, epoch = self._next(stamp_ns, epoch)
            if epoch.time_ns is None:
                epoch.time_ns = time_ns
            if sentence.date is not None and sentence.quality is not FixQuality.INVALID:  # before a fix it may be any
                self._dates.says(sentence.date, time_ns)
        elif epoch is None or (kind == "VTG" and "VTG" in epoch.kinds):
            # A second VTG is that of the next epoch, in receivers that say it before the time.
            fixes, epoch = self._next(stamp_ns, epoch)
        if kind not in epoch.kinds:
            self._count_late(epoch, kind)
            epoch.kinds.add(kind)
            epoch.said.sentences[kind] = sentence
        return fixes + self._ready(epoch)

    def add_ubx(self, message: UbxMessage, stamp_ns: int) -> list[Fix]:
        """Take a UBX message whose first byte arrived at `stamp_ns`; returns the fixes that it completes."""
        if isinstance(message, EsfStatus):
            self.fusion = message.fusion
            return []
        time_ns: int | None = None
        if isinstance(message, NavPvt) and message.time_ns is not None:
            time_ns = message.time_ns % DAY_NS if message.time_ns < DAY_NS else message.time_ns
            self._leap_ms = (message.itow_ms - time_ns // 1_000_000) % _DAY_MS
            if message.date is not None:
                self._dates.says(message.date, message.time_ns)
        epoch, fixes = self._epoch, list[Fix]()
        if epoch is None or not self._belongs(epoch, message.itow_ms, time_ns):
            if self._past is not None and self._past.itow_ms == message.itow_ms and self._past.done:
                self._counters[Refusal.LATE] += 1
                return []
            if time_ns is not None and self._late(time_ns, True):
                return []
            fixes, epoch = self._next(stamp_ns, epoch)
        epoch.itow_ms = message.itow_ms
        if time_ns is not None:
            epoch.time_ns, epoch.exact = time_ns, True
        kind = self._keep(epoch, message)
        self._count_late(epoch, kind)
        epoch.kinds.add(kind)
        return fixes + self._ready(epoch)

    def close(self) -> list[Fix]:
        """The epoch is over: its fix, if it did not leave before."""
        epoch, self._epoch = self._epoch, None
        if epoch is None:
            return []
        self._past = epoch
        self._usual = (self._usual[1], frozenset(epoch.kinds & _EPOCH_KINDS))
        return [] if epoch.done else self._emit(epoch)

    def _keep(self, epoch: _Epoch, message: NavPvt | NavCov | NavAtt) -> str:
        if isinstance(message, NavPvt):
            epoch.said.pvt = epoch.said.pvt or message
            return "PVT"
        if isinstance(message, NavCov):
            epoch.said.cov = epoch.said.cov or message
            return "COV"
        if self.fusion in (None, Fusion.FUSION):
            epoch.said.att = epoch.said.att or message
        return "ATT"

    def _belongs(self, epoch: _Epoch, itow_ms: int, time_ns: int | None) -> bool:
        if epoch.itow_ms is not None:
            return epoch.itow_ms == itow_ms
        if time_ns is not None:
            return _same(epoch, time_ns, True)
        if epoch.time_ns is None:
            return True
        return _near(epoch.time_ns, (itow_ms - self._leap_ms) % _DAY_MS * 1_000_000)

    def _late(self, time_ns: int, exact: bool) -> bool:
        """Does it belong to the epoch before, whose fix is out?"""
        past = self._past
        late = past is not None and past.done and past.time_ns is not None and _same(past, time_ns, exact)
        self._counters[Refusal.LATE] += late
        return late

    def _count_late(self, epoch: _Epoch, kind: str) -> None:
        if epoch.done and kind in _EPOCH_KINDS and kind not in epoch.kinds:
            self._counters[Refusal.LATE] += 1

    def _next(self, stamp_ns: int, epoch: _Epoch | None) -> tuple[list[Fix], _Epoch]:
        fixes = self.close() if epoch is not None else []
        self._epoch = _Epoch(stamp_ns)
        return fixes, self._epoch

    def _ready(self, epoch: _Epoch) -> list[Fix]:
        usual = self._usual
        if epoch.done or not usual[0] or usual[0] != usual[1] or not usual[0] <= epoch.kinds:
            return []
        return self._emit(epoch)

    def _emit(self, epoch: _Epoch) -> list[Fix]:
        epoch.done = True
        utc_ns = self._dates.utc_ns(epoch.time_ns)
        fix = fix_of(epoch.said, epoch.stamp_ns, utc_ns)
        if isinstance(fix, Refusal):
            self._counters[fix] += 1
            return []
        self.fixes += 1
        return [fix]


def _same(epoch: _Epoch, time_ns: int, exact: bool) -> bool:
    """Is it the epoch's time of day? An epoch without one takes any."""
    if epoch.time_ns is None or epoch.time_ns == time_ns:
        return True
    return (exact or epoch.exact) and _near(epoch.time_ns, time_ns)


def _near(one_ns: int, two_ns: int) -> bool:
    apart = abs(one_ns - two_ns)
    return min(apart, abs(DAY_NS - apart)) <= _SAME_NS
