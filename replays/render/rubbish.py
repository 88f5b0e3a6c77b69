"""Bags, cartons, litter and wheeled bins. Origin on the ground, a bin's front along +x."""

from __future__ import annotations

import math
import random

import numpy as np

from replays.render.solids import Mesh, Paint, Rgb, Sculptor, shade

BAGS: tuple[Rgb, ...] = (
    (0.01, 0.01, 0.012),
    (0.012, 0.012, 0.014),
    (0.02, 0.02, 0.022),
    (0.55, 0.55, 0.52),
    (0.02, 0.10, 0.35),
    (0.35, 0.05, 0.03),
    (0.04, 0.25, 0.08),
    (0.55, 0.42, 0.05),
)
CARDBOARD = (0.30, 0.18, 0.09)


def _bag(s: Sculptor, rng: random.Random, x: float, y: float, z: float, size: float) -> None:
    noise = np.random.default_rng(rng.getrandbits(32))
    lumps = 1.0 + 0.16 * noise.standard_normal((8, 12)).clip(-1.6, 1.6)
    lumps[0], lumps[-1] = 1.0, 1.0
    paint = Paint("bag", rng.choice(BAGS))
    flat = rng.uniform(0.55, 0.95)
    r = (size * rng.uniform(0.85, 1.25), size * rng.uniform(0.8, 1.1), size * flat)
    s.ball((x, y, z + r[2] * 0.88), r, paint, around=12, rings=8, lumps=lumps)
    lean = (rng.uniform(-0.3, 0.3) * size, rng.uniform(-0.3, 0.3) * size)
    neck = z + r[2] * 1.75
    s.tube(
        (x, y, neck - 0.08),
        (x + lean[0], y + lean[1], neck + size * 0.25),
        size * 0.22,
        paint,
        end_radius=size * 0.10,
        sides=7,
    )
    s.tube(
        (x + lean[0], y + lean[1], neck + size * 0.2),
        (x + 1.6 * lean[0], y + 1.6 * lean[1], neck + size * 0.5),
        size * 0.08,
        paint,
        end_radius=size * 0.24,
        sides=7,
    )


def _litter(s: Sculptor, rng: random.Random, spread: float, count: int) -> None:
    for _ in range(count):
        x, y = rng.gauss(0.0, spread), rng.gauss(0.0, spread)
        colour = rng.choice(
            ((0.7, 0.7, 0.68), (0.6, 0.1, 0.08), (0.1, 0.3, 0.6), CARDBOARD, (0.6, 0.5, 0.1), (0.05, 0.3, 0.12))
        )
        size = (rng.uniform(0.05, 0.22), rng.uniform(0.04, 0.16), rng.uniform(0.01, 0.10))
        if rng.random() < 0.3:
            a = rng.uniform(0, math.pi)
            s.tube(
                (x, y, 0.035),
                (x + 0.2 * math.cos(a), y + 0.2 * math.sin(a), 0.035),
                0.035,
                Paint("plastic", colour),
                sides=7,
            )
        else:
            s.box((x, y, size[2] / 2), size, Paint("cloth", colour), yaw_rad=rng.uniform(0, math.pi))


def _carton(s: Sculptor, rng: random.Random, x: float, y: float) -> None:
    size = (rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.45), rng.uniform(0.08, 0.4))
    paint = Paint("cloth", shade(CARDBOARD, rng.uniform(0.7, 1.3)) if rng.random() < 0.8 else (0.75, 0.75, 0.75))
    yaw = rng.uniform(0, math.pi)
    s.box((x, y, size[2] / 2), size, paint, yaw_rad=yaw)
    if size[2] > 0.2:
        s.box(
            (x, y, size[2] + 0.004), (size[0] * 0.1, size[1], 0.008), Paint("plastic", (0.45, 0.35, 0.2)), yaw_rad=yaw
        )


