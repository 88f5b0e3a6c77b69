"""Passenger cars as low-poly meshes; the front looks along +x."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np

from replays.render.solids import Floats, Mesh, Paint, Point, Rgb, Sculptor

GLASS = Paint("glass", (0.015, 0.02, 0.025))
RUBBER = Paint("rubber", (0.012, 0.012, 0.013))
TRIM = Paint("trim", (0.02, 0.02, 0.022))
RIM = Paint("metal", (0.45, 0.46, 0.48))
LAMP = Paint("lamp", (0.85, 0.87, 0.9))
TAIL = Paint("tail", (0.45, 0.01, 0.01))


@dataclass(frozen=True, slots=True)
class CarShape:
    """Lengths in metres; cabin stations are fractions of the length from the centre, front positive."""

    length: float
    width: float
    height: float
    bonnet: float
    belt: float
    cowl: float
    roof_front: float
    roof_rear: float
    rear_base: float
    boot: float


SHAPES = {
    "sedan": CarShape(4.75, 1.84, 1.46, 0.86, 0.94, 0.20, 0.05, -0.20, -0.37, 1.0),
    "hatch": CarShape(4.05, 1.74, 1.52, 0.88, 0.96, 0.24, 0.08, -0.36, -0.47, 1.0),
    "suv": CarShape(4.65, 1.90, 1.70, 1.02, 1.08, 0.21, 0.06, -0.38, -0.475, 1.1),
    "van": CarShape(4.95, 1.88, 1.90, 1.05, 1.10, 0.34, 0.18, -0.45, -0.485, 1.15),
}


def _body_rings(shape: CarShape) -> list[Floats]:
    half, rings = shape.length / 2, []
    stations = (
        (0.5, 0.62),
        (0.492, 0.76),
        (0.46, 0.86),
        (0.36, 0.96),
        (shape.cowl, 1.0),
        (0.0, 1.0),
        (-0.25, 1.0),
        (shape.rear_base, 1.0),
        (-0.455, 0.99),
        (-0.488, 0.93),
        (-0.5, 0.70),
    )
    for s, fill in sorted(stations, reverse=True):
        front = s > shape.cowl - 0.01
        top = (
            shape.bonnet * fill
            if front
            else (shape.belt if s > shape.rear_base else shape.boot * shape.belt / 1.03) * fill
        )
        w = shape.width / 2 * (1.0 - 0.20 * abs(2 * s) ** 9)
        sill = 0.24 + 0.10 * abs(2 * s) ** 8
        waist = 0.5 * (sill + top)
        side = [
            (w * 0.95, sill),
            (w, waist - 0.08),
            (w * 0.99, top - 0.14),
            (w * 0.91, top - 0.02),
            (w * 0.5, top + 0.015),
        ]
        ring = [(s * 2 * half, y, z) for y, z in side] + [(s * 2 * half, -y, z) for y, z in reversed(side)]
        rings.append(np.array(ring))
    return rings


def _mix(a: Floats, b: Floats, t: float) -> Floats:
    return a + (b - a) * t


def _panel(sculptor: Sculptor, corners: list[Floats], span: tuple[float, float, float, float], paint: Paint) -> None:
    """A pane on the quad base-front, base-rear, roof-rear, roof-front; span = u0, u1 along it, v0, v1 upwards."""
    bf, br, rr, rf = corners
    normal = np.cross(br - bf, rf - bf)
    normal = normal / np.linalg.norm(normal)
    centre = (bf + br + rr + rf) / 4
    if float(normal @ (centre - np.array([centre[0] * 0.5, 0.0, 1.0]))) < 0:
        normal = -normal
    u0, u1, v0, v1 = span
    pts = [
        _mix(_mix(bf, br, u), _mix(rf, rr, u), v) + 0.012 * normal for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))
    ]
    sculptor.add(np.array(pts), [(0, 1, 2, 3)], paint)


def _cabin(sculptor: Sculptor, shape: CarShape, paint: Paint) -> None:
    length, wb, wr = shape.length, shape.width * 0.455, shape.width * 0.37
    z0, z1 = shape.belt - 0.06, shape.height

    def ring(front: float, rear: float, half: float, z: float) -> Floats:
        return np.array([(front, half, z), (rear, half, z), (rear, -half, z), (front, -half, z)])

    low = ring(shape.cowl * length, shape.rear_base * length, wb, z0)
    high = ring(shape.roof_front * length, shape.roof_rear * length, wr, z1 - 0.06)
    crown = ring((shape.roof_front - 0.03) * length, (shape.roof_rear + 0.03) * length, wr * 0.8, z1)
    sculptor.loft([low, high, crown], paint, smooth=False)
    for sign in (0, 1):
        left = [low[0], low[1], high[1], high[0]] if sign == 0 else [low[3], low[2], high[2], high[3]]
        for u0, u1 in ((0.10, 0.47), (0.50, 0.80), (0.83, 0.94)):
            _panel(sculptor, left, (u0, u1, 0.16, 0.90), GLASS)
    _panel(sculptor, [low[0], low[3], high[3], high[0]], (0.05, 0.95, 0.10, 0.95), GLASS)
    _panel(sculptor, [low[1], low[2], high[2], high[1]], (0.08, 0.92, 0.22, 0.92), GLASS)


def wheels(sculptor: Sculptor, xs: tuple[float, ...], half_width: float, radius: float) -> None:
    for x in xs:
        for side in (-1.0, 1.0):
            y = side * half_width
            sculptor.tube(
                (x, y - side * 0.06, radius + 0.03), (x, y + side * 0.004, radius + 0.03), radius + 0.08, TRIM, sides=18
            )
            sculptor.tube((x, y - side * 0.20, radius), (x, y + side * 0.02, radius), radius, RUBBER, sides=18)
            sculptor.tube((x, y, radius), (x, y + side * 0.026, radius), radius * 0.68, RIM, sides=14)
            for k in range(5):
                a = k * 2 * math.pi / 5
                hub: Point = (x, y + side * 0.03, radius)
                tip: Point = (x + 0.6 * radius * math.cos(a), y + side * 0.03, radius + 0.6 * radius * math.sin(a))
                sculptor.tube(hub, tip, 0.018, TRIM, sides=4)


def plates(sculptor: Sculptor, front_x: float, rear_x: float, green: bool) -> None:
    paint = Paint("plastic", (0.10, 0.45, 0.16) if green else (0.01, 0.06, 0.38))
    white = Paint("plastic", (0.8, 0.8, 0.8))
    for x, z, out in ((front_x, 0.44, 1.0), (rear_x, 0.62, -1.0)):
        sculptor.box((x, 0.0, z), (0.03, 0.46, 0.15), paint)
        for k in range(7):
            sculptor.box((x + 0.012 * out, -0.17 + k * 0.057, z), (0.012, 0.03, 0.085), white)


def car(model: str, colour: Rgb, seed: int) -> Mesh:
    """A passenger car of one of `SHAPES`, slightly varied by the seed."""
    rng = random.Random(seed)
    base = SHAPES[model]
    k = rng.uniform(0.96, 1.05)
    shape = CarShape(
        base.length * k,
        base.width,
        base.height * rng.uniform(0.97, 1.03),
        base.bonnet,
        base.belt,
        base.cowl,
        base.roof_front + rng.uniform(-0.015, 0.015),
        base.roof_rear,
        base.rear_base,
        base.boot,
    )
    paint, s = Paint("carpaint", colour), Sculptor()
    half, w = shape.length / 2, shape.width / 2
    s.loft(_body_rings(shape), paint, closed=False)
    s.box((0.0, 0.0, 0.30), (shape.length * 0.93, shape.width * 0.93, 0.20), TRIM)
    _cabin(s, shape, paint)
    wheels(s, (0.30 * shape.length, -0.29 * shape.length), w, 0.33 if model != "suv" else 0.37)
    for side in (-1.0, 1.0):
        s.box((half - 0.13, side * w * 0.70, shape.bonnet * 0.76), (0.24, 0.40, 0.13), LAMP)
        s.box((-half + 0.09, side * w * 0.72, shape.belt * 0.84), (0.22, 0.40, 0.15), TAIL)
        s.box((shape.cowl * shape.length - 0.12, side * (w + 0.07), shape.belt + 0.05), (0.12, 0.20, 0.14), paint)
        for x in (0.085, -0.145, -0.30):
            s.box((x * shape.length, side * w * 0.985, 0.62), (0.012, 0.03, 0.52), TRIM)
        for x in (0.02, -0.20):
            s.box((x * shape.length, side * (w * 0.985 + 0.012), shape.belt - 0.17), (0.18, 0.03, 0.03), RIM)
    s.box((half - 0.02, 0.0, shape.bonnet * 0.72), (0.06, w * 0.95, 0.13), TRIM)
    s.box((half - 0.03, 0.0, 0.36), (0.08, w * 1.35, 0.14), TRIM)
    s.box((-half + 0.03, 0.0, 0.34), (0.08, w * 1.4, 0.16), TRIM)
    plates(s, half + 0.012, -half - 0.012, rng.random() < 0.3)
    return s.build()
