"""Hypotheses about tracks, fitted in one go: residuals, rounds that let go of outliers, what is left in doubt."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnss.types import Array, Rows
from perception.sights import Batch, LocateParams
from perception.solid import Sightings
from perception.solver import Fit, fit

LEFT_OUT = 0.6
ROUNDS, FIRST_ROUND, LATER_ROUND = 2, 8, 3
"""Steps of the fits: from a guess, and twice again with outliers known."""


class Model:
    """Residuals of B tracks in two groups, across and up, each with both edges of all frames: (B, 2, 2F)."""

    def __init__(self, view: Sightings) -> None:
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
class Guess:
    """Hypotheses about the tracks `rows` (R,): where their fits start (R, 12) and their priors (R, 12, 12)."""

    rows: Rows
    start: Array
    information: Array

    def at(self, start: Array) -> Guess:
        """The same from somewhere else."""
        return Guess(self.rows, start, self.information)


def fit_all(batch: Batch, guesses: Sequence[Guess], weights: Sequence[Array], iterations: int) -> list[Fit]:
    """Fit all hypotheses in one go; `weights` (R, 2, 2F, 2F) of each."""
    rows = np.concatenate([g.rows for g in guesses])
    start, information = (np.concatenate([getattr(g, name) for g in guesses]) for name in ("start", "information"))
    model = Model(batch.view.of(rows))
    ended = fit(model, np.concatenate(weights), start, batch.mean[rows], information, iterations)
    ends = np.cumsum([0, *(len(g.rows) for g in guesses)])
    return [ended.of(np.arange(a, b)) for a, b in itertools.pairwise(ends.tolist())]


def fit_again(
    batch: Batch, guesses: Sequence[Guess], fits: Sequence[Fit], params: LocateParams
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
    return fit_all(batch, guesses, weights, LATER_ROUND), misfit


def left_out(residuals: Array, batch: Batch, params: LocateParams) -> Array:
    """Share (B,) of a track's usable edges that its fit leaves out."""
    many = (batch.noise.trust(residuals, params.box.huber) < LEFT_OUT).sum(axis=(1, 2))
    share: Array = many / np.maximum(np.isfinite(batch.view.sigma).sum(axis=(1, 2)), 1)
    return share
