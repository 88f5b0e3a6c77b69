"""Was a place really looked at? Every place against every view of a pass, as arrays.

A look is clear when the whole place, with its uncertainty, lies in the picture, near and large enough, sharp, and
neither a box of the frame nor a thing that the pass found standing in the way hides it (geolocation.md 8H).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gnss.geodesy import CHI2_95_2D, LocalFrame
from gnss.types import Array
from perception.camera import CameraModel
from perception.catalogue import ObjectClass
from perception.existence import ExistenceParams
from perception.types import View

_CORNERS = np.array([(x, y, z) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (0.0, 1.0)])
_EDGE_PX = 2.0
_TALL_M, _WIDE_M = 0.8, 0.5
_AT_ONCE = 20_000
_LEAST_CLEAR = 2

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Obstacles:
    """Things that stand in the way: middle axes from `from_m` to `to_m` (M, 2) m, thick by `radius_m` (M,)."""

    from_m: Array
    to_m: Array
    radius_m: Array

    @classmethod
    def of(
        cls,
        places_m: Array,
        headings_deg: Sequence[float | None],
        extents_m: Sequence[tuple[float, float, float]],
    ) -> Self:
        """Those of the things at `places_m` (M, 2) that are tall and wide enough to hide something behind them."""
        big = [i for i, e in enumerate(extents_m) if e[2] >= _TALL_M and min(e[0], e[1]) >= _WIDE_M]
        places = np.asarray(places_m, dtype=np.float64).reshape(-1, 2)[big]
        turn = np.radians([90.0 - (headings_deg[i] or 0.0) for i in big])
        size = np.array([extents_m[i][:2] for i in big]).reshape(-1, 2)
        long, wide = size.max(axis=1, initial=0.0), size.min(axis=1, initial=np.inf)
        along = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * np.maximum(long - wide, 0.0)[:, None] / 2
        return cls(places - along, places + along, wide / 2)

    @classmethod
    def none(cls) -> Self:
        """Nothing in the way."""
        return cls(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))


@dataclass(frozen=True, slots=True, eq=False)
class ViewField:
    """The views of a window as arrays (V,) in one local frame; boxes are padded to (V, B, 4) px."""

    views: tuple[View, ...]
    frame: LocalFrame
    place_m: Array
    cos: Array
    sin: Array
    stamp_ns: NDArray[np.int64]
    sharp: Flags
    size_px: Array
    camera: NDArray[np.intp]
    cameras: tuple[str, ...]

    @classmethod
    def of(cls, views: Sequence[View], frame: LocalFrame, params: ExistenceParams) -> Self:
        """Collect views, in order of stamp."""
        ordered = tuple(sorted(views, key=lambda v: (v.stamp_ns, v.camera)))
        poses = [v.pose for v in ordered]
        east, north = frame.to_enu(np.array([p.lat_deg for p in poses]), np.array([p.lon_deg for p in poses]))
        yaw = np.radians(90.0 - np.array([p.heading_deg for p in poses]))
        names = tuple(sorted({v.camera for v in ordered}))
        return cls(
            ordered, frame, np.column_stack([east, north]), np.cos(yaw), np.sin(yaw),
            np.array([v.stamp_ns for v in ordered], dtype=np.int64),
            np.array([v.sharpness is None or v.sharpness >= params.least_sharpness for v in ordered], dtype=np.bool_),
            np.array([(v.width, v.height) for v in ordered], dtype=np.float64).reshape(-1, 2),
            np.array([names.index(v.camera) for v in ordered], dtype=np.intp), names,
        )  # fmt: skip

    def nearest_s(self, places_m: Array) -> Array:
        """Stamps (K,) in seconds at which the vehicle was nearest to places (K, 2)."""
        if not len(self.views):
            return np.zeros(len(places_m))
        apart = np.hypot(*(places_m[:, None, :] - self.place_m[None, :, :]).transpose(2, 0, 1))
        result: Array = self.stamp_ns[np.argmin(apart, axis=1)] * 1e-9
        return result

    def boxes(self, chosen: NDArray[np.intp]) -> Array:
        """Boxes (n, B, 4) px of the chosen views, padded with empty ones."""
        found = {int(i): self.views[int(i)].boxes.xyxy for i in np.unique(chosen)}
        most = max((len(b) for b in found.values()), default=0)
        table = np.zeros((len(found), most, 4))
        for row, box in enumerate(found.values()):
            table[row, : len(box)] = box
        result: Array = table[np.searchsorted(np.array(list(found), dtype=np.intp), chosen)]
        return result


def clear_looks(
    places_m: Array,
    covs_m2: Array,
    shapes: Sequence[ObjectClass],
    field: ViewField,
    cameras: Mapping[str, CameraModel],
    params: ExistenceParams,
    obstacles: Obstacles | None = None,
) -> tuple[Array, NDArray[np.int64]]:
    """Chance (K,) that this pass had of detecting a thing at each place, and the last clear stamp (K,) in ns.

    `places_m` (K, 2) in the field's frame and in the coordinates of this pass; `covs_m2` (K, 2, 2) widen what must be
    in view. The chance is 0.0 where no view was clear: then nothing may be concluded.
    """
    count = len(places_m)
    chance, last = np.zeros(count), np.zeros(count, np.int64)
    if not count or not field.views:
        return chance, last
    reach = np.array([params.farthest_flat_m if s.flat else params.farthest_m for s in shapes])
    apart = np.hypot(*(places_m[:, None, :] - field.place_m[None, :, :]).transpose(2, 0, 1))
    thing, view = np.nonzero((apart <= reach[:, None]) & field.sharp[None, :])
    if not len(thing):
        return chance, last
    clear, hidden = np.zeros(len(thing), np.bool_), np.zeros(len(thing), np.bool_)
    for start in range(0, len(thing), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        clear[part], hidden[part] = _seen(
            thing[part], view[part], places_m, covs_m2, shapes, field, cameras, params, obstacles or Obstacles.none()
        )
    group = (field.stamp_ns[view] * 1e-9 / params.group_s).astype(np.int64)
    keys = list(zip(thing.tolist(), group.tolist(), field.camera[view].tolist(), strict=True))
    seen, lost = Counter(keys[p] for p in np.flatnonzero(clear)), Counter(keys[p] for p in np.flatnonzero(hidden))
    groups: dict[int, set[int]] = {}
    for p in np.flatnonzero(clear).tolist():
        # One frame in which the detector missed what stands in the way must not open a hidden place.
        if lost[keys[p]] == 0 or (seen[keys[p]] >= _LEAST_CLEAR and seen[keys[p]] > lost[keys[p]]):
            k, g, _ = keys[p]
            groups.setdefault(k, set()).add(g)
            last[k] = max(last[k], field.stamp_ns[view[p]])
    for k, moments in groups.items():
        chance[k] = min(1.0 - (1.0 - params.group_pd) ** len(moments), params.most_pass_pd)
    return chance, last


def _seen(
    thing: NDArray[np.intp],
    view: NDArray[np.intp],
    places_m: Array,
    covs_m2: Array,
    shapes: Sequence[ObjectClass],
    field: ViewField,
    cameras: Mapping[str, CameraModel],
    params: ExistenceParams,
    obstacles: Obstacles,
) -> tuple[Flags, Flags]:
    """Pairs (n,) of thing and view: was the place clear, and was it in the picture but hidden?"""
    east, north = (places_m[thing] - field.place_m[view]).T
    forward = field.cos[view] * east + field.sin[view] * north
    left = field.cos[view] * north - field.sin[view] * east
    half = np.array([max(s.size_m[0], s.size_m[1]) / 2 for s in shapes])[thing]
    tall = np.array([s.size_m[2] for s in shapes])[thing]
    # The 95 % circle of the major axis, as in gnss.geodesy.ellipse95.
    middle = (covs_m2[:, 0, 0] + covs_m2[:, 1, 1]) / 2
    major = middle + np.hypot((covs_m2[:, 0, 0] - covs_m2[:, 1, 1]) / 2, covs_m2[:, 0, 1])
    sigma = np.sqrt(CHI2_95_2D * major)[thing]
    least = np.array([params.least_flat_px if s.flat else params.least_height_px for s in shapes])[thing]
    foot = np.stack([forward, left, np.zeros(len(thing))], axis=-1)[:, None, :]
    wide = np.stack([half + sigma, half + sigma, tall], axis=-1)[:, None, :]
    close = np.stack([half, half, tall], axis=-1)[:, None, :]
    points = np.concatenate([foot + _CORNERS * wide, foot + _CORNERS * close, foot], axis=1)
    pixels, depth = np.zeros((len(thing), 17, 2)), np.zeros((len(thing), 17))
    for nth, name in enumerate(field.cameras):
        mine = np.flatnonzero(field.camera[view] == nth)
        flat, deep = cameras[name].project(points[mine].reshape(-1, 3))
        pixels[mine], depth[mine] = flat.reshape(-1, 17, 2), deep.reshape(-1, 17)
    outer, inner, base = pixels[:, :8], pixels[:, 8:16], pixels[:, 16]
    inside = (depth[:, :16] >= 1.0).all(axis=1) & (outer >= _EDGE_PX).all(axis=(1, 2))
    inside &= (outer <= field.size_px[view][:, None, :] - 1.0 - _EDGE_PX).all(axis=(1, 2))
    box = np.concatenate([inner.min(axis=1), inner.max(axis=1)], axis=1)
    sides = box[:, 2:] - box[:, :2]
    thin: Flags = np.array([s.flat for s in shapes], dtype=np.bool_)[thing]
    inside &= (sides[:, 1] >= least) & (~thin | (sides.prod(axis=1) >= params.least_flat_size_px**2))
    good = np.flatnonzero(inside)
    hidden = np.zeros(len(thing), np.bool_)
    if len(good):
        hidden[good] = _hidden(box[good], field.boxes(view[good]), base[good, 1], params.most_covered)
        hidden[good] |= _behind(places_m[thing[good]], field.place_m[view[good]], half[good], obstacles)
    return inside & ~hidden, inside & hidden


def _hidden(box: Array, boxes: Array, foot_px: Array, most: float) -> Flags:
    """Does one box (n, B, 4) with its foot at or before the place's middle cover more than `most` of `box` (n, 4)?

    A thing that stands at the place itself hides it too: what is under or behind it was not seen to be gone.
    """
    low = np.maximum(box[:, None, :2], boxes[:, :, :2])
    high = np.minimum(box[:, None, 2:], boxes[:, :, 2:])
    covered = np.maximum(high - low, 0.0).prod(axis=2)
    area = np.maximum((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]), 1.0)
    large = covered > most * area[:, None]
    result: Flags = (large & (boxes[:, :, 3] >= foot_px[:, None] - 2.0)).any(axis=1)
    return result


def _behind(places_m: Array, eyes_m: Array, half_m: Array, obstacles: Obstacles) -> Flags:
    """Does the sight line from an eye (n, 2) to a place (n, 2) pass through an obstacle on its way?

    Detectors miss a van in one frame in ten; that it stands there is known from the others.
    """
    if not len(obstacles.radius_m):
        return np.zeros(len(places_m), np.bool_)
    steps = np.linspace(0.0, 1.0, 9)
    axis = obstacles.from_m[:, None, :] + steps[None, :, None] * (obstacles.to_m - obstacles.from_m)[:, None, :]
    way = places_m - eyes_m
    length = np.maximum(np.hypot(*way.T), 1e-6)
    unit = way / length[:, None]
    gap = axis[None] - eyes_m[:, None, None, :]
    along = np.einsum("nmsi,ni->nms", gap, unit)
    aside = np.abs(gap[..., 0] * unit[:, None, None, 1] - gap[..., 1] * unit[:, None, None, 0])
    thick = obstacles.radius_m[None, :, None]
    between = (along > 0.5) & (along < (length + half_m)[:, None, None])
    result: Flags = (between & (aside < thick + 0.25 * half_m[:, None, None])).any(axis=(1, 2))
    return result
