"""The date of a receiver's times of day: midnight, leap second, and weeks that have rolled over."""

from __future__ import annotations

import datetime

from gnss.refusal import Refusal

DAY_NS = 86_400 * 10**9
SOFTWARE_DATE = datetime.date(2026, 1, 1)
"""This software did not exist before: a live receiver that says an earlier date has lost 1024 weeks."""
_ROLLOVER = datetime.timedelta(weeks=1024)
_EPOCH = datetime.date(1970, 1, 1)


class DateKeeper:
    """UTC out of times of day and the dates said now and then.

    `not_before`: no date can be earlier. The GPS week number has ten bits in the navigation message (IS-GPS-200), so
    a receiver that is older than its software expects is 1024 weeks behind.
    """

    def __init__(self, counters: dict[Refusal, int], not_before: datetime.date | None = None) -> None:
        self._counters = counters
        self._not_before = not_before
        self._date: datetime.date | None = None
        self._time_ns = 0

    def says(self, date: datetime.date, time_ns: int) -> None:
        """The receiver said that `time_ns` (of day, may lie just outside it) is one of `date`."""
        if time_ns < 0:
            date, time_ns = date - datetime.timedelta(days=1), time_ns + DAY_NS
        if self._not_before is not None and date < self._not_before:
            self._counters[Refusal.WEEK_ROLLOVER] += 1
            while date < self._not_before:
                date += _ROLLOVER
        self._date, self._time_ns = date, time_ns

    def utc_ns(self, time_ns: int | None) -> int | None:
        """UTC of a time of day: on the day of the last date, or a day later when midnight has passed since."""
        if time_ns is None or self._date is None:
            return None
        if time_ns < self._time_ns - DAY_NS // 2 and self._date < datetime.date.max:
            self._date += datetime.timedelta(days=1)
        # An epoch without a date of its own moves the reference along, so that the next midnight is found too.
        self._time_ns = time_ns
        return (self._date - _EPOCH).days * DAY_NS + time_ns
