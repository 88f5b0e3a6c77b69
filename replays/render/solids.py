"""Plain polygon meshes without Blender: the same vertices are rendered and projected as truth.

All coordinates are metres, x forward, y left, z up in the object's own frame; its origin lies on the ground.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Rgb = tuple[float, float, float]
Point = tuple[float, float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Paint:
    """A surface: `kind` names a material recipe of the renderer, `rgb` its linear base colour in 0..1."""

    kind: str
    rgb: Rgb


@dataclass(frozen=True, slots=True)
class Mesh:
    """Polygons with one paint each. vertices (V, 3) m; faces index them; paint_of[i] indexes paints."""

    vertices: Floats
    faces: tuple[tuple[int, ...], ...]
    paint_of: tuple[int, ...]
    paints: tuple[Paint, ...]
    smooth: tuple[bool, ...]


def shade(rgb: Rgb, factor: float) -> Rgb:
    """The colour made brighter or darker, kept in 0..1."""
    r, g, b = (min(1.0, max(0.0, c * factor)) for c in rgb)
    return (r, g, b)


def turn_z(points: Floats, yaw_rad: float) -> Floats:
    """Points (N, 3) turned counter-clockwise about the vertical."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.asarray(points @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]), dtype=np.float64)


@dataclass(slots=True)
class Sculptor:
    """Collects primitives into one `Mesh`."""

    _vertices: list[Floats] = field(default_factory=list)
    _faces: list[tuple[int, ...]] = field(default_factory=list)
    _paint_of: list[int] = field(default_factory=list)
    _paints: dict[Paint, int] = field(default_factory=dict)
    _smooth: list[bool] = field(default_factory=list)
    _count: int = 0

    def add(
        self, points: Floats | Sequence[Point], faces: Sequence[Sequence[int]], paint: Paint, smooth: bool = False
    ) -> None:
        """Append points (N, 3) and faces that index them."""
        array = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        index = self._paints.setdefault(paint, len(self._paints))
        base = self._count
        self._vertices.append(array)
        self._count += len(array)
        for face in faces:
            self._faces.append(tuple(base + i for i in face))
        self._paint_of.extend([index] * len(faces))
        self._smooth.extend([smooth] * len(faces))

    def quad(self, a: Point, b: Point, c: Point, d: Point, paint: Paint) -> None:
        """One flat four-sided face."""
        self.add([a, b, c, d], [(0, 1, 2, 3)], paint)

    def box(self, centre: Point, size: Point, paint: Paint, yaw_rad: float = 0.0, taper: float = 1.0) -> None:
        """A box about `centre`; `taper` scales its bottom (a bin is narrower below)."""
        sx, sy, sz = (0.5 * v for v in size)
        corners = np.array(
            [
                [x * (taper if z < 0 else 1.0), y * (taper if z < 0 else 1.0), z]
                for z in (-sz, sz)
                for x, y in ((-sx, -sy), (sx, -sy), (sx, sy), (-sx, sy))
            ]
        )
        faces = [(3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
        self.add(turn_z(corners, yaw_rad) + np.array(centre), faces, paint)

    def tube(
        self, start: Point, end: Point, radius: float, paint: Paint, end_radius: float | None = None, sides: int = 10
    ) -> None:
        """A closed cylinder or cone from `start` to `end`."""
        a, b = np.array(start), np.array(end)
        axis = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
        helper = np.array([1.0, 0.0, 0.0]) if abs(axis[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
        u = np.cross(axis, helper)
        u /= np.linalg.norm(u)
        v = np.cross(axis, u)
        angle = np.linspace(0.0, 2.0 * math.pi, sides, endpoint=False)
        ring = np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * v
        top = radius if end_radius is None else end_radius
        points = np.vstack([a + radius * ring, b + top * ring])
        walls = [(i, (i + 1) % sides, sides + (i + 1) % sides, sides + i) for i in range(sides)]
        self.add(points, walls, paint, smooth=True)
        self.add(points, [tuple(reversed(range(sides))), tuple(range(sides, 2 * sides))], paint)

    def ball(
        self,
        centre: Point,
        radii: Point,
        paint: Paint,
        around: int = 12,
        rings: int = 7,
        lumps: NDArray[np.float64] | None = None,
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        """An ellipsoid (or a slice of it, low..high of its height); `lumps` (rings, around) scales each vertex."""
        rows: list[Floats] = []
        phi = np.linspace(math.asin(low), math.asin(high), rings)
        theta = np.linspace(0.0, 2.0 * math.pi, around, endpoint=False)
        for i, p in enumerate(phi):
            scale = np.ones(around) if lumps is None else lumps[i]
            ring = np.stack(
                [np.cos(p) * np.cos(theta), np.cos(p) * np.sin(theta), np.full(around, math.sin(p))], axis=1
            )
            rows.append(ring * scale[:, None] * np.array(radii) + np.array(centre))
        self.loft(rows, paint)

    def loft(
        self, rings: Sequence[Floats], paint: Paint, closed: bool = True, caps: bool = True, smooth: bool = True
    ) -> None:
        """A skin over rings of equal length; `closed` joins each ring's last point to its first."""
        n = len(rings[0])
        faces: list[tuple[int, ...]] = []
        for r in range(len(rings) - 1):
            for i in range(n if closed else n - 1):
                j = (i + 1) % n
                faces.append((r * n + i, r * n + j, (r + 1) * n + j, (r + 1) * n + i))
        points = np.vstack(list(rings))
        self.add(points, faces, paint, smooth=smooth)
        if caps:
            last = (len(rings) - 1) * n
            self.add(points, [tuple(reversed(range(n))), tuple(range(last, last + n))], paint)

    def hoop(self, centre: Point, radius: float, thickness: float, paint: Paint, sides: int = 20) -> None:
        """A wheel-like torus in the x-z plane."""
        rings: list[Floats] = []
        for t in np.linspace(0.0, 2.0 * math.pi, sides + 1):
            out = np.array([math.cos(t), 0.0, math.sin(t)])
            ring = [
                out * (radius + thickness * math.cos(p)) + np.array([0.0, thickness * math.sin(p), 0.0])
                for p in np.linspace(0.0, 2.0 * math.pi, 6, endpoint=False)
            ]
            rings.append(np.array(ring) + np.array(centre))
        self.loft(rings, paint, caps=False)

    def put(self, other: Mesh, at: Point = (0.0, 0.0, 0.0), yaw_rad: float = 0.0) -> None:
        """Add a finished mesh, turned and moved."""
        points = turn_z(other.vertices, yaw_rad) + np.array(at)
        base = self._count
        self._vertices.append(points)
        self._count += len(points)
        own = [self._paints.setdefault(p, len(self._paints)) for p in other.paints]
        self._faces.extend(tuple(base + i for i in face) for face in other.faces)
        self._paint_of.extend(own[i] for i in other.paint_of)
        self._smooth.extend(other.smooth)

    def build(self) -> Mesh:
        """The finished mesh; raises ValueError when nothing was added."""
        vertices = np.vstack(self._vertices)
        vertices.setflags(write=False)
        return Mesh(vertices, tuple(self._faces), tuple(self._paint_of), tuple(self._paints), tuple(self._smooth))
