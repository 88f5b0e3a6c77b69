"""One position from several passes, and the offset of a pass against what is known.

GNSS error is common to a pass and decays as a Gauss-Markov process between windows, so passes a minute apart are nearly
one measurement and passes a day apart are two (geolocation.md, 5 and 8G). The split of every covariance is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception.serial import matrix2
from perception.types import PassPosition

GNSS_TAU_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """Fused position with its total covariance (2, 2) m2, and the 1-sigma share of the two parts (metres)."""

    lat_deg: float
    lon_deg: float
    cov_m2: Array
    gnss_sigma_m: float
    own_sigma_m: float


def _alike(a: PassPosition, b: PassPosition) -> float:
    """Correlation of the GNSS errors of two windows."""
    if a.pass_id == b.pass_id:
        return 1.0
    if a.utc_ns is None or b.utc_ns is None:
        return 1.0
    return math.exp(-abs(a.utc_ns - b.utc_ns) * 1e-9 / GNSS_TAU_S)


def fuse(passes: Sequence[PassPosition]) -> Fused:
    """Generalised least squares over the passes' positions; raises ValueError when there is none.

    Positions count as their pass measured them. Their offsets were found against the very cases fused here, so they say
    nothing about the absolute place: using them would make every pass repeat the error of the first.
    """
    if not passes:
        raise ValueError("a position needs at least one pass")
    frame = LocalFrame(passes[0].lat_deg, passes[0].lon_deg)
    count = len(passes)
    places = np.array([frame.to_enu(p.lat_deg, p.lon_deg) for p in passes])
    own = np.zeros((2 * count, 2 * count))
    root = np.zeros((2 * count, 2 * count))
    for i, a in enumerate(passes):
        block = slice(2 * i, 2 * i + 2)
        own[block, block] = matrix2(a.cov_own_m2)
        root[block, block] = np.linalg.cholesky(matrix2(a.cov_common_m2) + 1e-9 * np.eye(2))
    alike = np.array([[_alike(a, b) for b in passes] for a in passes])
    common = root @ np.kron(alike, np.eye(2)) @ root.T
    total = own + common + 1e-8 * np.eye(2 * count)
    design = np.tile(np.eye(2), (count, 1))
    weights = np.linalg.solve(total, design)
    cov = np.linalg.inv(design.T @ weights)
    gain = cov @ weights.T
    mean = gain @ places.ravel()
    lat, lon = frame.to_geo(float(mean[0]), float(mean[1]))
    shares = [math.sqrt(max(float(np.trace(gain @ part @ gain.T)) / 2, 0.0)) for part in (common, own)]
    return Fused(lat, lon, cov, shares[0], shares[1])


@dataclass(frozen=True, slots=True, eq=False)
class Offset:
    """GNSS offset to add to a pass's positions (metres east/north) with its covariance, and how many objects voted."""

    east_m: float
    north_m: float
    cov_m2: Array
    inliers: int


def estimate_offset(gaps: Array, covs: Array, prior_m2: Array, least_inliers: int = 3) -> Offset:
    """Robust offset of a pass from compatible pairs.

    `gaps` (N, 2) are known minus seen positions, `covs` (N, 2, 2) what each pair does not share, `prior_m2` (2, 2) the
    pass-common GNSS covariance. Every pair votes; the best hypothesis is refined by reweighting. With fewer than
    `least_inliers` agreeing, or a rival with nearly as many, the offset stays 0 with the whole prior (never forced).
    """
    nothing = Offset(0.0, 0.0, prior_m2, 0)
    if len(gaps) < least_inliers:
        return nothing
    prior_information = np.linalg.inv(prior_m2)
    information = np.linalg.inv(covs)

    def distances(offset: Array) -> Array:
        rest = gaps - offset
        squared: Array = np.einsum("ni,nij,nj->n", rest, information, rest)
        return squared

    scores = np.array([np.exp(-0.5 * distances(g)).sum() - 0.5 * float(g @ prior_information @ g) for g in gaps])
    best = int(np.argmax(scores))
    apart = np.hypot(*(gaps - gaps[best]).T) > 3.0 * math.sqrt(float(np.trace(covs[best])))
    rival = scores[apart].max() if apart.any() else -math.inf
    offset = gaps[best]
    for _ in range(10):
        weight = 1.0 / (1.0 + distances(offset) / 4.0) ** 2
        hessian = prior_information + np.einsum("n,nij->ij", weight, information)
        offset = np.linalg.solve(hessian, np.einsum("n,nij,nj->i", weight, information, gaps))
    inliers = int((distances(offset) < 9.21).sum())
    if inliers < least_inliers or scores[best] - rival < math.log(10.0):
        return nothing
    return Offset(float(offset[0]), float(offset[1]), np.linalg.inv(hessian), inliers)
