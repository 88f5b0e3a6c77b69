"""Tracks placed on the ground: joint fits on bearings, ground plane and class size, with their covariances.

Method: geolocation.md sections 1.3 and 8D-E. Never an average of single-frame projections. All tracks of a stretch of
road are fitted at once and share the camera's mount bias: each fit carries it as a state with the common prior, and
what they say of it together corrects each of them exactly (a Schur complement). The covariance returned is the object's
own part; the GNSS error common to the pass is added by whoever needs the total.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gnss.geodesy import ellipse95
from gnss.types import Array, Mask, Rows
from perception import solid
from perception.mount import MountBias, gained, is_knocked, pooled, taught
from perception.sights import Batch, LocateParams, Sight, collect
from perception.solver import Fit, fit
from perception.types import Verdict

_LEFT_OUT = 0.6
_ROUNDS, _FIRST_ROUND, _LATER_ROUND = 2, 8, 3
"""Steps of the fits: from a guess, and twice again with outliers known."""


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
    guesses = [_Guess(*start) for start in batch.starts()]
    plain = batch.noise.weight()
    still, turned, moving, *others = _fits(batch, guesses, [plain[g.rows] for g in guesses], _FIRST_ROUND)
    for other in others:
        moving = _either(other.log_evidence > moving.log_evidence, other, moving)
    guesses, fits = guesses[:3], [still, turned, moving]
    misfit = np.full(len(batch.sights), np.inf)
    for _ in range(_ROUNDS):
        guesses = [g.at(f.parameters) for g, f in zip(guesses, fits, strict=True)]
        fits, misfit = _again(batch, guesses, fits, params)
    still, turned, moving = fits
    static = _blended(still, turned, batch.free)
    verdicts, speeds, final = _judged(static, moving, batch, params)
    doubt = _doubt(final.residuals, batch, params)
    final, taught_mounts = _shared(final, batch, verdicts, doubt, mounts, params)
    fit_of = np.column_stack([misfit, doubt])
    rows = zip(range(len(sights)), verdicts, speeds, fit_of.tolist(), strict=True)
    placements = tuple(_placement(final, batch, row, (v, s), (m, d), params) for row, v, s, (m, d) in rows)
    return Placed(placements, {**mounts, **taught_mounts})


class _Model:
    """Residuals of B tracks in two groups, across and up, each with both edges of all frames: (B, 2, 2F)."""

    def __init__(self, view: solid.Sightings) -> None:
        self._view = view

    def __call__(self, hypotheses: Array, rows: Rows) -> tuple[Array, Array]:
        view = self._view if len(rows) == len(self._view) else self._view.of(rows)
        edges, slopes = view.outline(hypotheses)
        gap = edges - view.edges
        count, frames = gap.shape[:2]
        # (B, F, 4) left, top, right, bottom -> (B, 2, 2F): left and right of all frames, top and bottom of all frames.
        residuals = gap.reshape(count, frames, 2, 2).transpose(0, 3, 2, 1).reshape(count, 2, 2 * frames)
        by = slopes.reshape(-1, count, frames, 2, 2).transpose(1, 4, 0, 3, 2).reshape(count, 2, -1, 2 * frames)
        return residuals, by


@dataclass(frozen=True, slots=True, eq=False)
class _Guess:
    """Hypotheses about the tracks `rows` (R,): where their fits start (R, 12) and their priors (R, 12, 12)."""

    rows: Rows
    start: Array
    information: Array

    def at(self, start: Array) -> _Guess:
        """The same from somewhere else."""
        return _Guess(self.rows, start, self.information)


def _fits(batch: Batch, guesses: Sequence[_Guess], weights: Sequence[Array], iterations: int) -> list[Fit]:
    """Fit all hypotheses in one go; `weights` (R, 2, 2F, 2F) of each."""
    rows = np.concatenate([g.rows for g in guesses])
    start, information = (np.concatenate([getattr(g, name) for g in guesses]) for name in ("start", "information"))
    model = _Model(batch.view.of(rows))
    ended = fit(model, np.concatenate(weights), start, batch.mean[rows], information, iterations)
    ends = np.cumsum([0, *(len(g.rows) for g in guesses)])
    return [ended.of(np.arange(a, b)) for a, b in itertools.pairwise(ends.tolist())]


def _again(
    batch: Batch, guesses: Sequence[_Guess], fits: Sequence[Fit], params: LocateParams
) -> tuple[list[Fit], Array]:
    """The next round of fits, and chi2 per edge (B,) of each track's best hypothesis.

    Each hypothesis says for itself which boxes are of something else, and pays for every one it leaves out in its
    evidence. A detector that is rougher than declared shows in every track: the noise follows, slowly, and
    alike for all hypotheses of a track.
    """
    used = np.isfinite(batch.view.sigma).sum(axis=(1, 2))
    misfit = np.full(len(batch.sights), np.inf)
    weights = []
    for guess, found in zip(guesses, fits, strict=True):
        noise, r = batch.noise.of(guess.rows), found.residuals
        weight = noise.weight(noise.trust(r, params.box.huber))
        chi2 = (r[:, :, None, :] @ weight @ r[:, :, :, None]).sum(axis=(1, 2, 3))
        misfit[guess.rows] = np.minimum(misfit[guess.rows], chi2 / np.maximum(used[guess.rows], 1))
        weights.append(weight)
    # Never below what is declared: a solid is a rough model of a car, and small noise would find motion in its corners.
    scale = np.maximum((params.misfit_prior + misfit * used) / (params.misfit_prior + used), 1.0)
    weights = [w / scale[g.rows, None, None, None] for g, w in zip(guesses, weights, strict=True)]
    return _fits(batch, guesses, weights, _LATER_ROUND), misfit


def _doubt(residuals: Array, batch: Batch, params: LocateParams) -> Array:
    """Share (B,) of a track's usable edges that its fit leaves out."""
    left_out = (batch.noise.trust(residuals, params.box.huber) < _LEFT_OUT).sum(axis=(1, 2))
    share: Array = left_out / np.maximum(np.isfinite(batch.view.sigma).sum(axis=(1, 2)), 1)
    return share


