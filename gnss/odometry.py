"""What wheels and gyro say about the way between two stamps, integrated once and kept as a small curve."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field

import numpy as np

from gnss.types import Array, Motion

MAX_GAP_S = 0.5
"""Longest hole between samples, and longest hold at either end, that still counts as measured."""
STILL_MPS = 0.03
_PLAUSIBLE_SPEED_MPS = 70.0
_PLAUSIBLE_RATE_DPS = 200.0


@dataclass(frozen=True, slots=True, eq=False)
class Travel:
    """The way from one stamp to a later one, in the body frame of its start (x forward, y left).

    `t_s`, `turn_rad` (left > 0), `x`, `y`, `speed_mps` are (n,) and start at zero way. With `wheel`, x and y are
    metres; without, they are metres per (m/s) of unknown constant speed. `x_bias`, `y_bias`: derivative of the end by
    the gyro bias, per rad/s. `still`: the wheels stood all the time; then `rate_rps` reads the gyro bias directly.
    """

    wheel: bool
    gyro: bool
    still: bool
    t_s: Array
    turn_rad: Array
    x: Array
    y: Array
    speed_mps: Array
    distance_m: float
    x_bias: float
    y_bias: float
    rate_rps: float

    @property
    def measured(self) -> bool:
        """Both speed and turn rate were known throughout."""
        return self.wheel and self.gyro

    def at(self, t_s: float) -> tuple[float, float, float, float]:
        """(turn_rad, x, y, speed_mps) at `t_s` seconds after the start, linear between samples."""
        t = self.t_s
        i = min(max(int(t.searchsorted(t_s)), 1), len(t) - 1)
        span = t[i] - t[i - 1]
        w = 0.0 if span <= 0 else min(max((t_s - t[i - 1]) / span, 0.0), 1.0)
        low, high = 1.0 - w, w
        return (
            float(low * self.turn_rad[i - 1] + high * self.turn_rad[i]),
            float(low * self.x[i - 1] + high * self.x[i]),
            float(low * self.y[i - 1] + high * self.y[i]),
            float(low * self.speed_mps[i - 1] + high * self.speed_mps[i]),
        )


@dataclass(slots=True)
class _Series:
    """Samples of one quantity in order of stamp."""

    stamps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, stamp_ns: int, value: float) -> bool:
        if self.stamps and stamp_ns <= self.stamps[-1]:
            return False
        self.stamps.append(stamp_ns)
        self.values.append(value)
        return True

    def forget_before(self, stamp_ns: int) -> None:
        cut = bisect.bisect_left(self.stamps, stamp_ns)
        if cut > 0:
            del self.stamps[:cut], self.values[:cut]

    def window(self, start_ns: int, end_ns: int) -> tuple[Array, Array] | None:
        """Seconds from `start_ns` and values that cover the span, or None where a hole is longer than MAX_GAP_S."""
        low = max(bisect.bisect_right(self.stamps, start_ns) - 1, 0)
        high = min(bisect.bisect_left(self.stamps, end_ns) + 1, len(self.stamps))
        if low >= high:
            return None
        t: Array = (np.array(self.stamps[low:high], dtype=np.int64) - start_ns).astype(np.float64) * 1e-9
        span = (end_ns - start_ns) * 1e-9
        if t[0] > MAX_GAP_S or t[-1] < span - MAX_GAP_S or (len(t) > 1 and float(np.diff(t).max()) > MAX_GAP_S):
            return None
        return t, np.array(self.values[low:high])


class Odometry:
    """Bounded memory of motion samples; refuses and counts what cannot be true."""

    def __init__(self) -> None:
        self._speed = _Series()
        self._rate = _Series()
        self.refused: dict[str, int] = {}

    def add(self, motion: Motion) -> None:
        """Take a sample; fields that are NaN, absurd or not later than the last are refused and counted."""
        for name, series, value, bound in (
            ("speed", self._speed, motion.speed_mps, _PLAUSIBLE_SPEED_MPS),
            ("yaw rate", self._rate, motion.yaw_rate_dps, _PLAUSIBLE_RATE_DPS),
        ):
            if value is None:
                continue
            if not math.isfinite(value):
                self._refuse(f"{name} not finite")
            elif abs(value) > bound:
                self._refuse(f"{name} out of range")
            elif not series.add(motion.stamp_ns, value if series is self._speed else math.radians(value)):
                self._refuse("motion stamp not increasing")

    def forget_before(self, stamp_ns: int) -> None:
        """Drop samples older than `stamp_ns`."""
        self._speed.forget_before(stamp_ns)
        self._rate.forget_before(stamp_ns)

    def speed_at(self, stamp_ns: int) -> float | None:
        """Signed wheel speed at a stamp, or None without samples near."""
        window = self._speed.window(stamp_ns, stamp_ns)
        return None if window is None else float(np.interp(0.0, *window))

    def travel(self, start_ns: int, end_ns: int, gyro_bias_rps: float = 0.0) -> Travel:
        """Integrate (trapezoid, heading at mid-step) from `start_ns` to `end_ns`, the given gyro bias removed."""
        span = (end_ns - start_ns) * 1e-9
        speed, rate = self._speed.window(start_ns, end_ns), self._rate.window(start_ns, end_ns)
        inner = [w[0][(w[0] > 0.0) & (w[0] < span)] for w in (speed, rate) if w is not None]
        ends = np.array([0.0, span])
        t = np.unique(np.concatenate([ends, *inner])) if inner else ends
        if len(t) < 2:
            t = ends
        v = np.ones(len(t)) if speed is None else np.interp(t, *speed)
        still = speed is not None and float(np.abs(v).max()) < STILL_MPS
        raw = np.zeros(len(t)) if rate is None else np.interp(t, *rate)
        w = np.zeros(len(t)) if rate is None or still else raw - gyro_bias_rps
        dt = np.diff(t)
        turn = np.concatenate([[0.0], np.cumsum(0.5 * (w[1:] + w[:-1]) * dt)])
        middle = 0.5 * (turn[1:] + turn[:-1])
        step = 0.5 * (v[1:] + v[:-1]) * dt
        dx, dy = step * np.cos(middle), step * np.sin(middle)
        t_mid = 0.5 * (t[1:] + t[:-1])
        gyro = rate is not None
        return Travel(
            wheel=speed is not None,
            gyro=gyro,
            still=still,
            t_s=t,
            turn_rad=turn,
            x=np.concatenate([[0.0], np.cumsum(dx)]),
            y=np.concatenate([[0.0], np.cumsum(dy)]),
            speed_mps=v,
            distance_m=float(np.abs(step).sum()),
            x_bias=float((dy * t_mid).sum()) if gyro else 0.0,
            y_bias=-float((dx * t_mid).sum()) if gyro else 0.0,
            rate_rps=float((0.5 * (raw[1:] + raw[:-1]) * dt).sum() / span) if span > 0 else 0.0,
        )

    def _refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
