"""What the city says about its ground: unit grids, zones with hours, the component register."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import shapely
from shapely import STRtree
from shapely.geometry import MultiPolygon, Point, Polygon

from gnss.datums import GEOGRAPHIC, to_degrees
from gnss.errors import AtlasError
from gnss.geodesy import radii_m
from gnss.geojson import Feature, read_features
from gnss.hours import Hours, HoursError, parse_hours
from gnss.ids import IdError, check_component, check_division, check_grid

DEFAULT_DWELL_S = 180.0
_KEYS = {
    "version",
    "name",
    "division",
    "utc_offset_hours",
    "datum",
    "default_dwell_s",
    "grids",
    "zones",
    "components",
    "rules",
    "calendar",
    "departments",
    "roads",
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class Zone:
    """An area with a rule. `dwell_s` 0: no stopping; None: the city's default. `polygon` in (lon, lat) degrees."""

    id: str
    kind: str
    name: str
    hours: Hours
    dwell_s: float | None
    polygon: Polygon | MultiPolygon

    def contains(self, lat_deg: float, lon_deg: float) -> bool:
        """Is the point inside, or on the border?"""
        return bool(shapely.intersects_xy(self.polygon, lon_deg, lat_deg))

    def active(self, utc_ns: int, utc_offset_hours: float) -> bool:
        """Do the zone's hours hold at this UTC, on the city's clock?"""
        return self.hours.active(utc_ns, utc_offset_hours)


@dataclass(frozen=True, slots=True)
class Component:
    """A thing of the register: `type` and `code` as the city writes them, `accuracy_class` A, B, C or None."""

    id: str
    type: str
    code: str
    lat_deg: float
    lon_deg: float
    accuracy_class: str | None = None


class Atlas:
    """Answers what lies where; immutable once built. Without data every answer is None or empty."""

    def __init__(
        self,
        name: str,
        division: str | None,
        utc_offset_hours: float,
        default_dwell_s: float,
        grids: list[tuple[str, Polygon | MultiPolygon]],
        zones: list[Zone],
        components: list[Component],
    ) -> None:
        self.name = name
        self.division = division
        self.utc_offset_hours = utc_offset_hours
        self.default_dwell_s = default_dwell_s
        self.zones = zones
        self._grid_ids = [grid_id for grid_id, _ in grids]
        self._grid_tree = STRtree([polygon for _, polygon in grids])
        self._zone_tree = STRtree([zone.polygon for zone in zones])
        for zone in zones:
            shapely.prepare(zone.polygon)
        self._components = sorted(components, key=lambda c: (c.lat_deg, c.lon_deg, c.id))
        self._lats = np.array([c.lat_deg for c in self._components])
        self._lons = np.array([c.lon_deg for c in self._components])

    @staticmethod
    def empty() -> Atlas:
        """No city: no grids, zones or components; UTC+8 and the default dwell."""
        return Atlas("", None, 8.0, DEFAULT_DWELL_S, [], [], [])

    def grid_at(self, lat_deg: float, lon_deg: float) -> str | None:
        """Id of the unit grid at a point (the first of the file where two touch), or None."""
        hits = self._grid_tree.query(Point(lon_deg, lat_deg), predicate="intersects")
        return self._grid_ids[int(hits.min())] if len(hits) else None

    def zones_near(self, lat_deg: float, lon_deg: float, radius_m: float) -> list[Zone]:
        """Zones that come within `radius_m` of a point, in the order of the file."""
        m_lat, m_lon = _metres_per_degree(lat_deg)
        dlat, dlon = radius_m / m_lat, radius_m / m_lon
        box = shapely.box(lon_deg - dlon, lat_deg - dlat, lon_deg + dlon, lat_deg + dlat)
        near = []
        for i in sorted(int(i) for i in self._zone_tree.query(box)):
            centre, scale = np.array([lon_deg, lat_deg]), np.array([m_lon, m_lat])
            flat = shapely.transform(self.zones[i].polygon, lambda xy, c=centre, s=scale: (xy - c) * s)
            if flat.distance(Point(0.0, 0.0)) <= radius_m:
                near.append(self.zones[i])
        return near

    def components_near(self, lat_deg: float, lon_deg: float, radius_m: float) -> list[Component]:
        """Components within `radius_m` of a point, nearest first."""
        m_lat, m_lon = _metres_per_degree(lat_deg)
        low, high = np.searchsorted(self._lats, [lat_deg - radius_m / m_lat, lat_deg + radius_m / m_lat])
        north = (self._lats[low:high] - lat_deg) * m_lat
        east = (self._lons[low:high] - lon_deg) * m_lon
        distance = np.hypot(east, north)
        inside = np.flatnonzero(distance <= radius_m)
        order = inside[np.argsort(distance[inside], kind="stable")]
        return [self._components[int(low) + int(i)] for i in order]


