"""Declared datums of the city's data: geographic ones as they are, CGCS2000 3-degree Gauss-Kruger by PROJ.

EPSG codes: 4513-4533 have the zone number in the easting, 4534-4554 do not (zones 25 to 45 each). Axes of the data are
easting, northing. PROJ treats WGS 84 and CGCS2000 as equal; they differ by centimetres to a few decimetres.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from pyproj import Transformer

from gnss.types import Array

GEOGRAPHIC = ("CGCS2000", "WGS-84", "WGS84", "EPSG:4490", "EPSG:4326")
"""Read as longitude, latitude in degrees (GeoJSON's order)."""

GAUSS_KRUGER = tuple(f"EPSG:{code}" for code in range(4513, 4555))

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
