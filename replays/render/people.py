"""Low-poly pedestrians: walking, standing or sitting; they look along +x."""

from __future__ import annotations

import random

import numpy as np

from replays.render.solids import Mesh, Paint, Point, Rgb, Sculptor, turn_z

SKIN = ((0.62, 0.40, 0.28), (0.50, 0.31, 0.20), (0.70, 0.48, 0.36))
HAIR = ((0.01, 0.01, 0.01), (0.03, 0.02, 0.015), (0.25, 0.24, 0.23))
TROUSERS: tuple[Rgb, ...] = ((0.02, 0.03, 0.08), (0.03, 0.03, 0.03), (0.15, 0.13, 0.10), (0.25, 0.25, 0.27))


def person(colour: Rgb, seed: int) -> Mesh:
    """One adult of 1.55-1.82 m; `colour` is the upper garment's."""
    rng, s = random.Random(seed), Sculptor()
    k = rng.uniform(1.55, 1.82) / 1.72
    top, skin = Paint("cloth", colour), Paint("cloth", rng.choice(SKIN))
    legs, hair = Paint("cloth", rng.choice(TROUSERS)), Paint("cloth", rng.choice(HAIR))
    shoe = Paint("rubber", rng.choice(((0.02, 0.02, 0.02), (0.6, 0.6, 0.6))))
    swing = rng.choice((0.0, 0.14, 0.22))
    wide = rng.uniform(0.9, 1.2)

    def limb(a: Point, b: Point, r0: float, r1: float, paint: Paint) -> None:
        s.tube(
            (a[0] * k, a[1] * k, a[2] * k), (b[0] * k, b[1] * k, b[2] * k), r0 * k, paint, end_radius=r1 * k, sides=8
        )

    for side in (-1.0, 1.0):
        step = swing * side
        limb((0.0, side * 0.09, 0.90), (step * 0.6 + 0.03, side * 0.095, 0.48), 0.090 * wide, 0.062, legs)
        limb((step * 0.6 + 0.03, side * 0.095, 0.50), (step * 1.2 - 0.02, side * 0.10, 0.07), 0.064, 0.045, legs)
        s.ball(
            ((step * 1.2 + 0.04) * k, side * 0.10 * k, 0.045 * k),
            (0.13 * k, 0.05 * k, 0.045 * k),
            shoe,
            around=8,
            rings=4,
        )
        limb((0.0, side * 0.20 * wide, 1.38), (-step * 0.5 - 0.02, side * 0.25 * wide, 1.10), 0.052, 0.042, top)
        limb(
            (-step * 0.5 - 0.02, side * 0.25 * wide, 1.11),
            (-step * 0.9 + 0.06, side * 0.24 * wide, 0.86),
            0.038,
            0.03,
            skin,
        )
        s.ball(
            ((-step * 0.9 + 0.07) * k, side * 0.24 * wide * k, 0.82 * k),
            (0.04 * k, 0.03 * k, 0.05 * k),
            skin,
            around=6,
            rings=4,
        )
    torso = [(0.86, 0.115, 0.165), (1.00, 0.115, 0.160), (1.20, 0.125, 0.185), (1.36, 0.115, 0.205), (1.43, 0.07, 0.12)]
    angle = np.linspace(0.0, 2.0 * np.pi, 12, endpoint=False)
    s.loft(
        [
            np.stack([x * wide * k * np.cos(angle), y * wide * k * np.sin(angle), np.full(12, z * k)], axis=1)
            for z, x, y in torso
        ],
        top,
    )
    limb((0.0, 0.0, 1.42), (0.01, 0.0, 1.52), 0.05, 0.05, skin)
    s.ball((0.015 * k, 0.0, 1.60 * k), (0.098 * k, 0.078 * k, 0.120 * k), skin, around=10, rings=7)
    s.ball(
        (-0.005 * k, 0.0, 1.625 * k), (0.105 * k, 0.087 * k, 0.115 * k), hair, around=10, rings=5, low=0.05, high=1.0
    )
    s.ball((-0.03 * k, 0.0, 1.60 * k), (0.085 * k, 0.085 * k, 0.115 * k), hair, around=10, rings=5)
    if rng.random() < 0.35:
        bag = np.array([[-0.16 * k, 0.0, 1.2 * k]])
        x, y, z = turn_z(bag, 0.0)[0]
        s.box((float(x), float(y), float(z)), (0.16, 0.30, 0.42), Paint("cloth", (0.02, 0.02, 0.03)))
    return s.build()
