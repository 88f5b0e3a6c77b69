"""The datums that a city may declare for its files: those of gnss.datums, the map shifts, and its own local grid."""

from __future__ import annotations

import numpy as np

from gnss.datums import GEOGRAPHIC, ToDegrees, to_degrees
from gnss.gcj02 import from_bd09, from_gcj02
from gnss.local_grid import LocalGrid
from gnss.types import Array

SHIFTED = ("GCJ-02", "BD-09")
"""Degrees as Chinese map services show them; files of these datums often say WGS 84."""

LOCAL = "local"
"""The city's own grid, whose parameters stand in `local_grid` of city.toml."""


def converter(datum: str, local: LocalGrid | None = None) -> ToDegrees | None:
    """What turns coordinates (N, 2) x, y of a declared datum into (lon, lat) degrees; None when they are that already.

    Raises ValueError for a datum that is not known: nothing is guessed.
    """
    if datum == LOCAL:
        if local is None:
            raise ValueError("datum 'local' needs the grid's parameters: local_grid = { central_deg = 120.0, ... }")
        return local.to_degrees
    if datum == "GCJ-02":
        return _from_gcj02
    if datum == "BD-09":
        return _from_bd09
    try:
        return to_degrees(datum)
    except ValueError as error:
        raise ValueError(f"{error}, {', '.join(SHIFTED)}, {LOCAL}") from None


def in_metres(datum: str) -> bool:
    """Are coordinates of this datum easting and northing?"""
    return datum == LOCAL or datum not in (*GEOGRAPHIC, *SHIFTED)


def _from_gcj02(xy: Array) -> Array:
    lat, lon = from_gcj02(xy[:, 1], xy[:, 0])
    return np.column_stack([lon, lat])


def _from_bd09(xy: Array) -> Array:
    lat, lon = from_gcj02(*from_bd09(xy[:, 1], xy[:, 0]))
    return np.column_stack([lon, lat])
