"""Where fits start: ground contact, known size, two halves of a track, and things that keep their distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gnss.types import Array
from perception import solid
from perception.camera import CameraModel
from perception.guess import first_guess, moving_guess, paced_guess
from perception.solid import Sightings
from perception.types import Observation
from tests.builders import FRONT, Noise, Thing, World, make_pose

NEVER, ALWAYS = np.zeros(1, bool), np.ones(1, bool)
KNOWN = np.zeros((1, 3))
STILL = Noise(0.0, 0.0, 0.0)


def _view(
    thing: Thing,
    times_s: Sequence[float],
    *,
    heading_deg: float = 0.0,
    camera: CameraModel = FRONT,
    true_pitch_deg: float = 0.0,
    foot_cut: bool = False,
    speed_mps: float = 7.0,
) -> Sightings:
    """Perfect boxes of one thing from perfect poses; `true_pitch_deg` is what the camera's calibration lacks."""
    world = World([thing], heading_deg=heading_deg, speed_mps=speed_mps, noise=STILL, camera=camera)
    observations, poses, places = [], [], []
    for time_s in times_s:
        box = world.project(thing, time_s, true_pitch_deg)
        assert box is not None
        stamp_ns = int(time_s * 1e9)
        x1, y1, x2, y2 = (float(v) for v in box)
        observations.append(
            Observation(stamp_ns, "front", 0, (x1, y1, x2, y2), 0.8, thing.class_name, 1280, 720,
                        (True, True, True, not foot_cut))
        )  # fmt: skip
        east, north, _ = world.true_pose(time_s)
        poses.append(make_pose(east, north, heading_deg, stamp_ns))
        places.append((east, north))
    return solid.sightings(
        [observations], [poses], [np.array(places)], [camera], [thing.shape], (1.0 / 640.0, 0.02)
    )  # fmt: skip


def _first(
    view: Sightings, thing: Thing, *, mount: Array = KNOWN, by_size: bool = False, among: Array | None = None
) -> tuple[float, int]:
    """Error in metres of the first guess, and the frame it comes from."""
    frames = np.ones((1, view.edges.shape[1]), bool) if among is None else np.array([among], bool)
    place, row = first_guess(view, [thing.shape], mount, ALWAYS if by_size else NEVER, frames)
    return math.dist(place[0], (thing.east_m, thing.north_m)), int(row[0])


@pytest.mark.parametrize("heading_deg", [0.0, 70.0, 215.0])
@pytest.mark.parametrize("by_size", [False, True])
@pytest.mark.parametrize("class_name", ["garbage", "garbage_bin", "pothole", "car"])
def test_a_perfect_track_starts_near_the_truth(heading_deg: float, by_size: bool, class_name: str) -> None:
    turn = math.radians(heading_deg)
    ahead_m, right_m = 20.0, 3.5
    thing = Thing(
        "x", class_name, math.sin(turn) * ahead_m + math.cos(turn) * right_m,
        math.cos(turn) * ahead_m - math.sin(turn) * right_m, heading_deg,
    )  # fmt: skip
    view = _view(thing, (0.0, 0.5, 1.0), heading_deg=heading_deg)
    error_m, frame = _first(view, thing, by_size=by_size)
    assert frame == 2
    assert error_m < (2.5 if class_name == "car" or by_size else 0.8)


def test_what_is_known_of_the_mount_is_used() -> None:
    thing = Thing("x", "pothole", 1.0, 25.0)
    view = _view(thing, (0.0,), true_pitch_deg=0.8)
    assert _first(view, thing)[0] > 3.0
    assert _first(view, thing, mount=np.array([[0.0, math.radians(0.8), 0.0]]))[0] < 0.5
    high = _view(thing, (0.0,), camera=replace(FRONT, z_m=FRONT.z_m + 0.3))
    low = replace(high, centre=high.centre - np.array([0.0, 0.0, 0.3]))
    assert _first(low, thing)[0] > 3.0
    assert _first(low, thing, mount=np.array([[0.0, 0.0, 0.3]]))[0] < 0.5


def test_only_the_frames_asked_for_are_looked_at() -> None:
    thing = Thing("x", "garbage_bin", 3.0, 30.0)
    view = _view(thing, (0.0, 1.0, 2.0, 3.0))
    assert _first(view, thing)[1] == 3
    assert _first(view, thing, among=np.array([True, True, False, False]))[1] == 1
    assert _first(view, thing, among=np.array([True, False, False, False]))[1] == 0


