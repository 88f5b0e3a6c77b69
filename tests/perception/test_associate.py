"""Across passes: one problem is one case, ambiguity waits, gone means looked and gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gnss.atlas import Atlas, Component
from perception.associate import AssociateParams, Association, associate
from perception.rules import RuleParams, Rules
from perception.serial import canonical_json, change_to_dict
from perception.types import (
    Anchor,
    Case,
    CaseState,
    ChangeKind,
    Landmark,
    PassRecord,
    TrackEnd,
    Verdict,
    View,
)
from tests.builders import (
    CATALOGUE,
    FRAME,
    FRONT,
    UTC0_NS,
    enu,
    make_atlas,
    make_case,
    make_landmark,
    make_pose,
    make_record,
    make_view,
    make_zone,
)

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
PARAMS = AssociateParams()


def _associate(
    known: Sequence[Case], record: PassRecord, *, anchors: Sequence[Anchor] = (), atlas: Atlas | None = None
) -> Association:
    city = Atlas.empty() if atlas is None else atlas
    return associate(known, anchors, record, Rules(CATALOGUE, city, RuleParams()), {"front": FRONT}, PARAMS)


def _after(known: Sequence[Case], result: Association) -> list[Case]:
    table = {c.id: c for c in known} | {c.case_id: c.case for c in result.changes}
    return [table[name] for name in sorted(table)]


def _row(
    spots: Sequence[tuple[str, float, float]], *, shift: tuple[float, float] = (0.0, 0.0), utc_ns: int = UTC0_NS,
    pass_id: str = "p1", seed: int = 0,
) -> list[Landmark]:  # fmt: skip
    rng = np.random.default_rng(seed)
    return [
        make_landmark(
            name, e + shift[0] + 0.15 * rng.standard_normal(), n + shift[1] + 0.15 * rng.standard_normal(),
            track_id=i + 1, pass_id=pass_id, utc_ns=utc_ns + i * 1_000_000_000, stamp_ns=(i + 1) * 1_000_000_000,
        )
        for i, (name, e, n) in enumerate(spots)
    ]  # fmt: skip


STREET = [("garbage", 5.0, 20.0), ("pothole", 1.0, 35.0), ("street_stall", 6.0, 50.0), ("garbage", -5.0, 70.0)]


def test_two_passes_make_one_case_each() -> None:
    first = _associate([], make_record(_row(STREET)))
    assert [c.change for c in first.changes] == [ChangeKind.OPENED] * 4
    assert {e.end for e in first.ends} == {TrackEnd.FILED}
    known = _after([], first)
    again = _row(STREET, shift=(2.0, -1.5), utc_ns=UTC0_NS + DAY_NS, pass_id="p2", seed=1)
    second = _associate(known, make_record(again, pass_id="p2", utc_ns=UTC0_NS + DAY_NS))
    assert [c.change for c in second.changes] == [ChangeKind.UPDATED] * 4
    assert {e.end for e in second.ends} == {TrackEnd.MERGED}
    assert (second.offset.east_m, second.offset.north_m) == pytest.approx((-2.0, 1.5), abs=0.4)
    after = _after(known, second)
    assert len(after) == 4
    for case in after:
        assert len(case.passes) == 2
        assert case.revision == 2


def test_position_is_the_mean_of_days_and_its_ellipse_is_not_that_of_the_alignment() -> None:
    known = _after([], _associate([], make_record(_row(STREET))))
    again = _row(STREET, shift=(2.0, 0.0), utc_ns=UTC0_NS + DAY_NS, pass_id="p2", seed=1)
    after = _after(known, _associate(known, make_record(again, pass_id="p2", utc_ns=UTC0_NS + DAY_NS)))
    for before, case in zip(known, after, strict=True):
        moved = enu(case.lat_deg, case.lon_deg)[0] - enu(before.lat_deg, before.lon_deg)[0]
        assert moved == pytest.approx(1.0, abs=0.3)
        assert np.sqrt(case.cov_m2[0]) == pytest.approx(1.5 / np.sqrt(2), abs=0.1)


def test_twins_three_metres_apart_stay_two() -> None:
    spots = [*STREET, ("garbage", 5.0, 23.0)]
    known = _after([], _associate([], make_record(_row(spots))))
    assert len(known) == 5
    for day in range(1, 4):
        shift = (1.5 * (-1) ** day, 1.2 * day - 2.0)
        row = _row(spots, shift=shift, utc_ns=UTC0_NS + day * DAY_NS, pass_id=f"d{day}", seed=day)
        known = _after(known, _associate(known, make_record(row, pass_id=f"d{day}", utc_ns=UTC0_NS + day * DAY_NS)))
    assert len(known) == 5
    heaps = sorted(enu(c.lat_deg, c.lon_deg)[1] for c in known if c.class_name == "garbage")
    assert heaps[1] - heaps[0] == pytest.approx(3.0, abs=0.4)


def test_one_twin_seen_without_alignment_is_deferred_and_neither_is_missed() -> None:
    known = [make_case("garbage", 5.0, 20.0, id="a"), make_case("garbage", 5.0, 23.0, id="b")]
    seen = make_landmark("garbage", 5.0, 21.5, pass_id="p2", utc_ns=UTC0_NS + DAY_NS)
    record = make_record([seen], _views(20.0), pass_id="p2", utc_ns=UTC0_NS + DAY_NS)
    result = _associate(known, record)
    assert result.changes == ()
    assert [e.end for e in result.ends] == [TrackEnd.CANDIDATE]
    assert "too close to call" in result.ends[0].reason


def test_the_order_of_landmarks_does_not_matter() -> None:
    known = _after([], _associate([], make_record(_row(STREET))))
    row = _row(STREET, shift=(1.0, 1.0), utc_ns=UTC0_NS + DAY_NS, pass_id="p2", seed=1)
    lines = set()
    for order in (row, row[::-1], row[2:] + row[:2]):
        for cases in (known, known[::-1]):
            result = _associate(cases, make_record(order, pass_id="p2", utc_ns=UTC0_NS + DAY_NS))
            lines.add(canonical_json([change_to_dict(c, with_pictures=True) for c in result.changes]))
    assert len(lines) == 1


def test_anchors_pull_the_offset_and_are_not_moved() -> None:
    poles = [(6.0, 10.0), (6.0, 40.0), (-6.0, 60.0), (6.0, 80.0)]
    anchors = [Anchor(f"pole{i}", "pole", *FRAME.to_geo(e, n), (0.04, 0.0, 0.04)) for i, (e, n) in enumerate(poles)]
    row = _row([("pole", e, n) for e, n in poles], shift=(1.8, 0.9))
    result = _associate([], make_record(row), anchors=anchors)
    assert (result.correction.east_m, result.correction.north_m) == pytest.approx((-1.8, -0.9), abs=0.3)
    assert result.changes == ()
    assert {e.end for e in result.ends} == {TrackEnd.ANCHOR}


def test_a_moving_car_neither_votes_nor_touches_a_parked_ones_case() -> None:
    known = [make_case("car", 5.0, 20.0 * i, id=f"c{i}") for i in range(1, 5)]
    row = [
        make_landmark("car", 6.0, 20.0 * i, track_id=i, verdict=Verdict.MOVING, utc_ns=UTC0_NS + DAY_NS, pass_id="p2")
        for i in range(1, 5)
    ]
    result = _associate(known, make_record(row, pass_id="p2", utc_ns=UTC0_NS + DAY_NS))
    assert result.offset.inliers == 0
    assert result.changes == ()
    assert {e.end for e in result.ends} == {TrackEnd.NO_PROBLEM}


def test_two_problems_of_one_thing_are_two_cases() -> None:
    known = [make_case("bin_damaged", 5.0, 20.0)]
    row = [make_landmark("garbage_bin_overflow", 5.1, 20.1, pass_id="p2", utc_ns=UTC0_NS + DAY_NS)]
    result = _associate(known, make_record(row, pass_id="p2", utc_ns=UTC0_NS + DAY_NS))
    assert [c.change for c in result.changes] == [ChangeKind.OPENED]
    assert result.changes[0].case.kind == "bin_overflow"


ZONE = make_atlas([make_zone("no_parking", (2.0, 8.0), (0.0, 100.0), dwell_s=300.0)])


def _car(utc_ns: int, pass_id: str, east: float = 5.0) -> PassRecord:
    m = make_landmark("car", east, 20.0, utc_ns=utc_ns, pass_id=pass_id)
    return make_record([m], pass_id=pass_id, utc_ns=utc_ns)


def test_a_parked_car_is_a_candidate_until_it_still_stands_after_the_dwell() -> None:
    first = _associate([], _car(UTC0_NS, "p1"), atlas=ZONE)
    assert [c.change for c in first.changes] == [ChangeKind.CANDIDATE]
    assert [e.end for e in first.ends] == [TrackEnd.CANDIDATE]
    known = _after([], first)
    soon = _associate(known, _car(UTC0_NS + 400 * 10**9, "p2"), atlas=ZONE)
    assert soon.changes[0].case.state is CaseState.CANDIDATE
    later = _associate(known, _car(UTC0_NS + 1200 * 10**9, "p3"), atlas=ZONE)
    assert [c.change for c in later.changes] == [ChangeKind.OPENED]
    assert later.changes[0].case_id == known[0].id
    assert [e.end for e in later.ends] == [TrackEnd.FILED]


def test_waiting_beside_it_is_no_second_look_however_long() -> None:
    known = _after([], _associate([], _car(UTC0_NS, "p1"), atlas=ZONE))
    here = FRAME.to_geo(0.0, 10.0)
    stood = [(UTC0_NS - 10**9, *here), (UTC0_NS + 10**10, *here)]
    waited = replace(_car(UTC0_NS + 1200 * 10**9, "p3"), trail=tuple(stood))
    assert _associate(known, waited, atlas=ZONE).changes[0].case.state is CaseState.CANDIDATE
    away = (UTC0_NS + 2 * 10**11, *FRAME.to_geo(0.0, 200.0))
    returned = replace(waited, trail=(*stood, away))
    assert _associate(known, returned, atlas=ZONE).changes[0].case.state is CaseState.OPEN


def test_without_utc_a_candidate_stays_one_and_nothing_is_missed() -> None:
    blank = replace(
        _car(UTC0_NS, "p1"),
        start_utc_ns=None,
        end_utc_ns=None,
        landmarks=(make_landmark("car", 5.0, 20.0, utc_ns=None),),
    )
    first = _associate([], blank, atlas=ZONE)
    assert [c.change for c in first.changes] == [ChangeKind.CANDIDATE]
    known = _after([], first)
    second = replace(blank, pass_id="p2", landmarks=(make_landmark("car", 5.0, 20.0, utc_ns=None, pass_id="p2"),))
    assert _associate(known, second, atlas=ZONE).changes[0].case.state is CaseState.CANDIDATE
    empty = replace(blank, pass_id="p3", landmarks=(), views=tuple(_views(20.0)))
    assert _associate(known, empty, atlas=ZONE).changes == ()


def _views(north: float, *, start_m: float = 30.0, offset: float = 0.0) -> list[View]:
    return [
        make_view(make_pose(offset, north - start_m + 1.4 * i, 0.0, i * 200_000_000, utc_ns=0), i) for i in range(18)
    ]


def _empty(
    day: int, *, seen: Sequence[Landmark] = (), offset: float = 0.0, live: Sequence[Landmark] = ()
) -> PassRecord:
    views = _views(20.0, offset=offset)
    return make_record(seen, views, pass_id=f"e{day}", utc_ns=UTC0_NS + day * DAY_NS, common_m=0.5, live=live)


def test_gone_needs_clear_looks_and_is_resolved_then() -> None:
    known = [make_case("garbage", 4.0, 20.0, common_m=0.5)]
    states = []
    for day in range(1, 5):
        known = _after(known, _associate(known, _empty(day)))
        states.append(known[0].state)
    assert states[0] is CaseState.MONITORING
    assert CaseState.RESOLVED in states[1:3]
    assert states[-1] is CaseState.RESOLVED


def test_one_approach_is_one_look() -> None:
    known = [make_case("garbage", 4.0, 20.0, common_m=0.5)]
    first = _after(known, _associate(known, _empty(1)))
    again = replace(_empty(1), pass_id="e1b", start_utc_ns=UTC0_NS + DAY_NS + 120 * 10**9)
    assert _associate(first, again).changes == ()


def test_from_out_of_view_nothing_is_ever_missed() -> None:
    known = [make_case("garbage", 4.0, 20.0, common_m=0.5)]
    for day in range(1, 30):
        result = _associate(known, _empty(day, offset=-40.0))
        assert result.changes == ()


def test_a_track_that_goes_on_is_no_miss() -> None:
    known = [make_case("garbage", 4.0, 20.0, common_m=0.5)]
    live = [make_landmark("garbage", 4.3, 20.2, pass_id="e1", utc_ns=UTC0_NS + DAY_NS, coarse=True)]
    assert _associate(known, _empty(1, live=live)).changes == ()


def test_the_healthy_thing_at_the_place_is_a_clear_look() -> None:
    known = [make_case("manhole_open", 1.0, 20.0, common_m=0.5)]
    for day in range(1, 5):
        seen = [make_landmark("manhole_closed", 1.1, 20.1, pass_id=f"e{day}", utc_ns=UTC0_NS + day * DAY_NS)]
        result = _associate(known, make_record(seen, pass_id=f"e{day}", utc_ns=UTC0_NS + day * DAY_NS, common_m=0.5))
        assert [e.end for e in result.ends] == [TrackEnd.ANCHOR]
        known = _after(known, result)
        if known[0].state is CaseState.RESOLVED:
            break
    assert known[0].state is CaseState.RESOLVED
    assert "healthy" in known[0].reason


def test_what_comes_back_reopens_and_a_new_car_is_a_new_candidate() -> None:
    heap = make_case("garbage", 4.0, 20.0, state=CaseState.RESOLVED, existence=0.01)
    row = [make_landmark("garbage", 4.1, 20.0, pass_id="p2", utc_ns=UTC0_NS + DAY_NS)]
    result = _associate([heap], make_record(row, pass_id="p2", utc_ns=UTC0_NS + DAY_NS))
    assert [(c.change, c.case_id) for c in result.changes] == [(ChangeKind.REOPENED, heap.id)]
    assert result.changes[0].case.state is CaseState.REOPENED
    car = make_case("car", 5.0, 20.0, state=CaseState.RESOLVED, existence=0.01)
    other = _associate([car], _car(UTC0_NS + DAY_NS, "p2"), atlas=ZONE)
    assert [c.change for c in other.changes] == [ChangeKind.CANDIDATE]
    assert other.changes[0].case_id != car.id


def test_a_rejection_suppresses_the_same_problem() -> None:
    known = [make_case("garbage", 4.0, 20.0, state=CaseState.REJECTED)]
    row = [make_landmark("garbage", 4.1, 20.0, pass_id="p2", utc_ns=UTC0_NS + DAY_NS)]
    result = _associate(known, make_record(row, pass_id="p2", utc_ns=UTC0_NS + DAY_NS))
    assert result.changes == ()
    assert [e.end for e in result.ends] == [TrackEnd.SUPPRESSED]


def test_coarse_landmarks_update_but_never_open() -> None:
    far = make_landmark("garbage", 4.0, 20.0, coarse=True, sigma_m=2.0, pass_id="p2", utc_ns=UTC0_NS + DAY_NS)
    alone = _associate([], make_record([far], pass_id="p2", utc_ns=UTC0_NS + DAY_NS))
    assert (alone.changes, [e.end for e in alone.ends]) == ((), [TrackEnd.EXPIRED])
    known = [make_case("garbage", 4.0, 20.0)]
    result = _associate(known, make_record([far], pass_id="p2", utc_ns=UTC0_NS + DAY_NS))
    assert [c.change for c in result.changes] == [ChangeKind.UPDATED]
    assert result.changes[0].case.passes == known[0].passes


def test_a_case_of_this_very_pass_is_matched_by_its_place_in_it() -> None:
    # Filed yesterday 4 m to the west of where today's GNSS puts it, and touched by an urgent look of today.
    old = make_case("manhole_open", 0.0, 20.0, common_m=2.0)
    m = make_landmark("manhole_open", 4.0, 20.0, pass_id="p2", utc_ns=UTC0_NS + DAY_NS)
    record = make_record([m], pass_id="p2", utc_ns=UTC0_NS + DAY_NS, common_m=2.0)
    known = _after([old], _associate([old], record))
    assert len(known) == 1
    again = _associate(known, record)
    assert [c.case_id for c in again.changes] == [old.id]
    assert again.changes[0].case.existence == known[0].existence
    assert len(again.changes[0].case.passes) == 2


def test_far_cases_cost_nothing_and_change_nothing() -> None:
    far = [make_case("garbage", 5_000.0 + 7.0 * i, 0.0, id=f"far{i}") for i in range(2000)]
    with_them = _associate(far, make_record(_row(STREET), _views(20.0)))
    without = _associate([], make_record(_row(STREET), _views(20.0)))
    assert [change_to_dict(c, with_pictures=True) for c in with_them.changes] == [
        change_to_dict(c, with_pictures=True) for c in without.changes
    ]


def test_every_landmark_ends_once() -> None:
    row = _row([*STREET, ("pole", 6.0, 30.0), ("garbage_bin", -6.0, 40.0), ("car", 5.0, 90.0)])
    result = _associate([], make_record(row))
    assert sorted(e.track_id for e in result.ends) == sorted(m.track_id for m in row)


def test_the_code_follows_the_component_that_a_later_look_finds() -> None:
    cover = Component("33010601002000001", "cover", "01002", *FRAME.to_geo(0.0, 20.0), "A")
    near = make_landmark("manhole_open", 0.0, 20.0, sigma_m=0.3)
    first = _associate([], make_record([near]))
    assert [(c.case.code, c.case.component) for c in first.changes] == [("01023", None)]
    seen = make_landmark("manhole_open", 0.1, 20.0, sigma_m=0.3, pass_id="p2", utc_ns=UTC0_NS + DAY_NS)
    record = make_record([seen], pass_id="p2", utc_ns=UTC0_NS + DAY_NS)
    second = _associate(_after([], first), record, atlas=make_atlas(components=[cover]))
    assert [(c.case.code, c.case.component.id) for c in second.changes if c.case.component] == [("01002", cover.id)]
