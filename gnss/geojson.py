"""Reads GeoJSON feature collections of the city; every complaint names the file, the feature and the remedy."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, shape

from gnss.datums import ToDegrees
from gnss.errors import AtlasError


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature with its number in the file (the first is 1)."""

    file: Path
    number: int
    properties: dict[str, Any]
    geometry: dict[str, Any]
    to_degrees: ToDegrees | None = None

    def fail(self, problem: str, remedy: str) -> NoReturn:
        """Raise AtlasError for this feature."""
        raise AtlasError(f"feature {self.number}: {problem}", file=self.file, remedy=remedy)

    def text(self, key: str, default: str | None = None) -> str:
        """A text property; raises AtlasError when it is absent (without default), empty or no text."""
        value = self.properties.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value:
            self.fail(f"property '{key}' must be text, got {value!r}", f"give the feature a property '{key}'")
        return value

    def seconds(self, key: str) -> float | None:
        """An optional, finite, not negative number."""
        value = self.properties.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < math.inf:
            self.fail(f"property '{key}' must be a number of seconds, got {value!r}", "write 0 or more, or nothing")
        return float(value)

    def polygon(self) -> Polygon | MultiPolygon:
        """The valid polygon or multipolygon of the feature, (lon, lat) degrees."""
        built = self._shape(("Polygon", "MultiPolygon"))
        if not isinstance(built, (Polygon, MultiPolygon)) or built.is_empty:
            self.fail("the polygon is empty", "draw it again")
        if not built.is_valid:
            self.fail(f"the polygon is not valid: {shapely.is_valid_reason(built)}", "mend it in a GIS (make valid)")
        return built

    def point(self) -> tuple[float, float]:
        """(lat, lon) in degrees of a point feature."""
        built = self._shape(("Point",))
        if built.is_empty:
            self.fail("the point is empty", "give it coordinates [lon, lat]")
        return float(built.y), float(built.x)

    def _shape(self, kinds: tuple[str, ...]) -> Any:
        kind = self.geometry.get("type")
        if kind not in kinds:
            self.fail(f"geometry is {kind!r}, not {' or '.join(kinds)}", "put other geometries elsewhere")
        try:
            built = shape(self.geometry)
            if self.to_degrees is not None:
                built = shapely.transform(built, self.to_degrees)
            coordinates = shapely.get_coordinates(built)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.GEOSException) as error:
            self.fail(f"the coordinates cannot be read ({error})", "write GeoJSON coordinates as [lon, lat]")
        if not np.all(np.isfinite(coordinates)) or np.any(np.abs(coordinates) > [180.0, 90.0]):
            self.fail(
                "coordinates lie outside lon -180..180, lat -90..90",
                "write degrees, longitude first, or declare the datum",
            )
        return built


def read_features(file: Path, to_degrees: ToDegrees | None = None) -> Iterator[Feature]:
    """Features of a GeoJSON file in order; raises AtlasError when the file is absent or no feature collection.

    `to_degrees` converts the coordinates of a declared projected datum (gnss.datums).
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise AtlasError("the file is missing", file=file, remedy="add it, or take its key out of city.toml") from None
    except OSError as error:
        raise AtlasError(f"cannot be read ({error.strerror})", file=file, remedy="check the file's rights") from error
    except json.JSONDecodeError as error:
        raise AtlasError(f"is no JSON ({error.msg})", file=file, line=error.lineno, remedy="export it again") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise AtlasError(f"is no GeoJSON ({error})", file=file, remedy="export it again as UTF-8 GeoJSON") from error
    features = data.get("features") if isinstance(data, dict) else None
    if not isinstance(data, dict) or data.get("type") != "FeatureCollection" or not isinstance(features, list):
        raise AtlasError("is no GeoJSON FeatureCollection", file=file, remedy="export it as a FeatureCollection")
    if to_degrees is None:
        _check_crs(data.get("crs"), file)
    for number, feature in enumerate(features, 1):
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(geometry, dict) or not isinstance(properties or {}, dict):
            raise AtlasError(
                f"feature {number}: has no geometry or no properties", file=file, remedy="export it again, or remove it"
            )
        yield Feature(file, number, properties or {}, geometry, to_degrees)


def _check_crs(crs: object, file: Path) -> None:
    """Old GeoJSON may name a reference system: longitude/latitude of WGS-84 or CGCS2000 is what is read here."""
    if crs is None:
        return
    name = crs.get("properties", {}).get("name") if isinstance(crs, dict) else crs
    if not any(str(name).endswith(end) for end in ("CRS84", ":4326", ":4490")):
        raise AtlasError(
            f"has the reference system {name!r}", file=file, remedy="convert it to EPSG:4490 or EPSG:4326 degrees"
        )
