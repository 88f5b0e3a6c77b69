"""Tracks placed on the ground: joint fits on bearings, ground plane and class size, with their covariances.

Method: geolocation.md sections 1.3 and 8D-E. Never an average of single-frame projections. All tracks of a stretch of
road are fitted at once and share the camera's mount bias: each fit carries it as a state with the common prior, and
what they say of it together corrects each of them exactly (a Schur complement). The covariance returned is the object's
own part; the GNSS error common to the pass is added by whoever needs the total.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import ellipse95
from gnss.types import Array, Mask, Rows
from perception import solid
from perception.mount import MountBias, gained, is_knocked, pooled, taught
from perception.sights import Batch, LocateParams, Sight, collect
from perception.solver import Fit, fit
from perception.types import Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a track is: footprint centre, own covariance (2, 2) east/north m2, verdict, size, how well it fits.

    `misfit` is chi2 per residual: 1 when box noise is as declared.
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
    batch = collect(sights, mounts, params)
    static, moving = _fits(batch, batch.noise.weight(), None)
    # The freer hypothesis says what is an outlier: a moving car must not look like a parked one with bad boxes.
    free = static.residuals.copy()
    if moving is not None:
        free[batch.vehicle] = moving.residuals
    trust = batch.noise.trust(free, params.box.huber)
    misfit = _misfit(free, batch.noise.weight(trust), batch)
    # A detector that is rougher (or finer) than declared shows in every track: the noise follows, slowly.
    used = np.isfinite(batch.view.sigma).sum(axis=(1, 2))
    scale = (params.misfit_prior + misfit * used) / (params.misfit_prior + used)
    weight = batch.noise.scaled(scale).weight(trust)
    static, moving = _fits(batch, weight, (static, moving))
    poor = _misfit(static.residuals, weight, batch) > params.static_misfit
    verdicts, speeds, final = _judged(static, moving, poor, batch, params)
    final, taught_mounts = _shared(final, batch, verdicts, misfit, mounts, params)
    rows = zip(range(len(sights)), verdicts, speeds, misfit, strict=True)
    placements = tuple(_placement(final, batch, row, (v, s), m, params) for row, v, s, m in rows)
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


_Pair = tuple[Fit, Fit | None]


def _fits(batch: Batch, weight: Array, before: _Pair | None) -> _Pair:
    """Fit every track as standing and every vehicle also as moving, all in one go.

    A moving vehicle gets two starts in the first round, as it would be parked and as the two halves of its track
    suggest; the likelier end wins. A second round starts where `before` left off.
    """
    count, cars = len(batch.sights), batch.vehicle
    starts = [batch.mean]
    if before is not None:
        starts = [before[0].parameters] + ([] if before[1] is None else [before[1].parameters])
    elif len(cars):
        early = batch.mean[cars].copy()
        early[:, [solid.EAST, solid.NORTH, solid.ALONG, solid.ACROSS]] = batch.early
        starts = [batch.mean, batch.mean[cars], early]
    rows = np.concatenate([np.arange(count), *[cars] * (len(starts) - 1)])
    information = np.concatenate([batch.information, *[batch.loose] * (len(starts) - 1)])
    ended = fit(_Model(batch.view.of(rows)), weight[rows], np.concatenate(starts), batch.mean[rows], information,
                14 if before is None else 6)  # fmt: skip
    static = ended.of(np.arange(count))
    if len(starts) == 1:
        return static, None
    moving = ended.of(count + np.arange(len(cars)))
    if len(starts) == 2:
        return static, moving
    other = ended.of(count + len(cars) + np.arange(len(cars)))
    return static, _either(other.log_evidence > moving.log_evidence, other, moving)


def _either(first: Mask, a: Fit, b: Fit) -> Fit:
    """Fit by fit: a where `first` (B,) is true, else b."""
    return Fit(
        np.where(first[:, None], a.parameters, b.parameters),
        np.where(first[:, None, None], a.covariance, b.covariance),
        np.where(first, a.log_evidence, b.log_evidence),
        np.where(first[:, None, None], a.residuals, b.residuals),
    )


def _mixed(weight: Array, static: Fit, moving: Fit) -> Fit:
    """Neither hypothesis is sure: their mixture's mean and covariance, so that the ellipse holds both places."""
    w = weight[:, None]
    gap = static.parameters - moving.parameters
    spread = weight[:, None, None] * (1.0 - weight[:, None, None]) * gap[:, :, None] * gap[:, None, :]
    return Fit(
        w * static.parameters + (1.0 - w) * moving.parameters,
        w[:, :, None] * static.covariance + (1.0 - w[:, :, None]) * moving.covariance + spread,
        np.maximum(static.log_evidence, moving.log_evidence),
        np.where(w[:, :, None] > 0.5, static.residuals, moving.residuals),
    )


