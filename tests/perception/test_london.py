"""The real street of London: what the method reaches there does not get lost (the goal of 0.80 is not reached yet)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.benchmarks.london import ceiling, prior, read, score, solved


def test_traffic_lights_of_regent_street(shared: Path) -> None:
    street = read(shared / "drives" / "london-traffic-lights")
    assert (len(street.rays), len(np.unique(street.rays.camera)), len(street.truth_m)) == (173, 50, 50)
    before = prior(street.rays)
    noise, found = solved(street.rays, before)
    reached = score(found, street.truth_m, 6.0)
    assert reached.f1 >= 0.66
    assert score(found, street.truth_m, 2.0).f1 > score(street.rays.ends(), street.truth_m, 2.0).f1
    assert reached.hits <= ceiling(street, before, found)["truths_with_a_compatible_ray"]
    assert noise.clutter < 0.3
    assert 0.2 < noise.ln_range < 0.6
