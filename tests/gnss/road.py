"""A simulated car with a known way: the truth that ego tests compare with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import LocalFrame
from gnss.types import Array, Fix, FixQuality, Motion

FRAME = LocalFrame(30.25, 120.16)
START_NS = 5_000_000_000
UTC_NS = 1_790_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class Road:
    """Truth at 100 Hz: seconds, east, north (m), heading (rad, clockwise), speed (m/s), left turn rate (rad/s)."""

    t: Array
    east: Array
    north: Array
    heading: Array
    speed: Array
    rate: Array

    def at(self, stamp_ns: int) -> tuple[float, float, float]:
        """East, north, heading at a stamp."""
        t = (stamp_ns - START_NS) * 1e-9
        return tuple(float(np.interp(t, self.t, a)) for a in (self.east, self.north, self.heading))  # type: ignore[return-value]


def drive(seconds: float = 120.0, stop_at_s: float | None = None) -> Road:
    """A town drive at 5-11 m/s with bends, and a stop of 15 s if asked for."""
    t = np.arange(0.0, seconds, 0.01)
    speed = 8.0 + 3.0 * np.sin(t / 7.0)
    if stop_at_s is not None:
        speed *= np.clip(np.maximum((stop_at_s - t) / 4.0, (t - stop_at_s - 15.0) / 4.0), 0.0, 1.0)
    rate = 0.15 * np.sin(t / 9.0) * (speed / 8.0)
    heading = 0.7 - np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1]) * 0.01)])
    ve, vn = speed * np.sin(heading), speed * np.cos(heading)
    east = np.concatenate([[0.0], np.cumsum(0.5 * (ve[1:] + ve[:-1]) * 0.01)])
    north = np.concatenate([[0.0], np.cumsum(0.5 * (vn[1:] + vn[:-1]) * 0.01)])
    return Road(t, east, north, heading, speed, rate)


def motions(road: Road, rng: np.random.Generator, hz: int = 20) -> list[Motion]:
    """Wheel speed (1 % scale error, 2 cm/s noise) and yaw rate (0.3 deg/s bias, 0.2 deg/s noise)."""
    step = 100 // hz
    return [
        Motion(
            START_NS + round(float(road.t[i]) * 1e9),
            float(1.01 * road.speed[i] + (rng.normal(0, 0.02) if road.speed[i] > 0 else 0.0)),
            float(np.degrees(road.rate[i]) + 0.3 + rng.normal(0, 0.2)),
        )
        for i in range(0, len(road.t), step)
    ]


def fixes(
    road: Road,
    rng: np.random.Generator,
    white_m: float = 0.3,
    bias_m: float = 0.0,
    lever: tuple[float, float] = (0.0, 0.0),
    h_acc_m: float | None = 0.5,
    course: bool = True,
    bias_tau_s: float = 60.0,
) -> list[Fix]:
    """Fixes at 1 Hz: white noise, a Gauss-Markov bias, Doppler speed to 0.05 m/s, course to 0.1/v rad."""
    out, bias = [], rng.normal(0.0, bias_m, 2) if bias_m else np.zeros(2)
    keep = math.exp(-1.0 / bias_tau_s)
    for i in range(0, len(road.t), 100):
        h, v = float(road.heading[i]), float(road.speed[i])
        east = road.east[i] + lever[0] * math.sin(h) - lever[1] * math.cos(h) + bias[0] + rng.normal(0, white_m)
        north = road.north[i] + lever[0] * math.cos(h) + lever[1] * math.sin(h) + bias[1] + rng.normal(0, white_m)
        lat, lon = FRAME.to_geo(float(east), float(north))
        angle = h + rng.normal(0, 0.1 / v) if v > 0.2 else rng.uniform(0, 2 * math.pi)
        stamp = round(float(road.t[i]) * 1e9)
        out.append(
            Fix(
                stamp_ns=START_NS + stamp,
                utc_ns=UTC_NS + stamp,
                lat_deg=lat,
                lon_deg=lon,
                alt_m=12.0,
                h_acc_m=h_acc_m,
                speed_mps=max(0.0, v + rng.normal(0, 0.05)) if course else None,
                course_deg=math.degrees(angle) % 360.0 if course else None,
                quality=FixQuality.SINGLE,
                satellites=12,
                hdop=0.8,
            )
        )
        if bias_m:
            bias = keep * bias + rng.normal(0.0, bias_m * math.sqrt(1 - keep * keep), 2)
    return out
