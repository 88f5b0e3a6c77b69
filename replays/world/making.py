"""How a thing is drawn: sizes around the class's, a colour histogram of its own, a place in the street."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from replays.world.scene import KERB_M, PAVEMENT_M, Motion1D, Thing, catalogue, street_point

LOOK_BINS = 12
WIDEST_M = 2.2
_LOOK_SPREAD = 0.2
_LEAST_SCALE, _MOST_SIGMA = 0.45, 1.8
_SHARED = 0.7


class Maker:
    """Makes the things of one street, each with an id of its own; everything it draws comes from `rng`."""

    def __init__(self, heading_deg: float, rng: np.random.Generator) -> None:
        self.heading_deg = heading_deg
        self.rng = rng
        self.things: list[Thing] = []
        self._counts: Counter[str] = Counter()

    def add(
        self,
        class_name: str,
        along_m: float,
        right_m: float,
        *,
        kind: str | None = None,
        turn_deg: float | None = None,
        base_m: float | None = None,
        span_s: tuple[float, float] = (-math.inf, math.inf),
        drive: Motion1D | None = None,
        look: tuple[float, ...] | None = None,
        size_m: tuple[float, float, float] | None = None,
    ) -> Thing:
        """Add a thing at a place; `turn_deg` is its heading relative to the street's (None: any, or the road's)."""
        shape = catalogue().classes[class_name]
        size = self.size(class_name) if size_m is None else size_m
        if turn_deg is None:
            road = shape.yaw == "road"
            turn_deg = float(self.rng.normal(0.0, 1.5)) if road else float(self.rng.uniform(0.0, 360.0))
        if base_m is None:
            base_m = PAVEMENT_M if abs(right_m) > KERB_M and size[2] > 0 else 0.0
        east, north = street_point(self.heading_deg, along_m, right_m)
        self._counts[class_name] += 1
        thing = Thing(
            f"{class_name}-{self._counts[class_name]}", class_name, kind, float(east), float(north),
            (self.heading_deg + turn_deg) % 360.0, size, base_m, span_s[0], span_s[1], drive,
            self.look() if look is None else look,
        )  # fmt: skip
        self.things.append(thing)
        return thing

    def problem(self, class_name: str, along_m: float, right_m: float, **more: object) -> Thing:
        """Add a thing that is a problem by itself: its kind is its class's."""
        kind = catalogue().classes[class_name].kind
        return self.add(class_name, along_m, right_m, kind=kind, **more)  # type: ignore[arg-type]

    def size(self, class_name: str) -> tuple[float, float, float]:
        """Length, width, height around the class's: mostly one scale for all three, the rest each its own."""
        shape = catalogue().classes[class_name]
        shared, own = self.rng.standard_normal(), self.rng.standard_normal(3)
        unit = np.clip(_SHARED * shared + math.sqrt(1 - _SHARED**2) * own, -_MOST_SIGMA, _MOST_SIGMA)
        scale = np.maximum(1.0 + shape.size_rel_sigma * unit, _LEAST_SCALE)
        length, width, height = (float(s * m) for s, m in zip(scale, shape.size_m, strict=True))
        # Two wide vehicles must pass each other in a street of this plan.
        return length, min(width, WIDEST_M) if shape.role == "vehicle" else width, height

    def look(self) -> tuple[float, ...]:
        """A colour histogram: a few bins hold most of it."""
        raw = self.rng.dirichlet(np.full(LOOK_BINS, _LOOK_SPREAD))
        mixed = 0.98 * raw + 0.02 / LOOK_BINS
        return tuple(float(v) for v in mixed / mixed.sum())
