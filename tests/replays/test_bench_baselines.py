"""The baselines on small examples: they must fail for the reasons they are known to fail for."""

from __future__ import annotations

import numpy as np

from replays.bench.fleet import Fleet
from replays.bench.metrics import count_fusion
from replays.bench.rig import Rig
from replays.world.card import QUIET
from replays.world.streets import solo
from tests.benchmarks.baselines import Spot, averaged_projection, feeds_of, fixed_radius, hungarian
from tests.builders import CATALOGUE, THRESHOLDS


def spot(thing: str, east_m: float, *, own_m: float = 0.3, common_m: float = 1.5) -> Spot:
    eye = np.eye(2)
    return Spot("exposed_garbage", np.array([east_m, 0.0]), own_m**2 * eye, common_m**2 * eye, thing)


def test_a_small_radius_duplicates_and_a_large_one_merges() -> None:
    passes = [[spot("a", 0.0), spot("b", 6.0)], [spot("a", 3.0), spot("b", 9.0)]]
    small = count_fusion(feeds_of(fixed_radius(passes, 2.0)), ["a", "b"])
    assert (small.duplicates, small.false_merges) == (2, 0)
    large = count_fusion(feeds_of(fixed_radius(passes, 8.0)), ["a", "b"])
    assert large.false_merges == 1


def test_without_a_joint_offset_neighbours_are_swapped() -> None:
    # The second pass is off by 4 m: b's spot lies where c was, and a's where b was.
    passes = [[spot("a", 0.0), spot("b", 4.0), spot("c", 8.0)], [spot("b", 8.0), spot("a", 4.0)]]
    found = count_fusion(feeds_of(hungarian(passes)), ["a", "b", "c"])
    assert found.false_merges == 2


def test_well_known_places_are_assigned() -> None:
    passes = [[spot("a", 0.0, common_m=0.1), spot("b", 6.0, common_m=0.1)]] * 3
    found = count_fusion(feeds_of(hungarian(passes)), ["a", "b"])
    assert (found.found, found.duplicates, found.false_merges) == (2, 0, 0)


def test_averaged_projections_are_good_when_nothing_errs() -> None:
    world, ride = solo(2, "pothole", 3.0)
    visit = Fleet(Rig(CATALOGUE, THRESHOLDS), world, QUIET, 2).go(ride)
    error = averaged_projection(visit, world, world.things[0])
    assert error is not None
    assert error < 0.8  # half the pothole's length: the bottom of a box is the near edge
