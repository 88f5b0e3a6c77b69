"""What nearer solids hide: each look is cut into columns of bearing, and rays in plan say who stands before whom.

All solids stand on the ground, so a nearer one hides a column from below up to its own top. That is kinder to
the truth than overlapping boxes, of which the lower inner corner of a parked car's would hide the road beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnss.types import Array
from replays.world.shapes import Indices

COLUMNS = 12
_LEAST_HEIGHT_M = 0.15
_MIDDLES = (np.arange(COLUMNS) + 0.5) / COLUMNS


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """P looks at things in plan, sorted by frame: feet relative to the optical centre, metres east/north/up.

    `heading` (rad, counter-clockwise from east), `half` (P, 2) half length and width, `tall` (P,) m, `box` (P,): has a
    rectangular footprint, else an ellipse.
    """

    frame: Indices
    place: Array
    heading: Array
    half: Array
    tall: Array
    box: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """Of P looks: visible share (P,) in 0..1, and shares of the box (P, 4) cut at left, top, right, bottom."""

    visible: Array
    cut: Array


def hidden(looks: Looks) -> Hidden:
    """What of each look nearer solids hide."""
    count = len(looks.frame)
    middle, left, right = _bearings(looks)
    width = np.maximum(left - right, 1e-9)
    columns = (middle + left)[:, None] - _MIDDLES * width[:, None]
    rays = np.stack([np.cos(columns), np.sin(columns)], axis=2)
    near, far = _through(looks, np.arange(count), rays)
    foot, top = looks.place[:, 2], looks.place[:, 2] + looks.tall
    low, high = _rise(foot, near, far)[0], _rise(top, near, far)[1]
    pairs = _pairs(looks, middle, left, right, near.min(axis=1))
    cover = np.full((count, COLUMNS), -np.inf)
    edges = np.tile(np.array([0.0, 1.0]), (count, 1))
    if len(pairs):
        front, back = pairs[:, 0], pairs[:, 1]
        f_near, f_far = _through(looks, front, rays[back])
        before = f_near < near[back] - 1e-6
        over = np.where(before, _rise(top[front], f_near, f_far)[1], -np.inf)
        order = np.argsort(back, kind="stable")
        first = np.flatnonzero(np.diff(back[order], prepend=-1))
        cover[back[order[first]]] = np.maximum.reduceat(over[order], first, axis=0)
        edges = _edges(looks, pairs, (middle, left, right, width), cover >= high - 1e-6)
    span = np.maximum(high - low, 1e-9)
    clear = np.clip(high - np.maximum(low, cover), 0.0, None)
    visible = clear.sum(axis=1) / span.sum(axis=1)
    shown = np.where(clear > 1e-6, np.maximum(low, cover), np.inf).min(axis=1)
    base, peak = low.min(axis=1), high.max(axis=1)
    bottom = np.clip((np.where(np.isfinite(shown), shown, peak) - base) / np.maximum(peak - base, 1e-9), 0.0, 1.0)
    cut = np.stack([edges[:, 0], np.zeros(count), 1.0 - edges[:, 1], bottom], axis=1)
    return Hidden(visible, cut)


def _bearings(looks: Looks) -> tuple[Array, Array, Array]:
    """Bearing of each foot (rad, counter-clockwise from east), and how far its outline reaches left and right of it."""
    middle = np.arctan2(looks.place[:, 1], looks.place[:, 0])
    distance = np.hypot(looks.place[:, 0], looks.place[:, 1])
    turn = looks.heading - middle
    cos, sin = np.cos(turn), np.sin(turn)
    a, b = looks.half[:, 0], looks.half[:, 1]
    # Half chord across the line of sight of an ellipse; of a rectangle, the extreme corners' bearings.
    across = np.sqrt((a * sin) ** 2 + (b * cos) ** 2)
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=np.float64)
    x, y = signs[:, 0] * a[:, None], signs[:, 1] * b[:, None]
    ahead, aside = cos[:, None] * x - sin[:, None] * y, sin[:, None] * x + cos[:, None] * y
    corners = np.arctan2(aside, np.maximum(distance[:, None] + ahead, 0.05))
    round_ = np.arctan2(across, np.maximum(distance, 0.05))
    return middle, np.where(looks.box, corners.max(axis=1), round_), np.where(looks.box, corners.min(axis=1), -round_)


def _through(looks: Looks, rows: Indices, rays: Array) -> tuple[Array, Array]:
    """Where rays (R, K, 2), unit vectors in plan, enter and leave footprints of looks `rows` (R,) in m; inf: missed."""
    near, far = np.empty(rays.shape[:2]), np.empty(rays.shape[:2])
    for box in (True, False):
        mine = np.flatnonzero(looks.box[rows] == box)
        if len(mine):
            near[mine], far[mine] = _crossed(looks, rows[mine], rays[mine], box)
    return near, far


def _crossed(looks: Looks, rows: Indices, rays: Array, box: bool) -> tuple[Array, Array]:
    """`_through` for footprints of one shape, in coordinates in which they are a square, or a circle, of radius 1."""
    turn = looks.heading[rows]
    cos, sin = np.cos(turn), np.sin(turn)
    half_x, half_y = looks.half[rows, 0], looks.half[rows, 1]
    east, north = -looks.place[rows, 0], -looks.place[rows, 1]
    ox, oy = ((cos * east + sin * north) / half_x)[:, None], ((cos * north - sin * east) / half_y)[:, None]
    dx = (cos / half_x)[:, None] * rays[..., 0] + (sin / half_x)[:, None] * rays[..., 1]
    dy = (cos / half_y)[:, None] * rays[..., 1] - (sin / half_y)[:, None] * rays[..., 0]
    if box:
        dx[np.abs(dx) < 1e-9] = 1e-9
        dy[np.abs(dy) < 1e-9] = 1e-9
        # A ray lies between -1 and 1 from middle - reach to middle + reach.
        middle_x, middle_y, reach_x, reach_y = -ox / dx, -oy / dy, 1.0 / np.abs(dx), 1.0 / np.abs(dy)
        enter = np.maximum(middle_x - reach_x, middle_y - reach_y)
        leave = np.minimum(middle_x + reach_x, middle_y + reach_y)
        hit = (enter <= leave) & (leave > 0)
    else:
        qa, qb = dx * dx + dy * dy, ox * dx + oy * dy
        root = qb * qb - qa * (ox * ox + oy * oy - 1.0)
        depth = np.sqrt(np.maximum(root, 0.0))
        enter, leave = (-qb - depth) / qa, (-qb + depth) / qa
        hit = (root >= 0) & (leave > 0)
    return np.where(hit, np.maximum(enter, 0.05), np.inf), np.where(hit, np.maximum(leave, 0.05), np.inf)


def _rise(height: Array, near: Array, far: Array) -> tuple[Array, Array]:
    """Lowest and highest slope (R, K) at which a rim of `height` (R,) over the eye appears between near and far."""
    safe_near, safe_far = np.where(np.isfinite(near), near, 1e6), np.where(np.isfinite(far), far, 1e6)
    a, b = height[:, None] / safe_near, height[:, None] / safe_far
    return np.minimum(a, b), np.maximum(a, b)


def _pairs(looks: Looks, middle: Array, left: Array, right: Array, near: Array) -> Indices:
    """Candidates (Q, 2): a solid, and a thing of its frame whose bearings it meets and which is not nearer."""
    starts = np.flatnonzero(np.r_[True, np.diff(looks.frame) > 0])
    sizes = np.diff(np.r_[starts, len(looks.frame)])
    most = int(sizes.max(initial=0))
    slots = np.arange(most)
    table = np.where(slots < sizes[:, None], starts[:, None] + slots, -1)
    front, back = table[:, :, None], table[:, None, :]
    both = (front >= 0) & (back >= 0) & (front != back) & (looks.tall > _LEAST_HEIGHT_M)[front]
    gap = np.angle(np.exp(1j * (middle[front] - middle[back]))) if most else np.zeros_like(front)
    meets = (gap + right[front] < left[back]) & (gap + left[front] > right[back])
    at, row, column = np.nonzero(both & meets & (near[front] < near[back] + 2 * looks.half[back].max(axis=-1)))
    return np.stack([table[at, row], table[at, column]], axis=1)


def _edges(looks: Looks, pairs: Indices, bearings: tuple[Array, Array, Array, Array], gone: NDArray[np.bool_]) -> Array:
    """Shares (P, 2) of the width where the visible part begins and ends, given the columns (P, K) that are gone.

    The border lies between the last column that is gone and the first that is not: where an occluder ends there, at
    its own edge, else halfway.
    """
    middle, left, right, width = bearings
    first = np.argmin(gone, axis=1).astype(np.float64)
    last = COLUMNS - np.argmin(gone[:, ::-1], axis=1).astype(np.float64)
    all_gone = gone.all(axis=1)
    begin, end = np.where(all_gone, 1.0, first / COLUMNS), np.where(all_gone, 1.0, last / COLUMNS)
    front, back = pairs[:, 0], pairs[:, 1]
    gap = np.angle(np.exp(1j * (middle[front] - middle[back])))
    low = (left[back] - gap - left[front]) / width[back]
    high = (left[back] - gap - right[front]) / width[back]
    half = 0.5 / COLUMNS
    for share, side in ((high, begin), (low, end)):
        near = (np.abs(share - side[back]) < half) & (side[back] > 0.0) & (side[back] < 1.0)
        exact = np.full(len(side), np.nan)
        exact[back[near]] = share[near]
        side[:] = np.where(np.isnan(exact), side, exact)
    out: Array = np.stack([begin, end], axis=1)
    return out
