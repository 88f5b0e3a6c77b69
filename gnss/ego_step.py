"""One step of the ego filter: from a node of one guess to the next fix, by the way, Doppler, course and position."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gnss import ego_guess as guessing
from gnss import ego_model as model
from gnss.ego_guess import CLEAR_D2, Guess, Mode
from gnss.ego_model import GYRO, PSI, V
from gnss.ego_params import EgoParams
from gnss.ego_track import Node, Reading
from gnss.geodesy import wrap_deg
from gnss.odometry import Travel
from gnss.types import Array

COURSE_RESTART = 3
"""So many courses in a row that do not fit, and the heading was wrong from the start: the course is believed."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A fix in the local frame: antenna place in m, (heading, sigma) in rad where the fix tells one.

    `rough`: share of reflections among the last fixes.
    """

    reading: Reading
    east: float
    north: float
    heading: tuple[float, float] | None
    rough: float


def stands(reading: Reading, last: Node, travel: Travel, params: EgoParams) -> bool:
    """Does the car stand, by its wheels, else by Doppler at both ends of a short step?"""
    if travel.wheel:
        return travel.still
    speeds = (reading.fix.speed_mps, last.reading.fix.speed_mps)
    slow = all(speed is not None and speed < params.halt_mps for speed in speeds)
    return slow and float(travel.t_s[-1]) <= params.believe_s


def children(guess: Guess, at: Sighting, travel: Travel, params: EgoParams) -> list[Guess]:
    """The fix as one guess sees it: in the open, and where that is doubtful also as a reflection."""
    node, reading = guess.node, at.reading
    ahead = model.predict(node.x, node.p, travel, params, halted=stands(reading, node, travel, params))
    way = float(travel.t_s[-1]), model.driven_m(node.x, travel)
    clear, reflected = guessing.modes(node, (reading.bias_m, reading.white_m), way, params)
    first, d2 = _child(guess, at, travel, ahead, clear, params)
    if node.placed and d2 <= CLEAR_D2:
        return [first]
    return [first, _child(guess, at, travel, ahead, reflected, params)[0]]


def _child(
    guess: Guess, at: Sighting, travel: Travel, ahead: tuple[Array, Array, Array], mode: Mode, params: EgoParams
) -> tuple[Guess, float]:
    """The guess after the fix in one mode, and the squared distance of its position."""
    node, reading = guess.node, at.reading
    x_pred, p_pred, f = model.age_bias(*ahead, mode.keep, mode.grown_m2)
    told = _Told(at, travel, params)
    x, p = told.doppler(*_standstill(x_pred, p_pred, travel), node.course_misses)
    aligned = node.aligned or at.heading is not None
    h, innovation = model.position_reading(x, at.east, at.north, params, aligned=aligned)
    r = model.position_noise(x, mode.white_m, params, aligned=aligned)
    density, d2 = guessing.log_density(p, h, innovation, r + params.gate_floor_m**2 * np.eye(2))
    x, p = model.update(x, p, h, innovation, r * max(1.0, d2 / params.huber_chi2))
    if not travel.wheel and x[V] < 0.0 and reading.fix.speed_mps is not None:
        x[V] = 0.0  # without wheels nothing tells backwards from a heading that is wrong by half a turn
    new = Node(
        reading, x, p, travel, f, x_pred, p_pred, x, p, aligned, not mode.reflected,
        node.placed_ns if mode.reflected else reading.stamp_ns, node, skipped=tuple(told.skipped),
        course_misses=told.misses,
    )  # fmt: skip
    return Guess(new, guess.log_weight + mode.log_prior + density), d2


def _standstill(x: Array, p: Array, travel: Travel) -> tuple[Array, Array]:
    """While the wheels stand, the gyro reads its own bias."""
    if not (travel.still and travel.gyro):
        return x, p
    h = np.zeros((1, model.SIZE))
    h[0, GYRO] = 1.0
    r = np.array([[math.radians(0.05) ** 2]])
    return model.update(x, p, h, np.array([travel.rate_rps - x[GYRO]]), r)


class _Told:
    """Speed and course of a fix; `skipped` names what did not fit, `misses` counts courses in a row that did not."""

    def __init__(self, at: Sighting, travel: Travel, params: EgoParams) -> None:
        self._at, self._travel, self._params = at, travel, params
        self.skipped: list[str] = []
        self.misses = 0

    def doppler(self, x: Array, p: Array, misses: int) -> tuple[Array, Array]:
        """Update with speed and course, as far as they fit."""
        fix, params = self._at.reading.fix, self._params
        # Reflections reach Doppler too, while the car moves.
        moving = min((fix.speed_mps or 0.0) / 3.0, 1.0)
        factor = 1.0 + params.reflections.rough_speed * self._at.rough * moving
        if fix.speed_mps is not None:
            h = np.zeros((1, model.SIZE))
            h[0, V] = -1.0 if x[V] < 0.0 else 1.0
            sigma = factor * math.hypot(fix.speed_acc_mps or params.speed_sigma_mps, 0.01 * fix.speed_mps)
            x, p = self._scalar("speed", x, p, h, fix.speed_mps - abs(float(x[V])), sigma)
        return (x, p) if self._at.heading is None else self._course(x, p, *self._at.heading, factor, misses)

    def _course(
        self, x: Array, p: Array, heading: float, sigma: float, factor: float, misses: int
    ) -> tuple[Array, Array]:
        h = np.zeros((1, model.SIZE))
        h[0, PSI] = 1.0
        off = math.radians(wrap_deg(math.degrees(heading - float(x[PSI]))))
        rate = abs(float(self._travel.turn_rad[-1])) / max(float(self._travel.t_s[-1]), 1e-3)
        x, p = self._scalar("course", x, p, h, off, math.hypot(factor * sigma, 0.1 * rate))
        self.misses = misses + 1 if "course" in self.skipped else 0
        if self.misses < COURSE_RESTART:
            return x, p
        # The heading was wrong from the start (a car that backed out without wheels to say so): believe the course.
        x, p = x.copy(), p.copy()
        x[PSI] += off
        p[PSI, :] = p[:, PSI] = 0.0
        p[PSI, PSI] = (2.0 * sigma) ** 2
        return x, p

    def _scalar(self, name: str, x: Array, p: Array, h: Array, off: float, sigma: float) -> tuple[Array, Array]:
        innovation, r = np.array([off]), np.array([[sigma**2]])
        d2 = model.mahalanobis2(p, h, innovation, r)
        if d2 > self._params.gate_chi2:
            self.skipped.append(name)
            return x, p
        return model.update(x, p, h, innovation, r * max(1.0, d2 / self._params.huber_chi2))
