"""Calibrated confidence: Platt's formula, thresholds in either measure, and what a card may not say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.calibration import Calibration, Platt, likelihood_ratio
from perception.card import load_card
from perception.detector import OnnxDetector, case_threshold
from perception.errors import ModelError
from perception.types import Frame
from tests.perception.cards import catalogue, write_card, yolo_output

CAR = "{scale = 2.0, offset = -0.5, cap = 0.95}"
BOXES = yolo_output((32, 16, 16, 16, 0.6, 0.0), (10, 16, 8, 8, 0.0, 0.62), (50, 16, 8, 8, 0.99, 0.0))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def calibrated(raw: float) -> float:
    return min(sigmoid(2.0 * math.log(raw / (1 - raw)) - 0.5), 0.95)


def card_with(folder: Path, calibration: str, **changes: str) -> Path:
    return write_card(folder, BOXES, changes={"calibration": calibration, **changes})


@given(raw=st.floats(0.001, 0.999), scale=st.floats(0.2, 3), offset=st.floats(-3, 3))
def test_platt_keeps_the_order_and_has_an_inverse(raw: float, scale: float, offset: float) -> None:
    row = Platt(scale, offset)
    assert row(raw) <= row(min(raw * 1.01, 0.9999))
    assert row.raw(row(raw)) == pytest.approx(raw, rel=1e-3, abs=1e-4)


def test_detections_carry_the_calibrated_confidence_in_its_order(tmp_path: Path) -> None:
    card = load_card(card_with(tmp_path, f"{{prior_odds = 0.5, class = {{car = {CAR}}}}}"), catalogue())
    found = OnnxDetector(card, threads=1).detect(Frame(1, "front", 0, np.zeros((64, 128, 3), np.uint8)))
    assert found.names() == ["car", "person", "car"]
    np.testing.assert_allclose(found.confidence, [0.95, 0.62, calibrated(0.6)], atol=1e-5)
    assert [card.confidence_is(name) for name in ("car", "person")] == ["calibrated", "raw"]
    assert card.prior_odds() == {"car": 0.5}


def test_thresholds_follow_the_measure_that_the_card_names(tmp_path: Path) -> None:
    text = f"{{prior_odds = 0.5, class = {{car = {CAR}}}}}"
    card = load_card(card_with(tmp_path, text), catalogue())
    assert card.thresholds() == {"car": pytest.approx(calibrated(0.25)), "person": 0.25}
    assert case_threshold(card, "car") == pytest.approx(calibrated(0.25))
    told = text.replace("{prior_odds", '{thresholds = "calibrated", prior_odds')
    thresholds = "{confidence = 0.25, privacy = 0.1, nms_iou = 0.5, class = {car = 0.5}}"
    card = load_card(card_with(tmp_path, told, thresholds=thresholds), catalogue())
    assert card.thresholds() == {"car": 0.5, "person": 0.25}


def test_a_card_without_calibration_says_raw(tmp_path: Path) -> None:
    card = load_card(write_card(tmp_path), catalogue())
    assert card.confidence_is("car") == "raw"
    assert card.prior_odds() == {}


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        ("{class = {}}", "`prior_odds` is None"),
        ("{prior_odds = 0}", "`prior_odds` is 0"),
        ("{prior_odds = 1, class = {bus = {scale = 1, offset = 0}}}", "[calibration.class] names 'bus'"),
        ("{prior_odds = 1, class = {car = {scale = -1, offset = 0}}}", "`scale` is -1"),
        ("{prior_odds = 1, class = {car = {scale = 1}}}", "`offset` is None"),
        ("{prior_odds = 1, class = {car = {scale = 1, offset = 0, slope = 2}}}", "unknown key 'slope'"),
        ("{prior_odds = 1, class = {car = {scale = 1, offset = 0, cap = 0.2}}}", "but its `cap` is 0.2"),
        ('{prior_odds = 1, thresholds = "both"}', "calibration.thresholds is 'both'"),
        ("{prior_odds = 1, odds = 3}", "unknown key 'odds'"),
        (
            '{prior_odds = 1, thresholds = "calibrated", class = {car = {scale = 1, offset = 3}}}',
            "thresholds.privacy is 0.1, above 0.0163",
        ),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, calibration: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_card(card_with(tmp_path, calibration), catalogue())
    assert words in str(caught.value)
    assert "Remedy: " in str(caught.value)


def test_a_likelihood_ratio_gives_the_confidence_back_at_its_own_prior() -> None:
    """Bayes' rule: prior odds x ratio = odds of the calibrated confidence; at another prevalence it is another."""
    ratio = likelihood_ratio(0.8, prior_odds=0.5)
    assert ratio == pytest.approx(4 / 0.5)
    assert 0.5 * ratio / (1 + 0.5 * ratio) == pytest.approx(0.8)
    assert 0.05 * ratio / (1 + 0.05 * ratio) < 0.3


def test_a_class_may_have_odds_of_its_own() -> None:
    found = Calibration(0.5, {"car": Platt(1, 0), "bus": Platt(1, 0)}, {"bus": 0.1})
    assert (found.odds_before("car"), found.odds_before("bus"), found.odds_before("person")) == (0.5, 0.1, None)
