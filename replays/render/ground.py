"""Road surface with real holes, kerbs, markings, and the things that lie in the road."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

from replays.render.solids import Floats, Mesh, Paint, Rgb, Sculptor

RIM_POINTS = 32
IRON = Paint("iron", (0.055, 0.05, 0.047))
COVER_RADIUS = 0.36
WHITE, YELLOW = Paint("marking", (0.62, 0.62, 0.60)), Paint("marking", (0.60, 0.36, 0.02))


def _ring(radius: Floats | float, z: Floats | float) -> Floats:
    angle = np.arange(RIM_POINTS) * 2.0 * math.pi / RIM_POINTS
    r = np.broadcast_to(radius, angle.shape)
    return np.stack([r * np.cos(angle), r * np.sin(angle), np.broadcast_to(z, angle.shape)], axis=1)


def rim_radius(model: str, seed: int) -> Floats:
    """Radius (RIM_POINTS,) in metres of the hole in the road under an object, by angle."""
    if model == "manhole_open":
        return np.full(RIM_POINTS, COVER_RADIUS)
    noise = np.random.default_rng(seed)
    angle = np.arange(RIM_POINTS) * 2.0 * math.pi / RIM_POINTS
    size = noise.uniform(0.28, 0.62)
    radius = np.ones(RIM_POINTS)
    for k in range(2, 9):
        radius += noise.normal(0.0, 0.30 / k) * np.cos(k * angle + noise.uniform(0.0, 6.28))
    stretch = np.hypot(np.cos(angle) * noise.uniform(0.8, 1.5), np.sin(angle))
    radius = size * np.clip(radius, 0.55, 1.5) * stretch + noise.normal(0.0, 0.015, RIM_POINTS)
    return np.asarray(np.clip(radius, 0.15, 1.05), dtype=np.float64)


def pothole(colour: Rgb, seed: int) -> Mesh:
    """A broken bowl, 4-9 cm deep, with crumbled edge, cracks and loose stones."""
    rng, noise, s = random.Random(seed + 1), np.random.default_rng(seed + 1), Sculptor()
    r = rim_radius("pothole", seed)
    depth = rng.uniform(0.05, 0.11)
    inner, rubble = Paint("rubble", colour), Paint("rubble", (colour[0] * 2.2, colour[1] * 2.1, colour[2] * 1.9))
    rings = [_ring(r * 1.0, 0.0)]
    for f, d in ((0.93, 0.55), (0.80, 0.85), (0.6, 1.0), (0.35, 0.95)):
        rings.append(
            _ring(r * f * (1 + noise.normal(0, 0.04, RIM_POINTS)), -depth * d + noise.normal(0, 0.012, RIM_POINTS))
        )
    rings.append(_ring(0.02, -depth))
    s.loft(rings, inner, smooth=False)
    rim = [
        _ring(r * 0.995, 0.001),
        _ring(r + 0.03 + 0.05 * noise.random(RIM_POINTS), 0.004 + 0.010 * noise.random(RIM_POINTS)),
        _ring(r + 0.10 + 0.10 * noise.random(RIM_POINTS), 0.0005),
    ]
    s.loft(rim, rubble, caps=False, smooth=False)
    for _ in range(rng.randint(3, 7)):
        i = rng.randrange(RIM_POINTS)
        a, reach = i * 2 * math.pi / RIM_POINTS, float(r[i])
        for _step in range(4):
            b, far = a + rng.uniform(-0.12, 0.12), reach + rng.uniform(0.06, 0.14)
            p, q = (
                np.array([reach * math.cos(a), reach * math.sin(a)]),
                np.array([far * math.cos(b), far * math.sin(b)]),
            )
            side = 0.008 * np.array([-(q - p)[1], (q - p)[0]]) / max(float(np.linalg.norm(q - p)), 1e-6)
            s.quad(
                (*(p - side), 0.003),
                (*(q - side), 0.003),
                (*(q + side), 0.003),
                (*(p + side), 0.003),
                Paint("rubble", (0.012, 0.012, 0.012)),
            )
            a, reach = b, far
    for _ in range(rng.randint(10, 26)):
        a, far, size = rng.uniform(0, 6.28), rng.uniform(0.3, 1.35), rng.uniform(0.012, 0.035)
        base = float(r[int(a / 6.2832 * RIM_POINTS) % RIM_POINTS])
        z = 0.004 if far > 1.0 else -depth * 0.9
        s.ball(
            (base * far * math.cos(a), base * far * math.sin(a), z + size * 0.5),
            (size, size * 0.8, size * 0.7),
            rubble,
            around=5,
            rings=4,
        )
    return s.build()


def _cover(colour: Rgb, seed: int) -> Mesh:
    rng, s = random.Random(seed), Sculptor()
    iron = Paint("iron", colour)
    radius = COVER_RADIUS - 0.012
    s.tube((0.0, 0.0, -0.03), (0.0, 0.0, 0.006), radius, iron, sides=RIM_POINTS)
    bump = Paint("iron", (colour[0] * 1.5, colour[1] * 1.45, colour[2] * 1.4))
    if rng.random() < 0.5:
        step = 0.075
        for i in range(-5, 6):
            for j in range(-5, 6):
                if math.hypot(i, j) * step < radius - 0.05:
                    s.box((i * step, j * step, 0.010), (0.045, 0.045, 0.008), bump)
    else:
        for k, rr in enumerate((0.10, 0.18, 0.26, 0.32)):
            n = 8 + 6 * k
            for i in range(n):
                a = i * 2 * math.pi / n
                s.box((rr * math.cos(a), rr * math.sin(a), 0.010), (0.05, 0.028, 0.008), bump, yaw_rad=a)
    return s.build()


def _frame(s: Sculptor, iron: Paint, collar: bool) -> None:
    rings = [
        _ring(COVER_RADIUS, 0.0),
        _ring(COVER_RADIUS, 0.008),
        _ring(COVER_RADIUS + 0.06, 0.008),
        _ring(COVER_RADIUS + 0.06, 0.0),
    ]
    s.loft(rings, iron, caps=False, smooth=False)
    if collar:
        angle = np.arange(RIM_POINTS) * 2 * math.pi / RIM_POINTS
        square = 0.52 / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle)))
        s.loft(
            [_ring(COVER_RADIUS + 0.05, 0.003), _ring(square, 0.003)],
            Paint("concrete", (0.24, 0.235, 0.22)),
            caps=False,
            smooth=False,
        )


def manhole_closed(colour: Rgb, seed: int) -> Mesh:
    """A round iron cover in its frame, flush with the road."""
    s = Sculptor()
    _frame(s, Paint("iron", colour), random.Random(seed + 3).random() < 0.4)
    s.put(_cover(colour, seed))
    return s.build()


def manhole_open(colour: Rgb, seed: int) -> Mesh:
    """A dark shaft whose cover lies half aside (or is missing)."""
    rng, s = random.Random(seed), Sculptor()
    _frame(s, Paint("iron", colour), rng.random() < 0.4)
    dark = Paint("concrete", (0.05, 0.047, 0.043))
    s.loft([_ring(COVER_RADIUS, 0.002), _ring(COVER_RADIUS, -0.25), _ring(COVER_RADIUS * 1.05, -1.3)], dark, caps=False)
    s.add(_ring(COVER_RADIUS * 1.05, -1.3), [tuple(range(RIM_POINTS))], Paint("concrete", (0.008, 0.008, 0.008)))
    if rng.random() < 0.8:
        cover, turn = _cover(colour, seed), rng.uniform(0.0, 2 * math.pi)
        reach = rng.uniform(0.42, 0.85)
        tilt = 0.10 if reach < 2 * COVER_RADIUS else 0.0
        c, t = math.cos(tilt), math.sin(tilt)
        points = cover.vertices @ np.array([[c, 0.0, -t], [0.0, 1.0, 0.0], [t, 0.0, c]]) + np.array(
            [0.0, 0.0, 0.045 + 0.30 * t]
        )
        lifted = Mesh(points, cover.faces, cover.paint_of, cover.paints, cover.smooth)
        s.put(lifted, (reach * math.cos(turn), reach * math.sin(turn), 0.0), turn)
    return s.build()


def road(
    x0: float, x1: float, y0: float, y1: float, holes: Sequence[tuple[float, float, Floats]], paint: Paint
) -> Mesh:
    """The asphalt from x0 to x1, y0 to y1 with holes (x, y, rim radius by angle); holes may not overlap along x.

    Raises ValueError when two holes share a stretch of road or one leaves it.
    """
    s, cursor = Sculptor(), x0
    angle = np.arange(RIM_POINTS) * 2 * math.pi / RIM_POINTS
    for x, y, radius in sorted(holes, key=lambda h: h[0]):
        a = float(radius.max()) + 0.08
        if x - a < cursor or x + a > x1 or y - a < y0 or y + a > y1:
            raise ValueError(f"the hole at ({x:.2f}, {y:.2f}) overlaps another one or leaves the road")
        s.quad((cursor, y0, 0), (x - a, y0, 0), (x - a, y1, 0), (cursor, y1, 0), paint)
        s.quad((x - a, y0, 0), (x + a, y0, 0), (x + a, y - a, 0), (x - a, y - a, 0), paint)
        s.quad((x - a, y + a, 0), (x + a, y + a, 0), (x + a, y1, 0), (x - a, y1, 0), paint)
        square = a / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle)))
        centre = np.array([x, y, 0.0])
        s.loft([_ring(square, 0.0) + centre, _ring(radius, 0.0) + centre], paint, caps=False, smooth=False)
        cursor = x + a
    s.quad((cursor, y0, 0), (x1, y0, 0), (x1, y1, 0), (cursor, y1, 0), paint)
    return s.build()


def stripes(spans: Sequence[tuple[float, float, float, float, str]]) -> Mesh:
    """Painted rectangles (x0, x1, y0, y1, "white" or "yellow") just above the asphalt."""
    s = Sculptor()
    for x0, x1, y0, y1, colour in spans:
        s.quad(
            (x0, y0, 0.004), (x1, y0, 0.004), (x1, y1, 0.004), (x0, y1, 0.004), YELLOW if colour == "yellow" else WHITE
        )
    return s.build()
