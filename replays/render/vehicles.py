"""Trucks, buses and two-wheelers as low-poly meshes; the front looks along +x."""

from __future__ import annotations

import math
import random

import numpy as np

from replays.render.cars import GLASS, LAMP, RUBBER, TAIL, TRIM, plates, wheels
from replays.render.solids import Mesh, Paint, Point, Rgb, Sculptor, shade


def truck(colour: Rgb, seed: int) -> Mesh:
    """A light goods vehicle: cab and box."""
    rng, s = random.Random(seed), Sculptor()
    paint, cargo = (
        Paint("plastic", colour),
        Paint("plastic", rng.choice(((0.7, 0.7, 0.7), (0.1, 0.2, 0.5), (0.5, 0.1, 0.08)))),
    )
    length = rng.uniform(5.6, 6.6)
    f = length / 2
    cab = [
        np.array(
            [
                (x, y * 1.0, z)
                for y, z in ((w, 0.45), (w, 1.35), (w * 0.93, top), (-w * 0.93, top), (-w, 1.35), (-w, 0.45))
            ]
        )
        for x, w, top in ((f, 0.92, 1.35), (f - 0.10, 1.0, 1.95), (f - 0.35, 1.0, 2.3), (f - 1.65, 1.0, 2.3))
    ]
    s.loft(cab, paint, smooth=False)
    s.box((f - 0.02, 0.0, 1.60), (0.10, 1.66, 0.58), GLASS)
    for side in (-1.0, 1.0):
        s.box((f - 0.85, side * 1.0, 1.70), (0.85, 0.03, 0.58), GLASS)
        s.box((f + 0.01, side * 0.70, 0.85), (0.08, 0.34, 0.20), LAMP)
        s.box((f - 0.1, side * 1.18, 1.7), (0.08, 0.18, 0.42), TRIM)
        s.box((-f - 0.01, side * 0.85, 0.72), (0.06, 0.28, 0.14), TAIL)
    s.box((f + 0.01, 0.0, 0.55), (0.10, 1.9, 0.28), TRIM)
    if rng.random() < 0.6:
        s.box((-0.95, 0.0, 1.85), (length - 1.95, 2.1, 2.1), cargo)
    else:
        s.box((-0.95, 0.0, 0.95), (length - 1.95, 2.05, 0.12), cargo)
        for side in (-1.0, 1.0):
            s.box((-0.95, side * 1.02, 1.2), (length - 1.95, 0.05, 0.5), cargo)
        s.box((-f + 0.05, 0.0, 1.2), (0.05, 2.05, 0.5), cargo)
    s.box((-0.3, 0.0, 0.62), (length - 1.0, 0.9, 0.22), TRIM)
    wheels(s, (f - 1.0, -f + 1.2), 0.98, 0.40)
    plates(s, f + 0.07, -f - 0.05, False)
    return s.build()


def bus(colour: Rgb, seed: int) -> Mesh:
    """A city bus with a band of windows."""
    rng, s = random.Random(seed), Sculptor()
    length, f = 10.5, 5.25
    paint, low = Paint("carpaint", colour), Paint("carpaint", shade(colour, 0.55))
    s.box((0.0, 0.0, 1.80), (length, 2.5, 2.6), paint)
    s.box((0.0, 0.0, 0.75), (length + 0.02, 2.52, 0.75), low)
    for side in (-1.0, 1.0):
        for k in range(7):
            s.box((f - 1.6 - k * 1.36, side * 1.255, 2.0), (1.22, 0.03, 1.05), GLASS)
        s.box((f + 0.02, side * 0.95, 0.75), (0.06, 0.4, 0.25), LAMP)
        s.box((-f - 0.02, side * 1.0, 1.0), (0.06, 0.25, 0.5), TAIL)
        s.box((f + 0.2, side * 1.35, 2.3), (0.1, 0.2, 0.4), TRIM)
    s.box((f + 0.01, 0.0, 1.85), (0.06, 2.3, 1.35), GLASS)
    s.box(
        (f + 0.02, 0.0, 2.82),
        (0.06, 1.7, 0.28),
        Paint("lamp", (0.9, 0.35, 0.02) if rng.random() < 0.6 else (0.05, 0.05, 0.05)),
    )
    s.box((-f - 0.01, 0.0, 2.1), (0.05, 2.1, 0.9), GLASS)
    wheels(s, (f - 2.3, -f + 2.6), 1.25, 0.48)
    plates(s, f + 0.05, -f - 0.03, True)
    return s.build()


