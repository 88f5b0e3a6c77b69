"""The solver against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gnss.types import Array
from perception.solver import Fit, Model, fit


def _linear(design: Array, data: Array) -> Model:
    """Residuals design @ x - data of B equal problems in one group."""

    def model(points: Array, rows: NDArray[np.intp]) -> tuple[Array, Array]:
        residuals = points @ design.T - data
        slopes = np.repeat(design.T[None, None], len(rows), axis=0)
        return residuals[:, None, :], slopes

    return model


def _one(model: Model, weight: Array, start: Array, mean: Array, sigma: Array) -> Fit:
    with np.errstate(divide="ignore"):
        information = np.zeros((1, len(sigma), len(sigma)))
        information[0, np.arange(len(sigma)), np.arange(len(sigma))] = 1.0 / sigma**2
    return fit(model, weight[None, None], start[None], mean[None], information, 40)


def test_a_linear_problem_with_correlated_noise_has_the_closed_form_mean_and_covariance() -> None:
    rng = np.random.default_rng(3)
    design, truth = rng.standard_normal((40, 3)), np.array([1.0, -2.0, 0.5])
    gap = np.abs(np.arange(40)[:, None] - np.arange(40)[None, :])
    noise = 0.09 * np.exp(-gap / 3.0) + 0.01 * np.eye(40)
    data = design @ truth + np.linalg.cholesky(noise) @ rng.standard_normal(40)
    weight = np.linalg.inv(noise)
    sigma, mean = np.array([2.0, 5.0, 0.2]), np.array([0.0, 0.0, 0.4])
    result = _one(_linear(design, data), weight, mean, mean, sigma)
    information = design.T @ weight @ design + np.diag(1 / sigma**2)
    expected = np.linalg.solve(information, design.T @ weight @ data + mean / sigma**2)
    assert result.parameters[0] == pytest.approx(expected, abs=5e-3)
    assert result.covariance[0] == pytest.approx(np.linalg.inv(information), rel=1e-6)


def test_evidence_is_the_marginal_likelihood_of_a_linear_model() -> None:
    # One measurement y of x with noise s, prior N(0, p): log N(y; 0, s2 + p2) but for ln(2 pi) / 2.
    one = np.array([0.0])
    for prior, y, noise in ((0.5, 1.5, 1.0), (3.0, 1.5, 1.0), (20.0, -4.0, 2.0)):
        found = _one(_linear(np.eye(1), np.array([y])), np.eye(1) / noise**2, one, one, np.array([prior])).log_evidence
        total = noise**2 + prior**2
        assert found[0] == pytest.approx(-0.5 * y**2 / total - 0.5 * np.log(total), abs=5e-3)


def test_a_parameter_without_prior_width_is_fixed() -> None:
    start = np.array([0.0, 7.0])
    result = _one(_linear(np.ones((1, 2)), np.array([10.0])), np.eye(1), start, start, np.array([100.0, 0.0]))
    assert result.parameters[0, 1] == 7.0
    assert result.parameters[0, 0] == pytest.approx(3.0, abs=1e-2)
    assert result.covariance[0, 1].tolist() == [0.0, 0.0]


def test_many_problems_are_solved_as_each_alone() -> None:
    def model(points: Array, rows: NDArray[np.intp]) -> tuple[Array, Array]:
        target = 1.0 + rows.astype(np.float64)
        return (np.exp(points[:, :1]) - target[:, None])[:, None, :], np.exp(points)[:, None, :, None]

    information = np.full((5, 1, 1), 1e-8)
    result = fit(model, np.full((5, 1, 1, 1), 1e4), np.zeros((5, 1)), np.zeros((5, 1)), information, 40)
    assert result.parameters[:, 0] == pytest.approx(np.log(np.arange(1.0, 6.0)), abs=1e-3)


def test_a_corner_in_the_cost_does_not_stop_it_early() -> None:
    # max(x, 3 - x) - 1.9 has a kink right beside its minimum.
    def model(points: Array, rows: NDArray[np.intp]) -> tuple[Array, Array]:
        x = points[:, :1]
        return (np.maximum(x, 3.0 - x) - 1.9)[:, None, :], np.where(x > 1.5, 1.0, -1.0)[:, None, :, None]

    zero = np.array([0.0])
    result = _one(model, np.eye(1) * 1e4, zero, zero, np.array([10.0]))
    assert min(abs(result.parameters[0, 0] - 1.1), abs(result.parameters[0, 0] - 1.9)) < 0.02
