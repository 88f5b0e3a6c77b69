"""Guesses about which fixes are reflections: a small tree of filters, each with a history of its own.

In a street between high houses runs of fixes lie tens of metres off, consistent in themselves. Whether the car was
wrong or they are is known only later. So each guess splits at a doubtful fix: its bias stays the small one of an open
sky, or becomes that of a reflection, which is large and changes with the way driven. The weight of a guess is the
likelihood of all its fixes (multiple hypothesis tracking, Reid 1979, over a switching bias).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnss import ego_model as model
from gnss.ego_params import EgoParams
from gnss.ego_track import Node
from gnss.types import Array

_LEAST_WEIGHT = 1e-3
CLEAR_D2 = 6.0
"""Below this squared distance a fix in the open needs no second explanation."""


@dataclass(slots=True, eq=False)
class Guess:
    """The newest node of one history and its log weight; `reflected`: its newest fix is taken for a reflection."""

    node: Node
    log_weight: float

    @property
    def reflected(self) -> bool:
        return not self.node.placed


@dataclass(frozen=True, slots=True)
class Mode:
    """How the bias goes on to a fix: share kept, variance gained, white sigma there, log probability of the switch."""

    reflected: bool
    keep: float
    grown_m2: float
    white_m: float
    log_prior: float


def modes(node: Node, stated: tuple[float, float], way: tuple[float, float], params: EgoParams) -> tuple[Mode, Mode]:
    """(open, reflected): both ways to explain the fix after `node`.

    `stated` (bias, white) 1 sigma in m is what the fix claims; `way` (seconds, metres) leads to it.
    """
    r, (bias, white), (dt, metres) = params.reflections, stated, way
    if not node.placed:
        stays = math.exp(-dt / r.clear_after_s - metres / r.clear_way_m)
        clears = min(max(1.0 - stays, 1e-6), 1.0 - 1e-6)
        fades = math.exp(-metres / r.way_m - dt / (5.0 * params.bias_tau_s))
        return (
            Mode(False, 0.0, bias**2, white, math.log(clears)),
            Mode(True, fades, (1.0 - fades * fades) * r.sigma_m**2, r.white_m + white, math.log1p(-clears)),
        )
    last = node.reading.bias_m
    mixed = model.reflected_share(node.reading.fix, math.hypot(bias, white), params)
    # A much better class of fix has a bias of its own: the old one says nothing about it.
    keep = 0.0 if bias < 0.4 * last else math.exp(-dt / params.bias_tau_s - mixed * metres / r.mixed_way_m)
    grown = (1.0 - keep * keep) * bias**2 + keep * max(0.0, bias**2 - last**2)
    turns = min(max(1.0 - math.exp(-dt / r.after_s), 1e-6), 0.5)
    return (
        Mode(False, keep, grown, white, math.log1p(-turns)),
        Mode(True, 1.0, r.sigma_m**2, r.white_m + white, math.log(turns)),
    )


def log_density(p: Array, h: Array, innovation: Array, r: Array) -> tuple[float, float]:
    """(log likelihood, squared Mahalanobis distance) of an innovation (2,)."""
    s = h @ p @ h.T + r
    det = float(s[0, 0] * s[1, 1] - s[0, 1] * s[1, 0])
    a, b = float(innovation[0]), float(innovation[1])
    d2 = float(s[1, 1] * a * a - (s[0, 1] + s[1, 0]) * a * b + s[0, 0] * b * b) / det
    return -0.5 * (d2 + math.log(det)) - math.log(2.0 * math.pi), d2


def pruned(guesses: Sequence[Guess], params: EgoParams) -> list[Guess]:
    """The best first: without what is too unlikely, says the same as a better one, or is one too many."""
    ranked = sorted(guesses, key=lambda g: -g.log_weight)
    best = ranked[0].log_weight
    kept: list[Guess] = []
    for guess in ranked:
        if guess.log_weight < best + math.log(_LEAST_WEIGHT):
            break
        twin = next((k for k in kept if _alike(k, guess)), None)
        if twin is not None:
            twin.log_weight = float(np.logaddexp(twin.log_weight, guess.log_weight))
        elif len(kept) < params.reflections.most_guesses:
            kept.append(guess)
    for guess in kept:
        guess.log_weight -= best
    return kept


def _alike(a: Guess, b: Guess) -> bool:
    if a.reflected != b.reflected:
        return False
    d, pa, pb = a.node.x[:2] - b.node.x[:2], a.node.p[:2, :2], b.node.p[:2, :2]
    ratio = float(np.trace(pb)) / float(np.trace(pa))
    return 0.6 < ratio < 1.6 and float(d @ np.linalg.solve(pa, d)) < 0.25


def committed(guesses: Sequence[Guess], old: Node | None) -> list[Guess]:
    """Only the guesses that share the best one's history up to its node `old`."""
    if old is None or len(guesses) == 1:
        return list(guesses)
    kept = [guesses[0]]
    for guess in guesses[1:]:
        node: Node | None = guess.node
        while node is not None and node.stamp_ns > old.stamp_ns:
            node = node.parent
        if node is old:
            kept.append(guess)
    return kept


def others(guesses: Sequence[Guess]) -> list[Node]:
    """All nodes that only the guesses behind the best one have, each once."""
    seen: set[int] = set()
    node: Node | None = guesses[0].node if guesses else None
    while node is not None:
        seen.add(id(node))
        node = node.parent
    found: list[Node] = []
    for guess in guesses[1:]:
        node = guess.node
        while node is not None and id(node) not in seen:
            seen.add(id(node))
            found.append(node)
            node = node.parent
    return found


def refused_run(newest: Node, most: int = 300) -> list[Node]:
    """The nodes up to the newest whose fixes are taken for reflections, oldest first."""
    run: list[Node] = []
    node: Node | None = newest
    while node is not None and not node.placed and len(run) < most:
        run.append(node)
        node = node.parent
    return run[::-1]
