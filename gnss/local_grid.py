"""Local city grids by parameters: what a city calls its own coordinates, as a plane over CGCS2000.

Such a grid is a transverse Mercator projection (own central meridian, often on a raised ellipsoid) followed by a plane
similarity. The parameters are the customer's; nothing is built in, nothing guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from pyproj import CRS, Transformer

from gnss.types import Array

_SEMI_MAJOR_M, _INVERSE_FLATTENING = 6378137.0, 298.257222101
"""GRS80, the ellipsoid of CGCS2000."""


@dataclass(frozen=True, slots=True)
class LocalGrid:
    """`central_deg`: central meridian. `scale`: on it. `height_m`: of the plane that lengths are true on.

    The plane's easting and northing (false origin added) are turned by `turn_deg` (counter-clockwise) about
    (`pivot_east_m`, `pivot_north_m`), stretched by 1 + `ppm` * 1e-6, and moved by (`east_m`, `north_m`).
    """

    central_deg: float
    origin_lat_deg: float = 0.0
    scale: float = 1.0
    height_m: float = 0.0
    false_east_m: float = 500_000.0
    false_north_m: float = 0.0
    turn_deg: float = 0.0
    ppm: float = 0.0
    east_m: float = 0.0
    north_m: float = 0.0
    pivot_east_m: float = 0.0
    pivot_north_m: float = 0.0

    def __post_init__(self) -> None:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in values.items():
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value}: a local grid needs finite parameters")
        if not (0.5 < self.scale < 2.0 and abs(self.central_deg) <= 180.0 and abs(self.ppm) < 1e5):
            raise ValueError(f"no such grid: scale {self.scale}, central_deg {self.central_deg}, ppm {self.ppm}")

    def to_degrees(self, coordinates: Array) -> Array:
        """Easting, northing (N, 2) m of the grid to longitude, latitude (N, 2) degrees of CGCS2000."""
        factor, cos, sin = self._similarity()
        moved = np.asarray(coordinates, dtype=np.float64) - (self.east_m, self.north_m)
        moved = (moved - (self.pivot_east_m, self.pivot_north_m)) / factor
        east = cos * moved[:, 0] + sin * moved[:, 1] + self.pivot_east_m
        north = -sin * moved[:, 0] + cos * moved[:, 1] + self.pivot_north_m
        lon, lat = _projection(self).transform(east, north, direction="INVERSE")
        return np.column_stack([lon, lat])

    def from_degrees(self, lon_lat_deg: Array) -> Array:
        """Longitude, latitude (N, 2) degrees to easting, northing (N, 2) m of the grid."""
        factor, cos, sin = self._similarity()
        places = np.asarray(lon_lat_deg, dtype=np.float64)
        east, north = _projection(self).transform(places[:, 0], places[:, 1])
        de, dn = np.asarray(east) - self.pivot_east_m, np.asarray(north) - self.pivot_north_m
        return np.column_stack(
            [
                factor * (cos * de - sin * dn) + self.pivot_east_m + self.east_m,
                factor * (sin * de + cos * dn) + self.pivot_north_m + self.north_m,
            ]
        )

    def _similarity(self) -> tuple[float, float, float]:
        turn = math.radians(self.turn_deg)
        return 1.0 + 1e-6 * self.ppm, math.cos(turn), math.sin(turn)


@lru_cache(maxsize=8)
def _projection(grid: LocalGrid) -> Transformer:
    """From degrees to the plane. A raised plane is the ellipsoid with its semi-major axis longer by the height."""
    axis = _SEMI_MAJOR_M + grid.height_m
    plane = CRS.from_proj4(
        f"+proj=tmerc +lat_0={grid.origin_lat_deg!r} +lon_0={grid.central_deg!r} +k={grid.scale!r} "
        f"+x_0={grid.false_east_m!r} +y_0={grid.false_north_m!r} +a={axis!r} +rf={_INVERSE_FLATTENING!r} +units=m"
    )
    degrees = CRS.from_proj4(f"+proj=longlat +a={axis!r} +rf={_INVERSE_FLATTENING!r}")
    return Transformer.from_crs(degrees, plane, always_xy=True)
