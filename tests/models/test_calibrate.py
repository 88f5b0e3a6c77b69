"""Calibration finds the law that made the hits, keeps its promises on fresh ones, and pools and caps as said."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibrate import CAP, RENDERED_CAP, Sample, calibrate, calibration_error, logit, platt, reliability
from models.evaluate import Role, Scores, SetScores, score_of
from models.matching import IOUS, Tally

SCALE, OFFSET = 1.4, -0.6


def draw(count: int, seed: int, scale: float = SCALE, offset: float = OFFSET) -> Sample:
    """Detections whose share of true ones follows the logistic law."""
    rng = np.random.default_rng(seed)
    raw = rng.beta(1.2, 2.5, count).clip(0.051, 0.99)
    return Sample(raw, rng.random(count) < 1 / (1 + np.exp(-(scale * logit(raw) + offset))))


def scores_of(samples: dict[str, Sample], rendered: bool = False) -> Scores:
    made = {}
    for name, sample in samples.items():
        order = np.argsort(-sample.confidence, kind="stable")
        verdict = np.tile(sample.hit[order].astype(np.int8), (len(IOUS), 1))
        zeros, sides = np.zeros(len(order), np.intp), np.full(len(order), 40.0)
        true = int(sample.hit.sum())
        rows = Tally(1, zeros, sample.confidence[order], verdict, sides, np.zeros(true, np.intp), np.full(true, 40.0))
        made[name] = score_of(rows, replicates=0)
    return {"renders" if rendered else "photos": SetScores(Role.GIVEN, rendered, made)}


def test_the_law_that_made_the_hits_is_found() -> None:
    scale, offset = platt(draw(20_000, 1))
    assert scale == pytest.approx(SCALE, abs=0.08)
    assert offset == pytest.approx(OFFSET, abs=0.08)


def test_calibrated_confidence_is_right_on_fresh_detections() -> None:
    fitted = calibrate(scores_of({"car": draw(3000, 2)}), ["car"], set(), 40, "abc").classes["car"]
    fresh = draw(5000, 3)
    raw, after = (
        calibration_error(fresh.confidence, fresh.hit),
        calibration_error(fitted.apply(fresh.confidence), fresh.hit),
    )
    assert after < 0.03 < raw
    assert not fitted.pooled
    share = fresh.hit.mean()
    assert fitted.prior_odds == pytest.approx(share / (1 - share), rel=0.1)


def test_few_positives_borrow_the_fit_of_all_and_say_so() -> None:
    samples = {"car": draw(3000, 2), "bus": draw(60, 5, 0.2, 2.0)}
    result = calibrate(scores_of(samples), ["car", "bus", "truck"], set(), 40, "abc")
    assert set(result.classes) == {"car", "bus"}  # no truck was seen: no fit
    bus, car = result.classes["bus"], result.classes["car"]
    assert bus.pooled
    assert bus.positives == int(samples["bus"].hit.sum()) < 100
    assert bus.scale == pytest.approx(car.scale, abs=0.15)
    assert car.cap == bus.cap == CAP


def test_what_only_renders_taught_is_capped_and_pooled_apart() -> None:
    photo, drawn = {"car": draw(3000, 2)}, {"street_stall": draw(80, 6, 3.0, 4.0)}
    both = {**scores_of(photo), **scores_of(drawn, rendered=True)}
    result = calibrate(both, ["car", "street_stall"], {"street_stall"}, 40, "abc")
    stall = result.classes["street_stall"]
    assert stall.cap == RENDERED_CAP
    assert stall.apply(np.array([0.99])).tolist() == [RENDERED_CAP]
    assert stall.offset > result.classes["car"].offset + 1


def test_a_perfect_or_hopeless_class_stays_finite() -> None:
    for hit in (True, False):
        scale, offset = platt(Sample(np.linspace(0.06, 0.95, 40), np.full(40, hit)))
        assert np.isfinite([scale, offset]).all()
        assert scale > 0


def test_reliability_fills_its_bins_alike() -> None:
    rows = reliability(np.array([0.9, 0.1, 0.2, 0.8]), np.array([True, False, False, True]), 2)
    assert np.array(rows) == pytest.approx(np.array([[0.15, 0.0, 2], [0.85, 1.0, 2]]))
    assert np.isnan(calibration_error(np.zeros(0), np.zeros(0, bool)))
