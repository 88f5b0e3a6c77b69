"""The clock offset between a video and a track, from how both turned and moved; and how sure it is.

At each offset the video's turn and flow are correlated with the track's turn and speed. For signals with noise the log
likelihood gains n/2 ln 1/(1 - r^2) by a correlation r over n independent samples (the likelihood ratio of bivariate
normal data, Anderson, An Introduction to Multivariate Statistical Analysis, 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gnss.geodesy import bearing_deg, distance_m, wrap_deg
from gnss.types import Array, Fix
from replays.video_motion import SeenMotion

STEP_S = 0.1
INDEPENDENT_S = 3.0
"""Samples this far apart count as independent: a car's turns and stops last longer than a frame."""
MIN_OVERLAP_S = 15.0
SURE_GAIN = 9.0
"""The best offset must be e^9 times as likely as any other, and as no relation: 1 of 150 unrelated rides passed."""
APART_S = 2.0
MIN_TURN_RPS = 0.05
MIN_SPEED_CHANGE_MPS = 1.0
MIN_MOVING_MPS = 1.5
_SMOOTH_S = 0.5


@dataclass(frozen=True, slots=True)
class FoundOffset:
    """Track time of the video's first frame, less that of the track's first fix, in s; its 1-sigma.

    `sure` is false when the streams do not allow to tell; `why` says what it rests on, or why not.
    """

    offset_s: float
    sigma_s: float
    sure: bool
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class TrackMotion:
    """Turn to the left in rad/s (NaN where the course is unknown) and speed in m/s on a grid of STEP_S."""

    turn_rps: Array
    speed_mps: Array


def track_motion(fixes: Sequence[Fix]) -> TrackMotion:
    """Course and speed as the fixes tell them, else from the way between them."""
    stamps = np.array([fix.stamp_ns for fix in fixes], np.int64)
    at_s = (stamps - stamps[0]) * 1e-9
    middle, course, speed = [], [], []
    for a, b in pairwise(range(len(fixes))):
        one, other = fixes[a], fixes[b]
        way_m, step_s = distance_m(one.lat_deg, one.lon_deg, other.lat_deg, other.lon_deg), float(at_s[b] - at_s[a])
        if step_s <= 0 or step_s > 5:
            continue
        told = other.speed_mps
        middle.append(float(at_s[b]) if other.course_deg is not None else float(at_s[a] + at_s[b]) / 2)
        speed.append(told if told is not None else way_m / step_s)
        way = bearing_deg(one.lat_deg, one.lon_deg, other.lat_deg, other.lon_deg)
        course.append(other.course_deg if other.course_deg is not None else way)
    grid = np.arange(0.0, float(at_s[-1]) + STEP_S / 2, STEP_S)
    if len(middle) < 3:
        return TrackMotion(np.full(len(grid), math.nan), np.full(len(grid), math.nan))
    times, speeds = np.array(middle), np.array(speed)
    turned = np.cumsum([0.0, *(-math.radians(wrap_deg(b - a)) for a, b in pairwise(course))])
    turn = np.gradient(np.interp(grid, times, turned), STEP_S)
    on_grid = np.interp(grid, times, speeds)
    return TrackMotion(np.where(on_grid > MIN_MOVING_MPS, _smooth(turn), math.nan), _smooth(on_grid))


def find_offset(seen: SeenMotion, fixes: Sequence[Fix]) -> FoundOffset:
    """Search all offsets at which video and track overlap for MIN_OVERLAP_S."""
    track = track_motion(fixes)
    if len(seen.stamp_s) < 3 or seen.stamp_s[-1] - seen.stamp_s[0] < MIN_OVERLAP_S:
        return FoundOffset(0.0, math.inf, False, f"the video is shorter than {MIN_OVERLAP_S:g} s")
    grid = np.arange(0.0, float(seen.stamp_s[-1]), STEP_S)
    turn, flow = (_smooth(np.interp(grid, seen.stamp_s, values)) for values in (seen.turn_rps, seen.flow))
    least = round(MIN_OVERLAP_S / STEP_S)
    lags = np.arange(least - len(grid), len(track.speed_mps) - least + 1)
    if not len(lags):
        return FoundOffset(0.0, math.inf, False, f"the track is shorter than {MIN_OVERLAP_S:g} s")
    gains = np.array([_gains(turn, flow, track, int(lag)) for lag in lags])
    return _verdict(np.asarray(lags * STEP_S, np.float64), gains)


def _gains(turn: Array, flow: Array, track: TrackMotion, lag: int) -> tuple[float, float]:
    """What turn and speed tell for one lag, in nats: row k of the video is row k + lag of the track."""
    first, last = max(0, -lag), min(len(turn), len(track.speed_mps) - lag)
    mine, theirs = slice(first, last), slice(first + lag, last + lag)
    turned = _gain(turn[mine], track.turn_rps[theirs], MIN_TURN_RPS)
    return turned, _gain(flow[mine], track.speed_mps[theirs], MIN_SPEED_CHANGE_MPS)


def _gain(a: Array, b: Array, least: float) -> float:
    """n/2 ln 1/(1 - r^2) of a positive correlation; 0 where `b` does not vary by `least` or is unknown."""
    known = np.isfinite(a) & np.isfinite(b)
    count = int(known.sum())
    if count * STEP_S < MIN_OVERLAP_S / 2:
        return 0.0
    a, b = a[known], b[known]
    spread = float(b.std())
    if spread < least or float(a.std()) <= 0:
        return 0.0
    r = float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * spread))
    # No real pair is exact: the bound keeps a short perfect match from winning over a long good one.
    return 0.0 if r <= 0 else -0.5 * count * STEP_S / INDEPENDENT_S * math.log(1 - min(r, 0.995) ** 2)


def _verdict(offsets_s: Array, gains: Array) -> FoundOffset:
    total = gains.sum(axis=1)
    best = int(total.argmax())
    offset_s, gain = float(offsets_s[best]), float(total[best])
    away = np.abs(offsets_s - offset_s) > APART_S
    rival = float(total[away].max()) if away.any() else 0.0
    sigma_s = _sigma_s(offsets_s, total, best)
    parts = ", ".join(f"{name} {part:.1f}" for name, part in zip(("turns", "speed"), gains[best], strict=True))
    told = f"gain {gain:.1f} nats ({parts}), next best {rival:.1f}"
    if gain < SURE_GAIN:
        return FoundOffset(offset_s, sigma_s, False, f"neither turns nor stops tell enough: {told}")
    if gain - rival < SURE_GAIN:
        return FoundOffset(offset_s, sigma_s, False, f"another offset is nearly as likely: {told}")
    return FoundOffset(offset_s, sigma_s, True, told)


def _sigma_s(offsets_s: Array, total: Array, best: int) -> float:
    """Curvature of the log likelihood at its top, by a parabola over +-1 s; never below a step."""
    near = np.abs(offsets_s - offsets_s[best]) <= 1.0
    if near.sum() < 5:
        return math.inf
    curvature = float(np.polyfit(offsets_s[near] - offsets_s[best], total[near], 2)[0])
    return math.inf if curvature >= 0 else max(math.sqrt(-0.5 / curvature), STEP_S)


def _smooth(values: Array) -> Array:
    width = max(round(_SMOOTH_S / STEP_S), 1)
    kernel = np.ones(width) / width
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    smoothed: Array = np.convolve(padded, kernel, mode="valid")
    return smoothed
