"""Where things stand in a street: kerbs, lanes and pavement, anchors, problems, zones, and the times of passes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import shapely

from gnss.atlas import Zone
from gnss.geodesy import LocalFrame
from gnss.hours import parse_hours
from perception.catalogue import ObjectClass
from replays.world.making import Maker
from replays.world.scene import KERB_M, LANE_M, Thing, catalogue, street_point
from replays.world.shapes import is_box

DAY_S = 86_400.0
AGAIN_S = 2_400.0
"""A second pass of a day comes 40 minutes later: beyond any dwell, and another look at everything."""
APART_M = 2.5
PROBLEMS = {
    "garbage": 0.24, "garbage_bin_overflow": 0.18, "street_stall": 0.12, "pothole": 0.18, "manhole_open": 0.08,
    "manhole_broken": 0.06, "sign_damaged": 0.04, "bin_damaged": 0.05, "guardrail_damaged": 0.05,
}  # fmt: skip
RIGHT_M: Mapping[str, tuple[float, float]] = {
    "garbage": (4.4, 7.4), "garbage_bin_overflow": (5.9, 6.9), "street_stall": (6.6, 8.0), "pothole": (0.5, 3.0),
    "manhole_open": (0.6, 2.8), "manhole_broken": (0.6, 2.8), "manhole_closed": (0.6, 2.8), "sign_damaged": (5.8, 6.0),
    "bin_damaged": (5.9, 6.7), "garbage_bin": (5.9, 6.7), "guardrail_damaged": (5.6, 5.7), "pole": (5.75, 5.95),
    "traffic_sign": (5.8, 6.0), "traffic_light": (5.8, 6.0), "motorcycle": (6.2, 7.8), "bicycle": (6.2, 7.8),
}  # fmt: skip
"""How far from the street's axis a class stands."""
ANCHORS: Mapping[str, tuple[float, float]] = {
    "pole": (25.0, 40.0), "traffic_sign": (45.0, 80.0), "manhole_closed": (22.0, 45.0), "garbage_bin": (50.0, 90.0),
}  # fmt: skip
"""Gaps in metres along each kerb."""


def pass_start_s(number: int, passes: int, days: int) -> float:
    """Start of pass `number` (from 0) of `passes` over `days`: 40 minutes apart in one, later days have more.

    So that what a last day shows can be confirmed by a second look.
    """
    day = ((number + 1) * days - 1) // passes
    first = -(-(day * passes + 1) // days) - 1
    return day * DAY_S + (number - first) * AGAIN_S


def is_free(maker: Maker, along_m: float, right_m: float, apart_m: float = APART_M) -> bool:
    """Is nothing standing within `apart_m` of a place?"""
    east, north = street_point(maker.heading_deg, along_m, right_m)
    return all(math.hypot(t.east_m - east, t.north_m - north) >= apart_m for t in maker.things if t.drive is None)


def blocked(
    maker: Maker, along_m: float, right_m: float, size_m: tuple[float, float, float], span_s: tuple[float, float]
) -> bool:
    """Would something along the street that long and wide stand in another thing that exists in the same time?"""
    turn = math.radians(maker.heading_deg)
    sin, cos = math.sin(turn), math.cos(turn)
    for t in maker.things:
        if t.drive is not None or t.from_s >= span_s[1] or t.to_s <= span_s[0] or t.size_m[2] == 0.0:
            continue
        reach = t.size_m[:2] if is_box(t) else (max(t.size_m[:2]),) * 2
        along, right = sin * t.east_m + cos * t.north_m, cos * t.east_m - sin * t.north_m
        ahead, aside = 0.5 * (size_m[0] + reach[0]) + 0.3, 0.5 * (size_m[1] + reach[1])
        if abs(along - along_m) < ahead and abs(right - right_m) < aside:
            return True
    return False


def put(
    maker: Maker, class_name: str, along_m: float, side: int, span_s: tuple[float, float] = (-math.inf, math.inf)
) -> Thing | None:
    """Put a thing of a class beside the street (side +1 right, -1 left) where it is free; None when it is not.

    What is a problem by itself gets its kind; vehicles, anchors and healthy things have none.
    """
    low, high = RIGHT_M[class_name]
    shape: ObjectClass = catalogue().classes[class_name]
    for _ in range(12):
        right = side * float(maker.rng.uniform(low, high))
        if is_free(maker, along_m, right):
            kind = shape.kind if shape.role == "problem" else None
            return maker.add(class_name, along_m, right, kind=kind, span_s=span_s)
    return None


def put_anchors(maker: Maker, length_m: float) -> None:
    """Poles, signs, covers and bins along both kerbs."""
    for class_name, (low, high) in ANCHORS.items():
        for side in (1, -1):
            along = float(maker.rng.uniform(0.0, high))
            while along < length_m:
                put(maker, class_name, along, side)
                along += float(maker.rng.uniform(low, high))


def drawn_class(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One name by weight."""
    shares = np.array(list(weights.values()))
    return str(rng.choice(list(weights), p=shares / shares.sum()))


def put_problems(maker: Maker, length_m: float, spacing_m: float) -> list[Thing]:
    """Problems of mixed classes along both kerbs with gaps of 2.5 m and more and a mean of `spacing_m` along each."""
    found = []
    for side in (1, -1):
        along = float(maker.rng.uniform(0.0, spacing_m))
        while along < length_m:
            thing = put(maker, drawn_class(maker.rng, PROBLEMS), along, side)
            if thing is not None:
                found.append(thing)
            along += APART_M + float(maker.rng.exponential(max(spacing_m - APART_M, 0.1)))
    return found


def kerb_zone(
    frame: LocalFrame, heading_deg: float, name: str, kind: str, along_m: tuple[float, float], side: int
) -> Zone:
    """A stretch of kerb strip as a zone; nobody may stop in no_stopping, no longer than 180 s in no_parking."""
    near, far = side * LANE_M, side * (KERB_M + 0.1)
    corners = [(along_m[0], near), (along_m[1], near), (along_m[1], far), (along_m[0], far)]
    ring = []
    for along, right in corners:
        east, north = street_point(heading_deg, along, right)
        lat, lon = frame.to_geo(float(east), float(north))
        ring.append((lon, lat))
    dwell_s = {"no_stopping": 0.0, "no_parking": 180.0}.get(kind)
    return Zone(name, kind, name, parse_hours(None), dwell_s, shapely.Polygon(ring))


def park(
    maker: Maker,
    along_m: tuple[float, float],
    side: int,
    kind: str | None,
    spans: Sequence[tuple[float, float]],
    share: float = 0.6,
) -> list[Thing]:
    """Park cars in a stretch of kerb strip, within 0.3 m of the kerb; a place is taken with chance `share`."""
    found = []
    for span in spans:
        along = along_m[0] + 0.5
        while True:
            class_name = drawn_class(maker.rng, {"car": 0.86, "truck": 0.1, "bus": 0.04})
            size = maker.size(class_name)
            if along + size[0] > along_m[1] - 0.5:
                break
            if maker.rng.random() < share:
                right = side * (KERB_M - float(maker.rng.uniform(0.0, 0.3)) - size[1] / 2)
                turn = (0.0 if side > 0 else 180.0) + float(maker.rng.normal(0.0, 1.5))
                middle = along + size[0] / 2
                if not blocked(maker, middle, right, size, span):
                    found.append(
                        maker.add(
                            class_name, middle, right, kind=kind, turn_deg=turn, span_s=span, size_m=size, base_m=0.0
                        )
                    )
            along += size[0] + float(maker.rng.uniform(0.8, 2.0))
    return found
