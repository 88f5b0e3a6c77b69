"""One pass of one vehicle through a world: where it is at any time, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gnss.types import Array
from replays.world.chance import stream
from replays.world.scene import LANE_M, World

BRAKE_MPS2 = 1.5
SPEED_UP_MPS2 = 1.2
SWAY_M = (0.12, 0.08)


@dataclass(frozen=True, slots=True)
class Ride:
    """A pass from `start_m` to `end_m` along the street's axis (back for direction -1), at `lane_m` to its right.

    `start_s` is UTC seconds since the world's start; times of a ride count from there. `stops` are (metres along the
    axis, seconds). It brakes with 1.5 m/s2, speeds up with 1.2 m/s2 and sways by at most 0.2 m about its lane.
    What goes wrong in it: `jumps` (from_s, to_s, east_m, north_m) of the receiver, `outages` (from_s, to_s) without
    fixes, `knocks` (at_s, camera, yaw_deg, pitch_deg) that turn a mount from then on.
    """

    name: str
    vehicle: str
    start_s: float
    lane_m: float = LANE_M / 2
    direction: int = 1
    speed_mps: float = 8.3
    stops: tuple[tuple[float, float], ...] = ()
    start_m: float = 0.0
    end_m: float = 200.0
    cameras: tuple[str, ...] = ("front",)
    fps: float = 10.0
    jumps: tuple[tuple[float, float, float, float], ...] = ()
    outages: tuple[tuple[float, float], ...] = ()
    knocks: tuple[tuple[float, str, float, float], ...] = ()

    @property
    def duration_s(self) -> float:
        """Seconds until the end is reached."""
        return _plan(self)[1]

    def state(self, t_s: Array) -> tuple[Array, Array, Array]:
        """Metres driven, speed (m/s) and acceleration (m/s2) at seconds of the ride; it goes on beyond its end."""
        legs, _ = _plan(self)
        leg = np.clip(np.searchsorted(legs[0], t_s, side="right") - 1, 0, legs.shape[1] - 1)
        dt = t_s - legs[0, leg]
        return (
            legs[1, leg] + legs[2, leg] * dt + 0.5 * legs[3, leg] * dt**2,
            legs[2, leg] + legs[3, leg] * dt,
            legs[3, leg],
        )

    def along(self, t_s: Array) -> Array:
        """Metres along the street's axis."""
        way = self.state(t_s)[0]
        return self.start_m + way if self.direction > 0 else self.end_m - way

    def poses(self, world: World, t_s: Array) -> tuple[Array, Array, Array]:
        """East, north (m) and yaw (rad, counter-clockwise from east) of the reference point at seconds of the ride."""
        way = self.state(t_s)[0]
        along = self.start_m + way if self.direction > 0 else self.end_m - way
        right, drift = self._sway(world, way)
        east, north = world.at(along, right)
        turn = math.radians(world.heading_deg)
        forward_e = self.direction * math.sin(turn) + drift * math.cos(turn)
        forward_n = self.direction * math.cos(turn) - drift * math.sin(turn)
        return east, north, np.arctan2(forward_n, forward_e)

    def pose(self, world: World, t_s: float) -> tuple[float, float, float]:
        """East, north (m), yaw (rad, counter-clockwise from east) at one time."""
        east, north, yaw = self.poses(world, np.array([t_s]))
        return float(east[0]), float(north[0]), float(yaw[0])

    def _sway(self, world: World, way_m: Array) -> tuple[Array, Array]:
        """Metres right of the axis, and their change per metre driven."""
        rng = stream(world.seed, "sway", self.name)
        numbers, phases = 2 * math.pi / rng.uniform(60.0, 150.0, 2), rng.uniform(0.0, 2 * math.pi, 2)
        angle, share = way_m[..., None] * numbers + phases, np.array(SWAY_M)
        return self.lane_m + (share * np.sin(angle)).sum(axis=-1), (share * numbers * np.cos(angle)).sum(axis=-1)


@lru_cache(maxsize=512)
def _plan(ride: Ride) -> tuple[Array, float]:
    """Legs (4, L) of constant acceleration: start time, metres, speed, acceleration; and when the end is reached."""
    length = ride.end_m - ride.start_m
    if length <= 0 or ride.speed_mps <= 0:
        raise ValueError(f"ride {ride.name!r} goes nowhere: {ride.start_m}..{ride.end_m} m at {ride.speed_mps} m/s")
    legs: list[tuple[float, float, float, float]] = []
    t, way, speed = 0.0, 0.0, ride.speed_mps
    places = [(at - ride.start_m if ride.direction > 0 else ride.end_m - at, wait) for at, wait in ride.stops]
    for stop, wait in sorted(places):
        t, way, speed = _stop(ride, legs, (t, way, speed), stop)
        legs.append((t, way, 0.0, 0.0))
        t += wait
    if speed < ride.speed_mps:
        legs.append((t, way, speed, SPEED_UP_MPS2))
        rise = (ride.speed_mps - speed) / SPEED_UP_MPS2
        t, way = t + rise, way + 0.5 * (speed + ride.speed_mps) * rise
    legs.append((t, way, ride.speed_mps, 0.0))
    table = np.array(legs).T
    table.setflags(write=False)
    last = int(np.searchsorted(table[1], length, side="right")) - 1
    t0, w0, v0, a0 = (float(v) for v in table[:, last])
    rest = length - w0
    return table, t0 + (rest / v0 if a0 == 0 else (math.sqrt(v0**2 + 2 * a0 * rest) - v0) / a0)


def _stop(
    ride: Ride, legs: list[tuple[float, float, float, float]], state: tuple[float, float, float], stop: float
) -> tuple[float, float, float]:
    """Legs from a state (time, metres, speed) to a halt at `stop` metres; returns the state there."""
    t, way, speed = state
    a, b, rest = SPEED_UP_MPS2, BRAKE_MPS2, stop - way
    peak = math.sqrt(max(min(ride.speed_mps**2, (2 * a * b * rest + b * speed**2) / (a + b)), 0.0))
    if rest <= 0 or peak < speed - 1e-9:
        raise ValueError(f"ride {ride.name!r} cannot stop {stop:.1f} m after its start: it drives {speed:.1f} m/s")
    for target, rate in ((peak, a), (peak, 0.0), (0.0, -b)):
        if rate == 0.0:
            span = (rest - peak**2 / (2 * b) - (way - state[1])) / max(peak, 1e-9)
        else:
            span = (target - speed) / rate
        if span > 1e-9:
            legs.append((t, way, speed, rate))
            t, way, speed = t + span, way + speed * span + 0.5 * rate * span**2, target
    return t, stop, 0.0
