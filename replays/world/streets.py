"""Generators of worlds, all seeded."""

from __future__ import annotations

import math

from replays.world.chance import stream
from replays.world.making import Maker
from replays.world.ride import Ride
from replays.world.scene import LANE_M, World, catalogue

LAT0_DEG, LON0_DEG = 30.267, 120.159
START_UTC_NS = 1_779_933_600_000_000_000
"""2026-05-28 02:00 UTC, ten in the morning there."""
_LEAD_M, _PAST_M = 42.0, 4.0


def begun(name: str, seed: int, length_m: float, maker: Maker, **more: object) -> World:
    """A world with the maker's things."""
    return World(
        name, seed, LAT0_DEG, LON0_DEG, START_UTC_NS, maker.heading_deg, length_m, tuple(maker.things),
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def maker_of(seed: int, name: str) -> Maker:
    """A maker for a street in a random direction."""
    rng = stream(seed, name)
    return Maker(float(rng.uniform(0.0, 360.0)), rng)


def solo(seed: int, class_name: str, side_m: float, lost_at_m: float | None = None) -> tuple[World, Ride]:
    """One thing `side_m` to the right (left below 0) of the car's lane, and one pass from 42 m before it.

    The pass ends 4 m behind it, or when the reference point of the car is `lost_at_m` away from its centre. The thing
    stands on the road's level; no zone forbids parking.
    """
    maker = maker_of(seed, "solo")
    shape = catalogue().classes[class_name]
    kind = None if shape.role == "vehicle" else shape.kind
    maker.add(class_name, _LEAD_M, LANE_M / 2 + side_m, kind=kind, base_m=0.0)
    rest = -_PAST_M if lost_at_m is None else math.sqrt(max(lost_at_m**2 - side_m**2, 0.0))
    world = begun("solo", seed, _LEAD_M - rest, maker)
    return world, Ride("solo", "car-1", 0.0, end_m=_LEAD_M - rest)
