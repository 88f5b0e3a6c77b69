"""Which box belongs to which track: costs of all pairs of a frame, and the edges of boxes that can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from gnss.types import Array, Mask, Rows
from perception.types import Detections

_FORBIDDEN = 1e6
_CUT_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class MatchParams:
    """Tuning of the assignment; `gate` is on the sum of squared, normalised differences."""

    gate: float = 16.0
    class_penalty: float = 6.0
    centre_sigma: float = 0.22
    centre_floor_px: float = 6.0
    log_size_sigma: float = 0.18
    size_weight: float = 0.5
    border_penalty: float = 8.0
    fixed_pace: float = 0.25
    look_weight: float = 8.0
    border_px: float = 3.0
    cut_px: float = 4.0


def usable_edges(
    boxes: Array, width: int, height: int, border_px: float, cut_px: float = 0.0, unseen: Array | None = None
) -> list[tuple[bool, bool, bool, bool]]:
    """Which edges (left, top, right, bottom) of boxes (N, 4) are real: not cut by the border or by a nearer box.

    A hidden thing's box ends where the nearer one begins, but for the errors of both: an edge within `cut_px` and a
    share of its own side of a nearer box counts as cut. `unseen` (M, 4) are boxes of things that were there a moment
    ago and were not found in this frame: they hide as well.
    """
    x1, y1, x2, y2 = boxes.T
    # A detector misses the border by a share of the box's size, like any other edge.
    across, down = border_px + 0.08 * (x2 - x1), border_px + 0.08 * (y2 - y1)
    usable = np.column_stack([x1 > across, y1 > down, x2 < width - across, y2 < height - down])
    # Of a thing that leaves at the side, the lowest and highest parts are those outside: only the inner edge is real.
    usable[:, [1, 3]] &= (usable[:, 0] & usable[:, 2])[:, None]
    # A camera that looks down spreads what is upright: of what leaves at the top, the outermost part is outside too.
    inside = y1 > down
    usable[:, 0] &= inside | (x1 + x2 > width)
    usable[:, 2] &= inside | (x1 + x2 < width)
    u = np.column_stack([x1, (x1 + x2) / 2, x2, (x1 + x2) / 2])[:, :, None]
    v = np.column_stack([(y1 + y2) / 2, y1, (y1 + y2) / 2, y2])[:, :, None]
    aside, above = cut_px + _CUT_SHARE * (x2 - x1), cut_px + _CUT_SHARE * (y2 - y1)
    near_u = aside[:, None] * np.array([1.0, 0.0, 1.0, 0.0]), above[:, None] * np.array([0.0, 1.0, 0.0, 1.0])
    mu, mv = near_u[0][:, :, None], near_u[1][:, :, None]
    left, top, right, foot = boxes.T if unseen is None else np.concatenate([boxes, unseen]).T
    covered = (u > left - mu) & (u < right + mu) & (v > top - mv) & (v < foot + mv)
    nearer = (foot[None, :] > y2[:, None] + 4.0)[:, None, :]
    usable &= ~(covered & nearer).any(axis=2)
    return [(row[0], row[1], row[2], row[3]) for row in usable.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What T tracks lead to expect: boxes (T, 4) px, seconds since each was seen (T,), names, movable (T,), looks.

    `looks` is (T, D) with rows of zeros where a track has none, or None.
    """

    boxes: Array
    gaps_s: Array
    names: list[str]
    movable: Mask
    looks: Array | None


def _centres(xyxy: Array) -> Array:
    """(N, 4) xyxy -> (N, 4) centre x, centre y, log width, log height."""
    wide = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 1.0)
    return np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, np.log(wide)], axis=1)


