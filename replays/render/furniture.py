"""Poles, signs, trees and hedges. Origin on the ground."""

from __future__ import annotations

import math
import random

import numpy as np

from replays.render.solids import Mesh, Paint, Rgb, Sculptor, shade

METAL = Paint("metal", (0.42, 0.43, 0.44))


def lamp_pole(colour: Rgb, seed: int) -> Mesh:
    """A street lamp; its arm points along +x."""
    rng, s = random.Random(seed), Sculptor()
    h, paint = rng.uniform(6.5, 8.5), Paint("metal", colour)
    s.tube((0.0, 0.0, 0.0), (0.0, 0.0, 0.9), 0.13, paint, end_radius=0.12, sides=12)
    s.tube((0.0, 0.0, 0.9), (0.0, 0.0, h), 0.085, paint, end_radius=0.05, sides=12)
    s.tube((0.0, 0.0, h - 0.05), (1.6, 0.0, h + 0.35), 0.04, paint, sides=8)
    s.box((1.85, 0.0, h + 0.36), (0.65, 0.24, 0.10), Paint("plastic", (0.5, 0.5, 0.5)))
    return s.build()


def utility_pole(colour: Rgb, seed: int) -> Mesh:
    """A concrete pole with crossbars."""
    rng, s = random.Random(seed), Sculptor()
    h = rng.uniform(7.5, 9.5)
    s.tube((0.0, 0.0, 0.0), (0.0, 0.0, h), 0.17, Paint("concrete", colour), end_radius=0.11, sides=12)
    for z in (h - 0.3, h - 0.9):
        s.box((0.0, 0.0, z), (0.08, 1.7, 0.08), METAL)
        for y in (-0.75, 0.0, 0.75):
            s.tube((0.0, y, z), (0.0, y, z + 0.2), 0.05, Paint("plastic", (0.6, 0.6, 0.6)), sides=8)
    s.box((0.15, 0.0, 1.6), (0.03, 0.2, 0.3), Paint("plastic", (0.02, 0.1, 0.4)))
    return s.build()


def sign_panel(colour: Rgb, seed: int) -> Mesh:
    """The panel of a traffic sign, facing -x (towards traffic that drives along +x), centred 2.35 m up."""
    rng, s = random.Random(seed), Sculptor()
    z, x = 2.35, -0.06
    red, blue, white = (
        Paint("plastic", (0.55, 0.01, 0.015)),
        Paint("plastic", (0.01, 0.07, 0.42)),
        Paint("plastic", (0.8, 0.8, 0.8)),
    )
    shape = rng.choice(("no_stopping", "no_parking", "limit", "direction", "warning"))
    if shape == "direction":
        s.box((x, 0.0, z), (0.03, 1.1, 0.7), blue)
        s.box((x - 0.018, 0.0, z), (0.01, 0.09, 0.5), white)
        s.box((x - 0.018, 0.15, z + 0.05), (0.01, 0.4, 0.08), white)
    elif shape == "warning":
        s.tube((x, 0.0, z), (x - 0.03, 0.0, z), 0.46, Paint("plastic", (0.02, 0.02, 0.02)), sides=3)
        s.tube((x - 0.02, 0.0, z), (x - 0.04, 0.0, z), 0.39, Paint("plastic", (0.75, 0.45, 0.01)), sides=3)
    else:
        s.tube((x, 0.0, z), (x - 0.03, 0.0, z), 0.36, red, sides=24)
        s.tube((x - 0.02, 0.0, z), (x - 0.04, 0.0, z), 0.28, white if shape == "limit" else blue, sides=24)
        for turn in {"no_stopping": (1.0, -1.0), "no_parking": (1.0,), "limit": ()}[shape]:
            s.tube((x - 0.045, -0.2, z - 0.2 * turn), (x - 0.045, 0.2, z + 0.2 * turn), 0.035, red, sides=6)
        if shape == "limit":
            s.box((x - 0.045, -0.09, z), (0.01, 0.10, 0.28), Paint("plastic", (0.01, 0.01, 0.01)))
            s.box((x - 0.045, 0.09, z), (0.01, 0.13, 0.28), Paint("plastic", (0.01, 0.01, 0.01)))
    del colour
    return s.build()


def sign_post(colour: Rgb, seed: int) -> Mesh:
    """The post a sign panel hangs on."""
    s = Sculptor()
    del seed
    s.tube((0.0, 0.0, 0.0), (0.0, 0.0, 2.75), 0.04, Paint("metal", colour), sides=10)
    return s.build()


def tree(colour: Rgb, seed: int) -> Mesh:
    """A trunk with a crown of some thousand leaf quads."""
    rng, s = random.Random(seed), Sculptor()
    noise = np.random.default_rng(seed)
    trunk = Paint("bark", (0.10, 0.07, 0.05))
    height, crown = rng.uniform(2.6, 3.4), rng.uniform(1.5, 2.1)
    s.tube((0.0, 0.0, 0.0), (0.05, 0.05, height), 0.16, trunk, end_radius=0.10, sides=9)
    blobs = []
    for k in range(9):
        a, r = k * 2.4, crown * (0.25 + 0.45 * rng.random())
        blobs.append((r * math.cos(a), r * math.sin(a), height + 0.5 + rng.uniform(0.0, 2.2), rng.uniform(0.8, 1.25)))
        s.tube(
            (0.05, 0.05, height - 0.5),
            (blobs[-1][0], blobs[-1][1], blobs[-1][2]),
            0.06,
            trunk,
            end_radius=0.02,
            sides=5,
        )
    for shade_factor in (0.6, 1.0, 1.5):
        quads = []
        for bx, by, bz, br in blobs:
            n = 190
            d = noise.standard_normal((n, 3))
            d /= np.linalg.norm(d, axis=1, keepdims=True)
            centre = np.array([bx, by, bz]) + d * br * noise.uniform(0.55, 1.0, (n, 1))
            u, v = noise.standard_normal((n, 3)), noise.standard_normal((n, 3))
            u *= 0.11 / np.linalg.norm(u, axis=1, keepdims=True)
            v *= 0.09 / np.linalg.norm(v, axis=1, keepdims=True)
            quads.append(np.stack([centre - u, centre - v, centre + u, centre + v], axis=1))
        points = np.concatenate(quads).reshape(-1, 3)
        s.add(
            points,
            [(i, i + 1, i + 2, i + 3) for i in range(0, len(points), 4)],
            Paint("leaf", shade(colour, shade_factor)),
        )
    return s.build()


def bush(colour: Rgb, seed: int) -> Mesh:
    """A clipped hedge block, about 1.6 m long."""
    noise, s = np.random.default_rng(seed), Sculptor()
    for factor in (0.6, 1.2):
        centre = noise.uniform((-0.8, -0.35, 0.1), (0.8, 0.35, 0.75), (420, 3))
        u, v = 0.08 * noise.standard_normal((420, 3)), 0.07 * noise.standard_normal((420, 3))
        points = np.stack([centre - u, centre - v, centre + u, centre + v], axis=1).reshape(-1, 3)
        s.add(
            points, [(i, i + 1, i + 2, i + 3) for i in range(0, len(points), 4)], Paint("leaf", shade(colour, factor))
        )
    return s.build()
