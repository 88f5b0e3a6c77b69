from __future__ import annotations

import numpy as np
import pytest

from gnss.latency import fix_latency
from gnss.shift import find_shift
from gnss.types import Array
from tests.gnss.road import drive, fixes, motions

S = 1_000_000_000


def turns(t: Array) -> Array:
    return 12.0 * np.sin(t / 3.0) + 5.0 * np.sin(t / 1.1)


@pytest.mark.parametrize("late_s", [-0.31, 0.0, 0.2])
@pytest.mark.parametrize("seed", range(4))
def test_a_shift_is_found_within_its_sigma_whatever_scale_and_offset(late_s: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fast, slow = np.arange(0.0, 60.0, 0.02), np.arange(0.0, 60.0, 0.1)
    seen = 0.8 * turns(slow - late_s) + 3.0 + rng.normal(0.0, 2.0, len(slow))
    seen[::37] += 60.0  # blunders
    found = find_shift((fast, turns(fast)), (slow, seen))
    assert found is not None
    assert abs(found.late_s - late_s) < 3.5 * found.sigma_s
    assert found.sigma_s < 0.06
    assert found.scale == pytest.approx(0.8, abs=0.05)
    assert found.explained > 0.8


def test_errors_that_last_widen_the_sigma() -> None:
    rng = np.random.default_rng(1)
    slow = np.arange(0.0, 60.0, 0.1)
    seen = turns(slow) + rng.normal(0.0, 2.0, len(slow))
    one, ten = (find_shift((slow, turns(slow)), (slow, seen), correlated=n) for n in (1.0, 10.0))
    assert one is not None
    assert ten is not None
    assert ten.sigma_s == pytest.approx(one.sigma_s * np.sqrt(10.0))


def test_what_tells_nothing_gives_nothing() -> None:
    t = np.arange(0.0, 30.0, 0.1)
    assert find_shift((t[:12], turns(t[:12])), (t[:12], turns(t[:12]))) is None
    assert find_shift((t, turns(t)), (t, turns(t - 3.0)), reach_s=0.2) is None


@pytest.mark.parametrize("late_s", [0.0, 0.12])
def test_latency_of_fixes_from_wheels(late_s: float) -> None:
    rng = np.random.default_rng(2)
    road = drive(120.0)
    late = [
        type(f)(f.stamp_ns + round(late_s * S), f.utc_ns, f.lat_deg, f.lon_deg)
        for f in fixes(road, rng, white_m=0.1, course=False)
    ]
    found = fix_latency(late, motions(road, rng))
    assert found is not None
    assert abs(found.late_s - late_s) < 3.5 * found.sigma_s
    assert found.sigma_s < 0.06
    assert fix_latency(late, []) is None
