"""The city's calendar: holidays, make-up working days and school terms, in local days since 1970-01-01.

Without a calendar the week decides: Monday to Friday are working days and school days, Saturday and Sunday holidays.
The State Council moves working days to weekends each autumn for the next year, so the dates are data, never computed.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_EPOCH = datetime.date(1970, 1, 1).toordinal()
_EPOCH_WEEKDAY = 3
DAY_KINDS = ("workday", "holiday", "schoolday")
MOST_DAYS = 20_000
"""Days that one calendar may list: more than fifty years of them."""


class CalendarError(ValueError):
    """A calendar that cannot be read; the message names the entry."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days that differ from the week, and the terms (first, last day) of the schools."""

    holidays: frozenset[int] = frozenset()
    workdays: frozenset[int] = frozenset()
    terms: tuple[tuple[int, int], ...] = ()

    def is_kind(self, day: int, kind: str) -> bool:
        """Is a local day (since 1970-01-01) a workday, holiday or schoolday? Raises ValueError for another kind."""
        if kind not in DAY_KINDS:
            raise ValueError(f"{kind!r} is not one of {', '.join(DAY_KINDS)}")
        works = day in self.workdays or (day not in self.holidays and (day + _EPOCH_WEEKDAY) % 7 < 5)
        if kind != "schoolday":
            return works == (kind == "workday")
        return works and (not self.terms or any(first <= day <= last for first, last in self.terms))


def local_day(utc_ns: int, utc_offset_hours: float) -> tuple[int, int]:
    """Local day since 1970-01-01 and the second of that day, on a clock `utc_offset_hours` ahead of UTC."""
    return divmod((utc_ns + round(utc_offset_hours * 3600e9)) // 1_000_000_000, 86_400)


def day_of(value: object) -> int:
    """A TOML date, or a text YYYY-MM-DD, as days since 1970-01-01; raises CalendarError."""
    if isinstance(value, str):
        try:
            value = datetime.date.fromisoformat(value)
        except ValueError:
            raise CalendarError(f"{value!r} is no date YYYY-MM-DD") from None
    if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
        raise CalendarError(f"{value!r} is no date YYYY-MM-DD")
    return value.toordinal() - _EPOCH


def parse_calendar(text: str) -> Calendar:
    """Read TOML: `version = 1`, `[[holiday]]` and `[[term]]` with name, from, to, and `workdays = [dates]`.

    Raises CalendarError naming the entry.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CalendarError(f"is no TOML ({error})") from error
    unknown = sorted(set(tree) - {"version", "holiday", "workdays", "term"})
    if unknown:
        raise CalendarError(f"key {unknown[0]!r} is not known; known are version, holiday, workdays, term")
    if tree.get("version") != 1:
        raise CalendarError(f"version is {tree.get('version')!r}; write version = 1")
    holidays: set[int] = set()
    for first, last in _spans(tree, "holiday"):
        if last - first > 366 or len(holidays) > MOST_DAYS:
            raise CalendarError(f"[[holiday]] of {last - first + 1} days: a holiday ends within a year")
        holidays.update(range(first, last + 1))
    workdays = tree.get("workdays", [])
    if not isinstance(workdays, list):
        raise CalendarError("workdays must be a list of dates")
    made_up = frozenset(day_of(value) for value in workdays)
    return Calendar(frozenset(holidays) - made_up, made_up, tuple(_spans(tree, "term")))


def _spans(tree: dict[str, Any], key: str) -> Iterator[tuple[int, int]]:
    rows = tree.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CalendarError(f"write each {key} as [[{key}]] with name, from, to")
    for number, row in enumerate(rows, 1):
        try:
            first, last = day_of(row.get("from")), day_of(row.get("to", row.get("from")))
        except CalendarError as error:
            raise CalendarError(f"[[{key}]] {number}: {error}") from None
        if last < first:
            raise CalendarError(f"[[{key}]] {number} ends before it begins")
        yield first, last
