"""Declared datums of the city's data: geographic ones as they are, CGCS2000 3-degree Gauss-Kruger by PROJ.

EPSG codes: 4513-4533 have the zone number in the easting, 4534-4554 do not (zones 25 to 45 each). Axes of the data are
easting, northing. PROJ treats WGS 84 and CGCS2000 as equal; they differ by centimetres to a few decimetres. GCJ-02 and
BD-09 are no datums of data (gnss.gcj02 has them for adapters); local city grids are gnss.local_grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from pyproj import Transformer

from gnss.types import Array

GEOGRAPHIC = ("CGCS2000", "WGS-84", "WGS84", "EPSG:4490", "EPSG:4326")
"""Read as longitude, latitude in degrees (GeoJSON's order)."""

GAUSS_KRUGER = tuple(f"EPSG:{code}" for code in range(4513, 4555))

_FIRST_ZONE, _LAST_ZONE = 25, 45

ToDegrees = Callable[[Array], Array]


@lru_cache(maxsize=8)
def _transformer(datum: str) -> Transformer:
    # Building one takes milliseconds; always_xy keeps easting, northing and longitude, latitude in that order.
    return Transformer.from_crs(datum, "EPSG:4490", always_xy=True)


def to_degrees(datum: str) -> ToDegrees | None:
    """What turns coordinates (N, 2) of a declared datum into (lon, lat) degrees; None when they are that already.

    Raises ValueError for a datum that is not read: nothing is guessed.
    """
    if datum in GEOGRAPHIC:
        return None
    if datum not in GAUSS_KRUGER:
        raise ValueError(f"datum {datum!r} is not one of {', '.join(GEOGRAPHIC)}, EPSG:4513 to EPSG:4554")

    def convert(coordinates: Array) -> Array:
        lon, lat = _transformer(datum).transform(coordinates[:, 0], coordinates[:, 1])
        return np.column_stack([lon, lat])

    return convert


def from_degrees(datum: str) -> ToDegrees | None:
    """What turns (lon, lat) degrees (N, 2) into a declared datum's easting, northing; None when degrees are meant.

    Raises ValueError as `to_degrees` does.
    """
    if to_degrees(datum) is None:
        return None

    def convert(lon_lat_deg: Array) -> Array:
        east, north = _transformer(datum).transform(lon_lat_deg[:, 0], lon_lat_deg[:, 1], direction="INVERSE")
        return np.column_stack([east, north])

    return convert


def zone_of(lon_deg: float) -> int:
    """Number of the 3-degree Gauss-Kruger zone that holds a longitude; ValueError where CGCS2000 has none."""
    zone = math.floor((lon_deg + 1.5) / 3.0)
    if not _FIRST_ZONE <= zone <= _LAST_ZONE:
        raise ValueError(f"longitude {lon_deg} lies in no zone {_FIRST_ZONE} to {_LAST_ZONE} of 3-degree Gauss-Kruger")
    return zone


def gauss_kruger(lon_deg: float, *, zone_prefix: bool) -> str:
    """Name of the 3-degree Gauss-Kruger datum at a longitude, with the zone number in the easting or without."""
    return f"EPSG:{(4513 if zone_prefix else 4534) + zone_of(lon_deg) - _FIRST_ZONE}"
