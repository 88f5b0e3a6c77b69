"""Outlines of things as points: chamfered cuboids for what has a long side, 24-sided cylinders for what is round.

Written apart from the estimator's own solids, and finer: an estimator must not be tested against itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnss.types import Array
from replays.world.scene import Thing, catalogue

SIDES = 24
CORNER_M = (0.18, 0.12)
"""How far a vehicle's rounded corner is cut back along and across."""
OVERHANG, CLEARANCE = 0.19, 0.16
"""With wheels: axles from the bumpers over the length, and height of the body's lower edge over the car's."""

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Solids:
    """Things of one template: their numbers (n,), corner points (n, C, 3) east, north, up from the foot's centre (m).

    `lines` (E, 2) are the template's edges, which tell where a picture's border cuts a solid.
    """

    numbers: Indices
    points: Array
    lines: Indices


def is_box(thing: Thing) -> bool:
    """Has it a long side? Round things have an elliptic footprint."""
    shape = catalogue().classes[thing.class_name]
    return shape.yaw == "road" or shape.role == "vehicle"


def solids(things: Sequence[Thing], wheels: bool = False) -> list[Solids]:
    """All things, grouped by template."""
    groups: dict[str, list[int]] = {"box": [], "car": [], "round": [], "flat": []}
    for number, thing in enumerate(things):
        if thing.size_m[2] == 0.0:
            groups["flat"].append(number)
        elif not is_box(thing):
            groups["round"].append(number)
        else:
            groups["car" if wheels and thing.size_m[0] > 3.0 else "box"].append(number)
    return [_group(name, numbers, things) for name, numbers in groups.items() if numbers]


def _group(name: str, numbers: list[int], things: Sequence[Thing]) -> Solids:
    sizes = np.array([things[n].size_m for n in numbers])
    if name in ("round", "flat"):
        turn = np.arange(SIDES) * 2 * math.pi / SIDES
        ring = 0.5 * sizes[:, None, :2] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    else:
        ring = _octagon(sizes)
    corners = ring.shape[1]
    around = np.column_stack([np.arange(corners), (np.arange(corners) + 1) % corners])
    low = np.zeros(len(sizes)) if name != "car" else CLEARANCE * sizes[:, 2]
    layers, lines = [_level(ring, low)], [around]
    if name != "flat":
        layers.append(_level(ring, sizes[:, 2]))
        lines += [around + corners, np.column_stack([np.arange(corners), np.arange(corners) + corners])]
    if name == "car":
        layers.append(_level(_wheels(sizes), np.zeros(len(sizes))))
        # Each wheel hangs below the two points of its corner, and rolls beside its neighbours.
        lines += [np.array([[16, 6], [16, 7], [17, 0], [17, 1], [18, 2], [18, 3], [19, 4], [19, 5]])]
        lines += [np.array([[16, 17], [17, 18], [18, 19], [19, 16]])]
    local = np.concatenate(layers, axis=1)
    turn = np.radians(90.0 - np.array([things[n].heading_deg for n in numbers]))
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    points = np.stack(
        [cos * local[..., 0] - sin * local[..., 1], sin * local[..., 0] + cos * local[..., 1], local[..., 2]], axis=2
    )
    return Solids(np.array(numbers, dtype=np.intp), points, np.concatenate(lines).astype(np.intp))


def _octagon(sizes: Array) -> Array:
    """Footprints (n, 8, 2) of cuboids (n, 3) with cut corners, counter-clockwise from the left front one."""
    x, y = sizes[:, 0] / 2, sizes[:, 1] / 2
    cut_x, cut_y = np.minimum(CORNER_M[0], 0.2 * x), np.minimum(CORNER_M[1], 0.2 * y)
    a, b = x - cut_x, y - cut_y
    return np.stack(
        [
            np.stack([x, a, -a, -x, -x, -a, a, x], axis=1),
            np.stack([b, y, y, b, -b, -y, -y, -b], axis=1),
        ],
        axis=2,
    )


def _wheels(sizes: Array) -> Array:
    """Contact points (n, 4, 2) of wheels, in the order of the corners."""
    x, y = (0.5 - OVERHANG) * sizes[:, 0], 0.48 * sizes[:, 1]
    return np.stack([np.stack([x, x, -x, -x], axis=1), np.stack([-y, y, y, -y], axis=1)], axis=2)


def _level(ring: Array, height: Array) -> Array:
    """Ring (n, C, 2) at heights (n,) -> points (n, C, 3)."""
    up = np.broadcast_to(height[:, None, None], (*ring.shape[:2], 1))
    return np.concatenate([ring, up], axis=2)
