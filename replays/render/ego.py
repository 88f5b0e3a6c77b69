"""The patrol car's true motion and what its receiver and wheels would have measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gnss.geodesy import LocalFrame
from replays.render.truth import Place

DT_S = 0.005


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a street lies: its frame's origin (WGS-84) and the course of +x, degrees clockwise from north."""

    lat_deg: float
    lon_deg: float
    course_deg: float

    def enu(self, x_m: float, y_m: float) -> tuple[float, float]:
        """East and north in metres of a street point (y is to the left of the course)."""
        s, c = math.sin(math.radians(self.course_deg)), math.cos(math.radians(self.course_deg))
        return x_m * s - y_m * c, x_m * c + y_m * s

    def geo(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Latitude and longitude in degrees of a street point."""
        return LocalFrame(self.lat_deg, self.lon_deg).to_geo(*self.enu(x_m, y_m))


@dataclass(frozen=True, slots=True)
class Ride:
    """Lane keeping along +x: speed sways smoothly about `speed_mps`; x is 0 at `start_s`."""

    start_s: float
    speed_mps: float
    sway_mps: float
    lane_y_m: float

    def speed(self, t_s: float) -> float:
        """Forward speed along the road, m/s."""
        return self.speed_mps + self.sway_mps * math.sin(2.0 * math.pi * (t_s - self.start_s) / 11.0)

    def place(self, t_s: float) -> Place:
        """True place of the vehicle reference point at stamp t."""
        t, w = t_s - self.start_s, 2.0 * math.pi / 11.0
        x = self.speed_mps * t + self.sway_mps / w * (1.0 - math.cos(w * t))
        y = self.lane_y_m + 0.10 * math.sin(2.0 * math.pi * t / 7.0)
        slope = 0.10 * 2.0 * math.pi / 7.0 * math.cos(2.0 * math.pi * t / 7.0) / self.speed(t_s)
        return Place(t_s, x, y, math.degrees(math.atan(slope)), 0.05 * math.sin(2.0 * math.pi * t / 1.7))

    def course_deg(self, t_s: float, anchor: Anchor) -> float:
        """Course over ground, degrees clockwise from north."""
        return (anchor.course_deg - self.place(t_s).yaw_deg) % 360.0

    def yaw_rate_dps(self, t_s: float) -> float:
        """Turn rate, degrees per second, positive to the left."""
        return (self.place(t_s + DT_S).yaw_deg - self.place(t_s - DT_S).yaw_deg) / (2.0 * DT_S)


@dataclass(frozen=True, slots=True)
class ReceiverError:
    """A receiver's error model per axis: first-order Gauss-Markov bias plus white noise."""

    bias_sigma_m: float = 0.5
    bias_tau_s: float = 60.0
    white_sigma_m: float = 0.3
    velocity_sigma_mps: float = 0.05
    h_acc_m: float = 0.6


def fixes_csv(
    ride: Ride, anchor: Anchor, start_utc_ns: int, stamps_s: list[float], error: ReceiverError, seed: int
) -> str:
    """fixes.csv of the drive format, with seeded errors; one row per stamp."""
    noise = np.random.default_rng([seed, 1])
    frame = LocalFrame(anchor.lat_deg, anchor.lon_deg)
    bias = noise.normal(0.0, error.bias_sigma_m, 2)
    rows, before = (
        ["stamp_ns,utc_ns,lat_deg,lon_deg,alt_m,h_acc_m,speed_mps,course_deg,course_acc_deg,quality,satellites,hdop"],
        stamps_s[0],
    )
    for t in stamps_s:
        keep = math.exp(-(t - before) / error.bias_tau_s)
        bias = keep * bias + noise.normal(0.0, error.bias_sigma_m * math.sqrt(1.0 - keep * keep), 2)
        before, place, stamp = t, ride.place(t), round(t * 1e9)
        wrong = bias + noise.normal(0.0, error.white_sigma_m, 2)
        east, north = anchor.enu(place.x_m, place.y_m)
        lat, lon = frame.to_geo(east + float(wrong[0]), north + float(wrong[1]))
        speed = ride.speed(t) + noise.normal(0.0, error.velocity_sigma_mps)
        course = ride.course_deg(t, anchor) + math.degrees(noise.normal(0.0, error.velocity_sigma_mps) / ride.speed(t))
        acc = math.degrees(error.velocity_sigma_mps / ride.speed(t))
        rows.append(
            f"{stamp},{start_utc_ns + stamp},{lat:.9f},{lon:.9f},{11.8 + noise.normal(0.0, 0.8):.3f},{error.h_acc_m},"
            f"{speed:.3f},{course % 360.0:.3f},{acc:.3f},1,{int(noise.integers(17, 24))},{noise.uniform(0.6, 0.9):.2f}"
        )
    return "\n".join(rows) + "\n"


def motion_csv(ride: Ride, stamps_s: list[float], seed: int) -> str:
    """motion.csv: wheel speed (0.03 m/s noise) and yaw rate (0.05 deg/s noise), positive to the left."""
    noise, rows = np.random.default_rng([seed, 2]), ["stamp_ns,speed_mps,yaw_rate_dps"]
    for t in stamps_s:
        speed, rate = ride.speed(t) + noise.normal(0.0, 0.03), ride.yaw_rate_dps(t) + noise.normal(0.0, 0.05)
        rows.append(f"{round(t * 1e9)},{speed:.4f},{rate:.4f}")
    return "\n".join(rows) + "\n"
