"""The stored trajectory of the ego filter: nodes at fixes, and poses anywhere between or a little beyond them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gnss import ego_model as model
from gnss.ego_model import PSI, SCALE, E, N, V
from gnss.ego_params import EgoParams
from gnss.geodesy import LocalFrame, wrap_deg
from gnss.odometry import Travel
from gnss.types import Array, Fix


@dataclass(slots=True, eq=False)
class Reading:
    """A usable fix: validity stamp (latency removed), antenna place and its two sigmas as stated."""

    stamp_ns: int
    fix: Fix
    bias_m: float
    white_m: float


@dataclass(slots=True, eq=False)
class Node:
    """Filtered and smoothed state at a fix; `travel` leads here from the node before (None: a stretch starts).

    `placed`: the fix's position was used, not only its speed; `placed_ns`: the last node at or before this with one.
    A fix that is not `placed` is taken for a reflection. `parent`: the node before, of the same guess. `doubt_m2`
    (2, 2): what other guesses add to the variance of the place, as far as they are alive. `rough`: share of the last
    fixes that were reflections. `skipped`: speed or course that did not fit, the latter `course_misses` in a row.
    """

    reading: Reading
    x: Array
    p: Array
    travel: Travel | None
    f: Array
    x_pred: Array
    p_pred: Array
    xs: Array
    ps: Array
    aligned: bool
    placed: bool
    placed_ns: int
    parent: Node | None = None
    doubt_m2: Array | None = None
    rough: float = 0.0
    skipped: tuple[str, ...] = ()
    course_misses: int = 0
    _split: tuple[Array, Array] | None = None

    @property
    def stamp_ns(self) -> int:
        return self.reading.stamp_ns

    def smoothed(self, xs: Array, ps: Array) -> None:
        """Replace the smoothed state."""
        self.xs, self.ps, self._split = xs, ps, None

    def split(self) -> tuple[Array, Array]:
        """(common, own) of the smoothed covariance."""
        if self._split is None:
            self._split = model.split(self.ps)
        if self.doubt_m2 is not None:
            return self._split[0] + self.doubt_m2, self._split[1]
        return self._split


def start_node(reading: Reading, x: Array, p: Array, aligned: bool) -> Node:
    """First node of a stretch."""
    return Node(reading, x, p, None, np.eye(model.SIZE), x, p, x, p, aligned, True, reading.stamp_ns)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A pose in the local frame, before it becomes a `Pose`."""

    east: float
    north: float
    psi: float
    speed: float
    common: Array
    own: Array

    def variance_m2(self) -> float:
        """Mean variance of the position per axis, with the part common to the pass."""
        return 0.5 * float(np.trace(self.common) + np.trace(self.own[:2, :2]))


def smooth(nodes: list[Node], start: int, end: int) -> None:
    """Run the smoother back from node `start`, which is smoothed already, to node `end` (start > end)."""
    for i in range(start, end, -1):
        after, before = nodes[i], nodes[i - 1]
        if after.travel is None:
            before.smoothed(before.x, before.p)
        else:
            back = model.smooth_step(before.x, before.p, after.f, after.x_pred, after.p_pred, after.xs, after.ps)
            before.smoothed(*back)


def between(a: Node, b: Node, stamp_ns: int, params: EgoParams) -> Place:
    """Pose between two linked nodes.

    With wheels and gyro: the measured curve, its closing error spread linearly in time. Without: a cubic Hermite curve
    through both smoothed positions and velocities. The covariance is the mean of the ends plus a bridge.
    """
    travel = b.travel
    if travel is None:
        raise ValueError("the nodes are not linked")
    t, span = (stamp_ns - a.stamp_ns) * 1e-9, (b.stamp_ns - a.stamp_ns) * 1e-9
    w = t / span
    if travel.measured:
        end = _along(a, travel, span)
        east, north, psi, speed = _along(a, travel, t)
        east += w * (float(b.xs[E]) - end[0])
        north += w * (float(b.xs[N]) - end[1])
        psi += w * (float(b.xs[PSI]) - end[2])
    else:
        east, north = _hermite(a.xs, b.xs, w, span)
        psi = float((1.0 - w) * a.xs[PSI] + w * b.xs[PSI])
        speed = float((1.0 - w) * a.xs[V] + w * b.xs[V])
    (common_a, own_a), (common_b, own_b) = a.split(), b.split()
    own = (1.0 - w) * own_a + w * own_b + _bridge(travel, psi, speed, w, span, params)
    return Place(east, north, psi, speed, (1.0 - w) * common_a + w * common_b, own)


