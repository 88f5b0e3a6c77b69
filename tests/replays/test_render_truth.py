"""True boxes: the pinhole by hand, visibility behind occluders, borders of the picture."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from replays.render.layout import Street, Thing, Weather, mesh_of, placed
from replays.render.truth import Camera, Geometry, Place, camera_pose, project

LEVEL = Camera(1280, 720, 960.0, 960.0, 639.5, 359.5, x_m=1.5, y_m=0.0, z_m=1.5)
HERE = Place(0.0, 0.0, 0.0)


def _street(*things: Thing) -> Street:
    grey = (0.1, 0.1, 0.1)
    return Street(1, 0.0, 50.0, 3.5, 2.3, 2.3, 4.0, grey, grey, Weather(50.0, 0.0, 0.0, 0.0), things, (), ())


def test_level_camera_by_hand() -> None:
    # 10 m before the lens, 2 m left, 0.5 m above it.
    pixels, depth = project(LEVEL, HERE, np.array([[11.5, 2.0, 2.0]]))
    assert depth[0] == pytest.approx(10.0)
    assert pixels[0] == pytest.approx([639.5 - 960.0 * 0.2, 359.5 - 960.0 * 0.05])


def test_positive_pitch_looks_down_and_positive_yaw_turns_left() -> None:
    down = replace(LEVEL, pitch_deg=4.0)
    pixels, _ = project(down, HERE, np.array([[1.5 + 10.0, 0.0, 1.5 - 10.0 * math.tan(math.radians(4.0))]]))
    assert pixels[0] == pytest.approx([639.5, 359.5])
    left = replace(LEVEL, yaw_deg=10.0)
    pixels, _ = project(left, HERE, np.array([[1.5 + 10.0, 10.0 * math.tan(math.radians(10.0)), 1.5]]))
    assert pixels[0] == pytest.approx([639.5, 359.5])


def test_roll_is_right_handed_about_forward() -> None:
    # Positive roll about x (forward) lifts the left side: a point to the left appears lower in the picture.
    pixels, _ = project(replace(LEVEL, roll_deg=90.0), HERE, np.array([[11.5, 1.0, 1.5]]))
    assert pixels[0] == pytest.approx([639.5, 359.5 + 96.0])


def test_vehicle_heading_moves_the_mounting_point() -> None:
    rotation, position = camera_pose(LEVEL, Place(0.0, 10.0, 5.0, yaw_deg=90.0))
    assert position == pytest.approx([10.0, 6.5, 1.5])
    assert rotation[:, 0] == pytest.approx([0.0, 1.0, 0.0], abs=1e-12)


def test_free_box_is_the_extent_of_its_projected_vertices() -> None:
    car = Thing("c", "car", "sedan", 14.0, -3.0, 0.0, 20.0, seed=4)
    box = Geometry(_street(car)).boxes(LEVEL, HERE)[0]
    own = mesh_of(car).vertices
    above_ground = own[own[:, 2] > -0.015]
    pixels, _ = project(LEVEL, HERE, placed(car, above_ground, 0.0))
    assert box.xyxy == pytest.approx([*pixels.min(axis=0), *pixels.max(axis=0)], abs=1e-9)
    assert (box.visible, box.clear) == (1.0, 1.0)


def test_what_lies_below_the_road_does_not_widen_a_hole() -> None:
    hole = Thing("h", "manhole_open", "manhole_open", 10.0, 0.0, seed=2)
    box = Geometry(_street(hole)).boxes(LEVEL, HERE)[0]
    frame = 0.36 + 0.06
    near, _ = project(LEVEL, HERE, np.array([[10.0 - frame, 0.0, 0.0]]))
    assert box.xyxy[3] == pytest.approx(near[0, 1], abs=1.0)


def test_hidden_things_have_no_box_and_half_hidden_ones_shrink() -> None:
    bus = Thing("b", "bus", "bus", 18.0, 0.0, 0.0, 90.0)
    behind = Thing("p", "person", "person", 24.0, 0.0)
    assert [b.thing for b in Geometry(_street(bus, behind)).boxes(LEVEL, HERE)] == ["b"]
    low = Thing("c", "car", "sedan", 18.0, 0.0, 0.0, 90.0, seed=1)
    boxes = {b.thing: b for b in Geometry(_street(low, replace(behind, x_m=20.0))).boxes(LEVEL, HERE)}
    free = Geometry(_street(replace(behind, x_m=20.0))).boxes(LEVEL, HERE)[0]
    assert boxes["p"].clear < 0.4
    assert boxes["p"].xyxy[1] == pytest.approx(free.xyxy[1])
    assert boxes["p"].xyxy[3] < free.xyxy[3] - 20.0


def test_scenery_hides_but_has_no_box() -> None:
    hedge = Thing("s", None, "bus", 18.0, 0.0, 0.0, 90.0)
    person = Thing("p", "person", "person", 24.0, 0.0)
    assert Geometry(_street(hedge, person)).boxes(LEVEL, HERE) == []


def test_road_things_are_under_everything_that_stands_on_them() -> None:
    hole = Thing("h", "pothole", "pothole", 12.0, 0.0, seed=3)
    car = Thing("c", "car", "van", 12.0, 0.0, seed=3)
    boxes = {b.thing: b for b in Geometry(_street(hole, car)).boxes(LEVEL, HERE)}
    assert boxes["c"].clear == 1.0
    assert "h" not in boxes or boxes["h"].clear < 0.6


def test_box_is_cut_at_the_border_and_tells_how_much() -> None:
    car = Thing("c", "car", "suv", 7.0, -4.2, seed=2)
    box = Geometry(_street(car)).boxes(LEVEL, HERE)[0]
    assert box.xyxy[2] == 1279.0
    assert box.clear == 1.0
    assert 0.0 < box.visible < 1.0


def test_nothing_behind_the_camera() -> None:
    assert Geometry(_street(Thing("c", "car", "suv", -8.0, 0.0))).boxes(LEVEL, HERE) == []
