"""What the ego filter asks of a fix before it uses it: is it usable, which heading does it give, do fixes agree."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence

import numpy as np

from gnss import ego_model as model
from gnss.ego_params import EgoParams
from gnss.ego_track import Node, Reading
from gnss.types import Fix, FixQuality

ToEnu = Callable[[Fix], tuple[float, float]]


class FixRefusal(enum.StrEnum):
    """Why a fix was not used."""

    NOT_FINITE = "not finite"
    OUT_OF_RANGE = "out of range"
    NULL_ISLAND = "latitude and longitude are zero"
    NO_FIX = "no fix"
    COARSE = "accuracy too coarse"
    TIME_BACK = "stamp not increasing"
    FROZEN = "position frozen while moving"
    JUMP = "position jump"


def check_fix(fix: Fix, params: EgoParams) -> FixRefusal | None:
    """Why a fix cannot be used, judged by itself alone; None when it can."""
    values = (fix.lat_deg, fix.lon_deg, fix.h_acc_m, fix.speed_mps, fix.course_deg, fix.course_acc_deg, fix.hdop)
    if not all(v is None or math.isfinite(v) for v in (*values, fix.speed_acc_mps, fix.heading_deg, fix.alt_m)):
        return FixRefusal.NOT_FINITE
    if fix.quality in (FixQuality.INVALID, FixQuality.MANUAL):
        return FixRefusal.NO_FIX
    speed, accuracy = fix.speed_mps or 0.0, 0.0 if fix.h_acc_m is None else fix.h_acc_m
    if not (abs(fix.lat_deg) <= 90.0 and abs(fix.lon_deg) <= 180.0 and 0.0 <= speed < 100.0 and accuracy >= 0.0):
        return FixRefusal.OUT_OF_RANGE
    if fix.lat_deg == 0.0 and fix.lon_deg == 0.0:
        return FixRefusal.NULL_ISLAND
    if sum(model.fix_sigma(fix, params)) > (params.bias_share + params.white_share) * params.max_h_acc_m:
        return FixRefusal.COARSE
    return None


def frozen(fix: Fix, last: Fix, wheel_mps: float | None) -> bool:
    """Does the receiver repeat the last position although the car moves?"""
    if (last.lat_deg, last.lon_deg) != (fix.lat_deg, fix.lon_deg):
        return False
    return abs(wheel_mps) > 1.0 if wheel_mps is not None else (fix.speed_mps or 0.0) > 1.0


class FixedTrust:
    """The first fixed integers after float solutions are often wrong: believed little better than those, at first."""

    def __init__(self) -> None:
        self._floats_m = 0.0
        self._run = 0

    def least_m(self, fix: Fix, params: EgoParams) -> float:
        """Sigma per axis in m below which this fix is not believed; call it once for every fix."""
        if fix.quality is not FixQuality.RTK_FIXED:
            self._floats_m, self._run = math.hypot(*model.fix_sigma(fix, params)), 0
            return 0.0
        self._run += 1
        if self._run > params.reflections.new_fixed_count:
            return 0.0
        return self._floats_m * params.reflections.new_fixed_share * 0.5 ** (self._run - 1)


def own_heading(fix: Fix, wheel_mps: float | None, params: EgoParams) -> tuple[float, float] | None:
    """(heading from true north, sigma) in rad that a fix alone gives: dual antenna, or course when fast enough."""
    if fix.heading_deg is not None:
        return math.radians(fix.heading_deg), math.radians(fix.heading_acc_deg or 1.0)
    least = params.course_min_speed_mps if fix.course_acc_deg is None else params.course_stated_min_mps
    if fix.course_deg is None or fix.speed_mps is None or fix.speed_mps < least:
        return None
    back = 180.0 if wheel_mps is not None and wheel_mps < 0.0 else 0.0
    sigma = max(math.radians(fix.course_acc_deg or 0.0), params.course_velocity_sigma_mps / fix.speed_mps)
    return math.radians(fix.course_deg + back), math.hypot(sigma, math.radians(params.course_floor_deg))


def displacement_heading(stretch: Sequence[Reading], to_enu: ToEnu) -> tuple[float, float] | None:
    """(heading in the local frame, sigma) in rad from the way of the antenna, for receivers that report no course."""
    last = stretch[-1]
    east, north = to_enu(last.fix)
    for other in reversed(stretch[:-1]):
        if last.stamp_ns - other.stamp_ns > 20_000_000_000:
            return None
        e, n = to_enu(other.fix)
        length, white = math.hypot(east - e, north - n), math.hypot(last.white_m, other.white_m)
        if length > 3.0 + 3.0 * white:
            return math.atan2(east - e, north - n), min(0.1 + white / length, 0.6)
    return None


def agree(run: Sequence[Node], to_enu: ToEnu, params: EgoParams) -> bool:
    """Do refused fixes tell of one way? They went somewhere, and lie off the way reckoned by the same all along.

    At a standstill they always agree, reflections as well; and what scatters is a reflection, though it be on one side.
    """
    places = np.array([to_enu(node.reading.fix) for node in run])
    way, span = math.dist(places[0], places[-1]), (run[-1].stamp_ns - run[0].stamp_ns) * 1e-9
    if way < params.believe_way_m:
        return False
    if way > 10.0 * params.believe_way_m and span > 6.0 * params.believe_s:
        return True  # no reflection lasts so long: the filter is lost
    off = places - np.array([node.x[:2] for node in run])
    off -= off.mean(axis=0)
    return float(np.sqrt(0.5 * np.mean((off**2).sum(axis=1)))) < params.believe_spread_m + 0.01 * way
