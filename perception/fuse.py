"""One position from several passes: the absolute one for people, and the aligned one that later passes are matched by.

GNSS error is common to a pass and decays as a Gauss-Markov process between windows, so passes a minute apart are nearly
one measurement and passes a day apart are two (geolocation.md, 5 and 8G). The split of every covariance is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import radii_m
from gnss.types import Array
from perception.types import PassPosition

GNSS_TAU_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """Fused position with its total covariance (2, 2) m2, and the 1-sigma share of its parts (metres).

    `site_sigma_m` is the share of the register that corrected the passes; more passes do not lower it.
    """

    lat_deg: float
    lon_deg: float
    cov_m2: Array
    gnss_sigma_m: float
    own_sigma_m: float
    site_sigma_m: float


def _alike(passes: Sequence[PassPosition]) -> Array:
    """Correlation (n, n) of the GNSS errors of windows; 1 where nothing tells them apart in time."""
    if any(p.utc_ns is None for p in passes):
        return np.ones((len(passes), len(passes)))
    first = passes[0].utc_ns or 0
    times = np.array([((p.utc_ns or 0) - first) * 1e-9 for p in passes])
    result: Array = np.exp(-np.abs(times[:, None] - times[None, :]) / GNSS_TAU_S)
    names = [p.pass_id for p in passes]
    if len(set(names)) < len(names):
        result[np.array([[a == b for b in names] for a in names])] = 1.0
    return result


def _roots(covs: Array) -> Array:
    """Lower Cholesky factors (n, 2, 2) of covariances (n, 3) = (ee, en, nn), in closed form."""
    roots = np.zeros((len(covs), 2, 2))
    roots[:, 0, 0] = np.sqrt(covs[:, 0] + 1e-9)
    roots[:, 1, 0] = covs[:, 1] / roots[:, 0, 0]
    roots[:, 1, 1] = np.sqrt(np.maximum(covs[:, 2] + 1e-9 - roots[:, 1, 0] ** 2, 1e-9))
    return roots


def _shared(covs: Array, alike: Array) -> Array:
    """Covariance (2n, 2n) of errors (n, 3) with correlations (n, n) between each other."""
    roots = _roots(covs)
    blocks = (roots[:, None] @ roots[None].swapaxes(-1, -2)) * alike[:, :, None, None]
    result: Array = blocks.swapaxes(1, 2).reshape(2 * len(covs), 2 * len(covs))
    return result


def _offsets_m(passes: Sequence[PassPosition]) -> Array:
    """Places (n, 2) east/north of the first pass's; the flat formula is exact to a millimetre over such gaps."""
    north_m, east_m = radii_m(passes[0].lat_deg)
    east_m *= math.cos(math.radians(passes[0].lat_deg))
    table = np.array([(p.lon_deg - passes[0].lon_deg, p.lat_deg - passes[0].lat_deg) for p in passes])
    result: Array = np.radians(table) * (east_m, north_m)
    return result


def _moved(passes: Sequence[PassPosition], mean_m: Array) -> tuple[float, float]:
    """Latitude and longitude of a place given in metres of the first pass's."""
    north_m, east_m = radii_m(passes[0].lat_deg)
    east_m *= math.cos(math.radians(passes[0].lat_deg))
    lat = passes[0].lat_deg + math.degrees(float(mean_m[1]) / north_m)
    return lat, passes[0].lon_deg + math.degrees(float(mean_m[0]) / east_m)


def fuse(passes: Sequence[PassPosition]) -> Fused:
    """Generalised least squares over the passes' positions; raises ValueError when there is none.

    Positions count as their pass measured them. Their offsets were found against the very cases fused here, so they say
    nothing about the absolute place: using them would make every pass repeat the error of the first.
    """
    if not passes:
        raise ValueError("a position needs at least one pass")
    count = len(passes)
    own = _shared(np.array([p.cov_own_m2 for p in passes]), np.eye(count))
    common = _shared(np.array([p.cov_common_m2 for p in passes]), _alike(passes))
    site = _shared(np.array([p.cov_site_m2 for p in passes]), np.ones((count, count)))
    total = own + common + site + 1e-8 * np.eye(2 * count)
    information = np.linalg.inv(total).reshape(count, 2, 2 * count).sum(axis=0)
    cov = np.linalg.inv(information.reshape(2, count, 2).sum(axis=1))
    gain = cov @ information
    lat, lon = _moved(passes, gain @ _offsets_m(passes).ravel())
    shares = [math.sqrt(max(float(((gain @ part) * gain).sum()) / 2, 0.0)) for part in (common, own, site)]
    return Fused(lat, lon, cov, *shares)


def aligned(passes: Sequence[PassPosition]) -> tuple[float, float, Array]:
    """Latitude, longitude and covariance (2, 2) m2 of a thing among its neighbours: mean of the aligned positions.

    Every pass is shifted by its offset; what remains is the thing's own, independent between passes.
    Raises ValueError when there is no pass.
    """
    if not passes:
        raise ValueError("a position needs at least one pass")
    places = _offsets_m(passes) + [(p.offset_e_m, p.offset_n_m) for p in passes]
    covs = np.array([p.cov_aligned_m2 if any(p.cov_aligned_m2) else p.cov_own_m2 for p in passes])
    covs += np.array([1e-4, 0.0, 1e-4])
    det = covs[:, 0] * covs[:, 2] - covs[:, 1] ** 2
    ee, en, nn = (covs[:, 2] / det).sum(), (-covs[:, 1] / det).sum(), (covs[:, 0] / det).sum()
    cov = np.array([[nn, -en], [-en, ee]]) / (ee * nn - en**2)
    pull_e = ((covs[:, 2] * places[:, 0] - covs[:, 1] * places[:, 1]) / det).sum()
    pull_n = ((covs[:, 0] * places[:, 1] - covs[:, 1] * places[:, 0]) / det).sum()
    lat, lon = _moved(passes, cov @ np.array([pull_e, pull_n]))
    return lat, lon, cov
