"""One feature of a city's file, whatever the format; every complaint names the file, the feature and the remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import shapely
from shapely.geometry import LineString, MultiLineString, MultiPolygon, Polygon

from gnss.datums import ToDegrees
from gnss.errors import AtlasError

MOST_VERTICES = 1_000_000
"""Vertices of one feature: the outline of a large city has a hundredth of that."""

MOST_TEXT = 1000
"""Characters of one text property."""

Build = Callable[[], Any]
"""Gives the shapely geometry of a feature; raises ValueError and its kin, or GEOSException, when it cannot."""

BROKEN_SHAPE = (
    ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError, MemoryError,
    shapely.errors.ShapelyError,
)  # fmt: skip
"""What a hostile geometry makes a builder raise."""


class FeatureError(AtlasError):
    """One feature that cannot be used. `code` is a word for reports, `number` its place in the file, from 1."""

    def __init__(self, problem: str, *, file: Path, remedy: str, code: str, number: int) -> None:
        self.code = code
        self.number = number
        super().__init__(problem, file=file, remedy=remedy)


class GeometryError(ValueError):
    """A geometry that breaks a rule of its own: `code` says which (unclosed, bomb, geometry), `remedy` what to do."""

    def __init__(self, problem: str, code: str, remedy: str) -> None:
        self.code = code
        self.remedy = remedy
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature with its number in the file (the first is 1).

    `kind` is the geometry's type as in GeoJSON, "" when it is only known once built. `xy` are the coordinates of a
    point (longitude, latitude, or easting, northing), which needs no geometry. `columns` are names in the file of the
    properties that are asked for.
    """

    file: Path
    number: int
    properties: dict[str, Any]
    kind: str
    build: Build
    xy: tuple[Any, Any] | None = None
    to_degrees: ToDegrees | None = None
    columns: dict[str, str] | None = None

    def fail(self, problem: str, remedy: str, code: str = "property") -> NoReturn:
        """Raise FeatureError for this feature."""
        raise FeatureError(
            f"feature {self.number}: {problem}", file=self.file, remedy=remedy, code=code, number=self.number
        )

    def get(self, key: str) -> object:
        """A property by our name, under the name that the file has for it; None when absent."""
        name = key if self.columns is None else self.columns.get(key, key)
        return self.properties.get(name)

    def text(self, key: str, default: str | None = None) -> str:
        """A text property; raises FeatureError when it is absent (without default), empty or no text."""
        value = self.get(key)
        if (value is None or value == "") and default is not None:
            return default
        if not isinstance(value, str) or not value or len(value) > MOST_TEXT:
            shown = repr(value)[:60]
            self.fail(f"property '{key}' must be text, got {shown}", f"give the feature a property '{key}'")
        return value

    def number_of(self, key: str, what: str) -> float | None:
        """An optional, finite, not negative number; tables without types may write it as text."""
        value = self.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                value = math.nan
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < math.inf:
            self.fail(f"property '{key}' must be a number of {what}, got {value!r}", "write 0 or more, or nothing")
        return float(value)

    def seconds(self, key: str) -> float | None:
        """An optional number of seconds."""
        return self.number_of(key, "seconds")

    def words(self, key: str) -> tuple[str, ...]:
        """An optional list of words, or a text that separates them by commas."""
        value = self.get(key)
        if value is None or value == "":
            return ()
        if isinstance(value, str):
            value = [word.strip() for word in value.split(",")]
        if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
            self.fail(f"property '{key}' must be a list of words, got {value!r}", "write for example 'car,bus'")
        return tuple(value)

    def polygon(self) -> Polygon | MultiPolygon:
        """The valid polygon or multipolygon of the feature, (lon, lat) degrees."""
        built = self._shape(("Polygon", "MultiPolygon"))
        if not built.is_valid:
            reason = shapely.is_valid_reason(built)
            self.fail(f"the polygon is not valid: {reason}", "mend it in a GIS (make valid)", "geometry")
        return built

    def line(self) -> LineString | MultiLineString:
        """The line or multiline of the feature, (lon, lat) degrees."""
        return self._shape(("LineString", "MultiLineString"))

    def point(self) -> tuple[float, float]:
        """(lat, lon) in degrees of a point feature."""
        if self.kind not in ("Point", ""):
            self._wrong_kind(self.kind, ("Point",))
        if self.xy is None:
            built = self._shape(("Point",))
            return float(built.y), float(built.x)
        try:
            if isinstance(self.xy[0], bool) or isinstance(self.xy[1], bool):
                raise TypeError("true and false are no numbers")
            x, y = float(self.xy[0]), float(self.xy[1])
        except (ValueError, TypeError, OverflowError) as error:
            self.fail(f"the coordinates cannot be read ({error})", "write numbers", "geometry")
        if self.to_degrees is not None:
            x, y = self.to_degrees(np.array([[x, y]]))[0].tolist()
        if not (-180.0 <= x <= 180.0 and -90.0 <= y <= 90.0):
            self._outside(x, y)
        return y, x

    def _wrong_kind(self, kind: str, kinds: tuple[str, ...]) -> NoReturn:
        self.fail(f"geometry is {kind!r}, not {' or '.join(kinds)}", "put other geometries elsewhere", "geometry")

    def _shape(self, kinds: tuple[str, ...]) -> Any:
        if self.kind and self.kind not in kinds:
            self._wrong_kind(self.kind, kinds)
        try:
            with np.errstate(invalid="ignore"):  # what is no number is refused below, with its place
                built = self.build()
            if built is None or built.is_empty:
                self.fail("the geometry is empty", "draw it again", "geometry")
            if built.geom_type not in kinds:
                self._wrong_kind(built.geom_type, kinds)
            count = int(shapely.get_num_coordinates(built))
            if count > MOST_VERTICES:
                raise too_many(count)
            if built.has_z:
                built = shapely.force_2d(built)
            if self.to_degrees is not None:
                built = shapely.transform(built, self.to_degrees)
            coordinates = shapely.get_coordinates(built)
        except GeometryError as error:
            self.fail(str(error), error.remedy, error.code)
        except BROKEN_SHAPE as error:
            said = str(error)[:120]
            self.fail(f"the coordinates cannot be read ({said})", "write coordinates as [lon, lat]", "geometry")
        inside = np.isfinite(coordinates).all(axis=1) & (np.abs(coordinates) <= [180.0, 90.0]).all(axis=1)
        if not inside.all():
            self._outside(*coordinates[~inside][0].tolist())
        return built

    def _outside(self, x: float, y: float) -> NoReturn:
        """Complain of degrees that are none, and say when exchanging the two would mend them."""
        if math.isfinite(x) and math.isfinite(y) and abs(x) <= 90.0 < abs(y) <= 180.0:
            self.fail(
                f"coordinates lie outside lon -180..180, lat -90..90: latitude and longitude look swapped ({x}, {y})",
                "write longitude first",
                "swapped",
            )
        self.fail(
            f"coordinates lie outside lon -180..180, lat -90..90 ({x}, {y})",
            "write degrees, longitude first, or declare the datum",
            "range",
        )


def too_many(count: int) -> GeometryError:
    """The complaint about a geometry bomb."""
    return GeometryError(
        f"{count} vertices, at most {MOST_VERTICES} are read", "bomb", "simplify it, or split it into features"
    )
