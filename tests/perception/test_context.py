"""At the kerb or in a lane: standing vehicles beside poles, rows of cars, things that roll and traffic lights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from gnss.types import Pose
from perception.context import ContextParams, at_kerb, doubts
from perception.types import Landmark, Verdict
from tests.builders import CATALOGUE, make_landmark, make_pose

PARAMS = ContextParams()
WIDE_M = CATALOGUE.classes["car"].size_m[1]
KERB_M, LANE_M, POLES_M = 6.0, 3.0, 8.0
POLES = [("pole", 20.0, POLES_M), ("pole", 30.0, POLES_M), ("pole", 40.0, POLES_M)]
Spot = tuple[str, float, float]


@dataclass(frozen=True)
class Road:
    """A way driven from the origin: straight along a heading, or bent to the right with a radius."""

    heading_deg: float = 0.0
    radius_m: float = math.inf

    def at(self, way_m: float, right_m: float = 0.0) -> tuple[float, float, float]:
        """East, north and heading of a point beside the way."""
        turned = way_m / self.radius_m
        x, y = (0.0, way_m)
        if math.isfinite(self.radius_m):
            x, y = self.radius_m * (1.0 - math.cos(turned)), self.radius_m * math.sin(turned)
        x, y = x + right_m * math.cos(turned), y - right_m * math.sin(turned)
        h = math.radians(self.heading_deg)
        heading_deg = (self.heading_deg + math.degrees(turned)) % 360.0
        return math.cos(h) * x + math.sin(h) * y, math.cos(h) * y - math.sin(h) * x, heading_deg

    def poses(self, length_m: int = 60) -> list[Pose]:
        return [make_pose(*self.at(float(way)), int(way * 1e8)) for way in range(length_m)]

    def mark(self, spot: Spot, track_id: int, verdict: Verdict = Verdict.STATIC, coarse: bool = False) -> Landmark:
        name, way_m, right_m = spot
        east, north, _ = self.at(way_m, right_m)
        return make_landmark(name, east, north, track_id=track_id, verdict=verdict, coarse=coarse)


def _marks(*spots: Spot, road: Road | None = None, verdict: Verdict = Verdict.STATIC) -> list[Landmark]:
    """Landmarks with the track ids 1, 2, ...; spots are (class, metres along, metres to the right)."""
    return [(road or Road()).mark(spot, k + 1, verdict) for k, spot in enumerate(spots)]


def _doubts(marks: Sequence[Landmark], road: Road | None = None) -> dict[int, str]:
    """Reasons by track id."""
    found = doubts(marks, (road or Road()).poses(), CATALOGUE, PARAMS)
    return {int(name.rsplit("/", 1)[1]): why for name, why in found.items()}


def _kerbside(marks: Sequence[Landmark], road: Road | None = None) -> set[int]:
    return {int(name.rsplit("/", 1)[1]) for name in at_kerb(marks, (road or Road()).poses(), CATALOGUE, PARAMS)}


ROADS = [Road(), Road(123.0), Road(radius_m=60.0), Road(200.0, -60.0)]


@pytest.mark.parametrize("road", ROADS, ids=lambda r: f"{r.heading_deg}-{r.radius_m}")
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_car_at_the_kerb_is_sure_and_the_same_car_three_metres_further_out_is_not(road: Road, side: float) -> None:
    poles = [(name, way, side * right) for name, way, right in POLES]
    parked = _marks(("car", 30.0, side * KERB_M), *poles, road=road)
    assert _doubts(parked, road) == {}
    assert _kerbside(parked, road) == {1}
    waiting = _marks(("car", 30.0, side * LANE_M), *poles, road=road)
    gap_m = POLES_M - LANE_M - WIDE_M / 2
    assert _doubts(waiting, road) == {1: f"{gap_m:.1f} m of road between it and the roadside: it stands in a lane"}
    assert _kerbside(waiting, road) == set()


def test_the_gap_that_makes_a_lane_counts_from_the_flank() -> None:
    edge_m = POLES_M - PARAMS.lane_gap_m - WIDE_M / 2
    for offset_m, sure in ((0.05, True), (-0.05, False)):
        marks = _marks(("car", 30.0, edge_m + offset_m), *POLES)
        assert (1 in _kerbside(marks)) is sure
        assert (1 not in _doubts(marks)) is sure


def test_a_car_between_another_and_the_kerb() -> None:
    both = _marks(("car", 30.0, LANE_M), ("car", 32.0, KERB_M), *POLES)
    assert _doubts(both) == {1: "another vehicle stands between it and the kerb"}
    assert _kerbside(both) == {2}
    alone = _marks(("car", 30.0, LANE_M), ("car", 32.0, KERB_M))
    assert _doubts(alone) == {1: "another vehicle stands between it and the kerb"}
    ahead = _marks(("car", 20.0, LANE_M), ("car", 20.0 + PARAMS.beside_along_m + 0.5, KERB_M))
    assert _doubts(ahead) == {}
    other_side = _marks(("car", 30.0, LANE_M), ("car", 30.0, -KERB_M))
    assert _doubts(other_side) == {}


def test_a_row_of_parked_cars_casts_no_doubt_on_each_other() -> None:
    row = [("car", 10.0 + 6.0 * k, KERB_M + 0.3 * (-1) ** k) for k in range(6)]
    assert _doubts(_marks(*row)) == {}
    assert _kerbside(_marks(*row, *POLES)) == {1, 2, 3, 4, 5, 6}


def test_what_rolls_past_on_the_outside_does_not_stand_between() -> None:
    road = Road()
    marks = [road.mark(("car", 30.0, LANE_M), 1), road.mark(("car", 30.0, KERB_M), 2, Verdict.MOVING)]
    assert _doubts(marks) == {}


def test_in_line_with_a_vehicle_that_moves() -> None:
    road = Road()
    car = road.mark(("car", 30.0, LANE_M), 1)
    for way_m, right_m, doubted in ((40.0, 3.4, True), (43.0, LANE_M, False), (40.0, 4.5, False), (40.0, -3.0, False)):
        marks = [car, road.mark(("car", way_m, right_m), 2, Verdict.MOVING)]
        assert _doubts(marks) == ({1: "in line with a vehicle that moves"} if doubted else {})
        assert _doubts([car, road.mark(("car", way_m, right_m), 2)]) == {}
    # Who is surely at the kerb is parked there, whatever rolls behind it.
    poles = [road.mark(pole, k + 3) for k, pole in enumerate(POLES)]
    kerb, moves = road.mark(("car", 30.0, KERB_M), 1), road.mark(("car", 40.0, KERB_M), 2, Verdict.MOVING)
    assert _doubts([kerb, moves, *poles]) == {}


def test_near_a_traffic_light_where_no_roadside_was_seen() -> None:
    assert _doubts(_marks(("car", 20.0, LANE_M), ("traffic_light", 38.0, -9.0))) == {1: "18 m from a traffic light"}
    two = _marks(("car", 20.0, LANE_M), ("traffic_light", 45.0, -9.0), ("traffic_light", 8.0, -9.0))
    assert _doubts(two) == {1: "12 m from a traffic light"}
    assert _doubts(_marks(("car", 20.0, LANE_M), ("traffic_light", 51.0, -9.0))) == {}
    parked = _marks(("car", 20.0, KERB_M), ("traffic_light", 38.0, -9.0), *POLES)
    assert _doubts(parked) == {}


def test_an_empty_street_says_nothing() -> None:
    assert _doubts([]) == {}
    assert _kerbside([]) == set()
    lone = _marks(("car", 30.0, LANE_M))
    assert _doubts(lone) == {}
    assert _kerbside(lone) == set()
    assert doubts(lone, [], CATALOGUE, PARAMS) == {}
    assert at_kerb(lone, [], CATALOGUE, PARAMS) == frozenset()


def test_one_pole_or_rough_or_flat_or_far_things_are_no_roadside() -> None:
    road, car = Road(), ("car", 30.0, LANE_M)
    assert _doubts(_marks(car, POLES[0])) == {}
    assert set(_doubts(_marks(car, *POLES[:2]))) == {1}
    assert _doubts([road.mark(car, 1), *(road.mark(p, k + 2, coarse=True) for k, p in enumerate(POLES))]) == {}
    covers = [("manhole_closed", way, right) for _, way, right in POLES]
    assert _doubts(_marks(car, *covers)) == {}
    bins = [("garbage_bin", way, right) for _, way, right in POLES]
    assert set(_doubts(_marks(car, *bins))) == {1}
    heaps = [("garbage", way, right) for _, way, right in POLES]
    assert _doubts(_marks(car, *heaps)) == {}
    far = [("pole", 5.0, POLES_M), ("pole", 2.0, POLES_M)]
    assert _doubts(_marks(("car", 5.1 + PARAMS.along_m, LANE_M), *far)) == {}


def test_poles_of_the_other_side_or_towards_the_way_are_no_roadside() -> None:
    other = [(name, way, -right) for name, way, right in POLES]
    assert _doubts(_marks(("car", 30.0, LANE_M), *other)) == {}
    island = [(name, way, 1.0) for name, way, _ in POLES]
    assert _doubts(_marks(("car", 30.0, LANE_M), *island)) == {}


def test_one_bin_on_the_road_does_not_make_a_lane_a_kerb() -> None:
    marks = _marks(("car", 30.0, LANE_M), ("garbage_bin", 31.0, LANE_M + 1.5), *POLES)
    assert set(_doubts(marks)) == {1}


def test_only_vehicles_that_do_not_move_are_doubted_or_at_the_kerb() -> None:
    for verdict, judged in ((Verdict.UNKNOWN, True), (Verdict.STATIC, True), (Verdict.MOVING, False)):
        road = Road()
        poles = [road.mark(pole, k + 2) for k, pole in enumerate(POLES)]
        assert set(_doubts([road.mark(("car", 30.0, LANE_M), 1, verdict), *poles])) == ({1} if judged else set())
        assert _kerbside([road.mark(("car", 30.0, KERB_M), 1, verdict), *poles]) == ({1} if judged else set())
    assert _doubts(_marks(("garbage", 30.0, LANE_M), *POLES)) == {}
