from __future__ import annotations

import pytest

from gnss.clock import Clock, ManualClock, SystemClock, stopwatch


def test_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(monotonic_ns=5, utc_ns=1_000)
    assert (clock.monotonic_ns(), clock.utc_ns()) == (5, 1_000)
    clock.sleep(1.5)
    assert (clock.monotonic_ns(), clock.utc_ns()) == (1_500_000_005, 1_500_001_000)
    clock.set_utc_ns(0)
    assert (clock.monotonic_ns(), clock.utc_ns()) == (1_500_000_005, 0)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-0.1)


def test_system_clock_is_monotonic_and_is_a_clock() -> None:
    clock: Clock = SystemClock()
    first = clock.monotonic_ns()
    clock.sleep(-1.0)
    assert clock.monotonic_ns() >= first
    assert clock.utc_ns() > 1_600_000_000 * 10**9


def test_stopwatch_grows() -> None:
    elapsed = stopwatch()
    first = elapsed()
    assert 0.0 <= first <= elapsed()