def beyond(a: Node, travel: Travel, params: EgoParams) -> Place:
    """Pose at the end of `travel` after node `a`: dead reckoning with a covariance that grows."""
    x, p, _ = model.predict(a.xs, a.ps, travel, params)
    common, own = model.split(p)
    if a.doubt_m2 is not None:
        common = common + a.doubt_m2
    return Place(float(x[E]), float(x[N]), float(x[PSI]), float(x[V]), common, own)


def before(b: Node, travel: Travel, params: EgoParams) -> Place:
    """Pose at the start of `travel`, which ends at node `b`: dead reckoning backwards."""
    x = b.xs.copy()
    x[PSI] += travel.turn_rad[-1]
    start = model.predict(x, b.ps, travel, params)
    east, north = 2.0 * x[E] - start[0][E], 2.0 * x[N] - start[0][N]
    common, own = model.split(start[1])
    if b.doubt_m2 is not None:
        common = common + b.doubt_m2
    speed = (1.0 + x[SCALE]) * travel.speed_mps[0] if travel.wheel else x[V]
    return Place(float(east), float(north), float(x[PSI]), float(speed), common, own)


def recentre(nodes: list[Node], old: LocalFrame, new: LocalFrame) -> None:
    """Move all nodes into another local frame; headings change by the convergence of the meridians."""
    turn = convergence_rad(new.lat0_deg, new.lon0_deg, old.lat0_deg, old.lon0_deg)
    for node in nodes:
        for state in {id(s): s for s in (node.x, node.x_pred, node.xs)}.values():
            state[E], state[N] = new.to_enu(*old.to_geo(float(state[E]), float(state[N])))
            state[PSI] += turn


def convergence_rad(lat0_deg: float, lon0_deg: float, lat_deg: float, lon_deg: float) -> float:
    """What to add to a heading in the frame at (lat0, lon0) to have it from true north at (lat, lon)."""
    dlon = math.radians(wrap_deg(lon_deg - lon0_deg))
    return dlon * math.sin(math.radians(0.5 * (lat0_deg + lat_deg)))


def _along(a: Node, travel: Travel, t: float) -> tuple[float, float, float, float]:
    turn, x, y, speed = travel.at(t)
    psi, scale = float(a.xs[PSI]), 1.0 + float(a.xs[SCALE])
    sin, cos = math.sin(psi), math.cos(psi)
    east = float(a.xs[E]) + scale * (x * sin - y * cos)
    north = float(a.xs[N]) + scale * (x * cos + y * sin)
    return east, north, psi - turn, scale * speed


def _hermite(a: Array, b: Array, w: float, span: float) -> tuple[float, float]:
    h00, h10 = (1.0 + 2.0 * w) * (1.0 - w) ** 2, w * (1.0 - w) ** 2 * span
    h01, h11 = w * w * (3.0 - 2.0 * w), w * w * (w - 1.0) * span
    va, vb = float(a[V]), float(b[V])
    east = h00 * a[E] + h10 * va * math.sin(a[PSI]) + h01 * b[E] + h11 * vb * math.sin(b[PSI])
    north = h00 * a[N] + h10 * va * math.cos(a[PSI]) + h01 * b[N] + h11 * vb * math.cos(b[PSI])
    return float(east), float(north)


def _bridge(travel: Travel, psi: float, speed: float, w: float, span: float, params: EgoParams) -> Array:
    """Variance of the way between two known ends: Brownian bridges of the same noise that `predict` uses."""
    once, thrice = w * (1.0 - w) * span, (w * (1.0 - w) * span) ** 3 / 3.0
    heading = model.heading_noise(abs(speed), travel.gyro, travel.still, params)
    across = params.odometer_slip**2 * abs(speed) * once + speed * speed * heading * thrice
    if travel.wheel:
        along = params.odometer_noise**2 * abs(speed) * once
    else:
        along = params.accel_noise_mps2**2 * thrice
    sin, cos = math.sin(psi), math.cos(psi)
    mixed = (along - across) * sin * cos
    return np.array(
        [
            [along * sin * sin + across * cos * cos, mixed, 0.0],
            [mixed, along * cos * cos + across * sin * sin, 0.0],
            [0.0, 0.0, heading * once],
        ]
    )
