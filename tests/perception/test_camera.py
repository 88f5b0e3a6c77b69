"""The camera model against OpenCV and against plain geometry."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from perception.camera import GUESSED_HEIGHT_M, CameraModel, rotation
from tests.builders import FRONT


def test_a_point_ahead_at_camera_height_falls_on_the_centre() -> None:
    level = replace(FRONT, pitch_deg=0.0)
    pixels, depth = level.project(np.array([[21.5, 0.0, 1.5]]))
    assert pixels[0] == pytest.approx((level.cx, level.cy))
    assert depth[0] == pytest.approx(20.0)


def test_left_is_left_and_up_is_up() -> None:
    (left, up), _ = replace(FRONT, pitch_deg=0.0).project(np.array([[20.0, 1.0, 1.5], [20.0, 0.0, 2.5]]))
    assert left[0] < FRONT.cx
    assert up[1] < FRONT.cy


def test_positive_yaw_turns_left_so_the_world_moves_right() -> None:
    ahead = np.array([[20.0, 0.0, 1.5]])
    pixels, _ = replace(FRONT, pitch_deg=0.0, yaw_deg=10.0).project(ahead)
    assert pixels[0, 0] == pytest.approx(FRONT.cx + FRONT.fx * math.tan(math.radians(10.0)))


def test_positive_pitch_looks_down_so_the_world_moves_up() -> None:
    pixels, _ = replace(FRONT, pitch_deg=5.0).project(np.array([[20.0, 0.0, 1.5]]))
    assert pixels[0, 1] == pytest.approx(FRONT.cy - FRONT.fy * math.tan(math.radians(5.0)))


def test_positive_roll_raises_the_right_side_of_the_world() -> None:
    # Right-handed about x forward: the camera's left side rises, so what lies to its right climbs in the picture.
    pixels, _ = replace(FRONT, pitch_deg=0.0, roll_deg=10.0).project(np.array([[21.5, -5.0, 1.5]]))
    assert pixels[0, 1] < FRONT.cy
    assert rotation(0.0, 0.0, math.radians(90.0)) @ (0.0, 1.0, 0.0) == pytest.approx((0.0, 0.0, 1.0))


@pytest.mark.parametrize(
    ("dist", "model"),
    [((), "pinhole"), ((-0.28, 0.09, 0.001, -0.0007, -0.01), "pinhole"), ((0.02, -0.004, 0.001, 0.0), "fisheye")],
)
def test_ground_point_inverts_project(dist: tuple[float, ...], model: str) -> None:
    camera = replace(FRONT, dist=dist, model=model, yaw_deg=12.0, pitch_deg=7.0, roll_deg=2.0, x_m=1.2, y_m=0.4)
    ground = np.array([[8.0, 1.0, 0.0], [20.0, 3.0, 0.0], [12.0, -1.0, 0.0]])
    pixels, depth = camera.project(ground)
    assert (depth > 0).all()
    assert camera.ground_point(pixels) == pytest.approx(ground[:, :2], abs=2e-3)


def test_pixels_agree_with_opencv() -> None:
    camera = replace(FRONT, dist=(-0.3, 0.1, 0.002, -0.001, 0.02), pitch_deg=0.0, x_m=0.0, z_m=0.0)
    optical = np.array([[1.0, 0.5, 10.0], [-2.0, 1.0, 12.0]])
    vehicle = np.column_stack([optical[:, 2], -optical[:, 0], -optical[:, 1]])
    expected, _ = cv2.projectPoints(optical, np.zeros(3), np.zeros(3), camera.matrix, np.array(camera.dist))
    assert camera.project(vehicle)[0] == pytest.approx(expected.reshape(-1, 2))


def test_above_the_horizon_there_is_no_ground() -> None:
    assert np.isnan(replace(FRONT, pitch_deg=0.0).ground_point(np.array([[640.0, 100.0], [640.0, 359.5]]))).all()


def test_a_point_far_aside_does_not_fold_back_into_the_picture() -> None:
    camera = replace(FRONT, dist=(-0.3, 0.0, 0.0, 0.0), pitch_deg=0.0)
    bearings = np.radians(np.arange(45.0, 89.0, 1.0))
    points = np.column_stack([1.5 + 10 * np.cos(bearings), -10 * np.sin(bearings), np.full(len(bearings), 1.5)])
    pixels, depth = camera.project(points)
    assert (depth > 0).all()
    assert (pixels[:, 0] > camera.width).all()


def test_a_guess_says_so() -> None:
    camera = CameraModel.guess("dash", 1920, 1080)
    assert camera.guessed
    assert camera.z_m == GUESSED_HEIGHT_M
    edge = camera.normalise(np.array([[camera.cx + 960.0, camera.cy]]))[0, 0]
    assert math.degrees(math.atan(edge)) == pytest.approx(35.0)
