"""What every street shares: palettes, rows of houses, lane markings."""

from __future__ import annotations

import random

from replays.render.houses import House
from replays.render.solids import Rgb

BODY: tuple[Rgb, ...] = (
    (0.72, 0.72, 0.72),
    (0.75, 0.75, 0.74),
    (0.02, 0.02, 0.022),
    (0.03, 0.03, 0.035),
    (0.28, 0.29, 0.31),
    (0.12, 0.13, 0.14),
    (0.40, 0.02, 0.02),
    (0.02, 0.06, 0.25),
    (0.25, 0.16, 0.08),
    (0.03, 0.12, 0.08),
    (0.55, 0.50, 0.40),
    (0.65, 0.38, 0.02),
)
WALLS: tuple[Rgb, ...] = (
    (0.55, 0.52, 0.46),
    (0.48, 0.36, 0.26),
    (0.60, 0.58, 0.55),
    (0.35, 0.20, 0.14),
    (0.42, 0.44, 0.46),
    (0.62, 0.54, 0.40),
    (0.30, 0.30, 0.31),
    (0.50, 0.42, 0.38),
)
BINS: tuple[Rgb, ...] = (
    (0.02, 0.18, 0.06),
    (0.01, 0.10, 0.40),
    (0.08, 0.08, 0.085),
    (0.45, 0.02, 0.02),
    (0.02, 0.30, 0.10),
    (0.55, 0.35, 0.02),
)
CLOTHES: tuple[Rgb, ...] = (
    (0.5, 0.05, 0.05),
    (0.05, 0.12, 0.4),
    (0.7, 0.7, 0.68),
    (0.03, 0.03, 0.035),
    (0.05, 0.3, 0.15),
    (0.6, 0.4, 0.05),
    (0.4, 0.2, 0.35),
    (0.85, 0.30, 0.02),
)
LEAVES: tuple[Rgb, ...] = ((0.045, 0.10, 0.022), (0.06, 0.12, 0.02), (0.03, 0.08, 0.03), (0.10, 0.13, 0.02))
PAVING: tuple[Rgb, ...] = ((0.32, 0.30, 0.28), (0.36, 0.28, 0.23), (0.26, 0.26, 0.27), (0.40, 0.38, 0.33))


def houses(rng: random.Random, x0: float, x1: float, front_m: float) -> tuple[House, ...]:
    """Closed rows with a few gaps on both sides."""
    made = []
    for side in (-1, 1):
        x = x0 - 25.0 - rng.uniform(0.0, 10.0)
        while x < x1 + 50.0:
            width = rng.uniform(9.0, 22.0)
            setback = rng.choice((0.0, 0.0, 0.0, 1.5, 4.0))
            floors, shops, colour = rng.randint(1, 6), rng.random() < 0.7, rng.choice(WALLS)
            made.append(House(x, x + width, side, front_m + setback, floors, shops, colour, rng.getrandbits(30)))
            x += width + (rng.uniform(2.0, 6.0) if rng.random() < 0.2 else 0.05)
    return tuple(made)


def markings(x0: float, x1: float, lane: float, double: bool) -> list[tuple[float, float, float, float, str]]:
    """Centre line (double yellow or dashed white) and solid edge lines."""
    spans: list[tuple[float, float, float, float, str]] = []
    a, b = x0 - 60.0, x1 + 60.0
    if double:
        spans += [(a, b, 0.07, 0.20, "yellow"), (a, b, -0.20, -0.07, "yellow")]
    else:
        spans += [(x, x + 4.0, -0.07, 0.07, "white") for x in range(int(a), int(b), 10)]
    spans += [(a, b, -lane - 0.07, -lane + 0.05, "white"), (a, b, lane - 0.05, lane + 0.07, "white")]
    return spans
