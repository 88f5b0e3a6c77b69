"""The hours in which a zone counts: "07:00-09:00,17:00-19:30", "Mon-Fri 07:00-22:00; Sat,Sun 09:00-20:00".

Days may be kinds of day too, which the city's calendar knows: "schoolday 07:00-08:30", "workday 07:00-09:00".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gnss.calendar import DAY_KINDS, Calendar, local_day

_DAYS = {name: i for i, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))}
_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.ASCII)
_DAY_S = 86_400
_WEEK_S = 7 * _DAY_S
_EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday."""
_WEEK_ALONE = Calendar()
MOST_TEXT = 2000
"""Characters of hours: more is no timetable."""


class HoursError(ValueError):
    """Hours that cannot be read; the message shows the part and the form expected."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Spans of a local week: seconds since Monday 00:00, start included, end excluded; an end may pass the week's.

    `by_kind` are spans of each day of a kind (workday, holiday, schoolday): (kind, start, end) in seconds of that day;
    an end past 86,400 s runs into the next day.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    by_kind: tuple[tuple[str, int, int], ...] = ()

    def active(self, utc_ns: int, utc_offset_hours: float, calendar: Calendar | None = None) -> bool:
        """Do the hours hold at `utc_ns` on a clock `utc_offset_hours` ahead of UTC? None: the week is the calendar."""
        day, second = local_day(utc_ns, utc_offset_hours)
        of_week = (day + _EPOCH_WEEKDAY) % 7 * _DAY_S + second
        if any(start <= of_week < end or start <= of_week + _WEEK_S < end for start, end in self.spans):
            return True
        known = calendar or _WEEK_ALONE
        return any(
            (start <= second < end and known.is_kind(day, kind))
            or (start <= second + _DAY_S < end and known.is_kind(day - 1, kind))
            for kind, start, end in self.by_kind
        )


def parse_hours(value: object) -> Hours:
    """Read hours from text or a list of texts; absent (None or empty) means always. Raises HoursError.

    Parts are separated by ";" and read `[days] HH:MM-HH:MM[,HH:MM-HH:MM...]`; days are `Mon-Fri`, `Sat,Sun`, or kinds
    of day (`workday`, `holiday`, `schoolday`). A span that ends before it starts runs past midnight and belongs to the
    day on which it starts.
    """
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        value = ";".join(value)
    if value is None or value == "":
        value = "00:00-24:00"
    if not isinstance(value, str):
        raise HoursError(f"hours must be text or a list of texts, got {value!r}")
    if len(value) > MOST_TEXT:
        raise HoursError(f"hours of {len(value)} characters; at most {MOST_TEXT}")
    spans: list[tuple[int, int]] = []
    by_kind: list[tuple[str, int, int]] = []
    for part in value.split(";"):
        if part.strip():
            days, kinds, times = _part(part.strip())
            spans.extend((day * _DAY_S + start, day * _DAY_S + end) for start, end in times for day in days)
            by_kind.extend((kind, start, end) for start, end in times for kind in kinds)
    if not spans and not by_kind:
        raise HoursError(f"no hours in {value!r}")
    return Hours(value, tuple(sorted(spans)), tuple(sorted(by_kind)))


def _part(part: str) -> tuple[list[int], list[str], list[tuple[int, int]]]:
    first = re.search(r"\d", part)
    if first is None:
        raise HoursError(f"no times in {part!r}: write for example 'Mon-Fri 07:00-22:00'")
    days, kinds = _days(part[: first.start()].strip())
    times: list[tuple[int, int]] = []
    for piece in part[first.start() :].split(","):
        match = _SPAN.fullmatch(piece.strip())
        if match is None:
            raise HoursError(f"cannot read {piece.strip()!r}: write HH:MM-HH:MM")
        start, end = _second(match[1], match[2]), _second(match[3], match[4])
        if start == end:
            raise HoursError(f"{piece.strip()!r} is empty: write 00:00-24:00 for the whole day")
        if end < start:
            end += _DAY_S
        times.append((start, end))
    return days, kinds, times


def _second(hour: str, minute: str) -> int:
    h, m = int(hour), int(minute)
    if m > 59 or h > 24 or (h == 24 and m > 0):
        raise HoursError(f"{hour}:{minute} is no time of day")
    return 3600 * h + 60 * m


def _days(text: str) -> tuple[list[int], list[str]]:
    """Days of the week and kinds of day that a part names; all days when it names none."""
    if not text:
        return list(range(7)), []
    days: set[int] = set()
    kinds: list[str] = []
    for piece in text.lower().split(","):
        if piece.strip() in DAY_KINDS:
            kinds.append(piece.strip())
            continue
        ends = [_DAYS.get(name.strip()[:3], -1) for name in piece.split("-")]
        if len(ends) > 2 or -1 in ends:
            known = f"Mon, Tue, Wed, Thu, Fri, Sat, Sun, Mon-Fri, {', '.join(DAY_KINDS)}"
            raise HoursError(f"cannot read the days {text!r}: write {known}")
        count = (ends[-1] - ends[0]) % 7 + 1
        days.update((ends[0] + i) % 7 for i in range(count))
    return sorted(days), kinds
