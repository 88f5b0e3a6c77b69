"""The simulated detector: which looks become boxes, how far their edges err, what they are called, and clutter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnss.types import Array
from replays.world.card import NoiseCard
from replays.world.chance import gauss_markov, held_uniform
from replays.world.scene import catalogue
from replays.world.shapes import Indices

CLASS_NAMES = tuple(sorted(catalogue().classes))
SIBLINGS = {
    "car": ("truck",), "truck": ("bus", "car"), "bus": ("truck",), "motorcycle": ("bicycle",),
    "bicycle": ("motorcycle",), "garbage": ("garbage_bin_overflow",), "garbage_bin": ("garbage_bin_overflow",),
    "garbage_bin_overflow": ("garbage_bin", "garbage"), "street_stall": ("garbage",), "pothole": ("manhole_open",),
    "road_crack": ("pothole",), "manhole_open": ("manhole_broken", "manhole_closed"),
    "manhole_broken": ("manhole_closed", "manhole_open"), "manhole_closed": ("manhole_broken",),
    "sign_damaged": ("traffic_sign",), "traffic_sign": ("sign_damaged",), "bin_damaged": ("garbage_bin",),
    "pole": ("traffic_light",), "traffic_light": ("pole",), "pole_fallen": ("pole",), "lamp_damaged": ("pole",),
    "guardrail_damaged": ("pole_fallen",), "person": ("motorcycle",),
}  # fmt: skip
"""Names that a detector confuses; one of them is drawn."""
CLUTTER = {
    "garbage": 0.22, "pothole": 0.14, "manhole_closed": 0.08, "manhole_open": 0.04, "garbage_bin": 0.08,
    "garbage_bin_overflow": 0.08, "street_stall": 0.06, "pole": 0.1, "traffic_sign": 0.1, "car": 0.06,
    "motorcycle": 0.04,
}  # fmt: skip
"""What shadows, patches and posters are taken for."""
LEAST_VISIBLE, WELL_VISIBLE = 0.3, 0.7
LEAST_INSIDE, WELL_INSIDE = 0.2, 0.6
LEAST_SIDE_PX = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """B boxes: frame row, thing row (-1: clutter), box in pixel edges, class id of `CLASS_NAMES`, confidence."""

    frame: Indices
    thing: Indices
    xyxy: Array
    class_id: Indices
    confidence: Array


def ramp(value: Array, low: float, high: float) -> Array:
    """0 up to `low`, 1 from `high`, linear between."""
    return np.clip((value - low) / (high - low), 0.0, 1.0)


def chance(boxes: Array, inside: Array, visible: Array, card: NoiseCard) -> Array:
    """Chance (P,) to be detected over the card's `pd`: by size of the visible box, shares inside and unhidden."""
    sides = boxes[:, 2:] - boxes[:, :2]
    size = 1.0 / (
        1.0 + np.exp(-(np.sqrt(np.prod(np.maximum(sides, 0.0), axis=1)) - card.size_mid_px) / card.size_soft_px)
    )
    large = (sides >= LEAST_SIDE_PX).all(axis=1)
    seen: Array = size * ramp(inside, LEAST_INSIDE, WELL_INSIDE) * ramp(visible, LEAST_VISIBLE, WELL_VISIBLE) * large
    return seen


def noticed(
    frame: Indices, thing: Indices, likely: Array, shape: tuple[int, int], step_s: float, card: NoiseCard,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:  # fmt: skip
    """Which of P looks are detected; `shape` is (frames, things), `likely` the chance over `pd`.

    A look is missed while its thing is in a run of blindness (a two-state process) or by a coin of its own frame.
    """
    missed = 1.0 - card.pd * likely
    blind = np.minimum(card.miss_share * missed, 1.0)
    alone = np.where(blind < 1.0, (missed - blind) / np.maximum(1.0 - blind, 1e-9), 1.0)
    held = held_uniform(rng, shape, step_s, card.miss_tau_s)[frame, thing]
    coin = rng.random(shape)[frame, thing]
    kept: NDArray[np.bool_] = (likely > 0.0) & (held >= blind) & (coin >= alone)
    return kept


def edge_noise(shape: tuple[int, int], step_s: float, card: NoiseCard, rng: np.random.Generator) -> Array:
    """Unit noise (F, N, 4) of the edges: a Gauss-Markov share and a white one."""
    slow = gauss_markov(rng, (*shape, 4), step_s, card.edge_tau_s)
    mixed: Array = math.sqrt(card.edge_share) * slow + math.sqrt(1.0 - card.edge_share) * rng.standard_normal(
        (*shape, 4)
    )
    return mixed


def shifted(boxes: Array, noise: Array, limit: Array, card: NoiseCard) -> Array:
    """Boxes (P, 4) with edges off by the card's noise, inside the picture and at least 2 px wide and high."""
    sides = boxes[:, 2:] - boxes[:, :2]
    sigma = np.tile(np.hypot(card.edge_px, card.edge_rel * sides), 2)
    out = boxes + sigma * noise
    middle, half = (out[:, :2] + out[:, 2:]) / 2, np.maximum((out[:, 2:] - out[:, :2]) / 2, 1.0)
    moved: Array = np.clip(np.concatenate([middle - half, middle + half], axis=1), 0.0, np.tile(limit, 2))
    return moved


def named(true_id: Indices, card: NoiseCard, rng: np.random.Generator) -> Indices:
    """Class ids (P,) as the detector says them: now and then a sibling's."""
    wrong, which = rng.random(len(true_id)) < card.confusion, rng.random(len(true_id))
    out = true_id.copy()
    for row in np.flatnonzero(wrong):
        names = SIBLINGS.get(CLASS_NAMES[true_id[row]], ())
        if names:
            out[row] = CLASS_NAMES.index(names[int(which[row] * len(names))])
    return out


def sureness(likely: Array, rng: np.random.Generator) -> Array:
    """Confidence (P,) of true boxes: lower for small and half hidden ones."""
    return np.clip(0.42 + 0.38 * likely + 0.07 * rng.standard_normal(len(likely)), 0.31, 0.98)


def unsureness(count: int, rng: np.random.Generator) -> Array:
    """Confidence (count,) of clutter: low, but not so low that a threshold would be enough."""
    return np.clip(0.44 + 0.09 * rng.standard_normal(count), 0.31, 0.8)


def histograms(looks: Array, thing: Indices, card: NoiseCard, drift: Array, rng: np.random.Generator) -> Array:
    """Measured colour histograms (P, D) of things with true ones (N, D): log-normal noise of the pass and of the frame.

    `drift` (N, D) is unit noise that stays for the pass: another light, another side of the thing.
    """
    log = card.look_pass * drift[thing] + card.look_frame * rng.standard_normal((len(thing), looks.shape[1]))
    raw = looks[thing] * np.exp(log)
    shares: Array = raw / raw.sum(axis=1, keepdims=True)
    return shares
