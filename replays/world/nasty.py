"""Worlds in which something goes badly wrong: each a world, its rides and the card to sense them with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from gnss.atlas import Zone
from gnss.geodesy import LocalFrame
from replays.world.card import CARD, NoiseCard
from replays.world.layout import AGAIN_S, kerb_zone, park, put, put_anchors
from replays.world.ride import Ride
from replays.world.scene import LANE_M, World
from replays.world.streets import LAT0_DEG, LON0_DEG, begun, maker_of, rides, street
from replays.world.traffic import jammed, stop_and_go

Nasty = tuple[World, list[Ride], NoiseCard]
JUMP_M, JUMP_S = 20.0, 10.0
OUTAGE_S = 15.0
CLOCK_S = 0.2
TWINS_M = 3.0
KNOCK_YAW_DEG, KNOCK_PITCH_DEG = 1.5, 1.0
_JAM_M = 110.0


def gnss_jump(seed: int) -> Nasty:
    """Multipath: in the second of three passes the receiver is 20 m off for 10 s, and says nothing of it."""
    world = street(seed)
    turn = float(maker_of(seed, "jump").rng.uniform(0.0, 2 * math.pi))
    found = rides(world, 3)
    begin = found[1].duration_s / 2 - JUMP_S / 2
    jump = (begin, begin + JUMP_S, JUMP_M * math.cos(turn), JUMP_M * math.sin(turn))
    found[1] = replace(found[1], jumps=(jump,))
    return world, found, CARD


def gnss_outage(seed: int) -> Nasty:
    """In the second of three passes there is no fix for 15 s."""
    world = street(seed)
    found = rides(world, 3)
    begin = found[1].duration_s / 2 - OUTAGE_S / 2
    found[1] = replace(found[1], outages=((begin, begin + OUTAGE_S),))
    return world, found, CARD


def clock_offset(seed: int) -> Nasty:
    """The camera's stamps are 200 ms late in all of three passes."""
    world = street(seed)
    return world, rides(world, 3), replace(CARD, name="card-1, camera 200 ms late", clock_offset_s=CLOCK_S)


def twins(seed: int) -> Nasty:
    """Pairs of things of one class and one look, 3 m apart along the street; three passes."""
    maker = maker_of(seed, "twins")
    along, number = 6.0, 0
    while along < 190.0:
        side = 1 if number % 2 == 0 else -1
        first = put(maker, ("garbage", "garbage_bin_overflow", "pothole", "manhole_open")[number % 4], along, side)
        if first is not None:
            turn = math.radians(maker.heading_deg)
            right = math.cos(turn) * first.east_m - math.sin(turn) * first.north_m
            maker.add(first.class_name, along + TWINS_M, right, kind=first.kind, base_m=first.base_m, look=first.look)
        along += float(maker.rng.uniform(9.0, 14.0))
        number += 1
    put_anchors(maker, 200.0)
    world = begun("twins", seed, 200.0, maker)
    return world, rides(world, 3), CARD


def mount_knock(seed: int) -> Nasty:
    """Half through the first of three passes the camera is knocked 1.5 degrees left and 1 down, and stays so."""
    world = street(seed)
    found = rides(world, 3)
    at_s = found[0].duration_s / 2
    knocked = [
        replace(ride, knocks=((at_s if number == 0 else 0.0, "front", KNOCK_YAW_DEG, KNOCK_PITCH_DEG),))
        for number, ride in enumerate(found)
    ]
    return world, knocked, CARD


def jam(seed: int) -> Nasty:
    """We creep through a jam past cars parked where nobody may stop, and others in a bay; twice, 40 minutes apart."""
    maker = maker_of(seed, "jam")
    frame = LocalFrame(LAT0_DEG, LON0_DEG)
    stretches = (("no_stopping", (10.0, 60.0), 1), ("parking_bay", (64.0, 104.0), 1), ("no_stopping", (20.0, 80.0), -1))
    zones: list[Zone] = []
    span = (-3600.0, AGAIN_S + 3600.0)
    for kind, along_m, side in stretches:
        zones.append(kerb_zone(frame, maker.heading_deg, f"{kind}-{len(zones) + 1}", kind, along_m, side))
        park(maker, along_m, side, None if kind == "parking_bay" else "illegal_parking", [span], 0.5)
    put_anchors(maker, _JAM_M)
    found = []
    for number in range(2):
        stops = stop_and_go(maker.rng, 6.0, 85.0)
        ride = Ride(
            f"jam-{number + 1}", "car-1", number * AGAIN_S, LANE_M / 2, speed_mps=4.0, stops=stops,
            start_m=-10.0, end_m=_JAM_M + 6.0,
        )  # fmt: skip
        jammed(maker, ride)
        found.append(ride)
    return replace(begun("jam", seed, _JAM_M, maker), zones=tuple(zones)), found, CARD


NASTY: dict[str, Callable[[int], Nasty]] = {
    "gnss_jump": gnss_jump,
    "gnss_outage": gnss_outage,
    "clock_offset": clock_offset,
    "twins": twins,
    "mount_knock": mount_knock,
    "jam": jam,
}
