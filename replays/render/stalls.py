"""Street stalls: a cart or table with goods under an umbrella or an awning. The customers' side is +x."""

from __future__ import annotations

import math
import random

import numpy as np

from replays.render.solids import Mesh, Paint, Rgb, Sculptor

FRUIT: tuple[Rgb, ...] = (
    (0.6, 0.05, 0.03),
    (0.7, 0.30, 0.02),
    (0.65, 0.5, 0.04),
    (0.15, 0.4, 0.05),
    (0.35, 0.03, 0.15),
    (0.5, 0.42, 0.25),
)
CANVAS: tuple[Rgb, ...] = (
    (0.5, 0.02, 0.02),
    (0.02, 0.10, 0.42),
    (0.03, 0.28, 0.10),
    (0.65, 0.45, 0.03),
    (0.7, 0.68, 0.62),
)
METAL = Paint("metal", (0.4, 0.4, 0.42))


def _goods(s: Sculptor, rng: random.Random, top: float, length: float, width: float) -> None:
    nx, ny = max(2, int(length / 0.5)), 2
    for i in range(nx):
        for j in range(ny):
            y = (i + 0.5) / nx * length - length / 2
            x = (j + 0.5) / ny * width - width / 2
            crate = Paint(
                "plastic", rng.choice(((0.05, 0.2, 0.5), (0.5, 0.1, 0.05), (0.45, 0.3, 0.12), (0.6, 0.6, 0.6)))
            )
            s.box((x, y, top + 0.06), (width / ny * 0.92, length / nx * 0.92, 0.12), crate)
            fruit = Paint("plastic", rng.choice(FRUIT))
            if rng.random() < 0.25:
                s.box((x, y, top + 0.22), (0.3, 0.25, 0.22), Paint("cloth", rng.choice(CANVAS)))
                continue
            for _ in range(9):
                r = rng.uniform(0.04, 0.06)
                centre = (
                    x + rng.uniform(-0.15, 0.15),
                    y + rng.uniform(-0.16, 0.16),
                    top + 0.13 + rng.uniform(0.0, 0.06),
                )
                s.ball(centre, (r, r, r), fruit, around=7, rings=4)


def _umbrella(s: Sculptor, rng: random.Random, x: float, y: float, radius: float) -> None:
    z = rng.uniform(2.15, 2.45)
    s.tube((x, y, 0.0), (x, y, z + 0.4), 0.025, METAL, sides=8)
    paints = [Paint("cloth", c) for c in rng.sample(CANVAS, 2)]
    for k in range(8):
        a0, a1 = k * math.pi / 4, (k + 1) * math.pi / 4
        p0 = (x + radius * math.cos(a0), y + radius * math.sin(a0), z)
        p1 = (x + radius * math.cos(a1), y + radius * math.sin(a1), z)
        s.add([p0, p1, (x, y, z + 0.45)], [(0, 1, 2)], paints[k % 2])
        s.quad((p0[0], p0[1], z - 0.14), (p1[0], p1[1], z - 0.14), p1, p0, paints[k % 2])


def _awning(s: Sculptor, rng: random.Random, length: float, width: float) -> None:
    z, h = 2.1, 0.3
    for x in (-width / 2, width / 2):
        for y in (-length / 2, length / 2):
            s.tube((x, y, 0.0), (x, y, z + (h if x < 0 else 0.0)), 0.022, METAL, sides=6)
    paints = [Paint("cloth", c) for c in rng.sample(CANVAS, 2)]
    n, reach = 8, width / 2 + 0.3
    for k in range(n):
        y0, y1 = (k / n - 0.5) * (length + 0.3), ((k + 1) / n - 0.5) * (length + 0.3)
        paint = paints[k % 2]
        s.quad((-reach, y0, z + h + 0.05), (-reach, y1, z + h + 0.05), (reach, y1, z), (reach, y0, z), paint)
        s.quad((reach, y0, z), (reach, y1, z), (reach, y1, z - 0.2), (reach, y0, z - 0.2), paint)


