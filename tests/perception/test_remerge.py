"""At the end of a shift: duplicates become one case, two things stay two, and a doubtful merge is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from perception.joint import Sighting, solve
from perception.remerge import Remerged, remerge
from perception.serial import canonical_json, change_to_dict
from perception.types import Anchor, Case, CaseState, ChangeKind, ComponentMatch, PassPosition
from tests.builders import CATALOGUE, FRAME, UTC0_NS, enu, make_case
from tests.perception.shifts import HOUR_NS, make_shift

OWN, COMMON = (0.04, 0.0, 0.04), (2.25, 0.0, 2.25)


def seen_by(case: Case, passes: Sequence[tuple[int, float, float]]) -> Case:
    """The case with positions (pass number, east, north)."""
    made = tuple(
        PassPosition(f"p{n}", UTC0_NS + n * HOUR_NS, *FRAME.to_geo(east, north), OWN, COMMON)
        for n, east, north in passes
    )
    stamps = [p.utc_ns for p in made if p.utc_ns is not None]
    return replace(case, passes=made, first_seen_utc_ns=min(stamps), last_seen_utc_ns=max(stamps))


def street(shifts: dict[int, tuple[float, float]]) -> list[Case]:
    """Four things that every pass saw, each pass shifted as a whole."""
    places = [(-6.0, 0.0), (6.0, 12.0), (-6.0, 25.0), (6.0, 40.0)]
    return [
        seen_by(make_case("pothole", id=f"s{i}"), [(n, e + de, m + dn) for n, (de, dn) in shifts.items()])
        for i, (e, m) in enumerate(places)
    ]


STATES = (CaseState.OPEN, CaseState.RESOLVED)
SHIFTS = {0: (0.0, 0.0), 1: (2.5, -1.0), 2: (-1.5, 2.0)}


def merged(cases: Sequence[Case]) -> dict[str, str]:
    """Who went into whom."""
    found = remerge(cases, (), CATALOGUE)
    return {c.case_id: c.case.merged_into or "" for c in found.changes if c.change is ChangeKind.MERGED}


def twins(
    class_a: str = "garbage", class_b: str = "garbage", passes_b: Sequence[int] = (1,), apart_m: float = 0.0
) -> list[Case]:
    """Two cases at one place (or `apart_m` north of it), the first seen by passes 0 and 2."""
    a = seen_by(make_case(class_a, id="a"), [(n, 6 + SHIFTS[n][0], 20 + SHIFTS[n][1]) for n in (0, 2)])
    b = seen_by(
        make_case(class_b, id="b", state=CaseState.CANDIDATE, existence=0.6),
        [(n, 6 + SHIFTS[n][0], 20 + apart_m + SHIFTS[n][1]) for n in passes_b],
    )
    return [a, b]


def test_a_duplicate_becomes_an_alias() -> None:
    found = remerge([*street(SHIFTS), *twins()], (), CATALOGUE)
    kept, gone = found.changes
    assert (kept.change, kept.case_id, kept.case.aliases) == (ChangeKind.UPDATED, "a", ("b",))
    assert (kept.base_revision, kept.case.revision) == (1, 2)
    assert [p.pass_id for p in kept.case.passes] == ["p0", "p1", "p2"]
    assert kept.case.existence > 0.98
    assert kept.case.cov_m2[0] < twins()[0].cov_m2[0]
    assert (gone.change, gone.case.state, gone.case.merged_into) == (ChangeKind.MERGED, CaseState.MERGED, "a")


def test_the_offset_of_a_pass_is_found_from_all_it_saw() -> None:
    found = remerge([*street(SHIFTS), *twins()], (), CATALOGUE)
    gap = np.array(found.offsets_m["p0"]) - np.array(found.offsets_m["p1"])
    assert gap == pytest.approx([2.5, -1.0], abs=0.1)


@pytest.mark.parametrize(
    ("cases", "why"),
    [
        (twins("garbage", "pothole"), "another kind"),
        (twins(passes_b=(1, 2)), "one pass saw both"),
        (twins(apart_m=3.0), "too far apart"),
        ([twins()[0], replace(twins()[1], state=CaseState.REJECTED)], "the platform said no"),
        ([replace(twins()[0], state=CaseState.RESOLVED), twins()[1]], "gone, and a candidate proves nothing"),
        ([replace(c, class_name="car", state=s) for c, s in zip(twins(), STATES, strict=True)], "another car"),
        ([twins()[0], replace(twins()[1], state=CaseState.MERGED)], "merged already"),
    ],
)
def test_two_things_stay_two(cases: list[Case], why: str) -> None:
    assert merged([*street(SHIFTS), *cases]) == {}, why


def test_a_later_vehicle_at_the_place_is_another_vehicle() -> None:
    shifts = {n: SHIFTS[n % 3] for n in (0, 1, 2, 30)}
    early = seen_by(make_case("car", id="a"), [(0, 6.0, 20.0), (1, 8.5, 19.0)])
    late = seen_by(make_case("car", id="b"), [(30, 6.0, 20.0)])
    assert merged([*street(shifts), early, late]) == {}
    hole = [replace(c, kind="road_damage", class_name="pothole") for c in (early, late)]
    assert merged([*street(shifts), *hole]) == {"b": "a"}


def test_a_twin_that_two_cases_may_claim_waits() -> None:
    a = seen_by(make_case("garbage", id="a"), [(0, 6.0, 19.6), (2, 4.5, 21.6)])
    b = seen_by(make_case("garbage", id="b"), [(0, 6.0, 20.4), (2, 4.5, 22.4)])
    between = seen_by(make_case("garbage", id="c"), [(1, 8.5, 19.0)])
    assert merged([*street(SHIFTS), a, b, between]) == {}


def test_what_was_thought_gone_and_is_there_is_one_case_that_stands() -> None:
    early, late = twins(passes_b=(1,))
    found = remerge(
        [*street(SHIFTS), replace(early, state=CaseState.RESOLVED), replace(late, state=CaseState.OPEN)], (), CATALOGUE
    )
    kept, gone = found.changes
    assert (kept.case_id, kept.case.state, kept.case.aliases) == ("b", CaseState.OPEN, ("a",))
    assert gone.case.merged_into == "b"


def test_another_look_speaks_against_one_thing() -> None:
    red, grey = (1.0, 0.0), (0.0, 1.0)
    pair = twins(apart_m=1.4)
    assert merged([*street(SHIFTS), *[replace(c, appearance=red) for c in pair]]) == {"b": "a"}
    assert merged([*street(SHIFTS), *[replace(c, appearance=v) for c, v in zip(pair, (red, grey), strict=True)]]) == {}


def test_the_offset_may_drift_along_a_pass() -> None:
    cov = 0.01 * np.eye(2)
    rows = [(k, f"p{n}", np.array([n * 0.1 * k, 10.0 * k]), float(k)) for k in range(20) for n in (0, 1)]
    found = solve([Sighting(k, name, z, cov, time_s) for k, name, z, time_s in rows], {"p0": cov, "p1": 9 * np.eye(2)})
    begin, end = found.offsets["p1", 0], found.offsets["p1", 6]
    assert begin[0] - end[0] == pytest.approx(1.8, abs=0.2)
    assert found.mean_offsets()["p1"][0] == pytest.approx((begin[0] + end[0]) / 2, abs=0.1)


def test_three_cases_of_one_thing_become_one() -> None:
    parts = [seen_by(make_case("garbage", id=f"c{n}"), [(n, 6 + SHIFTS[n][0], 20 + SHIFTS[n][1])]) for n in SHIFTS]
    assert merged([*street(SHIFTS), *parts]) == {"c1": "c0", "c2": "c0"}


def test_a_case_made_of_two_things_is_named_and_not_touched() -> None:
    shifts = {n: SHIFTS[n % 3] for n in range(6)}
    mixed = [(n, 6 + shifts[n][0], 20 + shifts[n][1] + (0.0 if n < 3 else 3.0)) for n in shifts]
    found = remerge([*street(shifts), seen_by(make_case(id="mixed"), mixed)], (), CATALOGUE)
    (suspect,) = found.suspects
    assert suspect.case_id == "mixed"
    assert suspect.gap_m == pytest.approx(3.0, abs=0.5)
    assert set(suspect.others) in ({"p0", "p1", "p2"}, {"p3", "p4", "p5"})
    assert found.changes == ()


def test_a_register_component_holds_the_street() -> None:
    cases = street({0: (2.0, 0.0)})
    match = ComponentMatch("33010601020001", "01020", 0.99)
    cases[0] = replace(cases[0], component=match)
    lat, lon = FRAME.to_geo(-6.0, 0.0)
    held = remerge(cases, [Anchor(match.id, "manhole", lat, lon, (0.01, 0.0, 0.01))], CATALOGUE)
    assert enu(*held.places["s2"]) == pytest.approx((-6.0, 25.0), abs=0.15)
    free = remerge(cases, (), CATALOGUE)
    assert enu(*free.places["s2"]) == pytest.approx((-4.0, 25.0), abs=0.15)


def test_order_and_repetition_change_nothing() -> None:
    shift = make_shift(3)

    def lines(found: Remerged) -> list[str]:
        return [canonical_json(change_to_dict(c, with_pictures=True)) for c in found.changes]

    once = remerge(shift.cases, (), CATALOGUE)
    assert once.changes
    assert lines(remerge(shift.cases[::-1], (), CATALOGUE)) == lines(once)
    after = {c.id: c for c in shift.cases} | {c.case_id: c.case for c in once.changes}
    again = remerge(list(after.values()), (), CATALOGUE)
    assert len([c for c in again.changes if c.change is ChangeKind.MERGED]) <= 1


@pytest.mark.parametrize("gnss_m", [1.5, 3.0])
def test_the_goal_of_the_shift(gnss_m: float) -> None:
    """At 6 m spacing from 0.08 duplicates per object: <= 0.01 left, <= 0.5 % of objects in a false merge."""
    figures = []
    for seed in range(24):
        shift = make_shift(100 + seed, gnss_m=gnss_m)
        found = remerge(shift.cases, (), CATALOGUE)
        before = shift.duplicates(tuple((c.id,) for c in shift.cases))
        figures.append(
            (before, shift.duplicates(found.groups), shift.false_merges(found.groups), shift.swallowed(found.groups))
        )
    before, after, false, swallowed = np.mean(figures, axis=0)
    assert before > 0.06
    assert after <= 0.01
    assert false <= 0.005
    assert swallowed <= 0.02


def test_no_cases_no_changes() -> None:
    assert remerge((), (), CATALOGUE).changes == ()
    with pytest.raises(ValueError, match="nothing was seen"):
        solve((), {})


def test_a_wrong_pairing_does_not_move_its_neighbours() -> None:
    cov = 0.04 * np.eye(2)
    rows = [(k, f"p{n}", np.array([float(k), 0.0])) for k in range(4) for n in range(3)]
    rows[0] = (0, "p0", np.array([6.0, 0.0]))
    found = solve([Sighting(k, n, z, cov) for k, n, z in rows], {f"p{n}": 4.0 * np.eye(2) for n in range(3)})
    assert found.places[3] - found.places[2] == pytest.approx([1.0, 0.0], abs=0.05)
    assert float(np.hypot(*found.mean_offsets()["p0"])) < 0.4
