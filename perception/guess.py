"""Where to start a fit: a track's nearest ground contact, or its known size where nobody knows the horizon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnss.types import Array, Mask, Rows
from perception.catalogue import ObjectClass
from perception.solid import MOUNT, PARAMETERS, Sightings

_FARTHEST_M = 80.0


def first_guess(
    view: Sightings, shapes: Sequence[ObjectClass], mount: Array, by_size: Mask, among: Mask
) -> tuple[Array, Rows]:
    """Start positions (B, 2) east/north and the frames (B,) that gave them, looking only at frames `among` (B, F).

    `mount` (B, 3) is what is known of the mount bias. `by_size` (B,): the horizon is not known well enough for a ground
    contact, so range comes from the class's height.
    """
    hypotheses = np.zeros((len(view), PARAMETERS))
    hypotheses[:, MOUNT] = mount
    x, bottom = (view.edges[:, :, 0] + view.edges[:, :, 2]) / 2, view.edges[:, :, 3]
    rays = np.stack([x, bottom, np.ones_like(x)], axis=2) @ view.optical(hypotheses).transpose(0, 2, 1)
    size = np.array([shape.size_m for shape in shapes])
    flat = size[:, 2] == 0.0
    wide, tall = view.edges[:, :, 2] - view.edges[:, :, 0], bottom - view.edges[:, :, 1]
    by_height = np.where(flat, size[:, 0], size[:, 2])[:, None] / np.maximum(np.where(flat[:, None], wide, tall), 1e-3)
    height = (view.centre[:, 2] + mount[:, 2])[:, None]
    level = np.hypot(rays[:, :, 0], rays[:, :, 1])
    contact = np.where(rays[:, :, 2] < -1e-4, height * level / np.maximum(-rays[:, :, 2], 1e-4), np.inf)
    grounded = np.array([shape.on_ground for shape in shapes]) & ~by_size
    use = np.isfinite(view.sigma[:, :, 3]) & grounded[:, None] & (contact < _FARTHEST_M)
    distance = np.where(use, contact, np.minimum(by_height, 2.0 * _FARTHEST_M))
    nearest = np.where(among & view.seen, distance, np.inf).argmin(axis=1)
    row = np.arange(len(view))
    direction = rays[row, nearest, :2] / np.maximum(level[row, nearest], 1e-6)[:, None]
    ahead = view.centre[:, :2] + direction * (distance[row, nearest] + 0.5 * size[:, :2].min(axis=1))[:, None]
    yaw = view.yaw_rad[row, nearest]
    east = view.east_m[row, nearest] + np.cos(yaw) * ahead[:, 0] - np.sin(yaw) * ahead[:, 1]
    north = view.north_m[row, nearest] + np.sin(yaw) * ahead[:, 0] + np.cos(yaw) * ahead[:, 1]
    return np.column_stack([east, north]), nearest


def moving_guess(view: Sightings, shapes: Sequence[ObjectClass], mount: Array, by_size: Mask) -> Array:
    """Starts (B, 4) east, north, velocity east and north of moving things: the nearest look of each half of a track."""
    seen = view.seen
    order, count = np.cumsum(seen, axis=1), seen.sum(axis=1)
    early = order <= np.maximum(count // 2, 1)[:, None]
    (a, first), (b, second) = (first_guess(view, shapes, mount, by_size, part) for part in (early, ~early))
    row = np.arange(len(view))
    t0, t1 = view.time_s[row, first], view.time_s[row, second]
    velocity = np.clip((b - a) / np.maximum(t1 - t0, 0.05)[:, None], -30.0, 30.0)
    velocity[count < 2] = 0.0
    return np.column_stack([b - velocity * t1[:, None], velocity])


def paced_guess(view: Sightings, shapes: Sequence[ObjectClass], mount: Array) -> Array:
    """Starts (B, 4) of things that keep their distance: as far as their size says, at our own mean velocity."""
    place, nearest = first_guess(view, shapes, mount, np.ones(len(view), dtype=bool), view.seen)
    seen = view.seen
    row, last = np.arange(len(view)), seen.sum(axis=1) - 1
    span = np.maximum(view.time_s[row, last] - view.time_s[:, 0], 0.05)
    velocity = np.column_stack(
        [view.east_m[row, last] - view.east_m[:, 0], view.north_m[row, last] - view.north_m[:, 0]]
    )
    velocity = velocity / span[:, None]
    return np.column_stack([place - velocity * view.time_s[row, nearest][:, None], velocity])
