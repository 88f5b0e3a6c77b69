"""The camera's clock against the receiver's, proven on simulated drives whose offset is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnss.geodesy import distance_m
from perception.camera_clock import ClockParams
from replays.bench.memory import MemoryStore
from replays.bench.rig import Passed, Rig, travel
from replays.world.card import CARD
from replays.world.sense import sense
from replays.world.streets import rides, street
from tests.builders import CATALOGUE, THRESHOLDS

RIG = Rig(CATALOGUE, THRESHOLDS)
STOPS = ((60.0, 4.0), (140.0, 6.0))


def driven(seed: int, late_s: float, rig: Rig = RIG, *, stops: tuple[tuple[float, float], ...] = STOPS) -> Passed:
    world = street(seed)
    ride = replace(rides(world, 1)[0], stops=stops)
    return travel(rig, world, sense(world, ride, replace(CARD, clock_offset_s=late_s), seed), MemoryStore())


@pytest.mark.parametrize(("seed", "late_s"), [(1, 0.2), (2, 0.2), (3, -0.15), (4, 0.0)])
def test_two_stops_tell_the_offset_within_its_sigma(seed: int, late_s: float) -> None:
    told = driven(seed, late_s).calibration[0]
    assert told.late_s is not None
    assert told.late_sigma_s is not None
    assert told.late_sigma_s < 0.03
    assert abs(told.late_s - late_s) < 3.0 * told.late_sigma_s


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_an_even_drive_tells_little_and_says_so(seed: int) -> None:
    """On a straight at constant speed only the sway tells: the sigma must be as wide as that leaves it."""
    told = driven(seed, 0.2, stops=()).calibration[0]
    if told.late_s is not None and told.late_sigma_s is not None:
        assert told.late_sigma_s > 0.04
        assert abs(told.late_s - 0.2) < 3.0 * told.late_sigma_s


def test_a_sure_offset_puts_things_where_they_are() -> None:
    """200 ms at 30 km/h are 1.7 m: without the offset everything lies that much too far along the street."""
    deaf = replace(RIG, params=replace(RIG.params, clock=ClockParams(use_sigma_s=0.0)))
    true = {m.track_id: m for m in driven(2, 0.0, deaf).records[0].landmarks}
    shifts = []
    for rig in (deaf, RIG):
        gaps = []
        for mark in driven(2, 0.2, rig).records[0].landmarks:
            twin = true.get(mark.track_id)
            if twin is not None and twin.class_name == mark.class_name and not (twin.coarse or mark.coarse):
                gaps.append(distance_m(mark.lat_deg, mark.lon_deg, twin.lat_deg, twin.lon_deg))
        shifts.append(float(np.median(gaps)))
    assert shifts[0] > 1.0
    assert shifts[1] < 0.3