def test_a_cut_foot_or_a_hanging_thing_is_ranged_by_its_height() -> None:
    # A thing of the size that its class has stands at fy height / box height, wherever its box ends below.
    bin_, light = Thing("x", "garbage_bin", 2.0, 18.0, base_m=0.6), Thing("x", "traffic_light", 2.0, 18.0, base_m=3.0)
    raised = _view(bin_, (0.0,))
    assert _first(raised, bin_)[0] > 5.0
    assert _first(_view(bin_, (0.0,), foot_cut=True), bin_)[0] < 1.0
    assert _first(_view(light, (0.0,)), light)[0] < 1.0


def test_a_foot_at_the_horizon_starts_no_further_than_its_size_says() -> None:
    thing = Thing("x", "garbage_bin", 2.0, 30.0, base_m=1.45)
    error_m, _ = _first(_view(thing, (0.0,)), thing)
    assert error_m < 3.0


@pytest.mark.parametrize(("speed_mps", "heading_deg"), [(7.0, 0.0), (4.0, 0.0), (6.0, 180.0), (0.0, 0.0)])
def test_two_halves_of_a_track_tell_its_velocity(speed_mps: float, heading_deg: float) -> None:
    start = 60.0 if heading_deg else 14.0 if speed_mps else 40.0
    thing = Thing("x", "car", -2.0, start, heading_deg, speed_mps)
    times = [0.2 * k for k in range(11)]
    view = _view(thing, times)
    guess = moving_guess(view, [thing.shape], KNOWN, NEVER)[0]
    true = speed_mps * math.cos(math.radians(heading_deg))
    # The near end of a car is its contact: a little wrong at each, and by as much when it is as near.
    assert guess[2:] == pytest.approx([0.0, true], abs=1.0)
    assert math.dist(guess[:2], thing.place(1.0)) < 3.0


def test_one_box_tells_no_velocity() -> None:
    thing = Thing("x", "car", -2.0, 20.0)
    assert moving_guess(_view(thing, (0.0,)), [thing.shape], KNOWN, NEVER)[0, 2:].tolist() == [0.0, 0.0]


def test_velocities_stay_possible() -> None:
    thing = Thing("x", "car", -2.0, 80.0, 180.0, 60.0)
    view = _view(thing, [0.1 * k for k in range(9)])
    assert np.abs(moving_guess(view, [thing.shape], KNOWN, NEVER)[0, 2:]).max() == 30.0


@pytest.mark.parametrize("speed_mps", [3.0, 11.0])
def test_what_keeps_its_distance_starts_at_our_own_speed(speed_mps: float) -> None:
    thing = Thing("x", "car", 0.5, 16.0, 0.0, speed_mps)
    view = _view(thing, [0.2 * k for k in range(11)], speed_mps=speed_mps)
    guess = paced_guess(view, [thing.shape], KNOWN)[0]
    assert guess[2:] == pytest.approx([0.0, speed_mps], abs=1e-6)
    # Its place is that of mid-track, whichever frame was the nearest.
    assert math.dist(guess[:2], thing.place(1.0)) < 3.0


def test_padding_of_a_shorter_track_is_no_look() -> None:
    near, far = Thing("x", "garbage_bin", 2.0, 20.0), Thing("y", "garbage_bin", 3.0, 40.0)
    short, long = _view(far, (0.0, 0.5)), _view(near, (0.0, 0.5, 1.0, 1.5))
    grown = {}
    for name in short.__dataclass_fields__:
        a, b = getattr(short, name), getattr(long, name)
        if name in ("edges", "sigma", "sides"):
            a = np.concatenate([a, np.full((1, 2, *a.shape[2:]), np.inf if name != "edges" else 0.0)], axis=1)
        elif a.ndim == 2 and a.shape[1] == 2 and name not in ("aim",):
            a = np.concatenate([a, a[:, -1:], a[:, -1:]], axis=1)
        grown[name] = np.concatenate([a, b])
    both = Sightings(**grown)
    assert both.seen.sum(axis=1).tolist() == [2, 4]
    shapes, mount, never = [far.shape, near.shape], np.zeros((2, 3)), np.zeros(2, bool)
    place, frame = first_guess(both, shapes, mount, never, np.ones((2, 4), bool))
    assert frame.tolist() == [1, 3]
    np.testing.assert_allclose(place[0], first_guess(short, shapes[:1], KNOWN, NEVER, np.ones((1, 2), bool))[0][0])
    paced, alone = paced_guess(both, shapes, mount)[0], paced_guess(short, shapes[:1], KNOWN)[0]
    np.testing.assert_allclose(paced, alone)
    moving, alone = moving_guess(both, shapes, mount, never)[0], moving_guess(short, shapes[:1], KNOWN, NEVER)[0]
    np.testing.assert_allclose(moving, alone)
