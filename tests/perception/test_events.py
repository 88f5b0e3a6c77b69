"""One order of events, whatever the order of arrival."""

from __future__ import annotations

import itertools

from gnss.types import Motion
from perception.events import Event, EventOrder, order_key
from perception.types import CalibrationUpdate, KnownObjects, Shed
from tests.builders import make_fix, make_seen

NOW = 5_000_000_000


def _all_kinds() -> list[Event]:
    return [
        KnownObjects(NOW, (1, 1)), KnownObjects(NOW, (1, 2)), CalibrationUpdate(NOW, "front", 0.0, 0.5, 0.0, 0.5),
        make_fix(0.0, 0.0, NOW), Motion(NOW, 1.0), Shed(NOW, "front", 1, "busy"), make_seen([], 1, NOW),
        make_seen([], 2, NOW),
    ]  # fmt: skip


def test_kinds_of_one_stamp_have_one_order() -> None:
    expected = _all_kinds()
    for order in itertools.islice(itertools.permutations(expected), 0, 40320, 997):
        assert sorted(order, key=order_key) == expected


def test_late_arrivals_within_the_bound_are_put_in_order() -> None:
    order = EventOrder(lateness_s=1.0)
    arrival = [Motion(int(s * 1e9), s) for s in (0.0, 0.5, 0.2, 1.3, 0.6, 2.0, 1.1, 3.5)]
    out = [e for a in arrival for e in order.push(a)] + list(order.flush())
    assert [e.stamp_ns for e in out] == sorted(a.stamp_ns for a in arrival)
    assert order.late == 0


def test_later_ones_are_dropped_and_counted() -> None:
    order = EventOrder(lateness_s=1.0)
    out = [e for s in (0, 5, 10) for e in order.push(Motion(s * 10**9, float(s)))]
    assert [e.stamp_ns for e in out] == [0, 5 * 10**9]
    assert list(order.push(Motion(3 * 10**9, 3.0))) == []
    assert order.late == 1
    assert [e.stamp_ns for e in order.flush()] == [10 * 10**9]


def test_nothing_is_released_before_it_is_safe() -> None:
    order = EventOrder(lateness_s=1.0)
    assert list(order.push(Motion(10**9, 1.0))) == []
    assert [e.stamp_ns for e in order.push(Motion(2 * 10**9, 2.0))] == [10**9]
