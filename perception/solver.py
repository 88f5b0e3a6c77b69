"""Robust maximum-a-posteriori fit of a handful of parameters, all finite differences of a step in one batched call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gnss.types import Array

HUBER = 2.0
ENOUGH = 1e-3
"""A step that improves the log posterior by less ends the fit: it moves nothing by a noticeable part of its sigma."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Result: `parameters` (K,), `covariance` (K, K), and two sums that compare hypotheses.

    `log_evidence` is Laplace's approximation of the marginal likelihood; `chi2_per_residual` tells a misfit.
    """

    parameters: Array
    covariance: Array
    log_evidence: float
    chi2_per_residual: float


def _huber_cost(residuals: Array) -> Array:
    size = np.abs(residuals)
    cost: Array = np.where(size <= HUBER, 0.5 * size**2, HUBER * (size - 0.5 * HUBER)).sum(axis=-1)
    return cost


def fit(
    residuals: Callable[[Array], Array], start: Array, prior_mean: Array, prior_sigma: Array, iterations: int = 12
) -> Fit:
    """Levenberg-Marquardt with Huber weights; `residuals` maps (B, K) to whitened (B, M).

    A parameter with prior sigma 0 is fixed at its start. Source: Nocedal & Wright, Numerical Optimization, ch. 10.
    """
    free = np.flatnonzero(prior_sigma > 0)
    sigma, mean = prior_sigma[free], prior_mean[free]
    step = 1e-4 * np.minimum(np.maximum(sigma, 1e-3), 10.0)
    now = start.copy()
    damping = 1e-3

    def total(points: Array) -> tuple[Array, Array]:
        data = residuals(points)
        return data, _huber_cost(data) + 0.5 * (((points[:, free] - mean) / sigma) ** 2).sum(axis=1)

    hessian = np.diag(1.0 / sigma**2)
    data, cost = total(now[None])
    for _ in range(iterations):
        probes = np.repeat(now[None], len(free) + 1, axis=0)
        probes[np.arange(1, len(free) + 1), free] += step
        values = residuals(probes)
        jacobian = ((values[1:] - values[0]) / step[:, None]).T
        weight = np.minimum(1.0, HUBER / np.maximum(np.abs(values[0]), 1e-12))
        hessian = (jacobian * weight[:, None]).T @ jacobian + np.diag(1.0 / sigma**2)
        gradient = jacobian.T @ (weight * values[0]) + (now[free] - mean) / sigma**2
        dampings = damping * np.array([0.0, 0.1, 1.0, 10.0, 1000.0])
        damped = hessian + dampings[:, None, None] * np.diag(np.diag(hessian))
        steps = np.linalg.solve(damped, np.repeat(gradient[None, :, None], len(dampings), axis=0))[:, :, 0]
        if 0.5 * gradient @ steps[0] < ENOUGH:
            break
        tries = np.repeat(now[None], len(dampings) - 1, axis=0)
        tries[:, free] -= steps[1:]
        dampings = dampings[1:]
        new_data, costs = total(tries)
        best = int(np.argmin(costs))
        if not costs[best] < cost[0]:
            # The outline has corners: where the model misleads, only a much shorter step helps.
            if damping > 1e3:
                break
            damping *= 1e3
            continue
        gain = float(cost[0] - costs[best])
        now, cost, data, damping = (
            tries[best],
            costs[best : best + 1],
            new_data[best : best + 1],
            max(dampings[best], 1e-9),
        )
        if gain < ENOUGH:
            break
    covariance = np.zeros((len(start), len(start)))
    inner = np.linalg.inv(hessian)
    covariance[np.ix_(free, free)] = inner
    log_evidence = float(-cost[0] + 0.5 * np.linalg.slogdet(inner)[1] - np.log(sigma).sum())
    used = max(int((np.abs(data[0]) > 0).sum()), 1)
    return Fit(now, covariance, log_evidence, float((data[0] ** 2).sum()) / used)
