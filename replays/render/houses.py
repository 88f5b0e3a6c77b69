"""Street fronts: shops with signboards below, rows of windows above."""

from __future__ import annotations

import random
from dataclasses import dataclass

from replays.render.solids import Mesh, Paint, Rgb, Sculptor, shade

GLASS = Paint("window", (0.03, 0.045, 0.06))
FRAME = Paint("plastic", (0.5, 0.5, 0.5))
SIGNS: tuple[Rgb, ...] = (
    (0.5, 0.02, 0.02),
    (0.02, 0.12, 0.45),
    (0.03, 0.30, 0.12),
    (0.65, 0.40, 0.02),
    (0.02, 0.02, 0.03),
    (0.7, 0.7, 0.68),
    (0.35, 0.05, 0.3),
)


@dataclass(frozen=True, slots=True)
class House:
    """A building: x0..x1 along the street, its front at |y| = front_m on `side` (+1 left, -1 right)."""

    x0: float
    x1: float
    side: int
    front_m: float
    floors: int
    shops: bool
    colour: Rgb
    seed: int


def _shop(s: Sculptor, rng: random.Random, x0: float, x1: float, y: float, out: float) -> None:
    """One shop between x0 and x1; `out` is the direction of the street (+-1) along y."""
    mid, width = (x0 + x1) / 2, x1 - x0
    kind = rng.random()
    if kind < 0.25:
        s.box((mid, y + out * 0.02, 1.45), (width - 0.5, 0.08, 2.6), Paint("shutter", (0.32, 0.33, 0.35)))
    else:
        s.box((mid, y + out * 0.02, 1.5), (width - 0.5, 0.08, 2.5), GLASS)
        for k in range(4):
            s.box((x0 + 0.25 + k * (width - 0.5) / 3, y + out * 0.06, 1.5), (0.07, 0.08, 2.55), FRAME)
        s.box((mid, y + out * 0.06, 0.3), (width - 0.5, 0.07, 0.3), Paint("plastic", rng.choice(SIGNS)))
        if rng.random() < 0.5:
            s.box(
                (mid + rng.uniform(-0.8, 0.8), y + out * 0.07, 1.6),
                (0.8, 0.02, 1.1),
                Paint("plastic", rng.choice(SIGNS)),
            )
    base, ink = rng.choice(SIGNS), rng.choice(((0.8, 0.8, 0.75), (0.8, 0.6, 0.05), (0.5, 0.02, 0.02)))
    if max(abs(a - b) for a, b in zip(base, ink, strict=True)) < 0.2:
        ink = (0.02, 0.02, 0.02)
    s.box((mid, y + out * 0.15, 3.25), (width - 0.15, 0.30, 0.85), Paint("plastic", base))
    for k in range(rng.randint(3, 5)):
        cx = mid + (k - 1.5) * 0.75
        for _ in range(4):
            flat = rng.random() < 0.5
            s.box(
                (cx + rng.uniform(-0.15, 0.15), y + out * 0.31, 3.25 + rng.uniform(-0.2, 0.2)),
                (0.42 if flat else 0.07, 0.02, 0.07 if flat else 0.42),
                Paint("plastic", ink),
            )


def _window(
    s: Sculptor, rng: random.Random, x: float, z: float, y: float, out: float, size: tuple[float, float], balcony: bool
) -> None:
    w, h = size
    s.box((x, y + out * 0.015, z), (w + 0.14, 0.06, h + 0.14), FRAME)
    s.box((x, y + out * 0.03, z), (w, 0.06, h), GLASS)
    s.box((x, y + out * 0.065, z), (0.05, 0.02, h), FRAME)
    if rng.random() < 0.3:
        s.box(
            (x + rng.choice((-0.25, 0.25)) * w, y + out * 0.062, z),
            (w * 0.45, 0.01, h * 0.95),
            Paint("cloth", rng.choice(((0.6, 0.55, 0.45), (0.3, 0.35, 0.45)))),
        )
    if balcony:
        s.box((x, y + out * 0.5, z - h / 2 - 0.15), (w + 0.8, 1.0, 0.12), Paint("concrete", (0.4, 0.4, 0.38)))
        s.box((x, y + out * 0.98, z - h / 2 + 0.35), (w + 0.8, 0.05, 0.9), Paint("metal", (0.3, 0.3, 0.32)))
    elif rng.random() < 0.4:
        s.box(
            (x + w * 0.5 + 0.35, y + out * 0.2, z - h / 2 - 0.1), (0.8, 0.32, 0.55), Paint("plastic", (0.6, 0.6, 0.58))
        )
        s.tube(
            (x + w * 0.5 + 0.35, y + out * 0.37, z - h / 2 - 0.1),
            (x + w * 0.5 + 0.35, y + out * 0.38, z - h / 2 - 0.1),
            0.22,
            Paint("trim", (0.1, 0.1, 0.1)),
        )


def house(plan: House) -> Mesh:
    """The building's mesh in street coordinates."""
    rng, s = random.Random(plan.seed), Sculptor()
    out = -float(plan.side)
    y, mid, width = plan.side * plan.front_m, (plan.x0 + plan.x1) / 2, plan.x1 - plan.x0
    ground_h, floor_h = 3.9, rng.uniform(2.9, 3.2)
    height = ground_h + plan.floors * floor_h
    wall = Paint("facade", plan.colour)
    s.box((mid, y - out * 5.0, height / 2), (width - 0.02, 10.0, height), wall)
    s.box((mid, y - out * 4.9, height + 0.25), (width + 0.1, 10.4, 0.5), Paint("facade", shade(plan.colour, 0.8)))
    if plan.shops:
        n = max(1, round(width / 4.2))
        for k in range(n):
            _shop(s, rng, plan.x0 + k * width / n, plan.x0 + (k + 1) * width / n, y, out)
    else:
        s.box((mid, y + out * 0.03, 0.5), (width, 0.1, 1.0), Paint("concrete", (0.25, 0.24, 0.23)))
    pitch, size = rng.uniform(2.6, 3.6), (rng.uniform(1.2, 1.9), rng.uniform(1.3, 1.7))
    columns = max(1, int(width / pitch))
    balconies = rng.random() < 0.4
    for f in range(0 if plan.shops else -1, plan.floors):
        z = ground_h + (f + 0.52) * floor_h if f >= 0 else 2.2
        for c in range(columns):
            x = plan.x0 + (c + 0.5) * width / columns
            _window(s, rng, x, z, y, out, size, balconies and f >= 0 and c % 3 == 1)
        if f >= 0 and rng.random() < 0.3:
            s.box(
                (mid, y + out * 0.08, ground_h + f * floor_h),
                (width, 0.18, 0.18),
                Paint("facade", shade(plan.colour, 1.2)),
            )
    return s.build()
