"""Seeded chance: streams by name, and the two correlated processes of the noise card."""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from gnss.types import Array


def stream(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for each seed and chain of names: what one draws never moves another."""
    return np.random.default_rng([seed & 0xFFFFFFFF, *(zlib.crc32(name.encode()) for name in names)])


def gauss_markov(rng: np.random.Generator, shape: tuple[int, ...], step_s: float, tau_s: float) -> Array:
    """A stationary unit-variance first-order Gauss-Markov process along axis 0, correlation exp(-dt / tau)."""
    white = rng.standard_normal(shape)
    if tau_s <= 0 or shape[0] < 2:
        return white
    keep = math.exp(-step_s / tau_s)
    fresh = math.sqrt(1.0 - keep**2)
    white[0] /= fresh
    series: Array = lfilter([fresh], [1.0, -keep], white, axis=0)
    return series


def held_uniform(rng: np.random.Generator, shape: tuple[int, int], step_s: float, tau_s: float) -> Array:
    """Uniforms (F, N) that are kept from one frame to the next with exp(-dt / tau), else redrawn.

    `held < q` is then a two-state Markov process with stationary probability q and that correlation, for any q.
    """
    drawn = rng.random(shape)
    redrawn: NDArray[np.bool_] = rng.random(shape) >= math.exp(-step_s / max(tau_s, 1e-9))
    redrawn[:1] = True
    last = np.maximum.accumulate(np.where(redrawn, np.arange(shape[0])[:, None], 0), axis=0)
    held: Array = np.take_along_axis(drawn, last, axis=0)
    return held
