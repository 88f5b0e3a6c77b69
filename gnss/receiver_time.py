"""When a fix was true on the monotonic clock, and which UTC of the receiver is believed.

Arrival = UTC of the epoch + offset of the clocks + delay, and the delay (computing in the receiver, the serial line,
the computer's own buffers) is never negative and varies. The smallest difference arrival - UTC of late is therefore
the offset plus the smallest delay, which is constant: `latency_s` in the configuration takes it off, or PPS does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gnss.refusal import Refusal
from gnss.types import Fix

_S_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TimeParams:
    """`drift_ppm`: the offset may grow so fast; the clocks of computers do. `window_s`: the smallest delay is that of
    the last window or two.

    Differences that are `longest_delay_s` above the offset, or `early_s` below it, are those of another UTC. It is
    believed after `confirm_epochs` epochs when it is ahead by less than a delay (then the line only began late), after
    `confirm_s` when off by up to `leap_s` (leap seconds, learned late), else when it has been said for `far_times` as
    long as the old one and `far_s` at least.
    """

    drift_ppm: float = 100.0
    window_s: float = 20.0
    longest_delay_s: float = 5.0
    early_s: float = 0.02
    confirm_epochs: int = 3
    confirm_s: float = 10.0
    leap_s: float = 60.0
    far_times: float = 2.0
    far_s: float = 3.0
    pps_age_s: float = 10.0


@dataclass(slots=True)
class _Line:
    """One belief about the clocks: arrival - UTC at its lowest, since when and in how many epochs it was seen.

    `low_ns` is the lowest of the present window, which began at `window_ns`.
    """

    offset_ns: int
    since_ns: int
    last_ns: int
    low_ns: int
    window_ns: int
    epochs: int = 1

    @staticmethod
    def begin(difference_ns: int, arrival_ns: int) -> _Line:
        return _Line(difference_ns, arrival_ns, arrival_ns, difference_ns, arrival_ns)

    def at(self, arrival_ns: int, params: TimeParams) -> int:
        return self.offset_ns + round(params.drift_ppm * 1e-6 * max(arrival_ns - self.last_ns, 0))

    def take(self, difference_ns: int, arrival_ns: int, params: TimeParams) -> None:
        self.offset_ns = min(difference_ns, self.at(arrival_ns, params))
        self.low_ns = min(difference_ns, self.low_ns)
        if arrival_ns - self.window_ns > params.window_s * _S_NS:
            # No epoch of a whole window was as quick: the smallest delay has grown.
            self.offset_ns = max(self.offset_ns, self.low_ns)
            self.low_ns, self.window_ns = difference_ns, arrival_ns
        self.last_ns = arrival_ns
        self.epochs += 1

    @property
    def span_ns(self) -> int:
        return self.last_ns - self.since_ns


class ReceiverTime:
    """Replaces the stamps (arrival) of fixes by their time of validity. Stamps rise, whatever UTC does.

    `utc_ns` of a fix whose UTC is not believed is carried on from the monotonic clock, and counted.
    """

    def __init__(self, counters: dict[Refusal, int], latency_s: float = 0.0, params: TimeParams | None = None) -> None:
        self.params = params or TimeParams()
        self._counters = counters
        self._latency_ns = round(latency_s * _S_NS)
        self._line: _Line | None = None
        self._rival: _Line | None = None
        self._delay_ns = 0.0
        self._utc_ns = 0
        self._stamp_ns: int | None = None
        self._pps: tuple[int, int] | None = None

    @property
    def delay_s(self) -> float:
        """Usual delay above the smallest one, of late: how much the arrivals vary."""
        return self._delay_ns / _S_NS

    def pps(self, stamp_ns: int) -> None:
        """A pulse of the receiver came at `stamp_ns`: a whole second of UTC began. Nothing is done before a fix."""
        if self._line is None:
            return
        # The line is above the true offset by the smallest delay, which is less than a second.
        behind = (stamp_ns - self._line.at(stamp_ns, self.params)) / _S_NS
        self._pps = (stamp_ns - math.ceil(behind - self.params.early_s) * _S_NS, stamp_ns)

    def place(self, fix: Fix) -> Fix:
        """The fix with its time of validity for a stamp, and a UTC that is believed."""
        arrival_ns, utc_ns = fix.stamp_ns, fix.utc_ns
        seen_ns = arrival_ns - round(self._delay_ns)
        if utc_ns is None:
            return self._stamped(fix, seen_ns - self._latency_ns, None)
        line, believed = self._line, self._line
        if line is None:
            line = believed = self._line = _Line.begin(arrival_ns - utc_ns, arrival_ns)
        else:
            believed = self._sort(line, arrival_ns, utc_ns)
        if believed is None:
            self._counters[Refusal.UTC_JUMP] += 1
            return self._stamped(fix, seen_ns - self._latency_ns, seen_ns - line.at(arrival_ns, self.params))
        self._utc_ns = utc_ns
        if self._pps is not None and arrival_ns - self._pps[1] <= self.params.pps_age_s * _S_NS:
            return self._stamped(fix, utc_ns + self._pps[0], utc_ns)
        return self._stamped(fix, utc_ns + believed.offset_ns - self._latency_ns, utc_ns)

    def _stamped(self, fix: Fix, stamp_ns: int, utc_ns: int | None) -> Fix:
        if self._stamp_ns is not None and stamp_ns <= self._stamp_ns:
            stamp_ns = self._stamp_ns + 1
        self._stamp_ns = stamp_ns
        return replace(fix, stamp_ns=stamp_ns, utc_ns=utc_ns)

    def _sort(self, line: _Line, arrival_ns: int, utc_ns: int) -> _Line | None:
        """The line if the epoch is one of it, the rival if that takes its place now, else None."""
        difference_ns, rival = arrival_ns - utc_ns, self._rival
        above_ns = difference_ns - line.at(arrival_ns, self.params)
        params = self.params
        # A young line may have begun with bytes that had waited: whatever comes earlier is nearer to the truth.
        young = line.span_ns < params.confirm_s * _S_NS
        early_s = params.longest_delay_s if young else params.early_s
        near = -early_s * _S_NS <= above_ns <= params.longest_delay_s * _S_NS
        nearest = rival is None or abs(above_ns) <= abs(difference_ns - rival.offset_ns)
        if near and nearest and utc_ns > self._utc_ns:
            line.take(difference_ns, arrival_ns, self.params)
            self._delay_ns += 0.1 * (difference_ns - line.offset_ns - self._delay_ns)
            if rival is not None and arrival_ns - rival.last_ns > params.confirm_s * _S_NS:
                self._rival = None
            return line
        if rival is None or abs(difference_ns - rival.at(arrival_ns, self.params)) > 0.5 * _S_NS:
            self._rival = _Line.begin(difference_ns, arrival_ns)
            return None
        rival.take(difference_ns, arrival_ns, self.params)
        if not self._yields(line, rival, above_ns):
            return None
        self._line, self._rival, self._pps = rival, None, None
        return rival

    def _yields(self, line: _Line, rival: _Line, above_ns: int) -> bool:
        """Has the rival been said for long enough to take the line's place?"""
        params = self.params
        if -params.longest_delay_s * _S_NS <= above_ns < 0.0:
            return rival.epochs >= params.confirm_epochs
        if abs(above_ns) <= params.leap_s * _S_NS:
            return rival.span_ns >= params.confirm_s * _S_NS
        return rival.span_ns >= max(params.far_s * _S_NS, params.far_times * line.span_ns)