def _leaving_stays(expected: Array, boxes: Array, size_px: tuple[int, int], params: MatchParams) -> Array:
    """Pairs (T, N) in which a thing that the border should cut would be whole: 1, else 0."""
    far = np.tile(np.array(size_px, dtype=np.float64), 2)
    sides = np.tile(expected[:, 2:] - expected[:, :2], 2)
    outward = np.array([1.0, 1.0, -1.0, -1.0])
    border = np.array([0.0, 0.0, far[2], far[3]])
    cut = (expected - border) * outward < params.border_px
    whole = (boxes - border) * outward
    away = whole[None] > (params.border_px + 0.2 * sides)[:, None]
    result: Array = (cut[:, None] & away).any(axis=2).astype(np.float64)
    return result


class Matching:
    """Costs of all pairs of T tracks and N boxes of one frame; `jitter_px` is 1 sigma of a picture aimed by hand."""

    def __init__(
        self,
        expected: Expected,
        boxes: Detections,
        size_px: tuple[int, int],
        params: MatchParams,
        jitter_px: float = 0.0,
    ) -> None:
        self._gate = params.gate
        a, b = _centres(expected.boxes)[:, None, :], _centres(boxes.xyxy.astype(np.float64))[None, :, :]
        # What stands is where it was; what may move can be anywhere after a second.
        pace = np.where(expected.movable, 1.0, params.fixed_pace)
        wider = (1.0 + pace * np.minimum(expected.gaps_s, 3.0))[:, None]
        size = np.exp((a[..., 2] + a[..., 3]) / 2)
        sigma = np.maximum(params.centre_floor_px, params.centre_sigma * size) * wider
        self._sigma2 = sigma**2 + jitter_px**2
        self._gap = b[..., :2] - a[..., :2]
        rest = params.size_weight * ((a[..., 2:] - b[..., 2:]) ** 2).sum(axis=-1) / (params.log_size_sigma * wider) ** 2
        rest += params.border_penalty * _leaving_stays(expected.boxes, boxes.xyxy.astype(np.float64), size_px, params)
        codes = {name: code for code, name in enumerate(boxes.class_names)}
        mine = np.array([codes.get(name, -1) for name in expected.names])
        rest += np.where(mine[:, None] == boxes.class_id[None, :], 0.0, params.class_penalty)
        if boxes.appearance is not None and expected.looks is not None:
            # Squared Hellinger distance of the colour histograms: 0 the same, 1 nothing in common.
            known = expected.looks.sum(axis=1)[:, None] > 0.0
            apart = 1.0 - np.sqrt(expected.looks) @ np.sqrt(boxes.appearance.astype(np.float64)).T
            rest += params.look_weight * np.where(known, apart, 0.0)
        self._rest = rest

    def pairs(
        self, tracks: Rows, boxes: Rows, shift_px: Array | None = None, bump_px: float = 0.0
    ) -> list[tuple[int, int]]:
        """Pairs (track, box) of least total cost within the gate.

        `shift_px` (2,) is how far the whole picture moved against the expectation, `bump_px` 1 sigma of such a shift.
        """
        if not len(tracks) or not len(boxes):
            return []
        block = np.ix_(tracks, boxes)
        gap = self._gap[block] if shift_px is None else self._gap[block] - shift_px
        cost = (gap**2).sum(axis=-1) / (self._sigma2[tracks] + bump_px**2) + self._rest[block]
        bounded = np.where(cost <= self._gate, cost, _FORBIDDEN)
        left, right = linear_sum_assignment(bounded)
        good = bounded[left, right] < _FORBIDDEN
        return list(zip(tracks[left[good]].tolist(), boxes[right[good]].tolist(), strict=True))

    def shift(self, pairs: list[tuple[int, int]], least: int) -> Array | None:
        """Median shift (2,) px of the whole picture, None when fewer than `least` pairs tell."""
        if len(pairs) < least:
            return None
        found: Array = np.median([self._gap[track, box] for track, box in pairs], axis=0)
        return found


def all_known(class_names: tuple[str, ...], thresholds: dict[str, float]) -> tuple[Array, Mask]:
    """Threshold by class id (above 1 where there is none), and which classes have one."""
    limits = np.array([thresholds.get(name, 1.1) for name in class_names])
    return limits, limits <= 1.0
