"""Cars in one lane: each follows the one ahead and stops at a red light (Treiber's intelligent driver model)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnss.types import Array
from replays.world.layout import drawn_class
from replays.world.making import Maker
from replays.world.scene import LANE_M, Motion1D

STEP_S = 0.2
_SPEED_UP, _BRAKE, _HEADWAY_S = 1.3, 1.8, 1.2
_KINDS = {"car": 0.82, "truck": 0.08, "bus": 0.05, "motorcycle": 0.05}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Cars of a lane, the first ahead: front bumper (m along the way), speed, wanted speed, gap when standing."""

    names: tuple[str, ...]
    sizes: tuple[tuple[float, float, float], ...]
    front_m: Array
    speed_mps: Array
    wanted_mps: Array
    gap_m: Array


@dataclass(frozen=True, slots=True)
class Light:
    """A stop line at metres along the way, red until `green_s`."""

    at_m: float
    green_s: float


def column(
    maker: Maker, first_m: float, queued: int, rolling: Sequence[tuple[float, float]], *, wanted: tuple[float, float]
) -> Column:
    """`queued` cars stand from `first_m` backwards, 1.5-3 m apart; behind them roll cars at (front_m, speed) each."""
    names, sizes, front, speed, gaps = [], [], [], [], []
    at = first_m
    for number in range(queued + len(rolling)):
        name = drawn_class(maker.rng, _KINDS)
        size = maker.size(name)
        gap = float(maker.rng.uniform(1.5, 3.0))
        if number >= queued:
            roll = rolling[number - queued]
            at = min(roll[0], at - gap - 1.0) if number else roll[0]
            speed.append(roll[1])
        else:
            speed.append(0.0)
        names.append(name)
        sizes.append(size)
        front.append(at)
        gaps.append(gap)
        at -= size[0] + gap
    # The room that the next car keeps to this one is drawn with this one.
    wanted_mps = maker.rng.uniform(wanted[0], wanted[1], len(names))
    for number in range(queued, len(names)):
        wanted_mps[number] = max(wanted_mps[number], rolling[number - queued][1])
    return Column(tuple(names), tuple(sizes), np.array(front), np.array(speed), wanted_mps, np.array([0.0, *gaps[:-1]]))


def follow(cars: Column, lights: Sequence[Light], times_s: Array) -> Array:
    """Front bumpers (T, n) in metres along the way at times in steps of `STEP_S`."""
    length = np.array([s[0] for s in cars.sizes])
    front, speed = cars.front_m.copy(), cars.speed_mps.copy()
    out = np.empty((len(times_s), len(front)))
    reach = 2.0 * math.sqrt(_SPEED_UP * _BRAKE)
    for row, t in enumerate(times_s):
        out[row] = front
        room = np.concatenate([[np.inf], front[:-1] - length[:-1] - front[1:] - cars.gap_m[1:]])
        closing = speed - np.concatenate([[0.0], speed[:-1]])
        for light in lights:
            line = np.where((t < light.green_s) & (front <= light.at_m), light.at_m - front, np.inf)
            closing = np.where(line < room, speed, closing)
            room = np.minimum(room, line)
        wish = np.maximum(speed * _HEADWAY_S + speed * closing / reach, 0.0)
        push = (wish / np.maximum(room, 0.2)) ** 2
        rate = _SPEED_UP * (1.0 - (speed / cars.wanted_mps) ** 4 - push)
        # Who stands at less than his gap stays there.
        rate = np.where(room <= 0.3, np.minimum(rate, -speed / STEP_S), rate)
        fresh = np.maximum(speed + STEP_S * np.clip(rate, -6.0, _SPEED_UP), 0.0)
        front = front + 0.5 * (speed + fresh) * STEP_S
        speed = fresh
    return out


def put_column(maker: Maker, cars: Column, fronts: Array, times_s: Array, direction: int, origin_m: float) -> None:
    """Add the cars as things; a front at way w is at `origin_m` + direction x w along the street."""
    every = slice(None, None, 2)
    for number, (name, size) in enumerate(zip(cars.names, cars.sizes, strict=True)):
        way = fronts[every, number] - size[0] / 2
        lane = direction * (LANE_M / 2 + float(maker.rng.uniform(-0.15, 0.15)))
        turn = 0.0 if direction > 0 else 180.0
        drive = Motion1D(tuple(times_s[every].tolist()), tuple((way - way[0]).tolist()))
        maker.add(
            name, origin_m + direction * float(way[0]), lane, turn_deg=turn, base_m=0.0,
            span_s=(float(times_s[0]), float(times_s[-1])), drive=drive, size_m=size,
        )  # fmt: skip
