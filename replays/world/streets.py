"""Generators of worlds, all seeded, and the rides through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gnss.geodesy import LocalFrame
from replays.world.chance import stream
from replays.world.layout import (
    AGAIN_S,
    DAY_S,
    PROBLEMS,
    blocked,
    drawn_class,
    kerb_zone,
    pass_start_s,
    put,
    put_anchors,
    put_problems,
)
from replays.world.making import Maker
from replays.world.ride import Ride
from replays.world.scene import KERB_M, LANE_M, PAVEMENT_M, World, catalogue

LAT0_DEG, LON0_DEG = 30.267, 120.159
START_UTC_NS = 1_779_933_600_000_000_000
"""2026-05-28 02:00 UTC, ten in the morning there."""
LEAD_M, PAST_M = 42.0, 6.0
"""A ride begins so far before the street's things and ends so far behind them."""


def begun(name: str, seed: int, length_m: float, maker: Maker) -> World:
    """A world with the maker's things."""
    return World(
        name, seed, LAT0_DEG, LON0_DEG, START_UTC_NS, maker.heading_deg, length_m, tuple(maker.things)
    )  # fmt: skip


def maker_of(seed: int, name: str) -> Maker:
    """A maker for a street in a random direction."""
    rng = stream(seed, name)
    return Maker(float(rng.uniform(0.0, 360.0)), rng)


def solo(seed: int, class_name: str, side_m: float, lost_at_m: float | None = None) -> tuple[World, Ride]:
    """One thing `side_m` to the right (left below 0) of the car's lane, and one pass from 42 m before it.

    The pass ends 6 m behind it, or when the reference point of the car is `lost_at_m` away from its centre. The thing
    stands on the road's level; no zone forbids parking.
    """
    maker = maker_of(seed, "solo")
    shape = catalogue().classes[class_name]
    kind = None if shape.role == "vehicle" else shape.kind
    maker.add(class_name, LEAD_M, LANE_M / 2 + side_m, kind=kind, base_m=0.0)
    rest = -PAST_M if lost_at_m is None else math.sqrt(max(lost_at_m**2 - side_m**2, 0.0))
    world = begun("solo", seed, LEAD_M - rest, maker)
    return world, Ride("solo", "car-1", 0.0, end_m=LEAD_M - rest)


def street(seed: int, spacing_m: float = 12.0, length_m: float = 200.0, *, anchors: bool = True) -> World:
    """Problems of mixed classes along both kerbs, on average every `spacing_m` of each, and anchors; all stay.

    Everything stands at least 2.5 m apart, centre to centre.
    """
    maker = maker_of(seed, "street")
    put_problems(maker, length_m, spacing_m)
    if anchors:
        put_anchors(maker, length_m)
    return begun("street", seed, length_m, maker)


def living(seed: int, passes: int = 12, days: int = 12, *, spacing_m: float = 14.0, length_m: float = 200.0) -> World:
    """A street whose problems are born and vanish between passes, with trucks and buses that hide some at times.

    For `rides(world, passes, ..., days=days)` with the same numbers. A third is there all the time, a third vanishes
    (half of the passes at the end come after), a third is born. Occluders stand in parking bays, anew for each pass.
    """
    maker = maker_of(seed, "living")
    starts = [pass_start_s(k, passes, days) for k in range(passes)]
    for side in (1, -1):
        along = float(maker.rng.uniform(0.0, spacing_m))
        while along < length_m:
            put(maker, drawn_class(maker.rng, PROBLEMS), along, side, _fate(maker, starts))
            along += 4.0 + float(maker.rng.exponential(spacing_m - 4.0))
    put_anchors(maker, length_m)
    _hide_some(maker, starts)
    world = begun("living", seed, length_m, maker)
    frame = LocalFrame(LAT0_DEG, LON0_DEG)
    whole = (-LEAD_M, length_m + LEAD_M)
    bays = [
        kerb_zone(frame, maker.heading_deg, f"bay-{name}", "parking_bay", whole, side)
        for name, side in (("right", 1), ("left", -1))
    ]
    return replace(world, zones=tuple(bays))