def _blended(still: Fit, turned: Fit, free: Rows) -> Fit:
    """What stands, whichever way its long side points: both directions, each as likely as its evidence says."""
    if not len(free):
        return still
    first = still.of(free)
    ratio = np.clip(turned.log_evidence - first.log_evidence, -50.0, 50.0)
    return _replaced(still, free, _mixed(1.0 / (1.0 + np.exp(ratio)), first, turned))


def _replaced(whole: Fit, rows: Rows, part: Fit) -> Fit:
    """`whole` with the fits `rows` from `part`."""
    new = Fit(*(getattr(whole, name).copy() for name in Fit.__dataclass_fields__))
    for name in Fit.__dataclass_fields__:
        getattr(new, name)[rows] = getattr(part, name)
    return new


def _either(first: Mask, a: Fit, b: Fit) -> Fit:
    """Fit by fit: a where `first` (B,) is true, else b."""
    return Fit(
        np.where(first[:, None], a.parameters, b.parameters),
        np.where(first[:, None, None], a.covariance, b.covariance),
        np.where(first, a.log_evidence, b.log_evidence),
        np.where(first[:, None, None], a.residuals, b.residuals),
    )


def _mixed(weight: Array, static: Fit, moving: Fit) -> Fit:
    """Neither of two hypotheses is sure: their mixture's mean and covariance, so that the ellipse holds both places."""
    w = weight[:, None]
    gap = static.parameters - moving.parameters
    spread = weight[:, None, None] * (1.0 - weight[:, None, None]) * gap[:, :, None] * gap[:, None, :]
    return Fit(
        w * static.parameters + (1.0 - w) * moving.parameters,
        w[:, :, None] * static.covariance + (1.0 - w[:, :, None]) * moving.covariance + spread,
        np.maximum(static.log_evidence, moving.log_evidence),
        np.where(w[:, :, None] > 0.5, static.residuals, moving.residuals),
    )


