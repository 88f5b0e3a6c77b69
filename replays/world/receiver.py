"""The simulated receiver, wheels and gyro of a ride."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gnss.types import Array, Fix, FixQuality, Motion
from replays.world.card import NoiseCard
from replays.world.chance import gauss_markov, stream
from replays.world.ride import Ride
from replays.world.scene import World

TAIL_S = 2.0
"""Fixes and wheels go on after the last frame, so that every frame lies between two fixes."""
_COURSE_FROM_MPS = 0.5
_STILL_MPS = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class GnssTrack:
    """Fixes and what they hide: stamps (n,) s, slow error (n, 2) and whole error (n, 2) east/north in metres."""

    fixes: tuple[Fix, ...]
    t_s: Array
    bias_m: Array
    error_m: Array


def receive(world: World, ride: Ride, card: NoiseCard, seed: int) -> GnssTrack:
    """Fixes of a ride; jumps of the ride are added, its outages left out."""
    rng = stream(seed, ride.name, "gnss")
    step = 1.0 / card.gnss_hz
    t: Array = np.arange(math.floor((ride.duration_s + TAIL_S) / step) + 1, dtype=np.float64) * step
    slow = card.gnss_bias_m * gauss_markov(rng, (len(t), 2), step, card.gnss_tau_s)
    error = slow + card.gnss_white_m * rng.standard_normal((len(t), 2))
    for begin, end, east, north in ride.jumps:
        error[(t >= begin) & (t < end)] += (east, north)
    place_e, place_n, yaw = ride.poses(world, t)
    lat, lon = world.frame.to_geo(place_e + error[:, 0], place_n + error[:, 1])
    speed = ride.state(t)[1]
    said = np.abs(speed + card.speed_mps * rng.standard_normal(len(t)))
    course_sigma = np.degrees(np.arctan(card.course_mps / np.maximum(speed, 0.05)))
    course = (90.0 - np.degrees(yaw) + course_sigma * rng.standard_normal(len(t))) % 360.0
    height = world.road(ride.along(t), card.grade_percent)[0] + 2.0 * card.gnss_bias_m * rng.standard_normal(len(t))
    sigma = max(math.hypot(card.gnss_bias_m, card.gnss_white_m), 0.01)
    start_ns = world.start_utc_ns + round(ride.start_s * 1e9)
    heard = np.ones(len(t), dtype=bool)
    for begin, end in ride.outages:
        heard &= (t < begin) | (t >= end)
    fixes = []
    for i in np.flatnonzero(heard):
        stamp = round(float(t[i]) * 1e9)
        moving = speed[i] >= _COURSE_FROM_MPS
        fixes.append(
            Fix(
                stamp, start_ns + stamp, float(lat[i]), float(lon[i]), float(height[i]), sigma, float(said[i]),
                float(course[i]) if moving else None,
                max(float(course_sigma[i]), 0.01) if moving else None,
                FixQuality(card.quality), 14, 0.8,
            )
        )  # fmt: skip
    return GnssTrack(tuple(fixes), t, slow, error)


def roll_along(world: World, ride: Ride, card: NoiseCard, seed: int) -> list[Motion]:
    """Wheel speed and yaw rate of a ride; scale and gyro bias are constants of the ride. Standing wheels read zero."""
    if card.motion_hz is None:
        return []
    rng = stream(seed, ride.name, "wheels")
    scale = 1.0 + card.odometer_scale * float(rng.standard_normal())
    bias = card.gyro_bias_dps * float(rng.standard_normal())
    t: Array = np.arange(math.floor((ride.duration_s + TAIL_S) * card.motion_hz) + 1, dtype=np.float64) / card.motion_hz
    speed = ride.state(t)[1]
    read = np.maximum(scale * speed + card.odometer_mps * rng.standard_normal(len(t)), 0.0)
    read = np.where(speed < _STILL_MPS, 0.0, read)
    before, after = ride.poses(world, t - 0.025)[2], ride.poses(world, t + 0.025)[2]
    rate = np.degrees(np.angle(np.exp(1j * (after - before)))) / 0.05
    rate += bias + card.gyro_dps * rng.standard_normal(len(t))
    stamps = [round(float(s) * 1e9) for s in t]
    return [Motion(s, v, r) for s, v, r in zip(stamps, read.tolist(), rate.tolist(), strict=True)]
