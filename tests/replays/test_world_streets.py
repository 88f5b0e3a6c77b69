"""The generators: what they promise about where things stand, when they exist and how they move."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import shapely

from gnss.types import Array
from perception.types import Seen
from replays.world.card import CARD
from replays.world.layout import AGAIN_S, DAY_S, pass_start_s
from replays.world.nasty import CLOCK_S, JUMP_M, JUMP_S, KNOCK_PITCH_DEG, NASTY, TWINS_M
from replays.world.ride import Ride
from replays.world.scene import KERB_M, LANE_M, PAVEMENT_M, Thing, World, catalogue
from replays.world.sense import SimulatedDrive, sense
from replays.world.streets import living, rides, solo, street
from replays.world.traffic import CAR_FRONT_M, STOP_LINE_M, traffic


def along_right(world: World, thing: Thing, t_s: float = 0.0) -> tuple[float, float]:
    east, north = thing.place(t_s)
    along, right = world.along_right(np.array(east), np.array(north))
    return float(along), float(right)


def footprint(thing: Thing, t_s: float) -> shapely.Polygon:
    """Its rectangle in the local frame."""
    east, north = thing.place(t_s)
    turn = math.radians(90.0 - thing.heading_deg)
    x, y = np.array([1, 1, -1, -1]) * thing.size_m[0] / 2, np.array([1, -1, -1, 1]) * thing.size_m[1] / 2
    corners = np.stack(
        [east + math.cos(turn) * x - math.sin(turn) * y, north + math.sin(turn) * x + math.cos(turn) * y]
    )
    return shapely.Polygon(corners.T)


def test_solo_ends_where_it_should() -> None:
    world, ride = solo(1, "garbage", 3.0, lost_at_m=15.0)
    thing = world.things[0]
    east, north, _ = ride.pose(world, ride.duration_s)
    assert math.hypot(thing.east_m - east, thing.north_m - north) == pytest.approx(15.0, abs=0.1)
    _, right = along_right(world, thing)
    assert right == pytest.approx(LANE_M / 2 + 3.0)
    assert solo(1, "car", 3.0)[0].things[0].kind is None
    assert thing.kind == "exposed_garbage"


@pytest.mark.parametrize("spacing_m", [6.0, 20.0])
def test_a_street_has_mixed_problems_apart_and_anchors(spacing_m: float) -> None:
    counts = []
    for seed in range(6):
        world = street(seed, spacing_m)
        places = np.array([(t.east_m, t.north_m) for t in world.things])
        gaps = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
        assert gaps[~np.eye(len(places), dtype=bool)].min() >= 2.5
        problems = [t for t in world.things if t.kind is not None]
        counts.append(len(problems))
        assert {catalogue().classes[t.class_name].role for t in problems} == {"problem"}
        assert {"pole", "traffic_sign", "manhole_closed"} <= {t.class_name for t in world.things}
        rights = [along_right(world, t)[1] for t in world.things]
        assert min(rights) < -LANE_M < LANE_M < max(rights)
        for thing, right in zip(world.things, rights, strict=True):
            assert thing.base_m == (PAVEMENT_M if abs(right) > KERB_M and thing.size_m[2] > 0 else 0.0)
            if thing.size_m[2] == 0.0:
                assert abs(right) < LANE_M
    assert np.mean(counts) == pytest.approx(2 * 200.0 / spacing_m, rel=0.3)
    assert len(street(1, 20.0, anchors=False).things) < len(street(1, 20.0).things)


def test_sizes_lie_around_the_catalogue_s() -> None:
    things = [t for seed in range(150) for t in solo(seed, "car", 3.0)[0].things]
    shape = catalogue().classes["car"]
    ratio = np.array([t.size_m for t in things]) / shape.size_m
    assert ratio.mean(axis=0) == pytest.approx(np.ones(3), abs=0.02)
    assert ratio.std(axis=0) == pytest.approx(np.full(3, shape.size_rel_sigma), rel=0.25)


@pytest.fixture(scope="module", params=[0, 3])
def busy(request: pytest.FixtureRequest) -> World:
    return traffic(int(request.param))


def cars(world: World, ride: Ride) -> list[Thing]:
    """Moving and queued ones of a ride."""
    return [t for t in world.things if t.drive is not None and t.exists(ride.start_s)]


def test_parked_cars_stand_at_the_kerb_and_are_judged_by_their_zone(busy: World) -> None:
    parked = [t for t in busy.things if t.drive is None and catalogue().classes[t.class_name].role == "vehicle"]
    kinds = {z.kind for z in busy.zones}
    assert kinds == {"no_stopping", "no_parking", "parking_bay"}
    assert {z.dwell_s for z in busy.zones if z.kind == "no_stopping"} == {0.0}
    assert {z.dwell_s for z in busy.zones if z.kind == "no_parking"} == {180.0}
    assert len([t for t in parked if t.kind]) >= 10
    assert len([t for t in parked if not t.kind]) >= 5
    for thing in parked:
        _, right = along_right(busy, thing)
        assert -0.31 < abs(right) + thing.size_m[1] / 2 - KERB_M < 1e-6
        lat, lon = busy.frame.to_geo(thing.east_m, thing.north_m)
        zones = [z.kind for z in busy.zones if z.contains(lat, lon)]
        assert zones in ([["parking_bay"]] if thing.kind is None else [["no_stopping"], ["no_parking"]])
        assert thing.kind in (None, "illegal_parking")
    assert not [t for t in busy.things if t.drive is not None and t.kind is not None]


def test_parked_cars_come_and_go_with_the_day(busy: World) -> None:
    parked = [t for t in busy.things if t.drive is None and catalogue().classes[t.class_name].role == "vehicle"]
    at = {number: {t.id for t in parked if t.exists(number * AGAIN_S)} for number in (0, 1, 2)}
    assert at[0] & at[1]
    assert at[0] != at[2]
    assert not at[0] & {t.id for t in parked if t.exists(DAY_S)}


def test_traffic_moves_queues_and_leaves_room_for_us(busy: World) -> None:
    halts, leaders, speeds, standing_gaps = 0, 0, list[float](), list[float]()
    for ride in busy.rides:
        things = cars(busy, ride)
        times = np.arange(0.0, ride.duration_s, 0.5)
        lanes: dict[bool, list[Thing]] = {True: [], False: []}
        for thing in things:
            lanes[along_right(busy, thing, ride.start_s)[1] > 0].append(thing)
            assert abs(abs(along_right(busy, thing, ride.start_s)[1]) - LANE_M / 2) < 0.2
        for ours, lane in lanes.items():
            # Front to rear along the way, of neighbours at every half second.
            way = np.array([[_along(busy, t, ride.start_s + s) for t in lane] for s in times]) * (1 if ours else -1)
            order = np.argsort(-way[0])
            half = np.array([lane[i].size_m[0] / 2 for i in order])
            gaps = way[:, order[:-1]] - way[:, order[1:]] - half[:-1] - half[1:]
            assert gaps.min() > 0.8
            pace = np.gradient(way[:, order], 0.5, axis=0)
            both = (np.abs(pace[:, :-1]) < 0.05) & (np.abs(pace[:, 1:]) < 0.05)
            standing_gaps += gaps[both].tolist()
            speeds += pace.ravel().tolist()
            if ours:
                rear = way[:, order[-1]] - half[-1]
                leaders += bool(np.median(np.abs(pace[:10, -1] - ride.speed_mps)) < 0.05)
                assert (rear - ride.along(times) - CAR_FRONT_M).min() > 1.4
        if ride.stops:
            halts += 1
            assert ride.stops[0][0] + CAR_FRONT_M < STOP_LINE_M
    assert halts >= 2
    assert leaders >= 1
    assert 2.0 < np.quantile(speeds, 0.95) < 12.5
    assert np.mean(np.array(speeds) < 0.1) > 0.1
    assert np.quantile(standing_gaps, 0.02) > 1.3
    assert np.quantile(standing_gaps, 0.9) < 4.0


def _along(world: World, thing: Thing, t_s: float) -> float:
    return along_right(world, thing, t_s)[0]


def test_no_two_solids_stand_in_each_other(busy: World) -> None:
    for ride in (busy.rides[0], busy.rides[-1]):
        for t_s in (ride.start_s, ride.start_s + 20.0):
            boxes = [
                (t.id, footprint(t, t_s))
                for t in busy.things
                if t.exists(t_s) and catalogue().classes[t.class_name].role == "vehicle"
            ]
            for (a, one), (b, other) in itertools.combinations(boxes, 2):
                assert one.intersection(other).area < 0.05, (a, b)


def test_things_are_born_and_vanish_between_passes() -> None:
    passes = 12
    born = gone = stayed = 0
    for seed in range(4):
        world = living(seed, passes, passes)
        starts = [ride.start_s for ride in rides(world, passes, days=passes)]
        for thing in world.things:
            if thing.kind is None:
                continue
            there = [thing.exists(s) for s in starts]
            changes = sum(a != b for a, b in itertools.pairwise(there))
            assert changes <= 1
            born += changes == 1 and there[-1]
            gone += changes == 1 and there[0]
            stayed += all(there)
            if changes:
                assert there.index(not there[0]) <= passes // 2
        occluders = [t for t in world.things if t.class_name in ("bus", "truck")]
        assert len(occluders) > 10
        assert all(sum(t.exists(s) for s in starts) == 1 for t in occluders)
    assert min(born, gone, stayed) > 15


def test_an_occluder_hides_what_stands_behind_it() -> None:
    ratios, free = [], []
    for seed in range(3):
        world = living(seed, 6, 6)
        found = rides(world, 6, days=6)
        drives = [sense(world, ride, CARD, 1) for ride in found]
        occluders = [t for t in world.things if t.class_name in ("bus", "truck")]
        for thing in (t for t in world.things if t.kind is not None and t.base_m > 0.0):
            along, right = along_right(world, thing)
            hits = {False: list[float](), True: list[float]()}
            for ride, drive in zip(found, drives, strict=True):
                if thing.exists(ride.start_s):
                    beside = any(
                        abs(along_right(world, o)[0] + o.size_m[0] / 2 - along - 1.2) < 0.5
                        and along_right(world, o)[1] * right > 0
                        and o.exists(ride.start_s)
                        for o in occluders
                    )
                    hits[beside].append(drive.hits.get(thing.id, 0.0))
            if hits[True] and hits[False]:
                ratios += [h / max(hits[False]) for h in hits[True]]
                free += [h / max(hits[False]) for h in hits[False]]
    assert len(ratios) > 20
    assert np.median(ratios) < 0.5
    assert np.median(free) > 0.9


def test_passes_are_spread_and_rides_take_turns() -> None:
    assert [pass_start_s(k, 3, 2) for k in range(3)] == [0.0, DAY_S, DAY_S + AGAIN_S]
    assert [pass_start_s(k, 4, 4) / DAY_S for k in range(4)] == [0, 1, 2, 3]
    assert [pass_start_s(k, 3, 1) for k in range(3)] == [0.0, AGAIN_S, 2 * AGAIN_S]
    world = street(1, 20.0, 80.0)
    found = rides(world, 4, 2, ("front", "left"), both_ways=True)
    assert [r.vehicle for r in found] == ["car-1", "car-2", "car-1", "car-2"]
    assert [r.direction for r in found] == [1, -1, 1, -1]
    assert all(r.lane_m * r.direction > 0 for r in found)
    busy = traffic(1, 1, 2)
    assert [r.stops for r in rides(busy, 2, days=1)] == [r.stops for r in busy.rides]
    with pytest.raises(ValueError, match="no traffic for a ride on day 1"):
        rides(busy, 2, days=2)


def test_every_nasty_world_does_what_it_says() -> None:
    made = {name: build(1) for name, build in NASTY.items()}
    drives = {name: [sense(world, ride, card, 1) for ride in found] for name, (world, found, card) in made.items()}

    jumped = drives["gnss_jump"][1].gnss
    step = np.hypot(*(jumped.error_m - _calm(jumped.error_m)).T)
    assert np.isclose(step, JUMP_M, atol=4.0).sum() == JUMP_S
    assert np.hypot(*drives["gnss_jump"][0].gnss.error_m.T).max() < 6.0

    stamps = np.diff([f.stamp_ns for f in drives["gnss_outage"][1].gnss.fixes]) * 1e-9
    assert 14.0 <= stamps.max() <= 16.0

    late = min(e.stamp_ns for e in drives["clock_offset"][0].events if isinstance(e, Seen))
    assert late == round(CLOCK_S * 1e9)

    world, _, _ = made["twins"]
    problems = [t for t in world.things if t.kind is not None]
    pairs = [
        (a, b)
        for a, b in itertools.combinations(problems, 2)
        if math.isclose(math.hypot(a.east_m - b.east_m, a.north_m - b.north_m), TWINS_M, abs_tol=1e-6)
    ]
    assert len(pairs) == len(problems) / 2 > 10
    assert all(a.look == b.look and a.class_name == b.class_name for a, b in pairs)

    world, found, card = made["mount_knock"]
    plain = sense(world, replace(found[0], knocks=()), card, 1)
    gaps = _lifts(plain, drives["mount_knock"][0])
    half = found[0].duration_s / 2
    assert max(abs(g) for t, g in gaps if t < half - 0.2) < 1e-3
    assert np.median([g for t, g in gaps if t > half + 0.2]) == pytest.approx(
        -1000 * math.radians(KNOCK_PITCH_DEG), abs=6
    )

    world, found, _ = made["jam"]
    for ride in found:
        assert len(ride.stops) >= 4
        things = cars(world, ride)
        assert len(things) > 10
        for t_s in ride.start_s + np.arange(0.0, ride.duration_s, 3.0):
            boxes = [footprint(t, float(t_s)) for t in things]
            assert all(a.intersection(b).area < 0.01 for a, b in itertools.combinations(boxes, 2))
    assert len([t for t in world.things if t.kind == "illegal_parking"]) >= 4


def _calm(errors: Array) -> Array:
    return np.median(errors, axis=0)


def _lifts(one: SimulatedDrive, other: SimulatedDrive) -> list[tuple[float, float]]:
    """(second, pixels) by which tops of things that both drives detected in a frame differ."""
    found = []
    for a, b in zip(_boxes(one), _boxes(other), strict=True):
        for name in a[1].keys() & b[1].keys():
            found.append((a[0], float(b[1][name] - a[1][name])))
    return found


def _boxes(drive: SimulatedDrive) -> list[tuple[float, dict[str, float]]]:
    """Upper edges of the things of every frame."""
    rows = []
    for seen in (e for e in drive.events if isinstance(e, Seen)):
        labels = drive.labels[seen.camera, seen.index]
        # Only what stands free of the upper and lower border moves as a whole.
        rows.append(
            (
                seen.stamp_ns * 1e-9,
                {
                    n: float(b[1])
                    for n, b in zip(labels, seen.detections.xyxy, strict=True)
                    if n and 60 < b[1] and b[3] < 1000
                },
            )
        )
    return rows
