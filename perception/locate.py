"""Tracks placed on the ground: joint fits on bearings, ground plane and class size, with their covariances.

Method: geolocation.md sections 1.3 and 8D-E. Never an average of single-frame projections. All tracks of a stretch of
road are fitted at once and share the camera's mount bias: each fit carries it as a state with the common prior, and
what they say of it together corrects each of them exactly (a Schur complement). The covariance returned is the object's
own part; the GNSS error common to the pass is added by whoever needs the total.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gnss.geodesy import ellipse95
from gnss.types import Array, Rows
from perception import solid
from perception.hypotheses import FIRST_ROUND, ROUNDS, Guess, fit_again, fit_all, left_out
from perception.motion import judged
from perception.mount import MountBias, gained, is_knocked, pooled, taught
from perception.sights import Batch, LocateParams, Sight, collect
from perception.solver import Fit, either, mixed, replaced
from perception.types import Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a track is: footprint centre, own covariance (2, 2) east/north m2, verdict, size, how well it fits.

    `misfit` is chi2 per residual: 1 when box noise is as declared. `doubt` is the share of edges that were left out as
    belonging to something else.
    """

    lat_deg: float
    lon_deg: float
    cov_own_m2: Array
    verdict: Verdict
    speed_mps: float
    heading_deg: float
    extent_m: tuple[float, float, float]
    closest_range_m: float
    coarse: bool
    misfit: float
    doubt: float


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Placements in the order of the tracks, and the mounts as they taught them."""

    placements: tuple[Placement, ...]
    mounts: Mapping[str, MountBias]


def place_all(sights: Sequence[Sight], mounts: Mapping[str, MountBias], params: LocateParams) -> Placed:
    """Place tracks of one stretch of road together; `mounts` by camera name.

    Tracks that were seen tens of seconds apart should come in different calls: they share heading error and slope.
    """
    if not sights:
        return Placed((), mounts)
    first = _place(sights, mounts, params)
    return Placed(_mended(sights, first.placements, mounts, params), first.mounts)


def _mended(
    sights: Sequence[Sight], placements: Sequence[Placement], mounts: Mapping[str, MountBias], params: LocateParams
) -> tuple[Placement, ...]:
    """Placements with those of broken tracks mended: the better half of a track that switched between two things.

    No one place explains the boxes of such a track; what neither half explains stays coarse, and opens nothing.
    """
    mended = list(placements)
    broken = [row for row, p in enumerate(placements) if p.doubt > params.most_doubt]
    halves: list[Sight] = []
    for row in broken:
        s, middle = sights[row], max(len(sights[row].observations) // 2, 1)
        for part in (slice(0, middle), slice(len(s.observations) - middle, None)):
            halves.append(Sight(s.observations[part], s.poses[part], s.camera, s.shape))
    again = _place(halves, mounts, params).placements if halves else ()
    for k, row in enumerate(broken):
        best = min(again[2 * k : 2 * k + 2], key=lambda p: p.doubt)
        mended[row] = replace(best, coarse=bool(best.coarse or best.doubt > params.most_doubt))
    return tuple(mended)


def _place(sights: Sequence[Sight], mounts: Mapping[str, MountBias], params: LocateParams) -> Placed:
    batch = collect(sights, mounts, params)
    guesses = [Guess(*start) for start in batch.starts()]
    plain = batch.noise.weight()
    still, turned, moving, *others = fit_all(batch, guesses, [plain[g.rows] for g in guesses], FIRST_ROUND)
    for other in others:
        moving = either(other.log_evidence > moving.log_evidence, other, moving)
    guesses, fits = guesses[:3], [still, turned, moving]
    misfit = np.full(len(batch.sights), np.inf)
    for _ in range(ROUNDS):
        guesses = [g.at(f.parameters) for g, f in zip(guesses, fits, strict=True)]
        fits, misfit = fit_again(batch, guesses, fits, params)
    still, turned, moving = fits
    static = _blended(still, turned, batch.free)
    verdicts, speeds, final = judged(static, moving, batch, params)
    doubt = left_out(final.residuals, batch, params)
    final, taught_mounts = _shared(final, batch, verdicts, doubt, mounts, params)
    fit_of = np.column_stack([misfit, doubt])
    rows = zip(range(len(sights)), verdicts, speeds, fit_of.tolist(), strict=True)
    placements = tuple(_placement(final, batch, row, (v, s), (m, d), params) for row, v, s, (m, d) in rows)
    return Placed(placements, {**mounts, **taught_mounts})


def _blended(still: Fit, turned: Fit, free: Rows) -> Fit:
    """What stands, whichever way its long side points: both directions, each as likely as its evidence says."""
    if not len(free):
        return still
    first = still.of(free)
    ratio = np.clip(turned.log_evidence - first.log_evidence, -50.0, 50.0)
    return replaced(still, free, mixed(1.0 / (1.0 + np.exp(ratio)), first, turned))


def _shared(
    final: Fit, batch: Batch, verdicts: Sequence[Verdict], doubt: Array, mounts: Mapping[str, MountBias],
    params: LocateParams,
) -> tuple[Fit, dict[str, MountBias]]:  # fmt: skip
    """Correct every fit by what all tracks of its camera say of the mount, and teach the mounts."""
    parameters, covariance = final.parameters.copy(), final.covariance.copy()
    taught_mounts: dict[str, MountBias] = {}
    names = np.array([s.camera.name for s in batch.sights])
    closest = batch.ranges(parameters).min(axis=1)
    looks = np.array([len(s.observations) for s in batch.sights])
    teaches = (looks >= params.teaching_looks) & (closest < params.teaching_range_m) & (doubt < params.teaching_doubt)
    teaches &= np.array([v is Verdict.STATIC for v in verdicts]) & ~batch.aimed
    m = solid.MOUNT
    for name in sorted(set(names.tolist())):
        mount, mine = mounts[name], np.flatnonzero(names == name)
        prior = batch.stretch[mine[0]]
        teachers = mine[teaches[mine]]
        found = pooled(mount.mean, prior, final.parameters[teachers, m], final.covariance[teachers, m, m])
        if len(teachers) >= 3 and is_knocked(mount, prior, found, params.mount):
            taught_mounts[name] = mount.knocked(params.mount)
            continue
        taught_mounts[name] = taught(mount, prior, found)
        # A track that does not teach still profits, with its own evidence on top.
        extra = gained(prior, final.covariance[mine, m, m])
        for row, more in zip(mine.tolist(), extra, strict=True):
            own = final.covariance[row, m, m]
            mean, cov = found.mean, found.cov
            if not teaches[row]:
                cov = np.linalg.inv(np.linalg.inv(found.cov) + more)
                own_mean = final.parameters[row, m]
                told = more @ own_mean + np.linalg.solve(prior, own_mean - mount.mean)
                mean = cov @ (np.linalg.solve(found.cov, found.mean) + told)
            gain = np.linalg.solve(own, final.covariance[row, m, :]).T
            parameters[row] += gain @ (mean - parameters[row, m])
            covariance[row] -= gain @ (own - cov) @ gain.T
    return Fit(parameters, covariance, final.log_evidence, final.residuals), taught_mounts


def _placement(
    final: Fit,
    batch: Batch,
    row: int,
    motion: tuple[Verdict, float],
    quality: tuple[float, float],
    params: LocateParams,
) -> Placement:
    p, c = final.parameters[row], final.covariance[row]
    lat, lon = batch.origin.to_geo(float(p[solid.EAST]), float(p[solid.NORTH]))
    seen = batch.view.seen[row]
    gap_e, gap_n = p[solid.EAST] - batch.view.east_m[row, seen], p[solid.NORTH] - batch.view.north_m[row, seen]
    ranges, bearings = np.hypot(gap_e, gap_n), np.unwrap(np.arctan2(gap_n, gap_e))
    cov = c[:2, :2] + batch.lasting[row] * batch.own[row, :2, :2]
    far = (
        float(ranges.min()) > params.never_nearer_m
        and math.degrees(float(np.ptp(bearings))) < params.least_parallax_deg
    )
    shape = batch.sights[row].shape
    # Boxes that no one standing thing of the class explains: a place, but not one to file. Vehicles in a row hide each
    # other, which fits badly as well; they have a verdict of their own.
    strange = quality[0] > params.worst_misfit and shape.role != "vehicle"
    length, width, height = np.exp(
        p[[solid.LENGTH, solid.LENGTH if batch.view.round[row] else solid.WIDTH, solid.HEIGHT]]
    )
    extent = (float(length), float(width), 0.0 if shape.flat else float(height))
    return Placement(
        lat, lon, 0.5 * (cov + cov.T), motion[0], motion[1], (90.0 - math.degrees(p[solid.YAW])) % 360.0, extent,
        float(ranges.min()), bool(far or strange or ellipse95(cov)[0] > params.coarse_semi_major_m), *quality,
    )  # fmt: skip