def _cart(s: Sculptor, rng: random.Random, length: float, width: float, top: float) -> None:
    body = Paint(
        "plastic",
        rng.choice(((0.5, 0.5, 0.52), (0.45, 0.03, 0.03), (0.03, 0.15, 0.4), (0.6, 0.45, 0.08), (0.05, 0.25, 0.15))),
    )
    s.box((0.0, 0.0, (top + 0.35) / 2), (width, length, top - 0.35), body)
    board = Paint("plastic", (0.75, 0.7, 0.6))
    s.box((width / 2 + 0.01, 0.0, top - 0.28), (0.02, length * 0.8, 0.32), board)
    for k in range(4):
        s.box(
            (width / 2 + 0.025, (k - 1.5) * length * 0.17, top - 0.28),
            (0.01, length * 0.11, 0.2),
            Paint("plastic", (0.5, 0.02, 0.02)),
        )
    for y in (-length * 0.33, length * 0.33):
        for x in (-width / 2, width / 2):
            s.tube((x - 0.03, y, 0.26), (x + 0.03, y, 0.26), 0.26, Paint("rubber", (0.015, 0.015, 0.015)), sides=16)
    s.tube((-width * 0.3, length / 2, top), (-width * 0.3, length / 2 + 0.4, top + 0.1), 0.02, METAL, sides=6)
    s.tube((width * 0.3, length / 2, top), (width * 0.3, length / 2 + 0.4, top + 0.1), 0.02, METAL, sides=6)


def _table(s: Sculptor, rng: random.Random, length: float, width: float, top: float) -> None:
    cloth = Paint("cloth", rng.choice(CANVAS))
    s.box((0.0, 0.0, top - 0.03), (width, length, 0.05), Paint("cloth", (0.3, 0.2, 0.1)))
    for x in (-width / 2 + 0.05, width / 2 - 0.05):
        for y in (-length / 2 + 0.05, length / 2 - 0.05):
            s.tube((x, y, 0.0), (x, y, top), 0.025, METAL, sides=6)
    if rng.random() < 0.6:
        s.box((width / 2, 0.0, top - 0.25), (0.02, length, 0.5), cloth)
        s.box((0.0, length / 2, top - 0.25), (width, 0.02, 0.5), cloth)
        s.box((0.0, -length / 2, top - 0.25), (width, 0.02, 0.5), cloth)


def street_stall(colour: Rgb, seed: int) -> Mesh:
    """A stall of 1.5-2.6 m; the vendor is a person of his own."""
    rng, s = random.Random(seed), Sculptor()
    del colour
    length, width, top = rng.uniform(1.5, 2.4), rng.uniform(0.75, 1.0), rng.uniform(0.75, 0.95)
    (_cart if rng.random() < 0.55 else _table)(s, rng, length, width, top)
    _goods(s, rng, top, length * 0.95, width * 0.95)
    roof = rng.random()
    if roof < 0.55:
        _umbrella(s, rng, -0.15, rng.uniform(-0.2, 0.2), rng.uniform(1.1, 1.5))
    elif roof < 0.9:
        _awning(s, rng, length, width)
    for _ in range(rng.randint(0, 3)):
        y = rng.uniform(-length / 2, length / 2)
        s.box(
            (width / 2 + 0.35, y, 0.15),
            (0.35, 0.45, 0.3),
            Paint("plastic", rng.choice(FRUIT)),
            yaw_rad=float(np.round(rng.uniform(-0.3, 0.3), 3)),
        )
    if rng.random() < 0.5:
        s.box((-width / 2 - 0.7, 0.3, 0.22), (0.3, 0.3, 0.04), Paint("plastic", (0.5, 0.05, 0.05)))
        s.box((-width / 2 - 0.7, 0.3, 0.1), (0.24, 0.24, 0.2), Paint("plastic", (0.5, 0.05, 0.05)))
    return s.build()
