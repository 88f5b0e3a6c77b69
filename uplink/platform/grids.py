"""The city's unit grids and zones for the console's map, read from the files that city.toml names."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import shapely
from shapely import STRtree
from shapely.geometry import shape

from perception.errors import SetupError
from perception.types import JsonDict

_MOST = 3000


@dataclass(frozen=True, slots=True)
class Layer:
    """Features of one file with an index over them."""

    features: tuple[JsonDict, ...]
    tree: STRtree

    def within(self, box: tuple[float, float, float, float]) -> JsonDict:
        """FeatureCollection of what touches west, south, east, north (degrees); `more` when it is too much to show."""
        hits = sorted(int(i) for i in self.tree.query(shapely.box(*box)))
        return {
            "type": "FeatureCollection",
            "features": [self.features[i] for i in hits[:_MOST]],
            "more": len(hits) > _MOST,
        }


@dataclass(frozen=True, slots=True)
class CityMap:
    """What the console draws beneath the cases."""

    grids: Layer
    zones: Layer

    @staticmethod
    def empty() -> CityMap:
        """No city."""
        return CityMap(_layer([]), _layer([]))


def _layer(features: list[JsonDict]) -> Layer:
    return Layer(tuple(features), STRtree([shape(f["geometry"]) for f in features]))


def _read(city_toml: Path, name: object, keep: tuple[str, ...]) -> Layer:
    if name is None:
        return _layer([])
    file = city_toml.parent / str(name)
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        found = [
            {
                "type": "Feature",
                "geometry": {k: f["geometry"][k] for k in ("type", "coordinates")},
                "properties": {k: f["properties"].get(k) for k in keep},
            }
            for f in tree["features"]
        ]
        return _layer(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise SetupError(f"cannot be drawn: {error}", file=file, remedy="give GeoJSON polygons in WGS-84") from error


def load_city_map(city_toml: Path | None) -> CityMap:
    """Grids and zones of a city.toml; empty without one. Raises SetupError that names the file.

    Only GeoJSON is drawn; other formats are left to the atlas.
    """
    if city_toml is None:
        return CityMap.empty()
    try:
        city = tomllib.loads(city_toml.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SetupError(f"cannot be read: {error}", file=city_toml, remedy="give the city's city.toml") from error
    names = [city.get(key) for key in ("grids", "zones")]
    files = [n if n is None or str(n).endswith((".geojson", ".json")) else None for n in names]
    return CityMap(_read(city_toml, files[0], ("id", "name")), _read(city_toml, files[1], ("id", "kind", "name")))
