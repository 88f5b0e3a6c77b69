"""Many passes into one memory: one case per thing, whatever the order of arrival; a replay says nothing new."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perception.associate import pass_order
from perception.serial import canonical_json, case_to_dict
from perception.types import CaseState, PassRecord, TrackEnd
from tests.builders import CATALOGUE, UTC0_NS, make_case, make_record
from tests.perception.streets import DAY_NS, Memory, Street, mixed


def _counts(memory: Memory, street: Street) -> tuple[int, int, int]:
    """Problems that were ever seen, cases beyond the first of a thing, and cases of several things."""
    kept = {k for k, c in memory.cases.items() if c.state is not CaseState.WITHDRAWN}
    owned = {k: set(o) for k, o in memory.owners.items() if k in kept}
    things = {t for o in owned.values() for t in o if CATALOGUE.classes[street.names[t - 1]].role == "problem"}
    first = [memory.owners[k].most_common(1)[0][0] for k in owned]
    return len(things), len(first) - len(set(first)), sum(len(o) > 1 for o in owned.values())


@pytest.mark.parametrize("sigma_m", [1.5, 3.0])
def test_five_passes_make_one_case_of_each_thing_six_metres_apart(sigma_m: float) -> None:
    total = np.zeros(3)
    for seed in range(6):
        street, memory = Street.random(seed, 6.0), Memory()
        for day in range(5):
            memory.take(street.look(day, sigma_m, seed=seed, vehicle=f"car-{day % 2}"))
        total += _counts(memory, street)
    assert total[0] >= 100
    assert total[1] <= 0.01 * total[0]
    assert total[2] <= 0.01 * total[0]


def test_one_class_without_any_appearance_is_told_apart_by_place_alone() -> None:
    street, memory = Street.random(3, 8.0, names=["garbage"]), Memory()
    for day in range(5):
        memory.take(street.look(day, 2.0, seed=3))
    things, doubles, mixed_up = _counts(memory, street)
    assert things >= 20
    assert doubles + mixed_up <= 1


def _two_vehicles(street: Street) -> list[PassRecord]:
    """Passes of two vehicles of which each pair overlaps in time."""
    records = []
    for day in range(3):
        for nth, vehicle in enumerate(("car-1", "car-2")):
            record = street.look(day, 1.5, seed=11 + nth, vehicle=vehicle)
            late = nth * 20_000_000_000
            marks = tuple(
                replace(
                    m, pass_id=f"{vehicle}-{day}", first_utc_ns=(m.first_utc_ns or 0) + late,
                    last_utc_ns=(m.last_utc_ns or 0) + late,
                )
                for m in record.landmarks
            )  # fmt: skip
            records.append(
                replace(
                    record, pass_id=f"{vehicle}-{day}", landmarks=marks, start_utc_ns=(record.start_utc_ns or 0) + late,
                    end_utc_ns=(record.end_utc_ns or 0) + late,
                )
            )  # fmt: skip
    return records


def test_the_order_of_arrival_does_not_matter() -> None:
    street = Street.random(5, 7.0)
    records = _two_vehicles(street)
    told = set()
    for order in (records, records[::-1], records[1::2] + records[::2]):
        memory = Memory()
        for record in sorted(order, key=pass_order):
            memory.take(record)
        told.add(canonical_json([case_to_dict(memory.cases[k]) for k in sorted(memory.cases)]))
        assert _counts(memory, street)[1:] == (0, 0)
    assert len(told) == 1


def test_a_pass_without_utc_has_no_place_in_the_order() -> None:
    with pytest.raises(ValueError, match="no UTC"):
        pass_order(make_record([], utc_ns=None))


def test_the_same_drives_again_add_nothing() -> None:
    street, memory = Street.random(7, 8.0), Memory()
    records = [street.look(day, 1.5, seed=7, seen=0.8) for day in range(3)]
    for record in records:
        memory.take(record)
    before = dict(memory.cases)
    anchors = dict(memory.anchors)
    for record in records * 2:
        memory.take(record)
    assert memory.cases.keys() == before.keys()
    assert memory.anchors.keys() == anchors.keys()
    for name, case in memory.cases.items():
        assert case.existence == before[name].existence
        assert case.state is before[name].state
        assert len(case.passes) == len(before[name].passes)


def test_a_pass_counted_before_the_thing_was_gone_neither_reopens_nor_doubles_it() -> None:
    street, memory = Street(np.array([[5.0, 20.0]]), ("garbage",)), Memory()
    record = street.look(0, 0.5, seed=1, seen=1.0)
    memory.take(record)
    (name, case), *_ = memory.cases.items()
    for state in (CaseState.RESOLVED, CaseState.WITHDRAWN):
        memory.cases = {name: replace(case, state=state, existence=0.01)}
        result = memory.take(record)
        assert result.changes == ()
        assert [e.end for e in result.ends] == [TrackEnd.MERGED]


@pytest.mark.parametrize("seed", range(12))
def test_every_landmark_ends_exactly_once_whatever_it_is(seed: int) -> None:
    rng, memory = np.random.default_rng(seed), Memory()
    kinds = ["garbage", "pothole", "car", "street_stall", "manhole_open"]
    for nth in range(25):
        state = CaseState(rng.choice([s.value for s in CaseState]))
        case = make_case(
            str(rng.choice(kinds)), float(rng.uniform(-8, 8)), float(rng.uniform(0, 80)), id=f"c{nth}", state=state,
            existence=float(rng.uniform(0.001, 0.999)), own_m=float(rng.uniform(0.1, 1.0)),
            utc_ns=UTC0_NS - int(rng.integers(0, 3)) * DAY_NS, dwell_s=300.0,
        )  # fmt: skip
        memory.cases[case.id] = case
    for day in range(3):
        marks = [replace(m, pass_id=f"p{day}") for m in mixed(100 * seed + day)]
        record = make_record(marks, pass_id=f"p{day}", utc_ns=UTC0_NS + day * DAY_NS)
        result = memory.take(record)
        assert sorted((e.camera, e.track_id) for e in result.ends) == sorted((m.camera, m.track_id) for m in marks)
        born = [c.case_id for c in result.changes if c.base_revision == 0]
        assert len(born) == len(set(born))
        touched = [c.case_id for c in result.changes]
        assert len(touched) == len(set(touched))
        assert all(e.case_id in memory.cases for e in result.ends if e.case_id is not None)


def test_one_thing_alone_is_matched_by_the_gnss_gate_and_two_alike_are_deferred() -> None:
    memory = Memory()
    memory.take(Street(np.array([[5.0, 20.0]]), ("garbage",)).look(0, 1.0, seed=4, seen=1.0))
    again = memory.take(Street(np.array([[5.0, 20.0]]), ("garbage",)).look(1, 1.0, seed=5, seen=1.0))
    assert [e.end for e in again.ends] == [TrackEnd.MERGED]
    twins = Memory()
    twins.cases = {n: make_case("garbage", 5.0, at, id=n) for n, at in (("a", 20.0), ("b", 23.0))}
    row = Street(np.array([[5.0, 21.5]]), ("garbage",)).look(1, 1.0, seed=6, seen=1.0)
    for _ in range(3):
        assert twins.take(row).changes == ()
