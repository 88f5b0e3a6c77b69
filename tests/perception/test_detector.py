"""The detector end to end on tiny networks, and the appearance of a box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception.appearance import SIZE, appearance
from perception.card import load_card
from perception.detector import Detector, OnnxDetector, case_threshold
from perception.types import Frame, Image
from tests.perception.cards import catalogue, write_card, yolo_output


def frame(image: Image) -> Frame:
    return Frame(1, "front", 0, image)


def tiny(folder: Path, changes: dict[str, str] | None = None) -> OnnxDetector:
    output = yolo_output(
        (32, 16, 16, 16, 0.9, 0.0),
        (33, 16, 16, 16, 0.8, 0.0),  # suppressed
        (33, 16, 16, 16, 0.0, 0.7),  # another class
        (60, 16, 20, 10, 0.15, 0.0),  # for redaction only, sticks out
        (10, 16, 10, 10, 0.05, 0.0),  # below all thresholds
    )
    return OnnxDetector(load_card(write_card(folder, output, changes=changes), catalogue()), threads=1)


def test_boxes_come_in_frame_pixels_with_catalogue_names(tmp_path: Path) -> None:
    detector: Detector = tiny(tmp_path)
    found = detector.detect(frame(np.zeros((64, 128, 3), np.uint8)))
    assert found.names() == ["car", "person", "car"]
    np.testing.assert_allclose(found.confidence, [0.9, 0.7, 0.15], atol=1e-6)
    np.testing.assert_allclose(found.xyxy, [[48, 16, 80, 48], [50, 16, 82, 48], [100, 22, 128, 42]], atol=1e-4)
    assert found.appearance is not None
    assert found.appearance.shape == (3, SIZE)


def test_cameras_of_two_sizes_share_a_detector(tmp_path: Path) -> None:
    detector = tiny(tmp_path)
    for width, height in ((128, 64), (64, 64), (128, 64)):
        found = detector.detect(frame(np.zeros((height, width, 3), np.uint8)))
        assert found.xyxy[:, 2].max() <= width
        assert found.xyxy[:, 3].max() <= height


def test_dropped_classes_do_not_come_out(tmp_path: Path) -> None:
    detector = tiny(tmp_path, {"aliases": '{car = ""}', "privacy": '{person = ["person"]}'})
    found = detector.detect(frame(np.zeros((64, 128, 3), np.uint8)))
    assert found.names() == ["person"]


def test_case_threshold(tmp_path: Path) -> None:
    changes = {"thresholds": "{confidence = 0.25, privacy = 0.1, nms_iou = 0.5, class = {person = 0.4}}"}
    card = tiny(tmp_path, changes).card
    assert case_threshold(card, "car") == 0.25
    assert case_threshold(card, "person") == 0.4


@pytest.mark.parametrize(("color", "order"), [("rgb", (2, 1, 0)), ("bgr", (0, 1, 2))])
def test_preprocess_scales_pads_and_orders_channels(tmp_path: Path, color: str, order: tuple[int, int, int]) -> None:
    detector = tiny(tmp_path, {"color": f'"{color}"'})
    image = np.empty((32, 32, 3), np.uint8)
    image[:] = (10, 20, 30)
    blob = detector.preprocess(image)
    assert blob.shape == (1, 3, 32, 64)
    assert blob.dtype == np.float32
    np.testing.assert_allclose(blob[0, :, 0, 16:48], np.array([10, 20, 30])[list(order), None] / 255 * np.ones(32))
    np.testing.assert_allclose(blob[0, :, :, :16], 114 / 255, rtol=1e-6)


def test_appearance_tells_colours_apart_and_sums_to_one() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, :100] = (0, 0, 200)
    image[:, 100:200] = (200, 0, 0)
    image[:, 200:] = (230, 230, 230)
    boxes = np.array([[0, 0, 100, 100], [100, 0, 200, 100], [200, 0, 300, 100], [10, 10, 90, 90]], np.float32)
    found = appearance(image, boxes)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    overlap = np.minimum(found[:, None], found[None]).sum(axis=-1)
    np.testing.assert_allclose(overlap[:3, :3], np.eye(3), atol=1e-6)
    assert overlap[0, 3] == pytest.approx(1)
    assert appearance(image, boxes[:0]).shape == (0, SIZE)


def test_appearance_of_a_box_at_the_rim_does_not_leave_the_picture() -> None:
    found = appearance(np.zeros((20, 30, 3), np.uint8), np.array([[29, 19, 30, 20], [0, 0, 30, 20]], np.float32))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
