"""Drives of the benchmark: the memory, who a landmark is of, and one small run of whole experiments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from gnss.types import Fix
from perception.events import Event
from perception.store import tile_of
from perception.types import Anchor, CaseState, KnownObjects, Observation, Seen
from replays.bench import cases, dedup, ellipse, parked, relative, resolve
from replays.bench.fleet import Fleet, Visit
from replays.bench.link import Linker
from replays.bench.memory import MemoryStore
from replays.bench.plan import Experiment, Results
from replays.bench.rig import Rig, Runner, build_pipeline
from replays.world.card import QUIET
from replays.world.ride import Ride
from replays.world.scene import Thing, World
from replays.world.sense import sense
from replays.world.streets import rides, solo, street
from tests.builders import CATALOGUE, THRESHOLDS, make_case

RIG = Rig(CATALOGUE, THRESHOLDS)


@pytest.fixture(scope="module")
def quiet_world() -> World:
    return street(3, 15.0, 50.0)


@pytest.fixture(scope="module")
def quiet_fleet(quiet_world: World) -> tuple[Fleet, list[Visit]]:
    fleet = Fleet(RIG, quiet_world, QUIET, 3)
    return fleet, list(fleet.tour(rides(quiet_world, 2, 1, ("front",), 2)))


def test_the_memory_answers_by_tile_and_keeps_the_newest() -> None:
    store = MemoryStore()
    case = make_case(id="a")
    store.put(case)
    store.put_anchors([Anchor("p", "pole", case.lat_deg, case.lon_deg, (1.0, 0.0, 1.0))])
    here = tile_of(case.lat_deg, case.lon_deg)
    (event,) = store.known([here], 5)
    assert event == KnownObjects(5, here, (case,), (store.anchors()[0],))
    assert store.known([(0, 0)], 5)[0].cases == ()
    assert [c.id for c in store.cases()] == ["a"]


def test_quiet_streets_give_one_true_case_per_thing(quiet_fleet: tuple[Fleet, list[Visit]]) -> None:
    fleet, visits = quiet_fleet
    last = visits[-1].ride
    problems = fleet.problems(last.start_s + last.duration_s)
    assert len(problems) >= 3
    owners = sorted(str(fleet.feeds.owner(case.id)) for case in fleet.cases())
    assert owners == sorted(thing.id for thing in problems)
    assert max(np.hypot(*fleet.error(c, _of(fleet, c.id))[0]) for c in fleet.cases()) < 0.5
    score = cases.score_fleet(fleet, last.start_s + last.duration_s, 1.0)
    assert (score.total.missed, score.total.false) == (0, 0)


def _of(fleet: Fleet, case_id: str) -> Thing:
    owner = fleet.feeds.owner(case_id)
    return next(thing for thing in fleet.world.things if thing.id == owner)


def test_boxes_name_the_thing_wherever_it_was_placed(quiet_fleet: tuple[Fleet, list[Visit]]) -> None:
    fleet, visits = quiet_fleet
    linked = next(x for x in visits[0].linked if x.thing is not None)
    assert linked.thing is not None
    linker = Linker(fleet.world, visits[0].drive)
    told = replace(linked.placed, boxes=tuple(_boxes(visits[0], linked.thing.id)))
    lost = replace(told.landmark, lat_deg=told.landmark.lat_deg + 0.001)
    assert linker.link(replace(told, landmark=lost)).thing is linked.thing
    assert linker.link(replace(told, boxes=())).thing is None


def _boxes(visit: Visit, name: str) -> Iterator[Observation]:
    for event in visit.drive.events:
        if isinstance(event, Seen):
            labels = visit.drive.labels[event.camera, event.index]
            for n in (n for n, label in enumerate(labels) if label == name):
                x1, y1, x2, y2 = (float(v) for v in event.detections.xyxy[n])
                yield Observation(
                    event.stamp_ns, event.camera, event.index, (x1, y1, x2, y2), 0.8,
                    event.detections.names()[n], event.width, event.height,
                )  # fmt: skip


def test_relative_errors_leave_the_receiver_out() -> None:
    world, ride = solo(11, "garbage_bin_overflow", 3.0)
    fleet = Fleet(RIG, world, QUIET.graded(2.0), 11)
    linked = max(fleet.go(ride).linked, key=lambda x: x.placed.landmark.looks)
    assert linked.thing is world.things[0]
    assert np.hypot(*linked.relative_m) < 0.3
    assert np.hypot(*linked.absolute_m) > 0.5


def test_the_runner_asks_the_store_like_the_car() -> None:
    world, ride = solo(4, "garbage", 3.0)
    drive = sense(world, ride, QUIET, 1)
    asked: list[int] = []

    class Watched(MemoryStore):
        def known(self, tiles, stamp_ns):  # type: ignore[no-untyped-def]
            asked.append(len(list(tiles)))
            return []

    runner = Runner(build_pipeline(RIG, drive, world.atlas()), Watched())
    events: list[Event] = [e for e in drive.events if isinstance(e, Fix)]
    for event in events[:3]:
        runner.feed(event)
    assert asked == [9, 0, 0]


def test_what_no_pass_could_see_is_neither_missed_nor_false(quiet_world: World) -> None:
    fleet = Fleet(RIG, quiet_world, QUIET, 3)
    short = Ride("short", "car-1", 0.0, start_m=-42.0, end_m=-40.0)
    fleet.go(short)
    score = cases.score_fleet(fleet, 10.0, 3.0)
    assert (score.total.matched, score.total.missed, score.total.false) == (0, 0, 0)


def test_calibration_is_carried_when_the_car_does(quiet_world: World) -> None:
    knocked = replace(QUIET, mount_yaw_deg=2.0, mount_pitch_deg=1.0)
    first, second = rides(quiet_world, 2, 1, ("front",), 2)
    biases = []
    for carries in (False, True):
        fleet = Fleet(replace(RIG, carries=carries), quiet_world, knocked, 3)
        learned = fleet.go(first).passed.calibration
        assert [update.camera for update in learned] == ["front"]
        begun = Ride("begun", "car-1", second.start_s, start_m=-42.0, end_m=-30.0)
        biases.append(fleet.go(begun).passed.calibration[0].yaw_deg - learned[0].yaw_deg)
    assert abs(biases[1]) < 1e-9 < abs(biases[0])


def test_ghosts_stay() -> None:
    world = street(5, 10.0, 40.0)
    brief = replace(world, things=tuple(replace(t, to_s=100.0) for t in world.things))
    assert all(t.exists(1e6) == (t.kind is not None) for t in resolve.ghosts(brief).things)


@pytest.mark.slow
@pytest.mark.parametrize("module", [relative, ellipse], ids=lambda m: str(m.EXPERIMENT.name))
def test_an_experiment_gives_figures_and_the_same_ones_again(module: object) -> None:
    experiment: Experiment = module.EXPERIMENT  # type: ignore[attr-defined]
    case = next(iter(experiment.cases))
    results = [Results({case: [experiment.measure(RIG, case, 1)]}) for _ in range(2)]
    first, second = (experiment.conclude(r, 7) for r in results)
    assert first
    assert repr(first) == repr(second)
    assert any(f.goal is not None for f in first)


def test_counts_become_figures_with_goals() -> None:
    """Hand-made tables of the costly experiments: 1 of 200 objects twice, 3 of 400 moving cars filed, and so on."""
    rows = {"rows": np.array([[100.0, 99.0, 1.0, 0.0, 5.0, 2.0, 2.0, 1.0]])}
    found = {f.name: f for f in dedup.conclude(Results({"6 m, sigma 3 m": [rows, rows]}), 1)}
    twice = found["6 m, sigma 3 m: duplicates / object"]
    assert (twice.estimate.value, twice.estimate.count, twice.passed) == (0.01, 200, True)
    assert twice.note == "before the re-merge 0.020"
    assert found["6 m, sigma 3 m: false merges / object"].passed is True
    tables = {"moving": np.array([[3, 400]]), "parked": np.array([[95, 100]]), "legal": np.array([[0, 50]])}
    named = {f.name: f for f in parked.conclude(Results({"traffic": [tables]}), 1)}
    assert named["moving or queued cars filed"].passed is False
    assert named["illegally parked found after the revisit"].passed is True
    lives = {"false": np.array([[1, 400]]), "closed": np.array([[19, 20]]), "hidden": np.array([[1, 9]])}
    told = {f.name: f.passed for f in resolve.conclude(Results({"pD 0.9": [lives]}), 1) if f.estimate.count}
    assert told["pD 0.9: falsely resolved, per open case and pass"] is True
    assert told["pD 0.9: vanished closed within 5 clear passes"] is True
    assert told["pD 0.9: resolved from a hidden place"] is False


def test_feeds_of_open_states_only(quiet_fleet: tuple[Fleet, list[Visit]]) -> None:
    fleet, _ = quiet_fleet
    assert set(fleet.fed(frozenset({CaseState.OPEN}))) == {c.id for c in fleet.cases(frozenset({CaseState.OPEN}))}
