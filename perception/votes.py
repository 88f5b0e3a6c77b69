"""Votes for the offset of a pass: what each short segment of a drive makes probable, and the path through them.

Every pair of a landmark and a known thing that may be one votes for the gap between them. A segment's score for an
offset is the log of what its landmarks' places become likely by, against "nobody knew any of them"; segments are linked
as a Gauss-Markov process, so few votes are decided by many beside them (geolocation.md 8F).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gnss.types import Array

Index = NDArray[np.intp]
_TAU = 2.0 * math.pi


@dataclass(frozen=True, slots=True)
class AlignParams:
    """Tuning of the alignment. `new_per_m2` is how densely things lie that nobody knew: the rival of every match.

    `jump` is the probability that two neighbouring segments share no offset (parts of a map that never met).
    """

    tau_s: float = 60.0
    segment_s: float = 6.0
    most_modes: int = 5
    new_per_m2: float = 2e-4
    vote_gate: float = 13.8
    inlier_gate: float = 9.21
    least_odds: float = 10.0
    jump: float = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What is known of the offset before any vote: mean (2,) m and covariance (2, 2) m2, anywhere along the drive."""

    mean_m: Array
    cov_m2: Array


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """The offset where the window before ended: `stamp_ns`, offset (2,) m, covariance (2, 2) m2."""

    stamp_ns: int
    offset_m: Array
    cov_m2: Array


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """Pairs that may be one thing: landmark `row` (P,), known `column` (P,), `time_s` (P,) of the landmark.

    `gap_m` (P, 2) is known minus seen, `cov_m2` (P, 2, 2) what is the pair's own, `known_m2` (P, 2, 2) the share of it
    that lies in the known thing, `weight` (P,) how probable a match is besides its place.
    """

    row: Index
    column: Index
    time_s: Array
    gap_m: Array
    cov_m2: Array
    known_m2: Array
    weight: Array

    def __len__(self) -> int:
        return len(self.row)

    def keep(self, chosen: Index) -> Votes:
        """Those of `chosen`."""
        return Votes(*(getattr(self, name)[chosen] for name in self.__slots__))


def squares(gaps: Array, covs: Array) -> Array:
    """Squared Mahalanobis lengths (...,) of gaps (..., 2) under covariances (..., 2, 2), in closed form."""
    a, b, d = covs[..., 0, 0], covs[..., 0, 1], covs[..., 1, 1]
    x, y = gaps[..., 0], gaps[..., 1]
    squared: Array = (d * x * x - 2.0 * b * x * y + a * y * y) / (a * d - b * b)
    return squared


def inverses(covs: Array) -> Array:
    """Inverses (..., 2, 2) of covariances, in closed form."""
    turned = np.stack([covs[..., 1, 1], -covs[..., 0, 1], -covs[..., 0, 1], covs[..., 0, 0]], axis=-1)
    result: Array = (turned / dets(covs)[..., None]).reshape(covs.shape)
    return result


def dets(covs: Array) -> Array:
    """Determinants (...,) of covariances (..., 2, 2)."""
    result: Array = covs[..., 0, 0] * covs[..., 1, 1] - covs[..., 0, 1] ** 2
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """A place in offset space that a segment votes for: `score` in nats against "all of it is new"."""

    segment: int
    time_s: float
    offset_m: Array
    cov_m2: Array
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    """The votes of a few seconds: `member` (P, L) says whose they are, `ratio` (P,) what they weigh against birth."""

    gap_m: Array
    spread_m2: Array
    inverse: Array
    ratio: Array
    member: Array

    @classmethod
    def of(cls, votes: Votes, drift_m2: Array, params: AlignParams) -> Self:
        """Votes whose offset may have drifted by `drift_m2` (2, 2) within the segment."""
        spread = votes.cov_m2 + drift_m2
        ratio = votes.weight / (_TAU * np.sqrt(dets(spread)) * params.new_per_m2)
        rows = np.unique(votes.row, return_inverse=True)[1]
        member = (rows[:, None] == np.arange(int(rows.max()) + 1)[None, :]).astype(np.float64)
        return cls(votes.gap_m, spread, inverses(spread), ratio, member)

    def likely(self, offsets: Array) -> Array:
        """Likelihood ratio (M, P) of every vote under offsets (M, 2)."""
        result: Array = self.ratio * np.exp(-0.5 * squares(self.gap_m - offsets[:, None, :], self.spread_m2))
        return result

    def score(self, offsets: Array) -> Array:
        """Log evidence (M,) of offsets (M, 2) against "nobody knew any of it"."""
        result: Array = np.log1p(self.likely(offsets) @ self.member).sum(axis=1)
        return result

    def refined(self, offset: Array, prior: Prior, rounds: int = 3) -> tuple[Array, Array]:
        """Offset and covariance after some steps of expectation and maximisation from `offset`."""
        known = np.linalg.inv(prior.cov_m2)
        cov = prior.cov_m2
        for _ in range(rounds):
            likely = self.likely(offset[None])[0]
            share = likely / (1.0 + self.member @ (likely @ self.member))
            cov = np.linalg.inv(np.tensordot(share, self.inverse, 1) + known)
            pull = share @ (self.inverse @ self.gap_m[:, :, None])[:, :, 0]
            offset = cov @ (pull + known @ prior.mean_m)
        return offset, cov


