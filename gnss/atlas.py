"""What the city says about its ground: unit grids, zones with hours, the component register, roads and places.

`Atlas` holds a small city in memory; `gnss.store.StoredAtlas` answers the same questions from a file with a spatial
index. `load_atlas` opens either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from shapely import STRtree
from shapely.geometry import MultiPolygon, Point, Polygon

from gnss.calendar import Calendar
from gnss.city import Component, Grid, Place, Road, Zone
from gnss.cityfile import DEFAULT_DWELL_S, CityFacts, read_city
from gnss.cityrows import all_rows
from gnss.errors import AtlasError
from gnss.geodesy import radii_m

__all__ = ["DEFAULT_DWELL_S", "Atlas", "Component", "Grid", "Place", "Road", "Zone", "load_atlas"]
_MAGIC = b"SQLite format 3\0"


class Atlas:
    """Answers what lies where; immutable once built. Without data every answer is None or empty.

    `texts` are members of the city that others read (rules, departments, codes); `version` names the content of a
    stored atlas, "" in memory.
    """

    version = ""

    def __init__(
        self,
        name: str,
        division: str | None,
        utc_offset_hours: float,
        default_dwell_s: float,
        grids: Sequence[tuple[str, Polygon | MultiPolygon]],
        zones: Sequence[Zone],
        components: Sequence[Component],
        roads: Sequence[Road] = (),
        places: Sequence[Place] = (),
        calendar: Calendar | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        self._tell(
            CityFacts(name, division, utc_offset_hours, default_dwell_s, calendar or Calendar(), dict(texts or {}))
        )
        self._zones = list(zones)
        self._grid_ids = [grid_id for grid_id, _ in grids]
        self._grid_tree = STRtree([polygon for _, polygon in grids])
        self._zone_boxes = STRtree([shapely.box(*wide(zone)) for zone in zones])
        for zone in zones:
            shapely.prepare(zone.polygon)
        self._roads, self._road_tree = list(roads), STRtree([road.line for road in roads])
        self._places = sorted(places, key=lambda p: (p.lat_deg, p.lon_deg, p.id))
        self._components = sorted(components, key=lambda c: (c.lat_deg, c.lon_deg, c.id))

        def rows(things: Sequence[Component] | Sequence[Place]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
            return np.array([(t.lat_deg, t.lon_deg) for t in things], dtype=np.float64).reshape(-1, 2)

        self._component_places, self._place_places = rows(self._components), rows(self._places)

    def _tell(self, facts: CityFacts) -> None:
        self.name = facts.name
        self.division = facts.division
        self.utc_offset_hours = facts.utc_offset_hours
        self.default_dwell_s = facts.default_dwell_s
        self.calendar = facts.calendar
        self.texts: Mapping[str, str] = facts.texts

    @staticmethod
    def empty() -> Atlas:
        """No city: no grids, zones or components; UTC+8 and the default dwell."""
        return Atlas("", None, 8.0, DEFAULT_DWELL_S, [], [], [])

    @property
    def zones(self) -> list[Zone]:
        """All zones in the order of the file."""
        return self._zones

    def counts(self) -> dict[str, int]:
        """How many things of each kind there are."""
        return {
            "grids": len(self._grid_ids), "zones": len(self._zones), "components": len(self._components),
            "roads": len(self._roads), "places": len(self._places),
        }  # fmt: skip

    def grid_at(self, lat_deg: float, lon_deg: float) -> str | None:
        """Id of the unit grid at a point (the first of the file where two touch), or None."""
        hits = self._grid_tree.query(Point(lon_deg, lat_deg), predicate="intersects")
        return self._grid_ids[int(hits.min())] if len(hits) else None

    def zones_near(self, lat_deg: float, lon_deg: float, radius_m: float) -> list[Zone]:
        """Zones that come, with their margin, within `radius_m` of a point, in the order of the file."""
        box = shapely.box(*box_around(lat_deg, lon_deg, radius_m))
        candidates = (self._zones[i] for i in sorted(int(i) for i in self._zone_boxes.query(box)))
        return [z for z in candidates if gap_m(z.polygon, lat_deg, lon_deg) <= radius_m + z.margin_m]

    def components_near(self, lat_deg: float, lon_deg: float, radius_m: float) -> list[Component]:
        """Components within `radius_m` of a point, nearest first."""
        return [self._components[i] for i in _nearest(self._component_places, lat_deg, lon_deg, radius_m)]

    def places_near(self, lat_deg: float, lon_deg: float, radius_m: float) -> list[Place]:
        """Named places within `radius_m` of a point, nearest first."""
        return [self._places[i] for i in _nearest(self._place_places, lat_deg, lon_deg, radius_m)]

    def roads_near(self, lat_deg: float, lon_deg: float, radius_m: float) -> list[Road]:
        """Roads that come within `radius_m` of a point, nearest first."""
        box = shapely.box(*box_around(lat_deg, lon_deg, radius_m))
        candidates = [self._roads[int(i)] for i in self._road_tree.query(box)]
        return near_roads(candidates, lat_deg, lon_deg, radius_m)


def load_atlas(file: Path) -> Atlas:
    """Open a stored atlas, or read a `city.toml` and the files it names into memory.

    Raises AtlasError (file, feature number, remedy) on any mistake.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(len(_MAGIC))
    except OSError:
        head = b""  # read_city says what is wrong
    if head == _MAGIC:
        from gnss.store import open_atlas  # a stored atlas is an atlas, so that module imports this one

        return open_atlas(file)
    city = read_city(file)
    grids, zones, components, roads, places = (
        all_rows(city, key) for key in ("grids", "zones", "components", "roads", "places")
    )
    facts = city.facts
    try:
        return Atlas(
            facts.name, facts.division, facts.utc_offset_hours, facts.default_dwell_s,
            [(grid.id, grid.polygon) for grid in grids], zones, components, roads, places, facts.calendar, facts.texts,
        )  # fmt: skip
    except MemoryError as error:
        raise AtlasError(
            "is too large to be held in memory", file=file, remedy="import it: qiji city import"
        ) from error


