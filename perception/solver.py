"""Maximum-a-posteriori fits of a handful of parameters each, many at once: Levenberg-Marquardt in batched arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gnss.types import Array, Mask, Rows

ENOUGH = 3e-3
"""A step that improves the log posterior by less ends a fit: it moves nothing by a noticeable part of its sigma."""

Model = Callable[[Array, Rows], tuple[Array, Array]]
"""Parameters (B, K) of problems `rows` (B,) -> residuals (B, G, M) in G groups, their derivatives (B, G, K, M)."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Results of B fits: `parameters` (B, K), `covariance` (B, K, K) and two sums that compare hypotheses.

    `log_evidence` (B,) is Laplace's approximation of the marginal likelihood, up to a constant of the data;
    `residuals` (B, G, M) are those at the end.
    """

    parameters: Array
    covariance: Array
    log_evidence: Array
    residuals: Array

    def of(self, rows: Rows) -> Fit:
        """The fits `rows` alone."""
        return Fit(self.parameters[rows], self.covariance[rows], self.log_evidence[rows], self.residuals[rows])


def replaced(whole: Fit, rows: Rows, part: Fit) -> Fit:
    """`whole` with the fits `rows` from `part`."""
    new = Fit(*(getattr(whole, name).copy() for name in Fit.__dataclass_fields__))
    for name in Fit.__dataclass_fields__:
        getattr(new, name)[rows] = getattr(part, name)
    return new


def either(first: Mask, a: Fit, b: Fit) -> Fit:
    """Fit by fit: a where `first` (B,) is true, else b."""
    return Fit(
        np.where(first[:, None], a.parameters, b.parameters),
        np.where(first[:, None, None], a.covariance, b.covariance),
        np.where(first, a.log_evidence, b.log_evidence),
        np.where(first[:, None, None], a.residuals, b.residuals),
    )


def mixed(weight: Array, first: Fit, second: Fit) -> Fit:
    """Neither of two hypotheses is sure: their mixture's mean and covariance, so that the ellipse holds both places."""
    w = weight[:, None]
    gap = first.parameters - second.parameters
    spread = weight[:, None, None] * (1.0 - weight[:, None, None]) * gap[:, :, None] * gap[:, None, :]
    return Fit(
        w * first.parameters + (1.0 - w) * second.parameters,
        w[:, :, None] * first.covariance + (1.0 - w[:, :, None]) * second.covariance + spread,
        np.maximum(first.log_evidence, second.log_evidence),
        np.where(w[:, :, None] > 0.5, first.residuals, second.residuals),
    )


def fit(model: Model, weight: Array, start: Array, mean: Array, information: Array, iterations: int = 12) -> Fit:
    """Fit B problems at once. `weight` (B, G, M, M) is the inverse covariance of the residuals of each group.

    The prior is Gaussian with `mean` (B, K) and `information` (B, K, K). A parameter whose prior information is
    infinite on the diagonal is fixed at its start. Each problem has a damping of its own, keeps only steps that improve
    it, and is left alone once it has converged. Source: Nocedal & Wright, Numerical Optimization, ch. 10.
    """
    count, size = start.shape
    fixed = np.isinf(np.einsum("bkk->bk", information))
    held = fixed[:, :, None] | fixed[:, None, :]
    unit = np.where(fixed, 1.0, 0.0)[:, :, None] * np.eye(size)
    prior = np.where(held, 0.0, information) + unit
    now, damping = start.copy(), np.full(count, 1e-3)
    residuals, slopes = model(now, np.arange(count))
    slopes = np.where(fixed[:, None, :, None], 0.0, slopes)
    cost = _cost(residuals, weight, now - mean, prior)
    active = np.arange(count)
    for _ in range(iterations):
        hessian, gradient = _normal(
            residuals[active], slopes[active], weight[active], (now - mean)[active], prior[active]
        )
        diagonal = np.einsum("bkk->bk", hessian)
        step = np.linalg.solve(
            hessian + (damping[active, None] * diagonal)[:, :, None] * np.eye(size), gradient[:, :, None]
        )
        step = step[:, :, 0]
        moving = np.einsum("bk,bk->b", gradient, step) > 2.0 * ENOUGH
        active, step = active[moving], step[moving]
        if not len(active):
            break
        tried = now[active] - step
        new_residuals, new_slopes = model(tried, active)
        new_cost = _cost(new_residuals, weight[active], tried - mean[active], prior[active])
        gain = cost[active] - new_cost
        better = gain > 0.0
        rows = active[better]
        now[rows], cost[rows], residuals[rows] = tried[better], new_cost[better], new_residuals[better]
        slopes[rows] = np.where(fixed[rows, None, :, None], 0.0, new_slopes[better])
        damping[active] = np.where(better, np.maximum(damping[active] * 0.1, 1e-9), damping[active] * 10.0)
        active = active[(~better & (damping[active] < 1e6)) | (gain > ENOUGH)]
    hessian, _ = _normal(residuals, slopes, weight, now - mean, prior)
    inverse = np.linalg.inv(hessian)
    covariance = inverse - unit
    spread = 0.5 * np.linalg.slogdet(inverse)[1] + 0.5 * np.linalg.slogdet(prior)[1]
    spread += 0.5 * np.linalg.slogdet(weight)[1].sum(axis=1)
    return Fit(now, 0.5 * (covariance + covariance.transpose(0, 2, 1)), spread - cost, residuals)


def _cost(residuals: Array, weight: Array, off: Array, prior: Array) -> Array:
    data = (residuals[:, :, None, :] @ weight @ residuals[:, :, :, None])[:, :, 0, 0].sum(axis=1)
    cost: Array = 0.5 * data + 0.5 * (off[:, None, :] @ prior @ off[:, :, None])[:, 0, 0]
    return cost


def _normal(residuals: Array, slopes: Array, weight: Array, off: Array, prior: Array) -> tuple[Array, Array]:
    """Hessian (B, K, K) and gradient (B, K) of the log posterior, Gauss-Newton."""
    weighted = slopes @ weight
    hessian = (weighted @ slopes.transpose(0, 1, 3, 2)).sum(axis=1) + prior
    gradient = (weighted @ residuals[:, :, :, None]).sum(axis=1)[:, :, 0] + (prior @ off[:, :, None])[:, :, 0]
    return hessian, gradient
