"""The solver against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from perception.solver import fit


def test_a_linear_problem_has_the_closed_form_mean_and_covariance() -> None:
    rng = np.random.default_rng(3)
    design, truth = rng.standard_normal((40, 3)), np.array([1.0, -2.0, 0.5])
    data = design @ truth + 0.3 * rng.standard_normal(40)
    sigma, mean = np.array([2.0, 5.0, 0.2]), np.array([0.0, 0.0, 0.4])
    result = fit(lambda h: (h @ design.T - data) / 0.3, mean.copy(), mean, sigma)
    information = design.T @ design / 0.09 + np.diag(1 / sigma**2)
    expected = np.linalg.solve(information, design.T @ data / 0.09 + mean / sigma**2)
    # Huber gives the few residuals beyond 2 sigma less weight, so the data must stay within for equality.
    assert np.abs(design @ expected - data).max() / 0.3 < 4.0
    assert result.parameters == pytest.approx(expected, abs=0.05)
    assert result.covariance == pytest.approx(np.linalg.inv(information), rel=0.2, abs=2e-4)


def test_evidence_is_the_marginal_likelihood_of_a_linear_model() -> None:
    # One measurement y of x with noise s, prior N(0, p): log N(y; 0, s2 + p2) against the same with p' differs exactly.
    def evidence(prior: float, y: float, noise: float) -> float:
        one = np.array([0.0])
        return fit(lambda h: (h[:, :1] - y) / noise, one, one, np.array([prior])).log_evidence

    def exact(prior: float, y: float, noise: float) -> float:
        total = noise**2 + prior**2
        return float(-0.5 * y**2 / total - 0.5 * np.log(total / noise**2))

    for prior in (0.5, 3.0, 20.0):
        assert evidence(prior, 1.5, 1.0) == pytest.approx(exact(prior, 1.5, 1.0), abs=1e-3)


def test_a_parameter_without_prior_width_is_fixed() -> None:
    start = np.array([0.0, 7.0])
    result = fit(lambda h: h[:, :1] + h[:, 1:] - 10.0, start, start, np.array([100.0, 0.0]))
    assert result.parameters[1] == 7.0
    assert result.parameters[0] == pytest.approx(3.0, abs=1e-2)
    assert result.covariance[1].tolist() == [0.0, 0.0]


def test_one_gross_outlier_hardly_moves_the_result() -> None:
    data = np.append(np.full(15, 5.0), 500.0)
    zero = np.array([0.0])
    result = fit(lambda h: h[:, :1] - data, zero, zero, np.array([1e3]), iterations=40)
    assert result.parameters[0] == pytest.approx(5.0, abs=0.2)


def test_a_corner_in_the_cost_does_not_stop_it_early() -> None:
    # max(x, 3 - x) - 1.9 has a kink right beside its minimum.
    zero = np.array([0.0])
    result = fit(lambda h: (np.maximum(h[:, :1], 3.0 - h[:, :1]) - 1.9) / 0.01, zero, zero, np.array([10.0]), 40)
    assert min(abs(result.parameters[0] - 1.1), abs(result.parameters[0] - 1.9)) < 0.02
