"""Permanent landmarks: learned between drives, pulling offsets; those of the register are absolute and never move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnss.atlas import Component
from perception.anchors import settled
from perception.serial import anchor_from_dict, anchor_to_dict
from perception.types import Anchor, TrackEnd
from tests.builders import CATALOGUE, FRAME, UTC0_NS, enu, make_atlas, make_landmark, make_record
from tests.perception.streets import DAY_NS, Memory, Street

POLES = Street(np.array([(6.0, 10.0), (-6.0, 35.0), (6.0, 60.0), (-6.0, 90.0)]), ("pole",) * 4)


def _sigma(anchor: Anchor) -> float:
    return float(np.sqrt((anchor.cov_m2[0] + anchor.cov_m2[2]) / 2))


def test_poles_are_learned_seen_again_and_align_the_next_pass() -> None:
    memory = Memory()
    first = memory.take(POLES.look(0, 2.0, seed=1, seen=1.0))
    assert (len(first.anchors.kept), first.changes) == (4, ())
    assert {e.end for e in first.ends} == {TrackEnd.ANCHOR}
    assert first.offset.inliers == 0
    second = memory.take(POLES.look(1, 2.0, seed=2, seen=1.0))
    assert second.offset.inliers == 4
    assert len(memory.anchors) == 4
    for anchor in memory.anchors.values():
        assert (len(anchor.passes), anchor.revision) == (2, 2)
        assert _sigma(anchor) == pytest.approx(2.0 / np.sqrt(2), abs=0.2)
        assert max(anchor.map_cov_m2[0], anchor.map_cov_m2[2]) < 0.5


def test_a_lone_new_heap_lies_right_among_learned_anchors() -> None:
    memory = Memory()
    for day in range(3):
        memory.take(POLES.look(day, 2.0, seed=day, seen=1.0))
    both = Street(np.vstack([POLES.places_m, [[5.0, 45.0]]]), (*POLES.names, "garbage"))
    for day in range(3, 7):
        memory.take(both.look(day, 2.0, seed=day, seen=1.0))
    assert len(memory.cases) == 1
    assert len(memory.anchors) == 4
    (case,) = memory.cases.values()
    assert np.sqrt(max(case.map_cov_m2[0], case.map_cov_m2[2])) < 0.5


def test_a_bin_settles_after_three_days_within_half_a_metre() -> None:
    memory = Memory()
    yard = Street(np.vstack([POLES.places_m, [[5.0, 45.0]]]), (*POLES.names, "garbage_bin"))
    told = []
    for day in range(4):
        memory.take(yard.look(day, 1.0, seed=20 + day, seen=1.0, own_m=(0.05, 0.15)))
        (bin_,) = (a for a in memory.anchors.values() if a.class_name == "garbage_bin")
        told.append(settled(bin_, CATALOGUE))
    assert told[:2] == [False, False]
    assert told[-1]
    same_day = replace(bin_, passes=tuple(replace(p, utc_ns=UTC0_NS) for p in bin_.passes))
    assert not settled(same_day, CATALOGUE)
    assert all(settled(a, CATALOGUE) for a in memory.anchors.values() if a.class_name == "pole")


def _register(grade: str) -> list[Component]:
    found = []
    for i, (east, north) in enumerate(POLES.places_m.tolist()):
        lat, lon = FRAME.to_geo(east, north)
        found.append(Component(f"330106010310000{i:02d}", "pole", "01031", lat, lon, grade))
    return found


def test_the_citys_register_corrects_the_pass_and_shrinks_its_common_part() -> None:
    both = Street(np.vstack([POLES.places_m, [[5.0, 45.0]]]), (*POLES.names, "garbage"))
    shifted = both.look(0, 3.0, seed=9, seen=1.0)
    plain, exact = Memory(), Memory(make_atlas(components=_register("A")))
    plain.take(shifted)
    result = exact.take(shifted)
    assert result.correction.inliers == 4
    (rough,), (case,) = plain.cases.values(), exact.cases.values()
    miss = np.hypot(*(np.array(enu(case.lat_deg, case.lon_deg)) - (5.0, 45.0)))
    assert miss < 1.2
    assert miss < 0.5 * np.hypot(*(np.array(enu(rough.lat_deg, rough.lon_deg)) - (5.0, 45.0)))
    assert case.cov_m2[0] < 0.3 * rough.cov_m2[0]
    assert dict(case.error_budget)["site_m"] == pytest.approx(0.3, abs=0.2)


def test_many_passes_by_one_register_stay_as_unsure_as_the_register() -> None:
    both = Street(np.vstack([POLES.places_m, [[5.0, 45.0]]]), (*POLES.names, "garbage"))
    memory = Memory(make_atlas(components=_register("B")))
    for day in range(12):
        memory.take(both.look(day, 2.0, seed=30 + day, seen=1.0))
    (case,) = memory.cases.values()
    site = dict(case.error_budget)["site_m"]
    assert 0.2 < site < 1.0
    assert np.sqrt(case.cov_m2[0]) > 0.8 * site


def test_an_anchor_that_is_gone_is_forgotten_after_clear_looks() -> None:
    from tests.perception.test_associate import _views  # the same drive past a place as the clear looks of cases

    memory = Memory()
    mark = make_landmark("manhole_closed", 1.0, 20.0, sigma_m=0.2)
    memory.take(make_record([mark], common_m=0.3))
    assert len(memory.anchors) == 1
    for day in range(1, 8):
        memory.take(make_record([], _views(20.0), pass_id=f"e{day}", utc_ns=UTC0_NS + day * DAY_NS, common_m=0.3))
    assert memory.anchors == {}


def test_anchors_survive_their_plain_form() -> None:
    memory = Memory()
    for day in range(2):
        memory.take(POLES.look(day, 1.0, seed=day, seen=1.0))
    for anchor in memory.anchors.values():
        once = anchor_from_dict(anchor_to_dict(anchor))
        assert anchor_from_dict(anchor_to_dict(once)) == once
        assert (once.id, once.passes[0].pass_id, once.revision) == (anchor.id, "d0", 2)
