"""Overlap, suppression and the letterbox against slow, independent references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perception.boxes import iou, letterbox, nms

Case = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]


def crowd(seed: int, count: int, classes: int = 3) -> Case:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 200, (count, 2))
    boxes = np.concatenate((low, low + rng.uniform(20, 120, (count, 2))), axis=1).astype(np.float32)
    return boxes, rng.uniform(0, 1, count).astype(np.float32), rng.integers(0, classes, count).astype(np.int32)


def slow_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    inter = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter / union) if union > 0 else 0.0


def slow_nms(case: Case, limit: float) -> list[int]:
    boxes, confidence, class_id = case
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -confidence[i]):
        if all(class_id[i] != class_id[j] or slow_iou(boxes[i], boxes[j]) <= limit for j in kept):
            kept.append(i)
    return kept


def test_iou_matrix() -> None:
    boxes, _, _ = crowd(1, 12)
    expected = [[slow_iou(a, b) for b in boxes[:5]] for a in boxes]
    np.testing.assert_allclose(iou(boxes, boxes[:5]), expected, atol=1e-6)
    assert iou(boxes[:0], boxes).shape == (0, 12)
    flat = np.array([[3, 3, 3, 9]], np.float32)
    assert iou(flat, flat)[0, 0] == 0.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 60), limit=st.sampled_from([0.3, 0.45, 0.7]))
def test_nms_is_the_greedy_rule(seed: int, count: int, limit: float) -> None:
    case = crowd(seed, count)
    assert nms(*case, limit).tolist() == slow_nms(case, limit)


def test_many_boxes_fall_by_the_same_rule() -> None:
    case = crowd(5, 700)  # too many for a table of all pairs
    assert nms(*case, 0.4).tolist() == slow_nms(case, 0.4)


def test_nms_keeps_other_classes_and_breaks_ties_by_order() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 3, np.float32)
    confidence = np.full(3, 0.5, np.float32)
    assert nms(boxes, confidence, np.array([0, 0, 1], np.int32), 0.5).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("frame", "network", "inner", "corner"),
    [
        ((1280, 720), (640, 384), (640, 360), (0, 12)),
        ((1280, 720), (640, 640), (640, 360), (0, 140)),
        ((1023, 767), (640, 384), (512, 384), (64, 0)),
        ((333, 500), (320, 320), (213, 320), (53, 0)),
        ((200, 100), (640, 384), (640, 320), (0, 32)),
    ],
)
def test_centred_letterbox_rounds_as_the_reference(
    frame: tuple[int, int], network: tuple[int, int], inner: tuple[int, int], corner: tuple[int, int]
) -> None:
    fit = letterbox(frame, network, "center")
    assert (fit.inner_wh, (fit.left, fit.top)) == (inner, corner)


@settings(max_examples=60, deadline=None)
@given(
    frame=st.tuples(st.integers(40, 2000), st.integers(40, 2000)),
    network=st.tuples(st.sampled_from([320, 416, 640]), st.sampled_from([320, 384, 640])),
    placement=st.sampled_from(["center", "top_left", "stretch"]),
)
def test_letterbox_inverse_is_exact(frame: tuple[int, int], network: tuple[int, int], placement: str) -> None:
    fit = letterbox(frame, network, placement)
    assert fit.left >= 0
    assert fit.top >= 0
    assert fit.left + fit.inner_wh[0] <= network[0]
    assert fit.top + fit.inner_wh[1] <= network[1]
    width, height = frame
    boxes = np.array([[0, 0, width, height], [0.1 * width, 0.2 * height, 0.6 * width, 0.9 * height]], np.float32)
    np.testing.assert_allclose(fit.to_frame(fit.to_input(boxes)), boxes, atol=0.01)


def test_placing_leaves_the_padding_and_fills_the_rest() -> None:
    fit = letterbox((100, 50), (64, 64), "center")
    canvas = np.full((64, 64, 3), 114, np.uint8)
    fit.place(np.full((50, 100, 3), 7, np.uint8), canvas)
    assert (canvas[16:48] == 7).all()
    assert (canvas[:16] == 114).all()
    assert (canvas[48:] == 114).all()


def test_stretching_fills_the_input_and_keeps_each_side_to_itself() -> None:
    fit = letterbox((1280, 720), (560, 560), "stretch")
    assert (fit.inner_wh, fit.left, fit.top) == ((560, 560), 0, 0)
    np.testing.assert_allclose(fit.to_frame(np.array([[280, 280, 560, 560]], np.float32)), [[640, 360, 1280, 720]])


def test_boxes_are_clipped_to_the_frame() -> None:
    fit = letterbox((100, 50), (64, 64), "top_left")
    np.testing.assert_allclose(fit.to_frame(np.array([[-5, -5, 90, 90]], np.float32)), [[0, 0, 100, 50]])


def test_an_unknown_placement_is_refused() -> None:
    with pytest.raises(ValueError, match="bottom"):
        letterbox((100, 50), (64, 64), "bottom")