def garbage(colour: Rgb, seed: int) -> Mesh:
    """A heap of bags, cartons and litter about the origin, 1-2.6 m across."""
    rng, s = random.Random(seed), Sculptor()
    del colour
    count, cartons = rng.choice(((3, 1), (5, 1), (7, 2), (9, 2), (2, 4), (4, 0), (6, 3)))
    spread = 0.20 + 0.055 * count
    for i in range(count):
        low = i < 0.7 * count
        x, y = rng.gauss(0.0, spread), rng.gauss(0.0, spread * 0.65)
        _bag(
            s,
            rng,
            x * (1.0 if low else 0.4),
            y * (1.0 if low else 0.4),
            0.0 if low else rng.uniform(0.22, 0.4),
            rng.uniform(0.20, 0.36),
        )
    for _ in range(cartons):
        _carton(s, rng, rng.gauss(0.0, spread + 0.15), rng.gauss(0.0, spread * 0.8))
    _litter(s, rng, spread + 0.1, rng.randint(4, 14))
    return s.build()


def _bin_body(s: Sculptor, colour: Rgb, lid_deg: float, k: float) -> None:
    paint, dark = Paint("plastic", colour), Paint("plastic", shade(colour, 0.7))
    w, d, h = 0.58 * k, 0.66 * k, 0.98 * k
    s.box((0.0, 0.0, 0.06 + h / 2), (d, w, h), paint, taper=0.78)
    s.box((0.0, 0.0, 0.06 + h), (d * 1.07, w * 1.08, 0.05), dark)
    for side in (-1.0, 1.0):
        s.tube(
            (-d * 0.36, side * w * 0.36, 0.11),
            (-d * 0.36, side * w * 0.48, 0.11),
            0.11,
            Paint("rubber", (0.02, 0.02, 0.02)),
            sides=14,
        )
    a = math.radians(lid_deg)
    hinge, reach = np.array([-d * 0.53, 0.06 + h + 0.03]), d * 1.1
    tip = hinge + reach * np.array([math.cos(a), math.sin(a)])
    mid = hinge + reach * 0.55 * np.array([math.cos(a), math.sin(a)]) + 0.07 * np.array([-math.sin(a), math.cos(a)])
    rings = [
        np.array([(x, -w * 0.53, z), (x, w * 0.53, z), (x, w * 0.5, z + 0.03), (x, -w * 0.5, z + 0.03)])
        for x, z in (hinge, mid, tip)
    ]
    s.loft(rings, dark, smooth=False)
    s.tube((-d * 0.60, -w * 0.4, h), (-d * 0.60, w * 0.4, h), 0.02, dark, sides=6)
    white = Paint("plastic", (0.75, 0.75, 0.75))
    s.box((d * 0.462, 0.0, 0.06 + h * 0.62), (0.01, w * 0.34, w * 0.34), white)


def garbage_bin(colour: Rgb, seed: int) -> Mesh:
    """A closed wheeled bin."""
    s = Sculptor()
    _bin_body(s, colour, random.Random(seed).uniform(0.0, 4.0), random.Random(seed).uniform(0.85, 1.15))
    return s.build()


def garbage_bin_overflow(colour: Rgb, seed: int) -> Mesh:
    """A bin whose lid cannot close over its bags."""
    rng, s = random.Random(seed), Sculptor()
    k = rng.uniform(0.9, 1.15)
    _bin_body(s, colour, rng.uniform(55.0, 115.0), k)
    for _ in range(rng.randint(3, 5)):
        _bag(
            s,
            rng,
            rng.uniform(-0.14, 0.2),
            rng.uniform(-0.2, 0.2),
            0.80 * k + rng.uniform(0.0, 0.22),
            rng.uniform(0.16, 0.25),
        )
    for _ in range(rng.randint(0, 3)):
        _bag(s, rng, rng.uniform(0.35, 0.7), rng.uniform(-0.5, 0.5), 0.0, rng.uniform(0.16, 0.26))
    _litter(s, rng, 0.45, rng.randint(2, 8))
    return s.build()