def load_atlas(city_toml: Path) -> Atlas:
    """Read `city.toml` and the files it names; raises AtlasError (file, feature number, remedy) on any mistake."""
    city = _read_toml(city_toml)
    division = city.get("division")
    if division is not None:
        _checked(lambda: check_division(division), city_toml, "key 'division'", 'write for example division = "110101"')
    grids = [
        (_grid_id(feature, division), feature.polygon()) for feature in _member(city_toml, city, "grids", unique=True)
    ]
    zones = [_zone(feature) for feature in _member(city_toml, city, "zones", unique=True)]
    components = [_component(feature, division) for feature in _member(city_toml, city, "components", unique=True)]
    return Atlas(
        name=_value(city_toml, city, "name", str, ""),
        division=division,
        utc_offset_hours=_number(city_toml, city, "utc_offset_hours", 8.0, -12.0, 14.0),
        default_dwell_s=_number(city_toml, city, "default_dwell_s", DEFAULT_DWELL_S, 0.0, 86_400.0),
        grids=grids,
        zones=zones,
        components=components,
    )


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        city = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AtlasError("the file is missing", file=file, remedy="add it, or take it out of the config") from None
    except OSError as error:
        raise AtlasError(f"cannot be read ({error.strerror})", file=file, remedy="check the file's rights") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AtlasError(f"is no TOML ({error})", file=file, remedy="mend the line named") from error
    for key in city:
        if key not in _KEYS:
            raise AtlasError(f"key '{key}' is not known", file=file, remedy=f"known are {', '.join(sorted(_KEYS))}")
    if city.get("version") != 1:
        raise AtlasError(f"version is {city.get('version')!r}", file=file, remedy="write version = 1")
    try:
        to_degrees(_value(file, city, "datum", str, GEOGRAPHIC[0]))
    except ValueError as error:
        raise AtlasError(str(error), file=file, remedy="convert the city's files and declare their datum") from error
    return city


def _value(file: Path, city: dict[str, Any], key: str, kind: type[_T], default: _T) -> _T:
    value = city.get(key, default)
    if not isinstance(value, kind):
        raise AtlasError(f"key '{key}' is {value!r}", file=file, remedy=f"write a value of type {kind.__name__}")
    return value


def _number(file: Path, city: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = city.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise AtlasError(f"key '{key}' is {value!r}", file=file, remedy=f"write a number from {low:g} to {high:g}")
    return float(value)


def _member(city_toml: Path, city: dict[str, Any], key: str, *, unique: bool) -> list[Feature]:
    name = city.get(key)
    if name is None:
        return []
    if not isinstance(name, str) or Path(name).name != name:
        raise AtlasError(f"key '{key}' is {name!r}", file=city_toml, remedy="name a file that lies beside city.toml")
    file = city_toml.parent / name
    if file.suffix.lower() not in (".geojson", ".json"):
        raise AtlasError(f"key '{key}' names {name!r}", file=city_toml, remedy="convert it to GeoJSON (.geojson)")
    features, seen = [], dict[str, int]()
    for feature in read_features(file, to_degrees(str(city.get("datum", GEOGRAPHIC[0])))):
        feature_id = feature.text("id")
        if unique and feature_id in seen:
            feature.fail(f"id {feature_id!r} is that of feature {seen[feature_id]} too", "give each feature its own id")
        seen[feature_id] = feature.number
        features.append(feature)
    return features


def _grid_id(feature: Feature, division: str | None) -> str:
    try:
        return check_grid(feature.text("id"), division)
    except IdError as error:
        feature.fail(str(error), "take the id from the city's unit grid table")


def _zone(feature: Feature) -> Zone:
    try:
        hours = parse_hours(feature.properties.get("hours"))
    except HoursError as error:
        feature.fail(str(error), "write hours such as 'Mon-Fri 07:00-22:00; Sat,Sun 09:00-20:00'")
    return Zone(
        id=feature.text("id"),
        kind=feature.text("kind"),
        name=feature.text("name", ""),
        hours=hours,
        dwell_s=feature.seconds("dwell_s"),
        polygon=feature.polygon(),
    )


def _component(feature: Feature, division: str | None) -> Component:
    try:
        parsed = check_component(feature.text("id"), division)
    except IdError as error:
        feature.fail(str(error), "take the id from the city's component register")
    accuracy = feature.properties.get("accuracy_class")
    lat, lon = feature.point()
    return Component(
        id=parsed.text,
        type=feature.text("type", ""),
        code=feature.text("code", parsed.type_code),
        lat_deg=lat,
        lon_deg=lon,
        accuracy_class=None if accuracy is None else str(accuracy),
    )


def _checked(check: Callable[[], object], file: Path, what: str, remedy: str) -> None:
    try:
        check()
    except IdError as error:
        raise AtlasError(f"{what}: {error}", file=file, remedy=remedy) from error


def _metres_per_degree(lat_deg: float) -> tuple[float, float]:
    meridian, vertical = radii_m(lat_deg)
    degree = math.pi / 180.0
    return meridian * degree, max(vertical * math.cos(math.radians(lat_deg)), 1.0) * degree
