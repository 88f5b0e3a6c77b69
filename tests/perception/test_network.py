"""Networks that do not fit, cannot run or answer nonsense: a typed reason at the start, and per frame while running."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from perception.card import load_card
from perception.detector import OnnxDetector
from perception.errors import ModelError
from perception.network import NetworkFault
from perception.types import Detections, Frame
from tests.perception.cards import catalogue, write_card, yolo_output

FRAME = Frame(1, "front", 0, np.zeros((64, 128, 3), np.uint8))
CAR = (32.0, 16.0, 16.0, 16.0, 0.9, 0.0)


def found(card: Path) -> Detections:
    return OnnxDetector(load_card(card, catalogue()), threads=1).detect(FRAME)


def detr_outputs(boxes: str, logits: str) -> Mapping[str, NDArray[np.float32]]:
    """One car in the middle, the right half of the lower input."""
    rows = np.zeros((1, 5, 4), np.float32)
    rows[0, 0] = (0.5, 0.5, 0.25, 0.5)
    scores = np.full((1, 5, 2), -9, np.float32)
    scores[0, 0] = (2.0, -3.0)
    return {logits: scores, boxes: rows}


DETR = {"decoder": '"detr"', "letterbox": '"stretch"'}


@pytest.mark.parametrize("names", [("dets", "labels"), ("pred_boxes", "logits"), ("boxes", "pred_logits")])
def test_set_prediction_finds_its_outputs_by_their_names(tmp_path: Path, names: tuple[str, str]) -> None:
    boxes = found(write_card(tmp_path, detr_outputs(*names), changes=DETR))
    assert boxes.names() == ["car"]
    np.testing.assert_allclose(boxes.xyxy, [[48, 16, 80, 48]], atol=1e-4)
    np.testing.assert_allclose(boxes.confidence, [1 / (1 + np.exp(-2))], atol=1e-6)


def test_unknown_names_of_outputs_are_told_by_the_card(tmp_path: Path) -> None:
    output = detr_outputs("a", "b")
    with pytest.raises(ModelError, match=r"the network has outputs \['a', 'b'\]. Remedy: name its decoder"):
        found(write_card(tmp_path, output, changes=DETR))
    assert len(found(write_card(tmp_path, output, changes={**DETR, "outputs": '["a", "b"]'}))) == 1
    with pytest.raises(ModelError, match=r"`outputs` is \['a'\]"):
        found(write_card(tmp_path, output, changes={**DETR, "outputs": '["a"]'}))
    with pytest.raises(ModelError, match="reads boxes"):
        found(write_card(tmp_path, output, changes={**DETR, "outputs": '["b", "a"]'}))


def test_decoded_sets_are_scaled_to_the_input(tmp_path: Path) -> None:
    output = {
        "labels": np.array([[0, 1]], np.float32),
        "boxes": np.array([[[8, 8, 24, 24], [0, 0, 9, 9]]], np.float32),
        "scores": np.array([[0.7, 0.05]], np.float32),
    }
    changes = {"decoder": '"detr_end2end"', "letterbox": '"stretch"'}
    boxes = found(write_card(tmp_path, output, changes=changes, sized=True))
    np.testing.assert_allclose(boxes.xyxy, [[16, 16, 48, 48]], atol=1e-4)
    with pytest.raises(ModelError, match=r"the network has inputs \['images'\], decoder 'detr_end2end' feeds 2"):
        found(write_card(tmp_path, output, changes=changes))


def test_mean_and_spread_are_taken_per_colour(tmp_path: Path) -> None:
    changes = {"mean": "[0.5, 0.25, 0.125]", "std": "[0.5, 0.25, 2.0]", "letterbox": '"stretch"'}
    detector = OnnxDetector(load_card(write_card(tmp_path, changes=changes), catalogue()), threads=1)
    image = np.empty((32, 64, 3), np.uint8)
    image[:] = (10, 20, 30)
    pixels = np.array([30, 20, 10]) / 255
    wanted = (pixels - [0.5, 0.25, 0.125]) / [0.5, 0.25, 2.0]
    np.testing.assert_allclose(detector.preprocess(image)[0, :, 5, 5], wanted, rtol=1e-5)


def test_pictures_may_go_in_as_float16(tmp_path: Path) -> None:
    boxes = found(write_card(tmp_path, yolo_output(CAR), half=True))
    np.testing.assert_allclose(boxes.xyxy, [[48, 16, 80, 48]], atol=1e-4)


def test_open_sides_take_the_card_s_size(tmp_path: Path) -> None:
    boxes = found(write_card(tmp_path, yolo_output(CAR), open_sides=True))
    np.testing.assert_allclose(boxes.xyxy, [[48, 16, 80, 48]], atol=1e-4)


@pytest.mark.parametrize(
    ("output", "changes", "words"),
    [
        (np.zeros((1, 9, 8), np.float32), {}, "`classes` lists 2, but"),
        (np.zeros((6, 8), np.float32), {}, "the network gives [6, 8], decoder 'yolo' reads (1, 4 + classes, N)"),
        (np.zeros((2, 6, 8), np.float32), {}, "the network's answer is misshapen"),
        (np.full((1, 6, 8), np.nan, np.float32), {}, "the network's answer is not finite, and that to an empty"),
        (np.full((1, 300, 7), 0, np.float32), {"decoder": '"yolo_end2end"'}, "reads (1, N, 6)"),
    ],
)
def test_what_an_open_file_hides_shows_when_it_is_tried(
    tmp_path: Path, output: NDArray[np.float32], changes: dict[str, str], words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        load_card(write_card(tmp_path, output, changes=changes, open_sides=True), catalogue())
    assert words in str(caught.value)
    assert "Remedy: " in str(caught.value)


@pytest.mark.parametrize("output", [np.zeros((6, 8), np.float32), np.zeros((1, 1, 6, 8), np.float32)])
def test_a_wrong_rank_is_refused(tmp_path: Path, output: NDArray[np.float32]) -> None:
    with pytest.raises(ModelError, match=r"decoder 'yolo' reads \(1, 4 \+ classes, N\)"):
        load_card(write_card(tmp_path, output), catalogue())


def test_another_version_of_onnx_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"another ONNX version .* Remedy: export the model with opset 17"):
        load_card(write_card(tmp_path, opset=999), catalogue())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_network_that_answers_nothing_finite_stops_at_the_start(tmp_path: Path, value: float) -> None:
    output = yolo_output(CAR)
    output[0, 2, 3] = value
    card = load_card(write_card(tmp_path, output), catalogue())
    with pytest.raises(ModelError, match=r"not finite, and that to an empty picture.* Remedy: export the model anew"):
        OnnxDetector(card, threads=1)


def test_one_frame_s_nonsense_is_that_frame_s(tmp_path: Path) -> None:
    detector = OnnxDetector(load_card(write_card(tmp_path, yolo_output(CAR)), catalogue()), threads=1)
    blob = detector.preprocess(FRAME.image)
    blob[0, 0, 0, 0] = np.nan  # as a network's own overflow would
    with pytest.raises(NetworkFault, match="not finite"):
        detector.run(blob)
    assert len(detector.detect(FRAME)) == 1


def test_a_class_that_the_card_does_not_have_is_a_fault(tmp_path: Path) -> None:
    output = np.zeros((1, 4, 6), np.float32)
    output[0, 0] = (8, 8, 24, 24, 0.9, 7)
    card = load_card(write_card(tmp_path, output, changes={"decoder": '"yolo_end2end"'}), catalogue())
    with pytest.raises(NetworkFault, match=r"names class 7\.\.7 of 2"):
        OnnxDetector(card, threads=1, warm_up=False).detect(FRAME)
