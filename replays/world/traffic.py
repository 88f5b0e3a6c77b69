"""Streets with parked, moving and queued vehicles, and the rides that fit among them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gnss.atlas import Zone
from gnss.geodesy import LocalFrame
from gnss.types import Array
from replays.world.lanes import STEP_S, Light, column, follow, put_column
from replays.world.layout import AGAIN_S, DAY_S, PROBLEMS, drawn_class, kerb_zone, park, put, put_anchors
from replays.world.making import Maker
from replays.world.ride import Ride
from replays.world.scene import World
from replays.world.streets import LAT0_DEG, LEAD_M, LON0_DEG, PAST_M, begun, maker_of

LENGTH_M, STOP_LINE_M, CROSSING_M = 240.0, 165.0, 14.0
FAR_LINE_M = -6.0
"""Oncoming cars have a second light, at the junction behind our start: its queue stands beside the left kerb."""
CAR_FRONT_M = 4.0
"""From the reference point of our car to its front bumper."""
_BEFORE_S, _AFTER_S = 16.0, 4.0
_SPEED_MPS = 8.3
_KINDS = ("no_stopping", "no_parking", "parking_bay")


def traffic(seed: int, days: int = 2, per_day: int = 3) -> World:
    """A street with a junction and a light: parked, moving and queued vehicles, zones, anchors and some problems.

    For `rides(world, passes, ..., days=days)` with at most `per_day` passes a day. Parked cars stay for hours, other
    ones each day, some of them come or go between passes. Moving and queued ones are made for each pass anew: oncoming
    ones of 3-12 m/s, one ahead of us at our own speed, in two passes of three a red light with a queue in our lane, and
    as often a queue of oncoming cars beside the left kerb. Only vehicles in forbidding kerb strips have a kind.
    """
    maker = maker_of(seed, "traffic")
    zones = _zones(maker)
    for side, along in ((1, STOP_LINE_M), (-1, STOP_LINE_M + CROSSING_M)):
        put(maker, "traffic_light", along, side)
    put_anchors(maker, LENGTH_M)
    for side in (1, -1):
        for along in maker.rng.uniform(5.0, STOP_LINE_M - 10.0, 5):
            put(maker, drawn_class(maker.rng, PROBLEMS), float(along), side)
    for zone, along_m, side in zones:
        kind = None if zone.kind == "parking_bay" else "illegal_parking"
        for day in range(days):
            _park_for_a_day(maker, along_m, side, kind, day * DAY_S, per_day)
    planned = []
    for day in range(days):
        for again in range(per_day):
            planned.append(_pass(maker, day * DAY_S + again * AGAIN_S))
    world = begun("traffic", seed, LENGTH_M, maker)
    lines = (STOP_LINE_M, STOP_LINE_M + CROSSING_M)
    return replace(world, zones=tuple(z for z, _, _ in zones), stop_lines_m=lines, rides=tuple(planned))


def _zones(maker: Maker) -> list[tuple[Zone, tuple[float, float], int]]:
    """Kerb strips of both sides cut into stretches of 24-40 m, each of a kind; beside queues nobody may stop."""
    frame = LocalFrame(LAT0_DEG, LON0_DEG)
    found: list[tuple[Zone, tuple[float, float], int]] = []
    for side in (1, -1):
        along, number = 2.0, int(maker.rng.integers(0, 3))
        while along < LENGTH_M - 24.0:
            end = along + float(maker.rng.uniform(24.0, 40.0))
            if along < STOP_LINE_M + CROSSING_M + 4.0 and end > STOP_LINE_M - 4.0:
                end = max(STOP_LINE_M - 4.0, along + 8.0)
            beside_queue = end > STOP_LINE_M - 35.0 and along < STOP_LINE_M if side > 0 else along < 30.0
            kind = "no_stopping" if beside_queue else _KINDS[number % 3]
            name = f"{kind}-{'right' if side > 0 else 'left'}-{len(found) + 1}"
            zone = kerb_zone(frame, maker.heading_deg, name, kind, (along, end), side)
            found.append((zone, (along, end), side))
            number += 1
            along = end + 2.0
            if STOP_LINE_M - 12.0 < along < STOP_LINE_M + CROSSING_M + 4.0:
                along = STOP_LINE_M + CROSSING_M + 4.0
    return found


def _park_for_a_day(
    maker: Maker, along_m: tuple[float, float], side: int, kind: str | None, day_s: float, per_day: int
) -> None:
    """Cars of one day in one stretch: most stay through all its passes, some come or go between two of them."""
    end_s = day_s + per_day * AGAIN_S
    whole = (day_s - 3600.0, end_s + 3600.0)
    share = 0.5 if kind is None else 0.4
    begun_at = len(maker.things)
    park(maker, along_m, side, kind, [whole], share)
    for number in range(begun_at, len(maker.things)):
        if per_day > 1 and maker.rng.random() < 0.25:
            moment = day_s + (int(maker.rng.integers(0, per_day - 1)) + 0.5) * AGAIN_S
            thing = maker.things[number]
            comes = maker.rng.random() < 0.5
            span = (moment, thing.to_s) if comes else (thing.from_s, moment)
            maker.things[number] = replace(thing, from_s=span[0], to_s=span[1])


def _pass(maker: Maker, start_s: float) -> Ride:
    """Traffic around one pass, and the ride that fits: it stops behind the queue until that has gone."""
    rng = maker.rng
    red = rng.random() < 2 / 3
    queued = int(rng.integers(1, 6)) if red else 0
    arrival_s = (STOP_LINE_M - 7.0 * (queued + 2) + LEAD_M) / _SPEED_MPS
    green_s = arrival_s + float(rng.uniform(6.0, 20.0)) if red else -math.inf
    times = np.arange(-_BEFORE_S, 75.0 + _AFTER_S + max(green_s, 0.0), STEP_S)
    # One car goes before us at our speed, a faster one before it; near a red light both keep away from us.
    gap = float(rng.uniform(40.0, 55.0) if red else rng.uniform(14.0, 24.0))
    before = -LEAD_M + CAR_FRONT_M + gap + 5.0 - _SPEED_MPS * _BEFORE_S
    rolling = [(before + 45.0, _SPEED_MPS + 2.0), (before, _SPEED_MPS)]
    ahead = column(maker, STOP_LINE_M - 1.0, queued, rolling, wanted=(_SPEED_MPS + 1.0, _SPEED_MPS + 3.0))
    ahead.wanted_mps[-1] = _SPEED_MPS
    fronts = follow(ahead, [Light(STOP_LINE_M, green_s)], times)
    ride = _fitting(ahead.sizes[-1][0], fronts[:, -1], times, start_s)
    put_column(maker, ahead, fronts, start_s + times, 1, 0.0)
    _oncoming(maker, start_s, times, green_s)
    return ride


def _fitting(length_m: float, front_m: Array, times: Array, start_s: float) -> Ride:
    """Our ride behind the last car of our lane: if that one stands, we stand behind it, and leave after it."""
    ride = Ride("planned", "car-1", start_s, start_m=-LEAD_M, end_m=LENGTH_M + PAST_M, speed_mps=_SPEED_MPS)
    speed = np.gradient(front_m, STEP_S)
    standing = np.flatnonzero((speed < 0.3) & (times > 0.0))
    if not len(standing):
        return ride
    at = float(front_m[standing[-1]]) - length_m - 2.5 - CAR_FRONT_M
    free_s = float(times[standing[-1]])
    for wait_s in np.arange(2.0, 120.0, 1.0):
        stopped = replace(ride, stops=((at, float(wait_s)),))
        if gap_m(stopped, front_m - length_m, times) > 1.5 and _leaves(stopped, at) > free_s:
            return stopped
    raise ValueError("no room behind the queue: this is a mistake of the generator")


def gap_m(ride: Ride, rear_m: Array, times: Array) -> float:
    """Least distance in metres from our front bumper to a rear bumper at times of the ride."""
    during = (times >= 0.0) & (times <= ride.duration_s)
    return float((rear_m[during] - ride.along(times[during]) - CAR_FRONT_M).min())


def _leaves(ride: Ride, at_m: float) -> float:
    """When the ride is a metre beyond its halt."""
    t = np.arange(0.0, ride.duration_s, STEP_S)
    return float(t[np.flatnonzero(ride.along(t) > at_m + 0.5)[0]])


def _oncoming(maker: Maker, start_s: float, times: Array, green_s: float) -> None:
    """Cars towards us: some queue before the junction while it is red, some at the light behind our start."""
    rng = maker.rng
    # Their way counts from far ahead of us down the street.
    origin = LENGTH_M + 160.0
    blocked = rng.random() < 2 / 3
    queued = int(rng.integers(3, 8)) if blocked else 0
    lights = [Light(origin - STOP_LINE_M - CROSSING_M, green_s)]
    if blocked:
        lights.append(Light(origin - FAR_LINE_M, math.inf))
    count = int(rng.integers(4, 8))
    starts = np.sort(rng.uniform(0.0, origin - 60.0, count))[::-1]
    rolling = [(float(x), float(rng.uniform(3.0, 12.0))) for x in starts]
    first = origin - FAR_LINE_M - 1.0
    cars = column(maker, first, queued, rolling, wanted=(3.0, 12.0))
    put_column(maker, cars, follow(cars, lights, times), start_s + times, -1, origin)


def jammed(maker: Maker, ride: Ride, ahead: int = 4, oncoming: int = 14) -> None:
    """A jam around a ride that stops and goes: cars ahead do what we do a little earlier, the other lane stands."""
    times = np.arange(-_BEFORE_S, ride.duration_s + _AFTER_S, STEP_S)
    sizes = [maker.size("car") for _ in range(ahead)]
    rear, late = 3.0, 0.0
    fronts = []
    for size in sizes:
        late += 1.2
        rear += size[0] + float(maker.rng.uniform(1.5, 3.0))
        fronts.append(ride.along(np.maximum(times + late, 0.0)) + CAR_FRONT_M + rear)
    still = np.zeros(ahead)
    cars = column(maker, 0.0, ahead, (), wanted=(5.0, 6.0))
    cars = replace(cars, names=("car",) * ahead, sizes=tuple(sizes), speed_mps=still)
    put_column(maker, cars, np.stack(fronts, axis=1), ride.start_s + times, 1, 0.0)
    other = column(maker, 90.0, oncoming, (), wanted=(4.0, 6.0))
    green = float(maker.rng.uniform(0.3, 0.7)) * ride.duration_s
    moved = follow(other, [Light(91.0, green), Light(105.0, math.inf)], times)
    put_column(maker, other, moved, ride.start_s + times, -1, 100.0)


def stop_and_go(rng: np.random.Generator, from_m: float, to_m: float) -> tuple[tuple[float, float], ...]:
    """Stops of a jam: every 9-16 m for 3-9 s."""
    stops: list[tuple[float, float]] = []
    at = from_m
    while at < to_m:
        stops.append((at, float(rng.uniform(3.0, 9.0))))
        at += float(rng.uniform(9.0, 16.0))
    return tuple(stops)
