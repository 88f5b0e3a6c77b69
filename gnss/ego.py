"""Where the car was at any stamp: fixes and odometry fused, smoothed over the fixes that came later."""

from __future__ import annotations

import bisect
import math

import numpy as np

from gnss import ego_guess as guessing
from gnss import ego_intake as intake
from gnss import ego_model as model
from gnss import ego_step as stepping
from gnss import ego_track as track
from gnss.ego_guess import Guess
from gnss.ego_history import History
from gnss.ego_intake import FixRefusal
from gnss.ego_model import GYRO, PSI, N
from gnss.ego_params import EgoParams
from gnss.ego_step import COURSE_RESTART, Sighting
from gnss.ego_track import Node, Place, Reading
from gnss.geodesy import LocalFrame, wrap360
from gnss.odometry import Odometry, Travel
from gnss.types import Array, Fix, FixQuality, Motion, Pose, PoseState

__all__ = ["EgoFilter", "EgoParams", "FixRefusal"]

_RECENTRE_M = 5_000.0
_UNKNOWN_HEADING_RAD = 1.8
_LOST_M, _LOST_RAD = 40.0, 0.8
"""Beyond these sigmas a prediction says nothing, and its linear form is wrong: a new stretch begins."""


class EgoFilter:
    """Fuses fixes and motion in order of stamp; deterministic, bounded in memory, no clock of its own.

    `refused` counts fixes by reason (of one that jumped, speed and course are used all the same), `skipped` single
    readings (course, speed) that did not fit, `restarts` how often the filter began anew because a run of refused fixes
    agreed with itself, or courses did.
    """

    def __init__(self, params: EgoParams | None = None) -> None:
        self.params = params or EgoParams()
        self.refused: dict[FixRefusal, int] = dict.fromkeys(FixRefusal, 0)
        self.skipped: dict[str, int] = {"course": 0, "speed": 0}
        self.restarts = 0
        self.odometry = Odometry()
        self._frame: LocalFrame | None = None
        self._past = History()
        self._guesses: list[Guess] = []
        self._rough = 0.0
        self._trust = intake.FixedTrust()
        self._newest_ns: int | None = None

    def add_motion(self, motion: Motion) -> None:
        """Take an odometry sample; what cannot be true is counted in `odometry.refused`."""
        self.odometry.add(motion)

    def add_fix(self, fix: Fix) -> FixRefusal | None:
        """Take a fix; returns why its position was refused (and counted), None when it was used."""
        reason = intake.check_fix(fix, self.params) or self._check_order(fix)
        if reason is None:
            bias, white = model.fix_sigma(fix, self.params, self._trust.least_m(fix, self.params))
            factor = 1.0 + self.params.reflections.rough_sigma * self._rough
            reading = Reading(fix.stamp_ns - round(self.params.latency_s * 1e9), fix, factor * bias, factor * white)
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
        if self._past.nodes:
            return self._past.nodes[-1].split()[0]
        bias, _ = model.fix_sigma(Fix(0, None, 0.0, 0.0), self.params)
        common: Array = bias**2 * np.eye(2)
        return common

    def forget_before(self, stamp_ns: int) -> None:
        """Drop what only serves poses before the stamp; one node before it stays, to interpolate from."""
        self._past.forget_before(stamp_ns)
        if self._past.stamps:
            self.odometry.forget_before(min(self._past.stamps[0], stamp_ns))

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """Pose at exactly `stamp_ns` (ns, same clock as the fixes), or None in state NONE (`state_at` says why)."""
        found = self._place_at(stamp_ns)
        if isinstance(found, str) or self._frame is None:
            return None
        place, near = found
        lat, lon = self._frame.to_geo(place.east, place.north)
        convergence = track.convergence_rad(self._frame.lat0_deg, self._frame.lon0_deg, lat, lon)
        fix = near.reading.fix
        state, reason = self._state(stamp_ns, place, near)
        return Pose(
            stamp_ns=stamp_ns,
            utc_ns=None if fix.utc_ns is None else fix.utc_ns + stamp_ns - near.stamp_ns,
            lat_deg=lat,
            lon_deg=lon,
            alt_m=0.0 if fix.alt_m is None else fix.alt_m,
            heading_deg=wrap360(math.degrees(place.psi + convergence)),
            speed_mps=place.speed,
            state=state,
            cov_common_m2=place.common,
            cov_own=place.own,
            reason=reason,
        )

    def state_at(self, stamp_ns: int) -> tuple[PoseState, str]:
        """State of the pose at a stamp and why it is not GOOD; NONE where `pose_at` gives nothing."""
        found = self._place_at(stamp_ns)
        return (PoseState.NONE, found) if isinstance(found, str) else self._state(stamp_ns, *found)

    def driven(self, start_ns: int, end_ns: int) -> Travel | None:
        """The way from one stamp to a later one by wheels and gyro alone, its bias removed; None without either.

        Free of the small steps that fixes put into poses: what other sensors' clocks are compared with.
        """
        node = self._past.around(end_ns, self.params.smooth_nodes)[0]
        travel = self.odometry.travel(start_ns, end_ns, 0.0 if node is None else float(node.xs[GYRO]))
        return travel if travel.measured else None

    def _place_at(self, stamp_ns: int) -> tuple[Place, Node] | str:
        """Place and the nearest node, or why there is none."""
        a, b = self._past.around(stamp_ns, self.params.smooth_nodes)
        gap_a = math.inf if a is None else (stamp_ns - a.stamp_ns) * 1e-9
        gap_b = math.inf if b is None else (b.stamp_ns - stamp_ns) * 1e-9
        if min(gap_a, gap_b) > self.params.none_after_s:
            return "no fix yet" if a is None and b is None else "no fix near"
        if a is not None and b is not None and b.travel is not None:
            place = track.between(a, b, stamp_ns, self.params)
        elif a is not None and (gap_a <= gap_b or b is None):
            place = track.beyond(a, self._travel(a, stamp_ns), self.params)
        elif b is not None:
            back = self.odometry.travel(stamp_ns, b.stamp_ns, float(b.xs[GYRO]))
            place = track.before(b, back, self.params)
        else:
            return "no fix yet"
        if place.variance_m2() > self.params.none_sigma_m**2:
            return f"position sigma above {self.params.none_sigma_m:g} m"
        near = a if a is not None and gap_a <= gap_b else b
        return "no fix near" if near is None else (place, near)

    def _state(self, stamp_ns: int, place: Place, near: Node) -> tuple[PoseState, str]:
        params = self.params
        if near.reading.fix.quality is FixQuality.DEAD_RECKONING:
            return PoseState.DEAD_RECKONING, "the receiver itself reckons"
        if self._past.nearest_placed_s(stamp_ns, params.near_fix_s) > params.near_fix_s:
            return PoseState.DEAD_RECKONING, f"no usable fix within {params.near_fix_s:g} s"
        if place.variance_m2() > params.good_sigma_m**2:
            return PoseState.DEGRADED, f"position sigma above {params.good_sigma_m:g} m"
        if float(place.own[2, 2]) > math.radians(params.good_heading_deg) ** 2:
            return PoseState.DEGRADED, f"heading sigma above {params.good_heading_deg:g} deg"
        if near.rough > params.reflections.good_rough:
            return PoseState.DEGRADED, "many of the last fixes were reflections"
        return PoseState.GOOD, ""

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
        if not self._past.nodes:
            return None
        wheel = self.odometry.speed_at(fix.stamp_ns)
        return FixRefusal.FROZEN if intake.frozen(fix, self._past.nodes[-1].reading.fix, wheel) else None

    def _recentre(self, fix: Fix) -> None:
        if self._frame is None:
            self._frame = LocalFrame(fix.lat_deg, fix.lon_deg)
            return
        if math.hypot(*self._frame.to_enu(fix.lat_deg, fix.lon_deg)) > _RECENTRE_M:
            new = LocalFrame(fix.lat_deg, fix.lon_deg)
            track.recentre([*self._past.nodes, *guessing.others(self._guesses)], self._frame, new)
            self._frame = new

    def _enu(self, fix: Fix) -> tuple[float, float]:
        if self._frame is None:
            raise RuntimeError("a fix needs a local frame")
        return self._frame.to_enu(fix.lat_deg, fix.lon_deg)

    def _travel(self, node: Node, stamp_ns: int) -> Travel:
        return self.odometry.travel(node.stamp_ns, stamp_ns, float(node.x[GYRO]))

    def _take(self, reading: Reading) -> FixRefusal | None:
        if not self._past.nodes:
            self._start(reading, None)
            return None
        last = self._past.nodes[-1]
        travel = self._travel(last, reading.stamp_ns)
        still = stepping.stands(reading, last, travel, self.params)
        if not last.aligned and not still and self._heading(reading) is None:
            self._append_unaligned(reading, travel)
            return None
        _, p, _ = model.predict(last.x, last.p, travel, self.params, halted=still)
        far = float(p[0, 0] + p[1, 1]) > 2.0 * _LOST_M**2
        if far or (last.aligned and float(p[PSI, PSI]) > _LOST_RAD**2):
            self._start(reading, last if travel.gyro or travel.still else None)
            return None
        return None if self._advance(reading, travel) else self._recover()

    def _start(
        self,
        reading: Reading,
        keep_heading: Node | None,
        heading: tuple[float, float] | None = None,
        speed_mps: float = 0.0,
    ) -> None:
        params = self.params
        known = heading or self._heading(reading)
        if known is None and keep_heading is not None and keep_heading.aligned:
            known = float(keep_heading.x[PSI]), math.sqrt(float(keep_heading.p[PSI, PSI])) + 0.3
        psi, sigma = known or (0.0, _UNKNOWN_HEADING_RAD)
        wheel = self.odometry.speed_at(reading.stamp_ns)
        speed = speed_mps if reading.fix.speed_mps is None else reading.fix.speed_mps
        speed = speed if wheel is None else wheel
        east, north = self._enu(reading.fix)
        white = reading.white_m
        if known is None:
            white = math.hypot(white, params.antenna_x_m, params.antenna_y_m)
        # The first fix is in the open; or, where the last ones were not, perhaps a reflection.
        doubt = min(3.0 * self._rough, 1.0) * params.reflections.start_doubt
        wide = params.reflections.sigma_m, white + params.reflections.white_m
        guesses: list[Guess] = []
        for share, sigmas in ((1.0 - doubt, (reading.bias_m, white)), (doubt, wide)):
            if share > 0.01:
                x, p = model.start_state(east, north, psi, sigma, speed, sigmas, params)
                x[: N + 1] += model.position_reading(x, east, north, params, aligned=known is not None)[1]
                node = track.start_node(reading, x, p, known is not None)
                node.placed, node.rough = not guesses, self._rough
                guesses.append(Guess(node, math.log(share)))
        self._guesses = guesses
        self._past.push(guesses)

    def _append_unaligned(self, reading: Reading, travel: Travel) -> None:
        """While the heading is unknown, nodes stand alone; once it is known the whole stretch is filtered again."""
        nodes = self._past.nodes
        first = len(nodes) - 1
        while first > 0 and nodes[first].travel is not None:
            first -= 1
        stretch = [node.reading for node in nodes[first:]] + [reading]
        known = self._heading(reading) or intake.displacement_heading(stretch, self._enu)
        if known is None:
            self._start(reading, None)
            nodes[-1].travel = travel
            nodes[-1].f[:] = 0.0  # nothing flows back from a node whose heading is unknown
            return
        self._past.cut(first)
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
        """Carry every guess to the fix; False when the best one takes its position for a reflection."""
        at = Sighting(reading, *self._enu(reading.fix), self._heading(reading), self._rough)
        grown: list[Guess] = []
        for guess in self._guesses:
            grown += stepping.children(guess, at, self._travel(guess.node, reading.stamp_ns), self.params)
        self._guesses = guessing.pruned(grown, self.params)
        best = self._guesses[0].node
        fresh = 1.0 - math.exp(-float(travel.t_s[-1]) / self.params.reflections.rough_tau_s)
        self._rough += fresh * (float(not best.placed) - self._rough)
        best.rough = self._rough
        for name in best.skipped:
            self.skipped[name] += 1
        if best.course_misses >= COURSE_RESTART:
            best.course_misses = 0
            self.restarts += 1
        self._past.push(self._guesses)
        old_ns = reading.stamp_ns - round(self.params.reflections.guess_s * 1e9)
        self._guesses = guessing.committed(self._guesses, self._past.node_after(old_ns))
        return best.placed

    def _recover(self) -> FixRefusal | None:
        """Odometry and Doppler are believed for a while; then fixes that agree among themselves win."""
        run = guessing.refused_run(self._past.nodes[-1])
        readings = [node.reading for node in run]
        told = run[-1].travel
        measured = (told is not None and told.measured) or readings[-1].fix.speed_mps is not None
        wait_s = self.params.believe_s if measured else self.params.believe_blind_s
        span = (readings[-1].stamp_ns - readings[0].stamp_ns) * 1e-9
        blind = 0.5 * float(np.trace(run[-1].p[:2, :2])) > self.params.none_sigma_m**2  # no pose: nothing to lose
        if len(run) < 3 or not (blind or (span >= wait_s and intake.agree(run, self._enu, self.params))):
            return FixRefusal.JUMP
        self.restarts += 1
        sigma = min(math.sqrt(float(run[0].p[PSI, PSI])) + 0.1, 1.0)
        heading = self._heading(readings[0]) or (float(run[0].x[PSI]), sigma)
        self._past.cut(bisect.bisect_left(self._past.stamps, readings[0].stamp_ns))
        self._start(readings[0], None, heading)
        for reading in readings[1:]:
            self._take(reading)
        return None
