"""Where the car was at any stamp: fixes and odometry fused, smoothed over the fixes that came later."""

from __future__ import annotations

import bisect
import math

import numpy as np

from gnss import ego_intake as intake
from gnss import ego_model as model
from gnss import ego_track as track
from gnss.ego_intake import FixRefusal
from gnss.ego_model import GYRO, PSI, EgoParams, N, V
from gnss.ego_track import Node, Place, Reading
from gnss.geodesy import LocalFrame, wrap360, wrap_deg
from gnss.odometry import Odometry, Travel
from gnss.types import Array, Fix, FixQuality, Motion, Pose, PoseState

__all__ = ["EgoFilter", "EgoParams", "FixRefusal"]

_RECENTRE_M = 5_000.0
_UNKNOWN_HEADING_RAD = 1.8
_COURSE_RESTART = 5


class EgoFilter:
    """Fuses fixes and motion in order of stamp; deterministic, bounded in memory, no clock of its own.

    `refused` counts fixes by reason, `skipped` single readings (course, speed) that did not fit, `restarts` how often
    the filter began anew because a run of refused fixes agreed with itself.
    """

    def __init__(self, params: EgoParams | None = None) -> None:
        self.params = params or EgoParams()
        self.refused: dict[FixRefusal, int] = dict.fromkeys(FixRefusal, 0)
        self.skipped: dict[str, int] = {"course": 0, "speed": 0}
        self.restarts = 0
        self.odometry = Odometry()
        self._frame: LocalFrame | None = None
        self._nodes: list[Node] = []
        self._stamps: list[int] = []
        self._outside: list[Reading] = []
        self._course_misses = 0
        self._newest_ns: int | None = None

    def add_motion(self, motion: Motion) -> None:
        """Take an odometry sample; what cannot be true is counted in `odometry.refused`."""
        self.odometry.add(motion)

    def add_fix(self, fix: Fix) -> FixRefusal | None:
        """Take a fix; returns why it was refused (and counted), None when it was used."""
        reason = intake.check_fix(fix, self.params) or self._check_order(fix)
        if reason is None:
            bias, white = model.fix_sigma(fix, self.params)
            reading = Reading(fix.stamp_ns - round(self.params.latency_s * 1e9), fix, bias, white)
            self._newest_ns = reading.stamp_ns
            self._recentre(fix)
            reason = self._take(reading)
            self.forget_before(reading.stamp_ns - round(self.params.keep_s * 1e9))
        if reason is not None:
            self.refused[reason] += 1
        return reason

    def bracketed(self, stamp_ns: int) -> bool:
        """True once a usable fix at or after the stamp is in."""
        return self._newest_ns is not None and self._newest_ns >= stamp_ns

    def cov_common_m2(self) -> Array:
        """(2, 2) east/north covariance of the GNSS error shared by the whole pass, now."""
        if self._nodes:
            return self._nodes[-1].split()[0]
        bias, _ = model.fix_sigma(Fix(0, None, 0.0, 0.0), self.params)
        common: Array = bias**2 * np.eye(2)
        return common

    def forget_before(self, stamp_ns: int) -> None:
        """Drop what only serves poses before the stamp; one node before it stays, to interpolate from."""
        cut = bisect.bisect_right(self._stamps, stamp_ns) - 1
        if cut > 0:
            del self._nodes[:cut], self._stamps[:cut]
            self._nodes[0].travel = None
        if self._stamps:
            self.odometry.forget_before(min(self._stamps[0], stamp_ns))

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """Pose at exactly `stamp_ns` (ns, same clock as the fixes), or None when no usable fix is near enough."""
        if not self._nodes or self._frame is None:
            return None
        i = bisect.bisect_right(self._stamps, stamp_ns)
        a = self._nodes[i - 1] if i > 0 else None
        b = self._nodes[i] if i < len(self._nodes) else None
        gap_a = math.inf if a is None else (stamp_ns - a.stamp_ns) * 1e-9
        gap_b = math.inf if b is None else (b.stamp_ns - stamp_ns) * 1e-9
        if a is not None and b is not None and b.travel is not None:
            limit = self._limit(b.travel)
            place = track.between(a, b, stamp_ns, self.params)
        elif a is not None and gap_a <= gap_b:
            way = self._travel(a, stamp_ns)
            limit, place = self._limit(way), track.beyond(a, way, self.params)
        elif b is not None:
            way = self.odometry.travel(stamp_ns, b.stamp_ns, float(b.xs[GYRO]))
            limit, place = self._limit(way), track.before(b, way, self.params)
        else:
            return None
        gap = min(gap_a, gap_b)
        near = a if a is not None and gap_a <= gap_b else b
        if gap > limit or near is None:
            return None
        return self._pose(stamp_ns, place, near, gap)

    def _pose(self, stamp_ns: int, place: Place, near: Node, gap_s: float) -> Pose:
        frame = self._frame
        if frame is None:
            raise RuntimeError("a pose needs a local frame")
        lat, lon = frame.to_geo(place.east, place.north)
        convergence = track.convergence_rad(frame.lat0_deg, frame.lon0_deg, lat, lon)
        fix = near.reading.fix
        utc = None if fix.utc_ns is None else fix.utc_ns + stamp_ns - near.reading.stamp_ns
        return Pose(
            stamp_ns=stamp_ns,
            utc_ns=utc,
            lat_deg=lat,
            lon_deg=lon,
            alt_m=0.0 if fix.alt_m is None else fix.alt_m,
            heading_deg=wrap360(math.degrees(place.psi + convergence)),
            speed_mps=place.speed,
            state=self._state(place, near, gap_s),
            cov_common_m2=place.common,
            cov_own=place.own,
        )

    def _state(self, place: Place, near: Node, gap_s: float) -> PoseState:
        if gap_s > self.params.near_fix_s or near.reading.fix.quality is FixQuality.DEAD_RECKONING:
            return PoseState.DEAD_RECKONING
        total = float(np.trace(place.common) + np.trace(place.own[:2, :2])) / 2.0
        sure = total <= self.params.good_sigma_m**2
        pointed = float(place.own[2, 2]) <= math.radians(self.params.good_heading_deg) ** 2
        return PoseState.GOOD if sure and pointed else PoseState.DEGRADED

    def _limit(self, travel: Travel) -> float:
        return self.params.dead_reckoning_s if travel.measured else self.params.coast_s

    def _heading(self, reading: Reading) -> tuple[float, float] | None:
        wheel = self.odometry.speed_at(reading.stamp_ns)
        known = intake.own_heading(reading.fix, wheel, self.params)
        if known is None or self._frame is None:
            return None
        frame, fix = self._frame, reading.fix
        turn = track.convergence_rad(frame.lat0_deg, frame.lon0_deg, fix.lat_deg, fix.lon_deg)
        return known[0] - turn, known[1]

    def _check_order(self, fix: Fix) -> FixRefusal | None:
        if self._newest_ns is not None and fix.stamp_ns - round(self.params.latency_s * 1e9) <= self._newest_ns:
            return FixRefusal.TIME_BACK
        return FixRefusal.FROZEN if self._frozen(fix) else None

    def _frozen(self, fix: Fix) -> bool:
        if not self._nodes:
            return False
        last = self._nodes[-1].reading.fix
        if (last.lat_deg, last.lon_deg) != (fix.lat_deg, fix.lon_deg):
            return False
        wheel = self.odometry.speed_at(fix.stamp_ns)
        return abs(wheel) > 1.0 if wheel is not None else (fix.speed_mps or 0.0) > 1.0

    def _recentre(self, fix: Fix) -> None:
        if self._frame is None:
            self._frame = LocalFrame(fix.lat_deg, fix.lon_deg)
            return
        if math.hypot(*self._frame.to_enu(fix.lat_deg, fix.lon_deg)) > _RECENTRE_M:
            new = LocalFrame(fix.lat_deg, fix.lon_deg)
            track.recentre(self._nodes, self._frame, new)
            self._frame = new

    def _travel(self, node: Node, stamp_ns: int) -> Travel:
        return self.odometry.travel(node.stamp_ns, stamp_ns, float(node.x[GYRO]))

    def _take(self, reading: Reading) -> FixRefusal | None:
        if not self._nodes:
            self._start(reading, None)
            return None
        travel = self._travel(self._nodes[-1], reading.stamp_ns)
        if (reading.stamp_ns - self._nodes[-1].stamp_ns) * 1e-9 > 3.0 * self._limit(travel):
            self._start(reading, self._nodes[-1] if travel.gyro or travel.still else None)
            return None
        if not self._nodes[-1].aligned:
            self._append_unaligned(reading, travel)
            return None
        if self._advance(reading, travel):
            self._outside.clear()
            track.smooth(self._nodes, self.params.smooth_nodes)
            return None
        self._outside.append(reading)
        return self._recover()

    def _enu(self, fix: Fix) -> tuple[float, float]:
        if self._frame is None:
            raise RuntimeError("a fix needs a local frame")
        return self._frame.to_enu(fix.lat_deg, fix.lon_deg)

    def _start(
        self,
        reading: Reading,
        keep_heading: Node | None,
        heading: tuple[float, float] | None = None,
        speed_mps: float = 0.0,
    ) -> None:
        known = heading or self._heading(reading)
        if known is None and keep_heading is not None and keep_heading.aligned:
            known = float(keep_heading.x[PSI]), math.sqrt(float(keep_heading.p[PSI, PSI])) + 0.3
        psi, sigma = known or (0.0, _UNKNOWN_HEADING_RAD)
        wheel = self.odometry.speed_at(reading.stamp_ns)
        speed = speed_mps if reading.fix.speed_mps is None else reading.fix.speed_mps
        speed = speed if wheel is None else wheel
        self._outside.clear()
        self._course_misses = 0
        east, north = self._enu(reading.fix)
        x, p = model.start_state(east, north, psi, sigma, speed, (reading.bias_m, reading.white_m), self.params)
        lever = model.position_reading(x, east, north, self.params)[1]
        x[: N + 1] += lever
        self._push(track.start_node(reading, x, p, known is not None))

    def _push(self, node: Node) -> None:
        self._nodes.append(node)
        self._stamps.append(node.stamp_ns)

    def _append_unaligned(self, reading: Reading, travel: Travel) -> None:
        """While the heading is unknown, nodes stand alone; once it is known the whole stretch is filtered again."""
        first, oldest = len(self._nodes) - 1, len(self._nodes) - self.params.smooth_nodes
        while first > max(0, oldest) and self._nodes[first].travel is not None:
            first -= 1
        stretch = [node.reading for node in self._nodes[first:]] + [reading]
        known = self._heading(reading) or intake.displacement_heading(stretch, self._enu)
        if known is None:
            self._start(reading, None)
            self._nodes[-1].travel = travel
            self._nodes[-1].f[:] = 0.0  # nothing flows back from a node whose heading is unknown
            return
        del self._nodes[first:], self._stamps[first:]
        way = self.odometry.travel(stretch[0].stamp_ns, reading.stamp_ns)
        psi = known[0] + float(way.turn_rad[-1])
        span = float(way.t_s[-1])
        way_m = math.dist(self._enu(stretch[0].fix), self._enu(reading.fix))
        moved = way_m > 3.0 + 3.0 * reading.white_m
        drift = math.radians(0.5) * span if way.gyro else (0.5 if moved else 0.0)
        self._start(stretch[0], None, (psi, min(math.hypot(known[1], drift), 1.0)), way_m / span)
        for later in stretch[1:]:
            self._take(later)

    def _advance(self, reading: Reading, travel: Travel) -> bool:
        """Predict to the fix and update with it; False when its position does not fit."""
        last, params = self._nodes[-1], self.params
        x_pred, p_pred, f = model.predict(last.x, last.p, travel, reading.bias_m, last.reading.bias_m, params)
        x, p = self._doppler(*self._standstill(x_pred, p_pred, travel), reading, travel)
        h, innovation = model.position_reading(x, *self._enu(reading.fix), params)
        r = model.position_noise(x, reading.white_m, params)
        d2 = model.mahalanobis2(p, h, innovation, r + params.gate_floor_m**2 * np.eye(2))
        if d2 > params.gate_chi2:
            return False
        r *= max(1.0, d2 / params.huber_chi2)
        x, p = model.update(x, p, h, innovation, r)
        if not travel.wheel and x[V] < 0.0:
            x[V] = 0.0  # without wheels nothing tells backwards from a heading that is wrong by half a turn
        self._push(Node(reading, x, p, travel, f, x_pred, p_pred, x, p, True))
        return True

    def _standstill(self, x: Array, p: Array, travel: Travel) -> tuple[Array, Array]:
        """While the wheels stand, the gyro reads its own bias."""
        if not (travel.still and travel.gyro):
            return x, p
        h = np.zeros((1, model.SIZE))
        h[0, GYRO] = 1.0
        r = np.array([[math.radians(0.05) ** 2]])
        return model.update(x, p, h, np.array([travel.rate_rps - x[GYRO]]), r)

    def _doppler(self, x: Array, p: Array, reading: Reading, travel: Travel) -> tuple[Array, Array]:
        fix = reading.fix
        if fix.speed_mps is not None:
            h = np.zeros((1, model.SIZE))
            h[0, V] = -1.0 if x[V] < 0.0 else 1.0
            sigma = math.hypot(fix.speed_acc_mps or self.params.speed_sigma_mps, 0.01 * fix.speed_mps)
            x, p = self._scalar("speed", x, p, h, fix.speed_mps - abs(float(x[V])), sigma)
        known = self._heading(reading)
        if known is None:
            return x, p
        h = np.zeros((1, model.SIZE))
        h[0, PSI] = 1.0
        off = math.radians(wrap_deg(math.degrees(known[0] - float(x[PSI]))))
        rate = abs(float(travel.turn_rad[-1])) / max(float(travel.t_s[-1]), 1e-3)
        misses = self.skipped["course"]
        x, p = self._scalar("course", x, p, h, off, math.hypot(known[1], 0.1 * rate))
        self._course_misses = self._course_misses + 1 if self.skipped["course"] > misses else 0
        if self._course_misses >= _COURSE_RESTART:
            # The heading was wrong from the start (a car that backed out without wheels to say so): believe the course.
            self._course_misses = 0
            self.restarts += 1
            x = x.copy()
            x[PSI] += off
            p = p.copy()
            p[PSI, :] = p[:, PSI] = 0.0
            p[PSI, PSI] = (2.0 * known[1]) ** 2
        return x, p

    def _scalar(self, name: str, x: Array, p: Array, h: Array, off: float, sigma: float) -> tuple[Array, Array]:
        innovation, r = np.array([off]), np.array([[sigma**2]])
        if model.mahalanobis2(p, h, innovation, r) > self.params.gate_chi2:
            self.skipped[name] += 1
            return x, p
        return model.update(x, p, h, innovation, r)

    def _recover(self) -> FixRefusal | None:
        """Odometry is believed for as long as dead reckoning is; then fixes that agree among themselves win."""
        del self._outside[:-3]
        recent = list(self._outside)
        travel = self._travel(self._nodes[-1], recent[-1].stamp_ns)
        if len(recent) < 3 or float(travel.t_s[-1]) <= self._limit(travel):
            return FixRefusal.JUMP
        if not intake.agree(recent, self._enu, self.odometry):
            return FixRefusal.JUMP
        place = track.beyond(self._nodes[-1], self._travel(self._nodes[-1], recent[0].stamp_ns), self.params)
        self.restarts += 1
        sigma = min(math.sqrt(float(place.own[2, 2])) + 0.1, 1.0)
        heading = self._heading(recent[0]) or (place.psi, sigma)
        self._start(recent[0], None, heading)
        for reading in recent[1:]:
            self._take(reading)
        return None
