from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gnss.hours import HoursError, parse_hours


def utc_ns(local: str, offset: float = 8.0) -> int:
    stamp = datetime.fromisoformat(local).replace(tzinfo=UTC) - timedelta(hours=offset)
    return int(stamp.timestamp()) * 10**9


@pytest.mark.parametrize(
    ("text", "local", "expected"),
    [
        ("00:00-24:00", "2026-11-21T00:00:00", True),
        ("00:00-24:00", "2026-11-22T23:59:59", True),
        ("07:00-09:00,17:00-19:30", "2026-11-21T06:59:59", False),
        ("07:00-09:00,17:00-19:30", "2026-11-21T07:00:00", True),
        ("07:00-09:00,17:00-19:30", "2026-11-21T09:00:00", False),
        ("07:00-09:00,17:00-19:30", "2026-11-21T19:29:59", True),
        ("Mon-Fri 07:00-22:00; Sat,Sun 09:00-20:00", "2026-11-20T08:00:00", True),
        ("Mon-Fri 07:00-22:00; Sat,Sun 09:00-20:00", "2026-11-21T08:00:00", False),
        ("Mon-Fri 07:00-22:00; Sat,Sun 09:00-20:00", "2026-11-22T09:00:00", True),
        ("Sun 22:00-06:00", "2026-11-22T23:00:00", True),
        ("Sun 22:00-06:00", "2026-11-23T05:59:00", True),
        ("Sun 22:00-06:00", "2026-11-22T05:59:00", False),
        ("Fri-Mon 10:00-11:00", "2026-11-23T10:30:00", True),
        ("Fri-Mon 10:00-11:00", "2026-11-24T10:30:00", False),
        ("monday 10:00-11:00", "2026-11-23T10:30:00", True),
    ],
)
def test_hours(text: str, local: str, expected: bool) -> None:
    assert parse_hours(text).active(utc_ns(local), 8.0) is expected


def test_absent_hours_mean_always_and_lists_are_joined() -> None:
    assert parse_hours(None).active(0, 0.0)
    assert parse_hours(["07:00-08:00", "Sun 10:00-11:00"]).spans == parse_hours("07:00-08:00;Sun 10:00-11:00").spans


@pytest.mark.parametrize(
    "bad", ["7-9", "25:00-26:00", "07:60-08:00", "24:30-25:00", "08:00-08:00", "Foo 07:00-08:00", 7, [1], ";", "Mon-"]
)
def test_bad_hours(bad: object) -> None:
    with pytest.raises(HoursError):
        parse_hours(bad)
