"""Rules in map space: zones, hours, dwell, bays, sensitive places, the component register."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnss.atlas import Component, Zone
from gnss.types import Array
from perception.rules import Decision, Finding, RuleParams, Rules, match_component, zone_probability
from perception.types import Landmark, TrackEnd, Verdict
from tests.builders import CATALOGUE, FRAME, UTC0_NS, make_atlas, make_landmark, make_zone

SMALL: Array = 0.2**2 * np.eye(2)
KERB = ((2.0, 8.0), (0.0, 100.0))
CAR = make_landmark("car", 5.0, 50.0)
HOUR_NS = 3_600_000_000_000


def _judge(landmark: Landmark, *zones: Zone, common: Array = SMALL) -> Finding:
    return Rules(CATALOGUE, make_atlas(zones), RuleParams()).judge(landmark, common)


def test_no_stopping_counts_at_once() -> None:
    found = _judge(CAR, make_zone("no_stopping", *KERB, dwell_s=0.0))
    assert (found.decision, found.kind, found.dwell_s) == (Decision.ACCEPT, "illegal_parking", 0.0)
    assert found.zone == "no_stopping"


def test_without_a_dwell_the_citys_default_holds_it() -> None:
    found = _judge(CAR, make_zone("no_parking", *KERB))
    assert (found.decision, found.dwell_s) == (Decision.HOLD, 180.0)


def test_a_zones_own_dwell_wins() -> None:
    assert _judge(CAR, make_zone("no_parking", *KERB, dwell_s=600.0)).dwell_s == 600.0


def test_no_zone_is_no_problem() -> None:
    found = _judge(CAR)
    assert (found.decision, found.end) == (Decision.REFUSE, TrackEnd.NO_PROBLEM)


def test_a_bay_inside_a_no_parking_zone_is_legal() -> None:
    bay = make_zone("parking_bay", (3.0, 7.0), (40.0, 60.0))
    found = _judge(CAR, make_zone("no_parking", (2.0, 6.0), (0.0, 100.0), dwell_s=0.0), bay)
    assert found.decision is Decision.REFUSE
    assert "parking_bay" in found.reason


def test_hours_decide_on_the_citys_clock() -> None:
    # UTC0 is 20:26 UTC = 04:26 on the city's clock the next day; ten hours later it is 14:26.
    zone = make_zone("no_stopping", *KERB, dwell_s=0.0, hours="07:00-22:00")
    night = make_landmark("car", 5.0, 50.0, utc_ns=UTC0_NS)
    day = make_landmark("car", 5.0, 50.0, utc_ns=UTC0_NS + 10 * HOUR_NS)
    assert _judge(night, zone).decision is Decision.REFUSE
    assert _judge(day, zone).decision is Decision.ACCEPT


def test_a_moving_car_is_refused_and_an_unsure_one_waits() -> None:
    zone = make_zone("no_stopping", *KERB, dwell_s=0.0)
    moving = _judge(make_landmark("car", 5.0, 50.0, verdict=Verdict.MOVING), zone)
    unsure = _judge(make_landmark("car", 5.0, 50.0, verdict=Verdict.UNKNOWN), zone)
    assert (moving.decision, moving.end) == (Decision.REFUSE, TrackEnd.NO_PROBLEM)
    assert unsure.decision is Decision.HOLD
    assert unsure.dwell_s is not None
    assert unsure.dwell_s >= 180.0


def test_at_the_edge_of_a_zone_it_waits() -> None:
    found = _judge(make_landmark("car", 1.6, 50.0, sigma_m=0.7), make_zone("no_stopping", *KERB, dwell_s=0.0))
    assert found.decision is Decision.HOLD
    assert found.reason.startswith("perhaps in")


def test_just_outside_with_a_wide_ellipse_nothing_is_held() -> None:
    found = _judge(make_landmark("car", 0.0, 50.0, sigma_m=1.0), make_zone("no_stopping", *KERB, dwell_s=0.0))
    assert found.decision is Decision.REFUSE


def test_bikes_and_cars_have_their_own_zones() -> None:
    bikes = make_zone("no_bike_parking", *KERB, dwell_s=0.0)
    assert _judge(CAR, bikes).decision is Decision.REFUSE
    assert _judge(make_landmark("bicycle", 5.0, 50.0), bikes).kind == "illegal_parking_bike"


@pytest.mark.parametrize(
    ("zone", "kind"), [("fire_lane", "fire_lane_blocked"), ("accessible_path", "accessible_path_blocked")]
)
def test_each_restricted_zone_makes_its_kind(zone: str, kind: str) -> None:
    assert _judge(CAR, make_zone(zone, *KERB, dwell_s=0.0)).kind == kind


def test_nothing_is_stored_in_a_sensitive_area() -> None:
    for name in ("car", "garbage", "manhole_open"):
        found = _judge(make_landmark(name, 5.0, 50.0), make_zone("sensitive", *KERB))
        assert (found.decision, found.end) == (Decision.REFUSE, TrackEnd.SUPPRESSED)


def test_vending_is_allowed_in_its_hours_only() -> None:
    zone = make_zone("vending_allowed", *KERB, hours="04:00-06:00")
    stall = make_landmark("street_stall", 5.0, 50.0)
    assert _judge(stall, zone).decision is Decision.REFUSE
    later = replace(stall, last_utc_ns=UTC0_NS + 5 * HOUR_NS)
    assert _judge(later, zone).decision is Decision.ACCEPT
    assert _judge(stall).decision is Decision.ACCEPT


def test_anchors_people_and_healthy_things_are_no_problems() -> None:
    assert _judge(make_landmark("pole", 5.0, 5.0)).end is TrackEnd.ANCHOR
    assert _judge(make_landmark("garbage_bin", 5.0, 5.0)).decision is Decision.REFUSE
    assert _judge(make_landmark("person", 5.0, 5.0)).decision is Decision.REFUSE


def test_zone_probability_is_the_normals_share() -> None:
    lat, lon = FRAME.to_geo(2.0, 50.0)
    zone = make_zone("no_parking", (2.0, 50.0), (-500.0, 500.0))
    assert zone_probability(zone, lat, lon, np.eye(2)) == pytest.approx(0.5, abs=0.06)
    inside = FRAME.to_geo(3.0, 50.0)
    assert zone_probability(zone, *inside, np.eye(2)) == pytest.approx(0.841, abs=0.06)


def _cover(name: str, east: float, north: float, code: str = "01001") -> Component:
    return Component(name, "cover", code, *FRAME.to_geo(east, north), "A")


def test_a_broken_cover_gets_the_register_component_and_its_code() -> None:
    atlas = make_atlas((), [_cover("near", 5.3, 50.0), _cover("far", 9.0, 50.0), _cover("lamp", 5.0, 50.0, "01037")])
    found = Rules(CATALOGUE, atlas, RuleParams()).judge(make_landmark("manhole_open", 5.0, 50.0), SMALL)
    assert found.component is not None
    assert (found.component.id, found.component.code, found.component.runner_up) == ("near", "01001", "far")
    assert found.component.probability > 0.8


def test_between_two_covers_nothing_is_forced() -> None:
    atlas = make_atlas((), [_cover("a", 4.0, 50.0), _cover("b", 6.0, 50.0)])
    lat, lon = FRAME.to_geo(5.0, 50.0)
    assert match_component(atlas, frozenset({"01001"}), lat, lon, np.eye(2), 8.0) is None