def metres_per_degree(lat_deg: float) -> tuple[float, float]:
    """Metres per degree of latitude and of longitude at a latitude."""
    meridian, vertical = radii_m(lat_deg)
    degree = math.pi / 180.0
    return meridian * degree, max(vertical * math.cos(math.radians(lat_deg)), 1.0) * degree


def box_around(lat_deg: float, lon_deg: float, radius_m: float) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees of the square with half-side `radius_m` around a point."""
    m_lat, m_lon = metres_per_degree(lat_deg)
    dlat, dlon = radius_m / m_lat, radius_m / m_lon
    return lon_deg - dlon, lat_deg - dlat, lon_deg + dlon, lat_deg + dlat


def gap_m(geometry: shapely.Geometry, lat_deg: float, lon_deg: float) -> float:
    """Metres from a point to a geometry of some hundred metres in (lon, lat) degrees; 0 inside a polygon."""
    m_lat, m_lon = metres_per_degree(lat_deg)
    flat = shapely.transform(geometry, lambda xy: (xy - (lon_deg, lat_deg)) * (m_lon, m_lat))
    return float(flat.distance(Point(0.0, 0.0)))


def near_roads(candidates: Sequence[Road], lat_deg: float, lon_deg: float, radius_m: float) -> list[Road]:
    """Those within `radius_m`, nearest first; ties by id."""
    gaps = [(gap_m(road.line, lat_deg, lon_deg), road.id, road) for road in candidates]
    return [road for gap, _, road in sorted(gaps, key=lambda row: row[:2]) if gap <= radius_m]


def wide(zone: Zone) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees of a zone with its margin."""
    west, south, east, north = zone.polygon.bounds
    m_lat, m_lon = metres_per_degree(0.5 * (south + north))
    dlat, dlon = zone.margin_m / m_lat, zone.margin_m / m_lon
    return west - dlon, south - dlat, east + dlon, north + dlat


def _nearest(
    places: np.ndarray[tuple[int, int], np.dtype[np.float64]], lat_deg: float, lon_deg: float, radius_m: float
) -> list[int]:
    """Rows of `places` (N, 2) lat, lon, sorted by lat, within `radius_m`, nearest first."""
    m_lat, m_lon = metres_per_degree(lat_deg)
    low, high = np.searchsorted(places[:, 0], [lat_deg - radius_m / m_lat, lat_deg + radius_m / m_lat])
    gap = (places[low:high] - (lat_deg, lon_deg)) * (m_lat, m_lon)
    distance = np.hypot(gap[:, 0], gap[:, 1])
    inside = np.flatnonzero(distance <= radius_m)
    return [int(low) + int(i) for i in inside[np.argsort(distance[inside], kind="stable")]]
