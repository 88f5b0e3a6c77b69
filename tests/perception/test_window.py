"""A window: cutting, stitching of fragments and doubles, what must stay apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gnss.types import Pose
from perception.existence import ExistenceParams
from perception.mount import MountBias
from perception.sights import LocateParams
from perception.types import Landmark, Observation, Track, TrackEnd, Verdict
from perception.window import Closed, Surveyor, Window, WindowParams, _overlap, same_thing
from tests.builders import CATALOGUE, FRONT, THRESHOLDS, UTC0_NS, Noise, Thing, World, enu, make_pose

PARAMS = WindowParams()
BIAS = {"front": MountBias.unknown(FRONT, LocateParams().mount)}


def _pose_at(stamp_ns: int) -> Pose | None:
    return make_pose(0.0, 7.0 * stamp_ns * 1e-9, 0.0, stamp_ns, utc_ns=UTC0_NS + stamp_ns)


SURVEYOR = Surveyor(CATALOGUE, {"front": FRONT}, THRESHOLDS, LocateParams(), ExistenceParams(), _pose_at)


def _track(thing: Thing, track_id: int, first: int = 0, last: int = 40, class_name: str | None = None) -> Track:
    world = World([thing], noise=Noise())
    observations = []
    for index in range(first, last):
        box = world.project(thing, index / 10)
        if box is None or np.any(box < 0) or np.any(box > (1280, 720, 1280, 720)):
            continue
        xyxy = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        name = class_name or thing.class_name
        observations.append(Observation(index * 100_000_000, "front", index, xyxy, 0.8, name, 1280, 720))
    assert len(observations) > 3
    return Track(track_id, class_name or thing.class_name, tuple(observations), True)


def _closed(track: Track) -> Closed:
    closed = SURVEYOR.survey([track], "p1", BIAS)[0][0]
    assert closed is not None
    return closed


HEAP = Thing("heap", "garbage", 4.0, 35.0)
TWIN = Thing("twin", "garbage", 4.0, 38.0)


def _window(*tracks: Track) -> Window:
    window = Window("car-1", "d1", make_pose(0.0, 0.0, 0.0, 0, utc_ns=UTC0_NS))
    window.closed += [_closed(t) for t in tracks]
    return window


def test_a_survey_places_and_times_the_track() -> None:
    m = _closed(_track(HEAP, 1)).landmark
    assert np.hypot(*np.subtract(enu(m.lat_deg, m.lon_deg), (4.0, 35.0))) < 0.5
    assert m.first_utc_ns == UTC0_NS + m.first_stamp_ns
    assert m.id == "p1/front/1"


def test_a_survey_without_poses_is_nothing() -> None:
    blind = replace(SURVEYOR, pose_at=lambda stamp_ns: None)
    assert blind.survey([_track(HEAP, 1)], "p1", BIAS)[0] == [None]


def test_two_fragments_of_one_thing_become_one_with_all_looks() -> None:
    early, late = _track(HEAP, 1, 0, 15), _track(HEAP, 2, 18, 40)
    window = _window(early, late)
    ends = window.stitch(SURVEYOR, BIAS, PARAMS)
    assert [(e.track_id, e.end) for e in ends] == [(1, TrackEnd.MERGED)]
    assert [c.landmark.looks for c in window.closed] == [len(early.observations) + len(late.observations)]


def test_twins_seen_at_once_stay_two() -> None:
    window = _window(_track(HEAP, 1), _track(TWIN, 2))
    assert window.stitch(SURVEYOR, BIAS, PARAMS) == []
    assert len(window.closed) == 2


def test_a_thing_detected_as_two_classes_at_once_becomes_one() -> None:
    car = Thing("x", "car", 4.0, 35.0)
    window = _window(_track(car, 1), _track(car, 2, 5, 30, class_name="truck"))
    ends = window.stitch(SURVEYOR, BIAS, PARAMS)
    assert [(e.track_id, e.class_name) for e in ends] == [(2, "truck")]
    assert [c.landmark.class_name for c in window.closed] == ["car"]


def test_a_box_of_a_part_is_no_second_thing_of_its_kind() -> None:
    whole = _track(HEAP, 1)
    halves = tuple(
        replace(o, xyxy=(o.xyxy[0], o.xyxy[1], (o.xyxy[0] + o.xyxy[2]) / 2 + 1, o.xyxy[3])) for o in whole.observations
    )
    part = Track(2, "garbage", halves[:6], True)
    assert _overlap(whole, part) is not None
    assert same_thing(_closed(whole), replace(_closed(whole), track=part), CATALOGUE, PARAMS)
    other = replace(_closed(whole), track=part, landmark=replace(_closed(whole).landmark, class_name="garbage_bin"))
    narrow = replace(part, observations=tuple(replace(o, xyxy=(*o.xyxy[:2], o.xyxy[0] + 3, o.xyxy[3])) for o in halves))
    assert not same_thing(_closed(whole), replace(other, track=narrow), CATALOGUE, PARAMS)


def test_a_fault_boxed_as_often_as_the_sound_thing_is_what_stays() -> None:
    bin_ = Thing("x", "garbage_bin", 4.0, 35.0)
    sound = _track(bin_, 1)
    for last, stays in ((30, "garbage_bin_overflow"), (12, "garbage_bin")):
        window = _window(sound, _track(bin_, 2, 0, last, class_name="garbage_bin_overflow"))
        ends = window.stitch(SURVEYOR, BIAS, PARAMS)
        assert [c.landmark.class_name for c in window.closed] == [stays]
        assert len(ends) == 1
        assert ends[0].class_name != stays


def test_different_things_at_one_place_stay_apart_when_never_seen_as_one_box() -> None:
    pole = replace(HEAP, name="stall", class_name="street_stall")
    assert not same_thing(_closed(_track(HEAP, 1, 0, 15)), _closed(_track(pole, 2, 20, 40)), CATALOGUE, PARAMS)


def test_what_moves_is_never_joined() -> None:
    a, b = _closed(_track(HEAP, 1, 0, 15)), _closed(_track(HEAP, 2, 18, 40))
    assert same_thing(a, b, CATALOGUE, PARAMS)
    moving: Landmark = replace(b.landmark, verdict=Verdict.MOVING)
    assert not same_thing(a, replace(b, landmark=moving), CATALOGUE, PARAMS)


def test_a_window_is_cut_by_way_or_by_time() -> None:
    window = Window("car-1", "d1", make_pose(0.0, 0.0, 0.0, 0))
    for metres in range(0, 250, 10):
        pose = make_pose(0.0, float(metres), 0.0, metres * 10**8)
        assert not window.full(pose, PARAMS)
        window.advance(pose)
    window.advance(make_pose(0.0, 251.0, 0.0, 25 * 10**9))
    assert window.full(make_pose(0.0, 252.0, 0.0, 25 * 10**9), PARAMS)
    still = Window("car-1", "d1", make_pose())
    assert not still.full(make_pose(stamp_ns=119 * 10**9), PARAMS)
    assert still.full(make_pose(stamp_ns=120 * 10**9), PARAMS)


def test_pass_ids_are_derived_from_device_and_time() -> None:
    here = make_pose(utc_ns=UTC0_NS)
    assert Window("car-1", "d1", here).pass_id == Window("car-1", "other name", here).pass_id
    assert Window("car-1", "d1", here).pass_id != Window("car-2", "d1", here).pass_id
    assert Window("car-1", "d1", make_pose()).pass_id != Window("car-1", "d2", make_pose()).pass_id
