"""What a city's data consists of: grids, zones, components, roads and named places. In CGCS2000/WGS-84 degrees."""

from __future__ import annotations

from dataclasses import dataclass

import shapely
from shapely.geometry import LineString, MultiLineString, MultiPolygon, Polygon

from gnss.calendar import Calendar, local_day
from gnss.hours import Hours


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A unit grid (单元网格) with its 15-character id. `polygon` in (lon, lat) degrees."""

    id: str
    name: str
    polygon: Polygon | MultiPolygon


@dataclass(frozen=True, slots=True, eq=False)
class Zone:
    """An area with a rule. `dwell_s` 0: no stopping; None: the city's default. `polygon` in (lon, lat) degrees.

    `classes`: whom it concerns (catalogue names; empty: all that its rule names). `margin_m`: the rule reaches so far
    beyond the polygon. `from_day`, `to_day`: first and last local day (since 1970-01-01) on which it holds. `permits`:
    case kinds that are allowed inside (a permit to trade, to load).
    """

    id: str
    kind: str
    name: str
    hours: Hours
    dwell_s: float | None
    polygon: Polygon | MultiPolygon
    classes: tuple[str, ...] = ()
    margin_m: float = 0.0
    from_day: int | None = None
    to_day: int | None = None
    permits: tuple[str, ...] = ()

    def contains(self, lat_deg: float, lon_deg: float) -> bool:
        """Is the point inside, or on the border?"""
        return bool(shapely.intersects_xy(self.polygon, lon_deg, lat_deg))

    def active(self, utc_ns: int, utc_offset_hours: float, calendar: Calendar | None = None) -> bool:
        """Do the zone's days and hours hold at this UTC, on the city's clock and by its calendar?"""
        day, _ = local_day(utc_ns, utc_offset_hours)
        if self.from_day is not None and day < self.from_day:
            return False
        if self.to_day is not None and day > self.to_day:
            return False
        return self.hours.active(utc_ns, utc_offset_hours, calendar)


@dataclass(frozen=True, slots=True)
class Component:
    """A thing of the register: `type` and `code` as the city writes them, `accuracy_class` A, B, C or None."""

    id: str
    type: str
    code: str
    lat_deg: float
    lon_deg: float
    accuracy_class: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Road:
    """A named road's axis. `line` in (lon, lat) degrees; `name_en` may be empty."""

    id: str
    name: str
    name_en: str
    line: LineString | MultiLineString


@dataclass(frozen=True, slots=True)
class Place:
    """A named place that people know: a shop, a gate, a door number. `name_en` may be empty."""

    id: str
    name: str
    name_en: str
    kind: str
    lat_deg: float
    lon_deg: float