def _fate(maker: Maker, starts: Sequence[float]) -> tuple[float, float]:
    """From when to when a problem exists: always, until a time before the middle of the passes, or from a time."""
    draw, count = maker.rng.random(), len(starts)
    if draw < 1 / 3 or count < 3:
        return -math.inf, math.inf
    number = int(maker.rng.integers(1, max(count // 2, 1) + 1))
    share = float(maker.rng.uniform(0.2, 0.8))
    moment = (1 - share) * (starts[number - 1] + AGAIN_S / 4) + share * starts[number]
    return (-math.inf, moment) if draw < 2 / 3 else (moment, math.inf)


def _hide_some(maker: Maker, starts: Sequence[float]) -> None:
    """Beside half of the problems on the pavement, in two passes of five, one or two trucks or buses in the strip."""
    behind = [t for t in maker.things if t.kind is not None and t.base_m == PAVEMENT_M]
    turn = math.radians(maker.heading_deg)
    for thing in behind:
        if maker.rng.random() < 0.5:
            continue
        along = math.sin(turn) * thing.east_m + math.cos(turn) * thing.north_m
        side = 1 if math.cos(turn) * thing.east_m - math.sin(turn) * thing.north_m > 0 else -1
        for start in starts:
            if maker.rng.random() < 0.4 and thing.exists(start):
                _row(maker, along + float(maker.rng.uniform(0.8, 1.6)), side, start)


def _row(maker: Maker, front_m: float, side: int, start_s: float) -> None:
    """A truck or bus up to `front_m` along the street, and perhaps one behind it, around the start of a pass.

    They reach far back from the thing they hide: else a car that comes sees it past their tail.
    """
    span = (start_s - AGAIN_S / 4, start_s + AGAIN_S / 4)
    for _ in range(int(maker.rng.integers(1, 3))):
        name = drawn_class(maker.rng, {"bus": 0.5, "truck": 0.5})
        size = maker.size(name)
        at, right = front_m - size[0] / 2, side * (KERB_M - 0.15 - size[1] / 2)
        if not blocked(maker, at, right, size, span):
            turn_deg = 0.0 if side > 0 else 180.0
            maker.add(name, at, right, turn_deg=turn_deg, base_m=0.0, span_s=span, size_m=size)
        front_m -= size[0] + float(maker.rng.uniform(0.8, 1.6))


def rides(
    world: World,
    passes: int = 2,
    vehicles: int = 1,
    cameras: tuple[str, ...] = ("front",),
    days: int | None = None,
    *,
    both_ways: bool = False,
    speed_mps: float = 8.3,
) -> list[Ride]:
    """Passes through a world by vehicles in turn, spread over `days` (default: a day each), 40 minutes apart in a day.

    With `both_ways` every other pass drives back. A world with traffic makes room for the rides it planned, so only
    starts that are among them are possible (ValueError): give it the days and passes per day it was made for.
    """
    planned = {ride.start_s: ride for ride in world.rides}
    found = []
    for number in range(passes):
        start_s = pass_start_s(number, passes, days or passes)
        name, vehicle = f"{world.name}-{number + 1}", f"car-{number % vehicles + 1}"
        if planned:
            if start_s not in planned:
                day, again = divmod(start_s, DAY_S)
                where = f"day {day:.0f}, pass {again / AGAIN_S:.0f} of it"
                raise ValueError(f"world {world.name!r} has no traffic for a ride on {where}")
            found.append(replace(planned[start_s], name=name, vehicle=vehicle, cameras=cameras))
            continue
        back = both_ways and number % 2 == 1
        begin, end = (-PAST_M, world.length_m + LEAD_M) if back else (-LEAD_M, world.length_m + PAST_M)
        way = -1 if back else 1
        found.append(
            Ride(
                name, vehicle, start_s, way * LANE_M / 2, way, speed_mps, start_m=begin, end_m=end, cameras=cameras
            )
        )  # fmt: skip
    return found
