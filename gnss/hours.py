"""The hours in which a zone counts: "07:00-09:00,17:00-19:30", "Mon-Fri 07:00-22:00; Sat,Sun 09:00-20:00"."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DAYS = {name: i for i, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))}
_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.ASCII)
_DAY_S = 86_400
_WEEK_S = 7 * _DAY_S
_EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday."""


class HoursError(ValueError):
    """Hours that cannot be read; the message shows the part and the form expected."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Spans of a local week: seconds since Monday 00:00, start included, end excluded; an end may pass the week's."""

    text: str
    spans: tuple[tuple[int, int], ...]

    def active(self, utc_ns: int, utc_offset_hours: float) -> bool:
        """Do the hours hold at `utc_ns` on a clock `utc_offset_hours` ahead of UTC?"""
        local_s = (utc_ns + round(utc_offset_hours * 3600e9)) // 1_000_000_000
        second = (local_s + _EPOCH_WEEKDAY * _DAY_S) % _WEEK_S
        return any(start <= second < end or start <= second + _WEEK_S < end for start, end in self.spans)


def parse_hours(value: object) -> Hours:
    """Read hours from text or a list of texts; absent (None or empty) means always. Raises HoursError.

    Parts are separated by ";" and read `[days] HH:MM-HH:MM[,HH:MM-HH:MM...]`; days are `Mon-Fri` or `Sat,Sun`.
    A span that ends before it starts runs past midnight and belongs to the day on which it starts.
    """
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        value = ";".join(value)
    if value is None or value == "":
        value = "00:00-24:00"
    if not isinstance(value, str):
        raise HoursError(f"hours must be text or a list of texts, got {value!r}")
    spans: list[tuple[int, int]] = []
    for part in value.split(";"):
        if part.strip():
            spans.extend(_part(part.strip()))
    if not spans:
        raise HoursError(f"no hours in {value!r}")
    return Hours(value, tuple(sorted(spans)))


def _part(part: str) -> list[tuple[int, int]]:
    first = re.search(r"\d", part)
    if first is None:
        raise HoursError(f"no times in {part!r}: write for example 'Mon-Fri 07:00-22:00'")
    days = _days(part[: first.start()].strip())
    spans: list[tuple[int, int]] = []
    for piece in part[first.start() :].split(","):
        match = _SPAN.fullmatch(piece.strip())
        if match is None:
            raise HoursError(f"cannot read {piece.strip()!r}: write HH:MM-HH:MM")
        start, end = _second(match[1], match[2]), _second(match[3], match[4])
        if start == end:
            raise HoursError(f"{piece.strip()!r} is empty: write 00:00-24:00 for the whole day")
        if end < start:
            end += _DAY_S
        spans.extend((day * _DAY_S + start, day * _DAY_S + end) for day in days)
    return spans


def _second(hour: str, minute: str) -> int:
    h, m = int(hour), int(minute)
    if m > 59 or h > 24 or (h == 24 and m > 0):
        raise HoursError(f"{hour}:{minute} is no time of day")
    return 3600 * h + 60 * m


def _days(text: str) -> list[int]:
    if not text:
        return list(range(7))
    days: set[int] = set()
    for piece in text.lower().split(","):
        ends = [_DAYS.get(name.strip()[:3], -1) for name in piece.split("-")]
        if len(ends) > 2 or -1 in ends:
            raise HoursError(f"cannot read the days {text!r}: write Mon, Tue, Wed, Thu, Fri, Sat, Sun or Mon-Fri")
        count = (ends[-1] - ends[0]) % 7 + 1
        days.update((ends[0] + i) % 7 for i in range(count))
    return sorted(days)
