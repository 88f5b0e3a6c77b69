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


@pytest.mark.parametrize("family", sorted(DECODERS))
def test_nothing_above_the_floor_is_no_boxes(family: str) -> None:
    shape = {"yolo": (1, 6, 42), "yolox": (1, 42, 7), "yolo_end2end": (1, 300, 6)}[family]
    found = DECODERS[family].decode(np.zeros(shape, np.float32), (64, 32), 0.1)
    assert found.xyxy.shape == (0, 4)
    assert found.confidence.shape == found.class_id.shape == (0,)


def test_class_counts_come_from_the_shape() -> None:
    assert DECODERS["yolo"].class_count((1, 84, 8400)) == 80
    assert DECODERS["yolox"].class_count((1, 3549, 85)) == 80
    assert DECODERS["yolo_end2end"].class_count((1, 300, 6)) is None
