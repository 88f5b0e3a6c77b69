"""A place in words, from the nearest named things of the atlas: road, side, way to a junction; Chinese and English.

"文三路北侧，距学院路路口以东约35米" / "north side of Wensan Road, about 35 m east of the junction with Xueyuan Road".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely

from gnss.atlas import Atlas
from gnss.city import Place, Road
from gnss.geodesy import LocalFrame
from gnss.types import Array

ROAD_M = 40.0
"""Farther from its axis a thing is not on a road."""

JUNCTION_M = 300.0
PLACE_M = 150.0
_ON_AXIS_M = 2.0
_AT_JUNCTION_M = 15.0
_TOUCH_M = 12.0
"""Axes that miss each other by less meet: the ends of digitised roads rarely touch."""

_ZH = ("北", "东北", "东", "东南", "南", "西南", "西", "西北")
_EN = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A place in words. `road` and `anchor` are the names that were used, "" when there were none."""

    zh: str
    en: str
    road: str = ""
    anchor: str = ""


def describe(atlas: Atlas, lat_deg: float, lon_deg: float) -> Whereabouts:
    """Words for a place; without named things around, its coordinates."""
    frame = LocalFrame(lat_deg, lon_deg)
    roads = [(road, _flat(frame, road)) for road in atlas.roads_near(lat_deg, lon_deg, JUNCTION_M)]
    place = next(iter(atlas.places_near(lat_deg, lon_deg, PLACE_M)), None)
    if not roads or float(roads[0][1].distance(shapely.Point(0.0, 0.0))) > ROAD_M:
        return _from_place(frame, place, lat_deg, lon_deg)
    road, line = roads[0]
    side = _side(line)
    zh, en = f"{road.name}{side[0]}", f"{side[1]}{_english(road)}"
    junction = _junction(road, line, roads)
    anchor = ""
    if junction is not None:
        other, gap = junction
        anchor = other.name
        metres = math.hypot(*gap)
        if metres <= _AT_JUNCTION_M:
            zh, en = f"{road.name}与{other.name}路口", f"junction of {_english(road)} and {_english(other)}"
        else:
            # The gap leads from the place to the junction, so the place lies the other way.
            sector = _sector(-gap[0], -gap[1])
            zh += f"，距{other.name}路口以{_ZH[sector]}约{_round(metres)}米"
            en += f", about {_round(metres)} m {_EN[sector]} of the junction with {_english(other)}"
    elif place is not None:
        told = _from_place(frame, place, lat_deg, lon_deg)
        anchor, zh, en = place.name, f"{zh}，{told.zh}", f"{en}, {told.en}"
    return Whereabouts(zh, en, road.name, anchor)


def _from_place(frame: LocalFrame, place: Place | None, lat_deg: float, lon_deg: float) -> Whereabouts:
    if place is None:
        text = f"{lat_deg:.7f}", f"{lon_deg:.7f}"
        return Whereabouts(f"经度{text[1]},纬度{text[0]}", f"lat {text[0]}, lon {text[1]}")
    east, north = frame.to_enu(place.lat_deg, place.lon_deg)
    metres, name = math.hypot(east, north), place.name_en or place.name
    if metres < 3.0:
        return Whereabouts(f"{place.name}处", f"at {name}", anchor=place.name)
    sector = _sector(-east, -north)
    return Whereabouts(
        f"{place.name}{_ZH[sector]}方向约{_round(metres)}米", f"about {_round(metres)} m {_EN[sector]} of {name}",
        anchor=place.name,
    )  # fmt: skip


def _english(road: Road) -> str:
    return road.name_en or road.name


def _flat(frame: LocalFrame, road: Road) -> shapely.Geometry:
    """A road's axis in metres around the place."""

    def metres(xy: Array) -> Array:
        return np.column_stack(frame.to_enu(xy[:, 1].copy(), xy[:, 0].copy()))

    return shapely.transform(road.line, metres)


def _side(line: shapely.Geometry) -> tuple[str, str]:
    """Which side of a road the place (0, 0) is on: the way from the nearest point of the axis to it."""
    near = shapely.shortest_line(line, shapely.Point(0.0, 0.0)).coords[0]
    if math.hypot(*near) < _ON_AXIS_M:
        return "路面", "on "
    sector = _sector(-near[0], -near[1])
    return f"{_ZH[sector]}侧", f"{_EN[sector]} side of "


def _junction(
    road: Road, line: shapely.Geometry, roads: list[tuple[Road, shapely.Geometry]]
) -> tuple[Road, tuple[float, float]] | None:
    """The nearest junction with a road of another name, and the way to it (east, north) in metres."""
    best: tuple[float, str, Road, tuple[float, float]] | None = None
    for other, other_line in roads:
        if other.name == road.name or float(line.distance(other_line)) > _TOUCH_M:
            continue
        meeting = shapely.intersection(line, other_line)
        if meeting.is_empty:
            meeting = shapely.Point(shapely.shortest_line(line, other_line).coords[0])
        x, y = shapely.shortest_line(meeting, shapely.Point(0.0, 0.0)).coords[0]
        row = (math.hypot(x, y), other.id, other, (float(x), float(y)))
        if row[0] <= JUNCTION_M and (best is None or row[:2] < best[:2]):
            best = row
    return None if best is None else (best[2], best[3])


def _sector(east: float, north: float) -> int:
    """0 north, 1 north-east ... 7 north-west."""
    return round(math.degrees(math.atan2(east, north)) / 45.0) % 8


def _round(metres: float) -> int:
    """To 5 m beyond 20 m: more is not known."""
    return round(metres) if metres < 20.0 else 5 * round(metres / 5.0)