def bicycle(colour: Rgb, seed: int) -> Mesh:
    """A bicycle standing upright."""
    s, paint = Sculptor(), Paint("plastic", colour)
    metal = Paint("metal", (0.3, 0.3, 0.32))
    del seed
    for x in (0.52, -0.52):
        s.hoop((x, 0.0, 0.33), 0.315, 0.022, RUBBER)
        for k in range(6):
            a = k * math.pi / 6
            d = (0.30 * math.cos(a), 0.30 * math.sin(a))
            s.tube((x - d[0], 0.0, 0.33 - d[1]), (x + d[0], 0.0, 0.33 + d[1]), 0.004, metal, sides=4)
    frame: tuple[tuple[Point, Point], ...] = (
        ((0.52, 0.0, 0.33), (0.40, 0.0, 0.92)),
        ((0.42, 0.0, 0.80), (-0.02, 0.0, 0.30)),
        ((0.42, 0.0, 0.78), (-0.16, 0.0, 0.62)),
        ((-0.02, 0.0, 0.30), (-0.22, 0.0, 0.86)),
        ((-0.02, 0.0, 0.30), (-0.52, 0.0, 0.33)),
        ((-0.18, 0.0, 0.66), (-0.52, 0.0, 0.33)),
    )
    for start, end in frame:
        s.tube(start, end, 0.022, paint, sides=6)
    s.tube((0.40, -0.28, 0.98), (0.40, 0.28, 0.98), 0.016, metal, sides=6)
    s.box((-0.22, 0.0, 0.88), (0.26, 0.15, 0.06), TRIM)
    s.box((0.62, 0.0, 0.74), (0.26, 0.32, 0.22), metal)
    s.box((-0.55, 0.0, 0.69), (0.38, 0.06, 0.02), paint)
    s.tube((-0.02, 0.0, 0.3), (0.12, 0.14, 0.02), 0.01, metal, sides=4)
    return s.build()


def motorcycle(colour: Rgb, seed: int) -> Mesh:
    """An electric scooter or light motorcycle, as parked on Chinese pavements."""
    rng, s = random.Random(seed), Sculptor()
    paint, metal = Paint("carpaint", colour), Paint("metal", (0.3, 0.3, 0.32))
    for x in (0.62, -0.62):
        s.hoop((x, 0.0, 0.25), 0.20, 0.055, RUBBER, sides=16)
        s.tube((x, -0.05, 0.25), (x, 0.05, 0.25), 0.12, metal)
    s.tube((0.62, 0.0, 0.25), (0.42, 0.0, 1.02), 0.035, metal)
    shield = [
        np.array([(x, y, z) for y in (-w, -w * 0.5, w * 0.5, w)])
        for x, w, z in ((0.58, 0.10, 0.42), (0.56, 0.20, 0.62), (0.46, 0.22, 0.88), (0.42, 0.15, 1.02))
    ]
    s.loft(shield, paint, closed=False, caps=False)
    s.ball((0.53, 0.0, 0.86), (0.07, 0.09, 0.08), LAMP)
    s.tube((0.40, -0.33, 1.04), (0.40, 0.33, 1.04), 0.02, TRIM, sides=6)
    s.box((0.10, 0.0, 0.32), (0.75, 0.28, 0.08), TRIM)
    s.ball((-0.40, 0.0, 0.55), (0.45, 0.16, 0.20), paint)
    s.ball((-0.32, 0.0, 0.76), (0.42, 0.16, 0.075), TRIM)
    s.box((-0.86, 0.0, 0.60), (0.05, 0.16, 0.08), TAIL)
    if rng.random() < 0.6:
        s.box(
            (-0.84, 0.0, 0.92),
            (0.36, 0.38, 0.32),
            Paint("plastic", rng.choice(((0.02, 0.02, 0.02), (0.8, 0.5, 0.02), (0.02, 0.2, 0.6)))),
        )
    s.tube((-0.1, 0.0, 0.3), (-0.15, 0.22, 0.01), 0.015, metal, sides=4)
    return s.build()