def _judged(static: Fit, moving: Fit, batch: Batch, params: LocateParams) -> tuple[list[Verdict], list[float], Fit]:
    """Compare the two motion hypotheses of every vehicle: verdicts, speeds (m/s) of the likelier ones, and the fits."""
    verdicts, speeds = [Verdict.STATIC] * len(batch.sights), [0.0] * len(batch.sights)
    if not len(batch.vehicle):
        return verdicts, speeds, static
    cars = batch.vehicle
    still = static.of(cars)
    poor = _doubt(static.residuals, batch, params)[cars] > params.most_doubt
    ratio = still.log_evidence - moving.log_evidence
    unsure = np.flatnonzero(poor | (ratio < params.static_log_ratio))
    if len(unsure):
        hidden, strange = _half_hidden(batch, cars[unsure], params)
        better = poor[unsure] | (hidden.log_evidence > still.log_evidence[unsure])
        still = _replaced(still, unsure, _either(better, hidden, still.of(unsure)))
        poor[unsure] = np.where(better, strange > params.most_doubt, poor[unsure])
        ratio = still.log_evidence - moving.log_evidence
    spread = moving.covariance[:, solid.ALONG : solid.ACROSS + 1, solid.ALONG : solid.ACROSS + 1]
    sigma = np.sqrt(np.maximum(np.linalg.eigvalsh(spread)[:, 1], 0.0))
    velocity = moving.parameters[:, [solid.ALONG, solid.ACROSS]]
    speed = np.hypot(velocity[:, 0], velocity[:, 1])
    # Over a long time the drift of the poses looks like a crawl: nothing drives so slowly for so long.
    crawls = (speed + 2.0 * sigma < params.crawl_mps) & (ratio > -params.moving_log_ratio)
    stands = ~poor & (crawls | (ratio > params.static_log_ratio) & (sigma < params.static_speed_sigma_mps))
    # A half hidden bus that nothing explains is no crawling one: what moves slower than a walk stays undecided.
    moves = ~stands & (ratio < -params.moving_log_ratio) & (speed > params.walk_mps)
    # Undecided: where it stands, if it stands, is what matters to a case; a later look tells whether it did.
    rather_stands = stands | (~moves & ~poor & (ratio > 0.0))
    weight = np.where(rather_stands, 1.0, np.where(moves, 0.0, 1.0 / (1.0 + np.exp(-np.clip(ratio, -50.0, 50.0)))))
    final = _replaced(static, cars, _mixed(weight, still, moving))
    for k, row in enumerate(cars.tolist()):
        if not stands[k]:
            verdicts[row] = Verdict.MOVING if moves[k] else Verdict.UNKNOWN
            speeds[row] = float(speed[k]) if ratio[k] < 0 else 0.0
    return verdicts, speeds, final


def _half_hidden(batch: Batch, rows: Rows, params: LocateParams) -> tuple[Fit, Array]:
    """The tracks `rows` as standing things of which one side is hidden by something that was never detected.

    The far side of a car in a row of parked ones ends where the next begins, whether that one is found or not; taken
    for its own end, it seems to move with us. The evidence has the prior of such a thing in it. Also the share (R,) of
    edges that even then are of something else. Either side may be hidden: the ellipse holds both places.
    """
    both = np.concatenate([rows, rows])
    mean, information, model = batch.mean[both], batch.information[both], _Model(batch.view.of(both))
    noise = batch.noise.of(rows).slack(params.hidden_shift, params.hidden_grain)
    first = fit(model, noise.weight(), mean, mean, information, _FIRST_ROUND)
    trust = noise.trust(first.residuals, params.box.huber)
    found = fit(model, noise.weight(trust), first.parameters, mean, information, _LATER_ROUND)
    left, right = found.of(np.arange(len(rows))), found.of(len(rows) + np.arange(len(rows)))
    ratio = np.clip(left.log_evidence - right.log_evidence, -50.0, 50.0)
    best = _mixed(1.0 / (1.0 + np.exp(-ratio)), left, right)
    left_out = (noise.trust(found.residuals, params.box.huber) < _LEFT_OUT).sum(axis=(1, 2)).reshape(2, -1)
    share = np.where(ratio > 0.0, *left_out) / np.maximum(np.isfinite(batch.view.sigma[rows]).sum(axis=(1, 2)), 1)
    hidden = Fit(best.parameters, best.covariance, best.log_evidence + params.hidden_log_prior, best.residuals)
    return hidden, share


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