def _judged(
    static: Fit, moving: Fit | None, poor: Mask, batch: Batch, params: LocateParams
) -> tuple[list[Verdict], list[float], Fit]:
    """Compare the two motion hypotheses of every vehicle: verdicts, speeds (m/s) of the likelier ones, and the fits.

    `poor` (B,): standing still does not explain the boxes, whatever moving does.
    """
    verdicts, speeds = [Verdict.STATIC] * len(batch.sights), [0.0] * len(batch.sights)
    if moving is None:
        return verdicts, speeds, static
    cars = batch.vehicle
    still = static.of(cars)
    ratio = still.log_evidence - moving.log_evidence
    velocity, spread = (
        moving.parameters[:, [solid.ALONG, solid.ACROSS]],
        moving.covariance[:, solid.ALONG : solid.ACROSS + 1],
    )
    sigma = np.sqrt(np.maximum(np.linalg.eigvalsh(spread[:, :, solid.ALONG : solid.ACROSS + 1])[:, 1], 0.0))
    stands = ~poor[cars] & (ratio > params.static_log_ratio) & (sigma < params.static_speed_sigma_mps)
    moves = ~stands & (ratio < -params.moving_log_ratio)
    weight = np.where(stands, 1.0, np.where(moves, 0.0, 1.0 / (1.0 + np.exp(-np.clip(ratio, -50.0, 50.0)))))
    mixed = _mixed(weight, still, moving)
    final = Fit(*(getattr(static, name).copy() for name in Fit.__dataclass_fields__))
    for name in Fit.__dataclass_fields__:
        getattr(final, name)[cars] = getattr(mixed, name)
    for k, row in enumerate(cars.tolist()):
        if not stands[k]:
            verdicts[row] = Verdict.MOVING if moves[k] else Verdict.UNKNOWN
            speeds[row] = float(np.hypot(*velocity[k])) if ratio[k] < 0 else 0.0
    return verdicts, speeds, final


def _misfit(residuals: Array, weight: Array, batch: Batch) -> Array:
    """Chi2 per usable edge (B,)."""
    chi2 = (residuals[:, :, None, :] @ weight @ residuals[:, :, :, None]).sum(axis=(1, 2, 3))
    used: Array = chi2 / np.maximum(np.isfinite(batch.view.sigma).sum(axis=(1, 2)), 1)
    return used


def _shared(
    final: Fit, batch: Batch, verdicts: Sequence[Verdict], misfit: Array, mounts: Mapping[str, MountBias],
    params: LocateParams,
) -> tuple[Fit, dict[str, MountBias]]:  # fmt: skip
    """Correct every fit by what all tracks of its camera say of the mount, and teach the mounts."""
    parameters, covariance = final.parameters.copy(), final.covariance.copy()
    taught_mounts: dict[str, MountBias] = {}
    names = np.array([s.camera.name for s in batch.sights])
    closest = batch.ranges(parameters).min(axis=1)
    looks = np.array([len(s.observations) for s in batch.sights])
    teaches = (looks >= params.teaching_looks) & (closest < params.teaching_range_m) & (misfit < params.misfit)
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
    final: Fit, batch: Batch, row: int, motion: tuple[Verdict, float], misfit: float, params: LocateParams
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
    length, width, height = np.exp(
        p[[solid.LENGTH, solid.LENGTH if shape.yaw != "road" else solid.WIDTH, solid.HEIGHT]]
    )
    extent = (float(length), float(width), 0.0 if shape.flat else float(height))
    return Placement(
        lat, lon, 0.5 * (cov + cov.T), motion[0], motion[1], (90.0 - math.degrees(p[solid.YAW])) % 360.0, extent,
        float(ranges.min()), far or ellipse95(cov)[0] > params.coarse_semi_major_m, misfit,
    )  # fmt: skip
