"""Each network family's decoder against a loop that is written from the family's own description."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perception.decode import DECODERS


def test_yolo_head_gives_the_best_class_above_the_floor() -> None:
    rng = np.random.default_rng(3)
    output = rng.uniform(0, 1, (1, 4 + 3, 20)).astype(np.float32)
    output[0, :4] *= 100
    expected = []
    for column in output[0].T:
        x, y, w, h, *scores = column.tolist()
        if max(scores) > 0.8:
            best = max(scores)
            expected.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2, best, scores.index(best)])
    found = DECODERS["yolo"].decode(output, (640, 384), 0.8)
    assert 0 < len(expected) < 20
    table = np.column_stack((found.xyxy, found.confidence, found.class_id))
    np.testing.assert_allclose(table, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("input_wh", [(64, 32), (96, 96)])
def test_yolox_head_follows_the_grid(input_wh: tuple[int, int]) -> None:
    cells = [
        (column, row, stride)
        for stride in (8, 16, 32)
        for row in range(input_wh[1] // stride)
        for column in range(input_wh[0] // stride)
    ]
    rng = np.random.default_rng(4)
    output = rng.uniform(0, 1, (1, len(cells), 5 + 4)).astype(np.float32)
    expected = []
    for (column, row, stride), (x, y, w, h, objectness, *scores) in zip(cells, output[0].tolist(), strict=True):
        best = max(scores)
        if objectness * best > 0.6:
            cx, cy = (x + column) * stride, (y + row) * stride
            half_w, half_h = math.exp(w) * stride / 2, math.exp(h) * stride / 2
            box = [cx - half_w, cy - half_h, cx + half_w, cy + half_h]
            expected.append([*box, objectness * best, scores.index(best)])
    found = DECODERS["yolox"].decode(output, input_wh, 0.6)
    assert expected
    table = np.column_stack((found.xyxy, found.confidence, found.class_id))
    np.testing.assert_allclose(table, expected, rtol=1e-5, atol=1e-4)


def test_end_to_end_head_is_read_as_it_is() -> None:
    output = np.zeros((1, 300, 6), np.float32)
    output[0, 0] = [1, 2, 30, 40, 0.9, 2]
    output[0, 1] = [1, 2, 30, 40, 0.05, 1]
    found = DECODERS["yolo_end2end"].decode(output, (640, 384), 0.1)
    np.testing.assert_allclose(found.xyxy, [[1, 2, 30, 40]])
    assert found.class_id.tolist() == [2]
    assert not DECODERS["yolo_end2end"].suppress


def test_set_prediction_is_read_query_by_query() -> None:
    """Reference: softmax-free sigmoid of every logit, boxes as shares of the input, as the DETR papers write it."""
    rng = np.random.default_rng(5)
    boxes = rng.uniform(0.1, 0.9, (1, 40, 4)).astype(np.float32)
    logits = rng.normal(-1, 2, (1, 40, 3)).astype(np.float32)
    expected = []
    for (x, y, w, h), row in zip(boxes[0].tolist(), logits[0].tolist(), strict=True):
        scores = [1 / (1 + math.exp(-value)) for value in row]
        if max(scores) > 0.6:
            left, top, right, bottom = (x - w / 2) * 640, (y - h / 2) * 384, (x + w / 2) * 640, (y + h / 2) * 384
            expected.append([left, top, right, bottom, max(scores), scores.index(max(scores))])
    family = DECODERS["detr"]
    found = family.decode(family.join([boxes, logits]), (640, 384), 0.6)
    assert 0 < len(expected) < 40
    table = np.column_stack((found.xyxy, found.confidence, found.class_id))
    np.testing.assert_allclose(table, expected, rtol=1e-5, atol=1e-4)
    assert not family.suppress
    assert family.class_count(family.join([boxes, logits]).shape) == 3


@pytest.mark.filterwarnings("error")
def test_logits_without_bounds_are_no_trouble() -> None:
    output = np.array([[[0.5, 0.5, 0.2, 0.2, 500.0, -500.0]]], np.float32)
    found = DECODERS["detr"].decode(output, (64, 32), 0.1)
    assert found.confidence.tolist() == [1.0]


def test_decoded_sets_come_as_three_outputs() -> None:
    boxes = np.array([[[1, 2, 30, 40], [5, 6, 7, 8]]], np.float32)
    family = DECODERS["detr_end2end"]
    joined = family.join([boxes, np.array([[0.9, 0.05]], np.float32), np.array([[2, 1]], np.float32)])
    found = family.decode(joined, (640, 384), 0.1)
    np.testing.assert_allclose(found.xyxy, [[1, 2, 30, 40]])
    assert (found.confidence.tolist(), found.class_id.tolist()) == ([np.float32(0.9)], [2])


@pytest.mark.parametrize("family", sorted(DECODERS))
def test_nothing_above_the_floor_is_no_boxes(family: str) -> None:
    shapes = {"yolo": (1, 6, 42), "yolox": (1, 42, 7), "detr": (1, 42, 6)}
    output = np.zeros(shapes.get(family, (1, 300, 6)), np.float32)
    if family == "detr":
        output[..., 4:] = -9  # logits
    found = DECODERS[family].decode(output, (64, 32), 0.1)
    assert found.xyxy.shape == (0, 4)
    assert found.confidence.shape == found.class_id.shape == (0,)


def test_class_counts_come_from_the_shape() -> None:
    assert DECODERS["yolo"].class_count((1, 84, 8400)) == 80
    assert DECODERS["yolox"].class_count((1, 3549, 85)) == 80
    assert DECODERS["yolo_end2end"].class_count((1, 300, 6)) is None
