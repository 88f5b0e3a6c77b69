"""The slow offset of a pass against what is known: votes find it, a smoother gives it at any stamp.

GNSS error is common to neighbouring things and drifts along a drive as a Gauss-Markov process (geolocation.md 8A, 8F).
So the offset is one such process: the most probable path through the votes is taken where it beats every rival, and
Gaussian process regression over the pairs on it gives the offset at any stamp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from gnss.types import Array
from perception.votes import AlignParams, Index, Link, Mode, Prior, Votes, modes_of, path_of, squares


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A stretch over which the offset is one process: regression weights of its pairs (n of them)."""

    time_s: Array
    alpha: Array
    inverse: Array
    known_m2: Array


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The offset along the drive; without pairs it is the prior everywhere. `inliers` pairs hold it."""

    prior: Prior
    tau_s: float
    runs: tuple[_Run, ...] = ()
    inliers: int = 0

    def at(self, time_s: Array) -> tuple[Array, Array, Array]:
        """Offset (T, 2) m and covariance (T, 2, 2) m2 at times, and the share of it (T, 2, 2) owed to known things."""
        times, of = np.unique(time_s, return_inverse=True)
        count = len(times)
        mean = np.tile(self.prior.mean_m, (count, 1))
        cov = np.tile(self.prior.cov_m2, (count, 1, 1))
        site = np.zeros((count, 2, 2))
        if self.runs and count:
            away = [np.abs(times[:, None] - run.time_s[None, :]).min(axis=1) for run in self.runs]
            nearest = np.argmin(away, axis=0)
            for index, run in enumerate(self.runs):
                here = np.flatnonzero(nearest == index)
                if len(here):
                    mean[here], cov[here], site[here] = self._predict(run, times[here])
        return mean[of], cov[of], site[of]

    def _predict(self, run: _Run, time_s: Array) -> tuple[Array, Array, Array]:
        alike = np.exp(-np.abs(time_s[:, None] - run.time_s[None, :]) / self.tau_s)
        cross = np.kron(alike, self.prior.cov_m2)
        mean = self.prior.mean_m + (cross @ run.alpha).reshape(-1, 2)
        gain = (cross @ run.inverse).reshape(len(time_s), 2, -1)
        cov = self.prior.cov_m2 - gain @ cross.reshape(len(time_s), 2, -1).swapaxes(1, 2)
        site = np.zeros((len(time_s), 2, 2))
        if run.known_m2.any():
            owed = (gain.reshape(len(time_s), 2, -1, 1, 2) @ run.known_m2).reshape(gain.shape)
            site = owed @ gain.swapaxes(1, 2)
        return mean, (cov + cov.transpose(0, 2, 1)) / 2 + 1e-6 * np.eye(2), site


def _regress(
    votes: Votes, chosen: Index, spread: Array, prior: Prior, extra: tuple[float, Link] | None, tau_s: float
) -> _Run:
    """Gaussian process regression over the chosen pairs with covariances `spread` (n, 2, 2) of their own."""
    times, gaps, known = votes.time_s[chosen], votes.gap_m[chosen], votes.known_m2[chosen]
    if extra is not None:
        times, gaps = np.append(times, extra[0]), np.vstack([gaps, extra[1].offset_m])
        spread, known = np.concatenate([spread, extra[1].cov_m2[None]]), np.concatenate([known, np.zeros((1, 2, 2))])
    count = len(times)
    alike = np.exp(-np.abs(times[:, None] - times[None, :]) / tau_s)
    total = np.kron(alike, prior.cov_m2).reshape(count, 2, count, 2)
    each = np.arange(count)
    total[each, :, each, :] += spread + 1e-4 * np.eye(2)
    inverse = np.linalg.inv(total.reshape(2 * count, 2 * count))
    return _Run(times, inverse @ (gaps - prior.mean_m).ravel(), inverse, known)


def _one_each(votes: Votes, squared: Array, gate: float) -> Index:
    """Pairs within the gate, nearest first, each landmark and each known thing at most once."""
    cost = squared - 2.0 * np.log(votes.weight)
    rows, columns, taken = set[int](), set[int](), list[int]()
    for p in np.argsort(cost, kind="stable").tolist():
        row, column = int(votes.row[p]), int(votes.column[p])
        if squared[p] < gate and row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            taken.append(p)
    return np.array(sorted(taken), dtype=np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """One run being fitted: votes of its segments, an offset (P, 2) with covariance (P, 2, 2) guessed for each."""

    votes: Votes
    guess_m: Array
    guess_m2: Array
    rounds: int = field(default=3)

    @classmethod
    def of(cls, votes: Votes, segments: Index, run: list[Mode], drift_m2: Array) -> Self:
        """From the modes of a run."""
        by_segment = {m.segment: m for m in run}
        mine = np.flatnonzero(np.isin(segments, list(by_segment)))
        of = [by_segment[s] for s in segments[mine].tolist()]
        return cls(votes.keep(mine), np.array([m.offset_m for m in of]), np.array([m.cov_m2 for m in of]) + drift_m2)

    def solve(self, prior: Prior, extra: tuple[float, Link] | None, params: AlignParams) -> tuple[_Run, int] | None:
        """Choose pairs, regress, and choose again by what the regression says."""
        offset, cov, run, inliers = self.guess_m, self.guess_m2, None, 0
        for _ in range(self.rounds):
            squared = squares(self.votes.gap_m - offset, self.votes.cov_m2 + cov)
            chosen = _one_each(self.votes, squared, params.inlier_gate)
            if not len(chosen):
                return None
            # Far pairs pull less (Cauchy weights), as the covariances of single things have tails.
            heavy = 1.0 + squared[chosen] / 5.0
            run = _regress(
                self.votes, chosen, self.votes.cov_m2[chosen] * heavy[:, None, None], prior, extra, params.tau_s
            )
            offset, cov, _ = Alignment(prior, params.tau_s, (run,)).at(self.votes.time_s)
            inliers = len(chosen)
        return None if run is None else (run, inliers)


def align(votes: Votes, prior: Prior, before: Link | None, params: AlignParams) -> Alignment:
    """The offset that explains the votes, linked to where the window `before` ended; the prior where none is sure."""
    link = None if before is None else (before.stamp_ns * 1e-9, before)
    nobody = np.zeros(0, np.intp)
    lone = () if link is None else (_regress(votes, nobody, np.zeros((0, 2, 2)), prior, link, params.tau_s),)
    alone = Alignment(prior, params.tau_s, lone)
    near = np.flatnonzero(squares(votes.gap_m - prior.mean_m, votes.cov_m2 + prior.cov_m2) < params.vote_gate)
    if not len(near):
        return alone
    votes = votes.keep(near)
    segments = np.floor((votes.time_s - votes.time_s.min()) / params.segment_s).astype(np.intp)
    modes = modes_of(votes, segments, prior, params)
    drift = prior.cov_m2 * 2.0 * (1.0 - math.exp(-params.segment_s / 3.0 / params.tau_s))
    runs: list[_Run] = []
    inliers = 0
    paths, goes_on = path_of(modes, prior, link, params)
    for nth, indices in enumerate(paths):
        fit = _Fit.of(votes, segments, [modes[i] for i in indices], drift)
        solved = fit.solve(prior, link if nth == 0 and goes_on else None, params)
        if solved is not None:
            runs.append(solved[0])
            inliers += solved[1]
    return Alignment(prior, params.tau_s, tuple(runs), inliers) if runs else alone
