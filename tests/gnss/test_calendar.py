"""The city's calendar: what the week says, and what differs from it."""

from __future__ import annotations

import pytest

from gnss.calendar import Calendar, CalendarError, day_of, local_day, parse_calendar

GOOD = """
version = 1
workdays = [2026-10-10, "2026-09-20"]
[[holiday]]
name = "x"
from = 2026-10-01
to = 2026-10-10
[[term]]
name = "y"
from = 2026-09-01
to = 2027-01-20
"""


@pytest.mark.parametrize(
    ("day", "kinds"),
    [
        ("2026-11-24", ["workday", "schoolday"]),
        ("2026-11-21", ["holiday"]),
        ("2026-10-01", ["holiday"]),
        ("2026-10-09", ["holiday"]),
        ("2026-10-10", ["workday", "schoolday"]),
        ("2026-09-20", ["workday", "schoolday"]),
        ("2026-08-31", ["workday"]),
        ("2027-01-20", ["workday", "schoolday"]),
        ("2027-01-21", ["workday"]),
    ],
)
def test_kinds_of_days(day: str, kinds: list[str]) -> None:
    calendar = parse_calendar(GOOD)
    assert [kind for kind in ("workday", "holiday", "schoolday") if calendar.is_kind(day_of(day), kind)] == kinds


def test_without_a_calendar_the_week_rules() -> None:
    week = Calendar()
    assert week.is_kind(day_of("2026-10-01"), "schoolday")
    assert not week.is_kind(day_of("2026-10-03"), "workday")
    with pytest.raises(ValueError, match="workday, holiday, schoolday"):
        week.is_kind(0, "sunday")


def test_the_local_day_begins_at_local_midnight() -> None:
    midnight_ns = 1_795_449_600 * 10**9  # 2026-11-23T16:00Z
    assert local_day(midnight_ns, 8.0) == (day_of("2026-11-24"), 0)
    assert local_day(midnight_ns - 1, 8.0) == (day_of("2026-11-23"), 86_399)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version = ", "no TOML"),
        ("version = 2", "version is 2"),
        ("version = 1\nholidays = []", "key 'holidays'"),
        ("version = 1\nworkdays = 1", "list of dates"),
        ("version = 1\nworkdays = ['2026-13-01']", "no date"),
        ("version = 1\nworkdays = [2026-01-01T00:00:00]", "no date"),
        ("version = 1\nholiday = 1", "write each holiday"),
        ("version = 1\n[[holiday]]\nto = 2026-01-01", r"\[\[holiday\]\] 1: None is no date"),
        ("version = 1\n[[holiday]]\nfrom = 2026-01-02\nto = 2026-01-01", "ends before it begins"),
        ("version = 1\n[[holiday]]\nfrom = 2026-01-02\nto = 9999-01-01", "ends within a year"),
    ],
)
def test_mistakes_are_named(text: str, says: str) -> None:
    with pytest.raises(CalendarError, match=says):
        parse_calendar(text)
