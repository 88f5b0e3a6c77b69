"""The second look: where its strips lie, what they may tell, and how both looks become one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from perception.boxes import Boxes
from perception.camera import CameraModel
from perception.card import load_card
from perception.decode import Decoded
from perception.detector import OnnxDetector
from perception.second_look import SecondLook, SecondLookParams, Strip, road_rows, strips_of, whole_in
from perception.types import Frame
from tests.perception.cards import catalogue, write_card, yolo_output

HD = CameraModel("front", 1280, 720, 960.0, 960.0, 639.5, 359.5, x_m=1.5, z_m=1.5, pitch_deg=4.0)
PARAMS = SecondLookParams(every=1)
POTHOLES = {"classes": '["car", "pothole"]', "privacy": "", "thresholds": "{confidence=0.3,privacy=0.1,nms_iou=0.5}"}


def test_rows_of_the_road_follow_from_the_mount() -> None:
    """A flat road z = 0 seen from 1.5 m: the tangent of the angle below the horizon is height over distance."""
    top, bottom = road_rows(HD, 7.0, 40.0)
    for row, distance in ((top, 40.0), (bottom, 7.0)):
        angle = np.arctan(1.5 / distance) - np.radians(4.0)
        assert row == pytest.approx(359.5 + 960 * np.tan(angle), abs=1)
    assert road_rows(replace(HD, pitch_deg=-60.0), 7.0, 40.0) == (0, 0)
    assert road_rows(replace(HD, pitch_deg=89.9), 7.0, 40.0) == (0, 0)


@pytest.mark.parametrize("width", [1280, 1920, 2704])
@pytest.mark.parametrize("most_runs", [1, 2])
def test_strips_lie_in_the_frame_and_beside_one_another_in_the_input(width: int, most_runs: int) -> None:
    camera = replace(CameraModel.guess("front", width, width * 9 // 16), pitch_deg=4.0)
    strips = strips_of(camera, (640, 384), replace(PARAMS, most_runs=most_runs))
    assert strips
    assert {s.run for s in strips} <= set(range(most_runs))
    covered = np.zeros((most_runs, 384, 640), int)
    for s in strips:
        assert 0 <= s.x1 < s.x2 <= camera.width
        assert 0 <= s.y1 < s.y2 <= camera.height
        covered[s.run, s.top : s.top + s.y2 - s.y1, s.left : s.left + s.x2 - s.x1] += 1
    assert covered.max() == 1
    lefts = [s.x1 for s in strips]
    assert lefts == sorted(lefts)
    assert all(b - a <= 640 * (1 - PARAMS.overlap) for a, b in pairwise(lefts))
    assert abs((strips[0].x1 + strips[-1].x2) / 2 - camera.width / 2) <= 1


def test_a_network_that_sees_the_frame_in_full_size_looks_once() -> None:
    assert strips_of(CameraModel.guess("front", 640, 360), (640, 384), PARAMS) == ()


def test_boxes_that_a_strip_cuts_do_not_count() -> None:
    strip = Strip(0, 100, 640, 292, 0, 0, 0)
    boxes = np.array(
        [
            [10, 120, 40, 130],
            [-0.5, 120, 40, 130],  # at the picture's own edge
            [600, 120, 639, 130],  # at the strip's right edge
            [10, 101, 40, 130],  # at its upper edge
            [10, 280, 40, 320],  # out of it: the next strip's
        ],
        np.float32,
    )
    assert whole_in(strip, boxes, (1280, 720), 2.0).tolist() == [True, True, False, False, False]


def tiny(folder: Path, *boxes: tuple[float, float, float, float, float, float]) -> OnnxDetector:
    return OnnxDetector(load_card(write_card(folder, yolo_output(*boxes), changes=POTHOLES), catalogue()), threads=1)


CAMERA = CameraModel("front", 256, 128, 200.0, 200.0, 127.5, 40.0, z_m=1.5)
FRAME = Frame(0, "front", 4, np.zeros((128, 256, 3), np.uint8))


def boxes_at(detector: SecondLook, index: int) -> Boxes:
    return detector.detect(replace(FRAME, index=index)).xyxy


def test_only_flat_things_of_whole_boxes_come_from_the_second_look(tmp_path: Path) -> None:
    """The network answers the same boxes to any picture: a pothole and a car of 8 x 4 px."""
    detector = tiny(tmp_path, (20, 8, 8, 4, 0.0, 0.6), (40, 8, 8, 4, 0.9, 0.0))
    once = detector.detect(FRAME)
    look = SecondLook(detector, {"front": CAMERA}, catalogue(), SecondLookParams(every=2))
    strips = strips_of(CAMERA, (64, 32), SecondLookParams(every=2))
    twice = look.detect(FRAME)
    assert twice.names().count("car") == once.names().count("car") == 1
    added = [box for box, name in zip(twice.xyxy, twice.names(), strict=True) if name == "pothole"]
    home = [s for s in strips if s.top <= 6 and s.top + s.y2 - s.y1 >= 10]
    wanted = {(s.x1 + 16 - s.left, s.y1 + 6 - s.top) for s in home}
    assert wanted <= {(round(float(b[0])), round(float(b[1]))) for b in added}
    assert len(added) == len(wanted) + 1  # and the whole frame's


def test_its_turn_comes_by_the_frame_s_index(tmp_path: Path) -> None:
    look = SecondLook(
        tiny(tmp_path, (20, 8, 8, 4, 0.0, 0.6)), {"front": CAMERA}, catalogue(), SecondLookParams(every=3)
    )
    counts = [len(boxes_at(look, index)) for index in range(7)]
    assert [n > 1 for n in counts] == [True, False, False, True, False, False, True]
    assert len(look.detect(replace(FRAME, camera="rear"))) == 1  # a camera nobody described


def test_a_car_that_has_no_time_looks_once_and_tries_again_later(tmp_path: Path) -> None:
    def stopwatch(seconds: list[float]) -> Callable[[], Callable[[], float]]:
        return lambda: lambda: seconds[0]

    took = [0.01]
    params = SecondLookParams(every=1, budget_ms=50.0)
    network = tiny(tmp_path, (20, 8, 8, 4, 0.0, 0.6))
    look = SecondLook(network, {"front": CAMERA}, catalogue(), params, stopwatch(took))
    assert len(boxes_at(look, 0)) > 1
    took[0] = 0.2
    later = [len(boxes_at(look, n)) for n in range(1, 30)]
    assert later[-1] == 1
    took[0] = 0.01
    assert any(len(boxes_at(look, n)) > 1 for n in range(200))
    unhurried = SecondLook(network, {"front": CAMERA}, catalogue(), params)  # a replay has no stopwatch
    assert all(len(boxes_at(unhurried, n)) > 1 for n in range(3))


def test_the_more_confident_of_two_looks_at_one_thing_stays(tmp_path: Path) -> None:
    look = SecondLook(tiny(tmp_path), {"front": CAMERA}, catalogue(), PARAMS)

    def decoded(*rows: tuple[float, float, float, float, float, int]) -> Decoded:
        table = np.array(rows, np.float32).reshape(-1, 6)
        return Decoded(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))

    whole = decoded((0, 0, 20, 10, 0.5, 1), (50, 0, 70, 10, 0.8, 1), (8, 0, 28, 10, 0.4, 1))
    band = decoded((5, 0, 25, 10, 0.7, 1), (52, 0, 70, 10, 0.6, 1), (90, 0, 99, 9, 0.2, 1), (5, 0, 25, 10, 0.3, 0))
    found = look.merged(whole, band)
    np.testing.assert_allclose(found.confidence, [0.8, 0.7, 0.3, 0.2])
    assert found.class_id.tolist() == [1, 1, 0, 1]