def modes_of(votes: Votes, segments: Index, prior: Prior, params: AlignParams) -> list[Mode]:
    """The best few offsets of every segment, refined by their voters' responsibilities."""
    drift = prior.cov_m2 * 2.0 * (1.0 - math.exp(-params.segment_s / 3.0 / params.tau_s))
    found: list[Mode] = []
    for number in np.unique(segments).tolist():
        mine = votes.keep(np.flatnonzero(segments == number))
        segment, middle = _Segment.of(mine, drift, params), float(np.mean(mine.time_s))
        left = segment.score(mine.gap_m)
        left -= 0.5 * squares(mine.gap_m - prior.mean_m, prior.cov_m2 + segment.spread_m2)
        here: list[Mode] = []
        for _ in range(params.most_modes):
            best = int(np.argmax(left))
            if not np.isfinite(left[best]):
                break
            offset, cov = segment.refined(mine.gap_m[best], prior)
            if all(squares(offset - m.offset_m, cov + m.cov_m2) > params.inlier_gate for m in here):
                here.append(Mode(number, middle, offset, cov, float(segment.score(offset[None])[0])))
            near = squares(mine.gap_m - offset, segment.spread_m2 + cov) < params.inlier_gate
            near[best] = True
            left[near] = -math.inf
        found += here
    return found


def _hops(
    offsets: Array, covs: Array, times: Array, mean: Array, cov: Array, time_s: float, prior: Prior, tau_s: float
) -> Array:
    """Log evidence (M,) of each mode, its score aside, after the offset was `mean` +- `cov` at `time_s`."""
    keep = np.exp(-np.abs(times - time_s) / tau_s)[:, None]
    ahead = prior.mean_m + keep * (mean - prior.mean_m)
    spread = (keep**2)[..., None] * cov + (1.0 - keep**2)[..., None] * prior.cov_m2 + covs
    result: Array = -0.5 * squares(offsets - ahead, spread) + 0.5 * np.log(dets(covs) / dets(spread))
    return result


def path_of(
    modes: list[Mode], prior: Prior, before: tuple[float, Link] | None, params: AlignParams
) -> tuple[list[list[int]], bool]:
    """The most probable path through the modes, as runs of mode indices between jumps; doubtful segments are left out.

    Also tells whether the first run goes on from `before`.

    A segment counts when the best path beats, by `least_odds`, the best one through any other of its modes, and the one
    that believes no vote at all.
    """
    count = len(modes)
    offsets, covs = np.array([m.offset_m for m in modes]), np.array([m.cov_m2 for m in modes])
    times, scores = np.array([m.time_s for m in modes]), np.array([m.score for m in modes])
    segment = np.array([m.segment for m in modes])
    fresh = _hops(offsets, covs, times, prior.mean_m, prior.cov_m2, 0.0, prior, params.tau_s)
    start, linked = fresh, fresh
    if before is not None:
        linked = _hops(offsets, covs, times, before[1].offset_m, before[1].cov_m2, before[0], prior, params.tau_s)
        start = np.maximum(linked, fresh + math.log(params.jump))
    hop = np.full((count, count), -math.inf)
    jumped = np.zeros((count, count), np.bool_)
    for a in range(count):
        later = np.flatnonzero(segment > segment[a])
        smooth = _hops(offsets[later], covs[later], times[later], offsets[a], covs[a], times[a], prior, params.tau_s)
        broken = fresh[later] + math.log(params.jump)
        hop[a, later] = np.maximum(smooth, broken)
        jumped[a, later] = broken > smooth
    forward, came = start + scores, np.full(count, -1)
    for b in range(count):
        ways = forward[:b] + hop[:b, b] if b else np.zeros(0)
        if len(ways) and ways.max() + scores[b] > forward[b]:
            came[b] = int(np.argmax(ways))
            forward[b] = ways.max() + scores[b]
    backward = np.zeros(count)
    for a in range(count - 1, -1, -1):
        backward[a] = max(0.0, float((hop[a, a + 1 :] + scores[a + 1 :] + backward[a + 1 :]).max(initial=-math.inf)))
    through = forward + backward
    chain: list[int] = []
    at = int(np.argmax(forward))
    while at >= 0:
        chain.append(at)
        at = int(came[at])
    chain.reverse()
    runs: list[list[int]] = [[]]
    for nth, m in enumerate(chain):
        if nth and jumped[chain[nth - 1], m]:
            runs.append([])
        others = through[(segment == segment[m]) & (np.arange(count) != m)]
        rival = max(float(others.max(initial=-math.inf)), 0.0)
        if through[m] - rival >= math.log(params.least_odds):
            runs[-1].append(m)
    goes_on = before is not None and bool(runs[0]) and bool(linked[chain[0]] >= start[chain[0]])
    return [run for run in runs if run], goes_on
