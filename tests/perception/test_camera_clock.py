"""The camera's clock against the receiver's: bearings made by hand. Whole drives: tests/replays/test_bench_clock.py."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gnss.odometry import Odometry
from gnss.types import Array, Motion
from perception.camera import CameraModel
from perception.camera_clock import Bearings, CameraClock, ClockOffset, ClockParams, Way, bearings_of, window_offset
from perception.types import CalibrationUpdate, Observation


def turning(late_s: float, seed: int, *, even: bool = False) -> tuple[list[Bearings], Way]:
    """A car on an S-bend at 6 m/s, and poles beside it seen `late_s` late with 0.15 degrees of noise."""
    rng = np.random.default_rng(seed)
    odometry = Odometry()
    for k in range(500):
        rate = 0.0 if even else 18.0 * math.sin(0.025 * k)
        odometry.add(Motion(round(0.05 * k * 1e9) + 1, 6.0, rate))
    way = Way.of(odometry.travel(1, 24_000_000_001), 1)
    tracks = []
    for start in np.arange(1.0, 20.0, 1.5).tolist():
        t: Array = start + 0.1 * np.arange(30, dtype=np.float64)
        psi, east, north = (np.asarray(np.interp(t, way.t_s, a)) for a in (way.psi, way.east, way.north))
        middle = len(t) - 1
        side = 5.0 if round(start) % 2 else -5.0
        pole_e = east[middle] + 8.0 * np.sin(psi[middle]) + side * np.cos(psi[middle])
        pole_n = north[middle] + 8.0 * np.cos(psi[middle]) - side * np.sin(psi[middle])
        left = psi - np.arctan2(pole_e - east, pole_n - north) + rng.normal(0.0, np.radians(0.15), len(t))
        tracks.append(Bearings(t + late_s, left, np.full(len(t), np.radians(0.15)), (0.0, 0.0)))
    return tracks, way


@pytest.mark.parametrize("late_s", [-0.2, 0.0, 0.12])
def test_turns_tell_as_well_as_stops(late_s: float) -> None:
    found = window_offset(*turning(late_s, 1), ClockParams())
    assert found is not None
    assert abs(found.late_s - late_s) < 3.0 * found.sigma_s
    assert found.sigma_s < 0.02


def test_a_track_that_no_place_explains_does_not_count() -> None:
    tracks, way = turning(0.1, 2)
    moving = replace(tracks[3], left_rad=tracks[3].left_rad + 0.3 * np.sin(8.0 * tracks[3].t_s))
    found = window_offset([*tracks[:3], moving, *tracks[4:]], way, ClockParams())
    assert found is not None
    assert found.tracks < len(tracks)
    assert abs(found.late_s - 0.1) < 3.0 * found.sigma_s


def test_an_even_way_is_not_asked() -> None:
    assert window_offset(*turning(0.1, 3, even=True), ClockParams()) is None
    tracks, way = turning(0.1, 3)
    assert window_offset(tracks[:1], way, ClockParams()) is None


def test_bearings_leave_out_boxes_cut_at_a_side() -> None:
    camera = CameraModel("front", 1000, 600, 800.0, 800.0, 499.5, 299.5, yaw_deg=10.0)
    boxes = []
    for k in range(10):
        box, edges = (480.0 + k, 200.0, 520.0 + k, 300.0), (k != 3, True, True, True)
        boxes.append(Observation(k, "front", k, box, 0.9, "pole", 1000, 600, edges))
    found = bearings_of(boxes, camera, ClockParams())
    assert found is not None
    assert len(found.t_s) == 9
    assert np.degrees(found.left_rad[0]) == pytest.approx(10.0, abs=0.1)
    assert bearings_of(boxes[:8], camera, ClockParams()) is None


def test_the_clock_joins_windows_and_uses_only_what_is_sure() -> None:
    clock = CameraClock()
    assert clock.offset is None
    assert clock.late_ns == 0
    clock.take(ClockOffset(0.2, 0.04, 5))
    assert clock.late_ns == 0  # not sure enough
    clock.take(ClockOffset(0.18, 0.02, 5))
    assert clock.offset is not None
    assert clock.offset.sigma_s == pytest.approx(0.0179, abs=1e-4)
    assert clock.late_ns == round(clock.offset.late_s * 1e9)
    clock.take(None)
    small = CameraClock()
    small.take(ClockOffset(0.02, 0.01, 5))
    assert small.late_ns == 0  # within its own sigma


def test_windows_that_contradict_each_other_do_not_make_it_sure() -> None:
    clock = CameraClock()
    for late in (0.2, -0.2):
        clock.take(ClockOffset(late, 0.01, 5))
    assert clock.offset is not None
    assert clock.offset.late_s > 0.19  # the second counts next to nothing
    assert clock.offset.sigma_s > 0.0099


def test_the_next_drive_begins_with_it() -> None:
    update = CalibrationUpdate(0, "front", 0.0, 0.1, 0.0, 0.1, late_s=0.2, late_sigma_s=0.01)
    clock = CameraClock()
    clock.begin(update)
    clock.begin(replace(update, late_s=0.9))  # a second camera's says the same of the one clock
    assert clock.late_ns == 200_000_000
    assert clock.report(replace(update, late_s=None, late_sigma_s=None)).late_s == pytest.approx(0.2)
    assert CameraClock().learn([], {}, lambda start_ns, end_ns: None) is None
