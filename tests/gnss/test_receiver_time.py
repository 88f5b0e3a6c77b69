"""Receiver UTC on the monotonic clock: delays, drift, jumps of UTC. A stamp never moves by what UTC does."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from gnss.fixes import FixStream
from gnss.receiver_time import ReceiverTime
from gnss.refusal import Refusal
from gnss.types import Fix
from tests.gnss.messages import gga, rmc

S = 10**9
START_NS = 1_790_000_000 * S
YEARS_NS = 20 * 365 * 86_400 * S
SMALLEST_S = 0.05


def same(i: int, utc_ns: int) -> int:
    return utc_ns


def noisy(seed: int, sigma_s: float = 0.02) -> Callable[[int], float]:
    rng = random.Random(seed)
    return lambda i: SMALLEST_S + abs(rng.gauss(0.0, sigma_s))


def drive(
    delay_s: Callable[[int], float], utc: Callable[[int, int], int] = same, *, epochs: int = 600, ppm: float = 30.0,
    pps: bool = False, latency_s: float = 0.0,
) -> tuple[list[float], list[float], int]:  # fmt: skip
    """(stamp errors in ms, UTC errors in ms, UTC jumps counted) of a receiver of 10 Hz."""
    counters = dict.fromkeys(Refusal, 0)
    time = ReceiverTime(counters, latency_s)
    stamps, utcs, last, before = [], [], 0, -1
    for i in range(epochs):
        true_utc, true_ns = START_NS + i * S // 10, 100 * S + round(i * S / 10 * (1 + ppm * 1e-6))
        last = max(true_ns + round(delay_s(i) * S), last)
        if pps and true_utc % S == 0:
            time.pps(true_ns)
        fix = time.place(Fix(last, utc(i, true_utc), 30.0, 120.0))
        assert fix.utc_ns is not None
        assert fix.stamp_ns > before
        before = fix.stamp_ns
        stamps.append((fix.stamp_ns - true_ns) / 1e6)
        utcs.append((fix.utc_ns - true_utc) / 1e6)
    return stamps, utcs, counters[Refusal.UTC_JUMP]


@pytest.mark.parametrize("ppm", [-80.0, 0.0, 80.0])
def test_arrivals_that_vary_by_20_ms_become_steady(ppm: float) -> None:
    stamps, utcs, _ = drive(noisy(1), ppm=ppm, epochs=3000)
    steady = stamps[100:]
    assert 1e3 * SMALLEST_S - 0.5 < min(steady)
    assert max(steady) < 1e3 * SMALLEST_S + 4.0
    assert set(utcs[100:]) == {0.0}


def test_latency_takes_the_smallest_delay_off_and_pps_knows_it() -> None:
    stamps, _, _ = drive(noisy(2), latency_s=SMALLEST_S)
    assert max(map(abs, stamps[100:])) < 4.0
    stamps, _, _ = drive(noisy(2), pps=True)
    assert max(map(abs, stamps[20:])) < 0.1


def test_a_program_that_stood_still_for_three_seconds_moves_no_stamp() -> None:
    quiet = noisy(3, 0.005)
    stamps, _, jumps = drive(lambda i: quiet(i) + (max(0.0, 3.0 - (i - 300) * 0.1) if i >= 300 else 0.0))
    assert max(stamps[50:]) - min(stamps[50:]) < 5.0
    assert jumps == 0


def test_a_delay_that_grows_for_good_is_learned() -> None:
    quiet = noisy(9, 0.005)
    stamps, _, _ = drive(lambda i: quiet(i) + (0.1 if i >= 300 else 0.0), epochs=900)
    assert abs(stamps[-1] - 150.0) < 3.0


def test_a_line_that_began_with_old_bytes_is_right_soon() -> None:
    stamps, _, _ = drive(lambda i: max(SMALLEST_S, 2.0 - 0.1 * i))
    assert max(stamps[25:]) - min(stamps[25:]) < 1.0


@pytest.mark.parametrize("jump_ns", [YEARS_NS, -YEARS_NS, 7 * 86_400 * 1024 * S, 3600 * S, -3 * S, 400_000_000])
@pytest.mark.parametrize("length", [1, 60])
def test_a_jump_of_utc_moves_no_stamp_and_no_utc(jump_ns: int, length: int) -> None:
    stamps, utcs, jumps = drive(
        noisy(4, 0.005), lambda i, utc: utc + jump_ns if 300 <= i < 300 + length else utc, epochs=800
    )
    assert max(stamps[50:]) - min(stamps[50:]) < 25.0
    if not (length == 60 and 0 < jump_ns < 5 * S):  # ahead by less than a delay for 6 s: the line had begun late
        assert max(map(abs, utcs)) < 25.0
        assert jumps == length


def test_a_leap_second_is_believed_after_ten_seconds() -> None:
    for step in (-S, S):
        stamps, utcs, jumps = drive(noisy(5, 0.005), lambda i, utc, step=step: utc + step if i >= 300 else utc)  # type: ignore[misc]
        assert max(stamps[50:]) - min(stamps[50:]) < 25.0
        assert 0 < jumps <= 101
        assert utcs[-1] == step / 1e6


def test_a_wrong_first_date_is_outvoted_and_a_later_one_is_not_believed_soon() -> None:
    _, utcs, _ = drive(noisy(6), lambda i, utc: utc - YEARS_NS if i < 3 else utc)
    assert utcs[60] == 0.0
    _, utcs, jumps = drive(noisy(6), lambda i, utc: utc - YEARS_NS if i >= 300 else utc)
    assert max(map(abs, utcs)) < 80.0
    assert jumps == 300


def test_a_receiver_that_repeats_itself_keeps_the_arrivals() -> None:
    stamps, utcs, _ = drive(noisy(7, 0.005), lambda i, utc: START_NS + 20 * S if 200 <= i < 400 else utc)
    assert max(stamps[50:]) - min(stamps[50:]) < 25.0
    assert max(map(abs, utcs)) < 25.0


def test_without_utc_arrivals_are_the_stamps_and_they_rise() -> None:
    time = ReceiverTime(dict.fromkeys(Refusal, 0), 0.1)
    assert [time.place(Fix(a, None, 1.0, 1.0)).stamp_ns for a in (S, S, 2 * S)] == [
        9 * S // 10,
        9 * S // 10 + 1,
        19 * S // 10,
    ]
    time.pps(2 * S)  # before any UTC there is nothing to tie it to


def test_a_stream_gives_steady_stamps_from_jittering_arrivals() -> None:
    stream, rng, fixes = FixStream(latency_s=0.05), random.Random(8), []
    for second in range(60):
        arrival = second * S + round((0.05 + abs(rng.gauss(0.0, 0.02))) * S)
        text = f"0214{second:02d}.00"
        fixes += stream.feed(rmc(text) + gga(text), arrival)
    fixes += stream.flush()
    errors = [(fix.stamp_ns - second * S) / 1e6 for second, fix in enumerate(fixes)]
    assert len(errors) == 60
    assert max(map(abs, errors[20:])) < 4.0
