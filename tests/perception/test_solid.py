"""Projected solids against an independent projection of their corners."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gnss.types import Array
from perception import solid
from perception.types import Observation
from tests.builders import CATALOGUE, FRONT, Thing, World, make_pose

BOX_NOISE = (1.0 / 640.0, 0.03)


def _view(
    thing: Thing, world: World, edges: tuple[bool, bool, bool, bool] = (True, True, True, True)
) -> solid.Sightings:
    pose = make_pose(*world.true_pose(0.0)[:2], world.heading_deg)
    dummy = Observation(0, "front", 0, (100.0, 100.0, 200.0, 200.0), 0.9, thing.class_name, 1280, 720, edges)
    place = np.array([world.true_pose(0.0)[:2]])
    return solid.sightings([[dummy]], [[pose]], [place], [world.camera], [thing.shape], BOX_NOISE)


def _hypothesis(thing: Thing, mount: tuple[float, float] = (0.0, 0.0)) -> Array:
    h = np.zeros((1, solid.PARAMETERS))
    h[0, [solid.EAST, solid.NORTH]] = thing.place(0.0)
    h[0, solid.BASE] = thing.base_m
    h[0, [solid.LENGTH, solid.WIDTH, solid.HEIGHT]] = np.log([size or 1.0 for size in thing.shape.size_m])
    h[0, solid.YAW] = math.radians(90.0 - thing.heading_deg)
    h[0, [solid.MOUNT_YAW, solid.MOUNT_PITCH]] = np.radians(mount)
    return h


def _outline(thing: Thing, world: World, mount: tuple[float, float] = (0.0, 0.0)) -> Array:
    """Box in pixel-edge coordinates that the solid model predicts at t = 0."""
    box = _view(thing, world).outline(_hypothesis(thing, mount))[0][0, 0]
    c = world.camera
    pixels: Array = box * (c.fx, c.fy, c.fx, c.fy) + (c.cx, c.cy, c.cx, c.cy) + 0.5
    return pixels


@pytest.mark.parametrize("class_name", ["car", "garbage", "pothole"])
def test_derivatives_equal_differences(class_name: str) -> None:
    world = World([], heading_deg=30.0, camera=replace(FRONT, yaw_deg=8.0, roll_deg=1.0))
    thing = Thing("x", class_name, 12.0, 14.0, 41.0, base_m=0.1)
    view, h = _view(thing, world), _hypothesis(thing, (0.7, -0.4))
    view = replace(view, time_s=np.array([[0.8]]))
    edges, slopes = view.outline(h)
    for k in range(solid.PARAMETERS):
        step = np.zeros_like(h)
        step[0, k] = 1e-6
        expected = (view.outline(h + step)[0] - edges) / 1e-6
        assert slopes[k] == pytest.approx(expected, abs=2e-5), k


@pytest.mark.parametrize("class_name", ["car", "truck", "guardrail_damaged"])
@pytest.mark.parametrize("heading", [0.0, 63.0, 200.0])
def test_cuboids_equal_their_projected_corners(class_name: str, heading: float) -> None:
    world = World([], heading_deg=heading, camera=replace(FRONT, yaw_deg=5.0, roll_deg=1.0))
    yaw = math.radians(90.0 - heading)
    at = np.array([math.cos(yaw), math.sin(yaw)]) * 18.0 + np.array([-math.sin(yaw), math.cos(yaw)]) * 3.0
    thing = Thing("x", class_name, float(at[0]), float(at[1]), heading + 12.0, base_m=0.1)
    expected = world.project(thing, 0.0)
    assert expected is not None
    assert _outline(thing, world) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("class_name", ["pothole", "garbage", "pole", "street_stall"])
def test_round_things_equal_a_finer_circle_to_a_few_percent(class_name: str) -> None:
    world = World([])
    thing = Thing("x", class_name, 2.0, 15.0)
    expected = world.project(thing, 0.0)
    assert expected is not None
    side = float((expected[2:] - expected[:2]).min())
    assert _outline(thing, world) == pytest.approx(expected, abs=max(0.05 * side, 1.0))


def test_mount_biases_have_the_signs_of_the_camera() -> None:
    world, thing = World([]), Thing("x", "car", 0.0, 20.0)
    expected = world.project(thing, 0.0, pitch_deg=1.5, yaw_deg=2.0)
    assert expected is not None
    assert _outline(thing, world, (2.0, 1.5)) == pytest.approx(expected, abs=1e-6)


def test_flat_things_have_no_top() -> None:
    assert (solid.template(CATALOGUE.classes["pothole"])[:, 2] == 0.0).all()
    assert solid.template(CATALOGUE.classes["car"]).shape == (8, 3)


def test_edges_that_are_cut_weigh_nothing() -> None:
    view = _view(Thing("x", "car", 0.0, 20.0), World([]), (False, True, True, True))
    assert np.isinf(view.sigma[0, 0, 0])
    assert np.isfinite(view.sigma[0, 0, 1:]).all()
