"""Bearings, next steps: noise learned from the rays themselves, and things placed with one offset per camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from gnss.types import Array
from perception.bearings import LEAST_RANGE_M, BearingNoise, Rays, Thing, find, pulls
from perception.joint import Joint, Sighting, solve


def learn(rays: Rays, prior: BearingNoise, rounds: int = 6, weight: float = 1.0) -> tuple[BearingNoise, list[Thing]]:
    """Noise and things together: find, re-estimate the noise from what was found, and again (MAP expectation steps).

    The prior counts as `weight` times as many rays as there are. It must not be zero: from bearings alone few things
    in much clutter explain the rays as well as many things with small errors do, and an estimate without a prior runs
    to one of the two ends. The place's own uncertainty is added to each residual, or the noise would shrink to nothing.
    """
    noise, things = prior, find(rays, prior)
    for _ in range(rounds):
        if not things:
            break
        noise = _estimate(rays, things, noise, prior, weight)
        things = find(rays, noise)
    return noise, things


def _estimate(
    rays: Rays, things: Sequence[Thing], noise: BearingNoise, prior: BearingNoise, weight: float
) -> BearingNoise:
    """One maximisation step: the noise that best explains the residuals of `things`, held by the prior."""
    at = np.array([r for t in things for r in t.rays], dtype=np.intp)
    of = np.repeat(np.arange(len(things)), [len(t.rays) for t in things])
    places, covs = np.array([t.place_m for t in things])[of], np.array([t.cov_m2 for t in things])[of]
    turn, deep, _, across, along = pulls(rays, at, places, noise)
    turned = turn**2 + np.einsum("ni,nij,nj->n", across, covs, across)
    deepened = deep**2 + np.einsum("ni,nij,nj->n", along, covs, along)
    far = np.maximum(np.linalg.norm(places - rays.place_m[at], axis=1), LEAST_RANGE_M)
    held = weight * len(rays)
    before = np.array([math.radians(prior.bearing_deg), prior.offset_m]) ** 2

    def cost(logs: Array) -> float:
        """Minus twice the log posterior of the two variances: scaled inverse chi-square priors, normal residuals."""
        now = np.exp(logs)
        variance = now[0] + now[1] / far**2
        return float((turned / variance + np.log(variance)).sum() + held * (before / now + logs).sum())

    logs = minimize(cost, np.log(before), method="Nelder-Mead").x
    bearing, offset = np.exp(0.5 * logs)
    ln_range = math.sqrt((deepened.sum() + held * prior.ln_range**2) / (len(at) + held))
    clutter = (len(rays) - len(at) + held * prior.clutter) / (len(rays) + held)
    per_m2 = (len(things) / rays.seen_m2() + weight * prior.per_m2) / (1.0 + weight)
    return replace(
        noise,
        bearing_deg=math.degrees(float(bearing)),
        ln_range=ln_range,
        offset_m=float(offset),
        clutter=clutter,
        per_m2=per_m2,
    )


def together(rays: Rays, things: Sequence[Thing], noise: BearingNoise, rounds: int = 3) -> Joint:
    """Places of all things and the offset of every camera in one joint solution; object names are indices of `things`.

    A ray is a sighting at its end: its own covariance is narrow across and long along the ray, for the range at which
    the solution of the round before has the thing. Raises ValueError when there is no thing.
    """
    common = {str(c): noise.offset_m**2 * np.eye(2) for c in np.unique(rays.camera)}
    ends, sigma = rays.ends(), math.radians(noise.bearing_deg)
    places = {i: t.place_m for i, t in enumerate(things)}
    joint: Joint | None = None
    for _ in range(max(rounds, 1)):
        sightings = []
        for i, thing in enumerate(things):
            for r in thing.rays:
                far = max(float(np.linalg.norm(places[i] - rays.place_m[r])), LEAST_RANGE_M)
                unit = np.array([math.sin(rays.bearing_rad[r]), math.cos(rays.bearing_rad[r])])
                side = np.array([unit[1], -unit[0]])
                own = (far * sigma) ** 2 * np.outer(side, side) + (far * noise.ln_range) ** 2 * np.outer(unit, unit)
                sightings.append(Sighting(i, str(rays.camera[r]), ends[r], own))
        joint = solve(sightings, common)
        places = dict(joint.places)
    if joint is None:
        raise ValueError("nothing was seen")
    return joint
