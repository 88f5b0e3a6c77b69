"""GCJ-02 and BD-09, the shifted coordinates of public maps in China: for adapters and display, never for records.

Formula: the published reference implementation (constants in reference to the Krasovsky ellipsoid); exact to its
digits, a smooth shift of 20 to 700 m. PROJ does not know it. It is not invertible in closed form: the inverse is a
fixed-point iteration, which contracts by a factor of about 1/300 (measured), to below 1e-10 degrees.
"""

from __future__ import annotations

import math

import numpy as np

from gnss.types import Array, Mask

_A, _EE = 6378245.0, 0.00669342162296594323
_LAT0, _LON0 = 35.0, 105.0
_BD_PI = math.pi * 3000.0 / 180.0
_BD_LAT, _BD_LON = 0.006, 0.0065
_CLOSE_DEG = 1e-11
_MOST_ROUNDS = 12


def in_china(lat_deg: Array, lon_deg: Array) -> Mask:
    """(N,) where the reference implementation shifts at all: a rectangle around the country."""
    inside: Mask = (lon_deg >= 72.004) & (lon_deg <= 137.8347) & (lat_deg >= 0.8293) & (lat_deg <= 55.8271)
    return inside


def to_gcj02(lat_deg: Array, lon_deg: Array) -> tuple[Array, Array]:
    """WGS-84 degrees (N,), (N,) to GCJ-02; outside China they stay as they are."""
    lat, lon = np.asarray(lat_deg, dtype=np.float64), np.asarray(lon_deg, dtype=np.float64)
    dlat, dlon = _shift(lat, lon)
    inside = in_china(lat, lon)
    return np.where(inside, lat + dlat, lat), np.where(inside, lon + dlon, lon)


def from_gcj02(lat_deg: Array, lon_deg: Array) -> tuple[Array, Array]:
    """GCJ-02 degrees (N,), (N,) to WGS-84, to below 1e-10 degrees (0.01 mm)."""
    lat, lon = np.asarray(lat_deg, dtype=np.float64), np.asarray(lon_deg, dtype=np.float64)
    found_lat, found_lon = lat.copy(), lon.copy()
    for _ in range(_MOST_ROUNDS):
        there_lat, there_lon = to_gcj02(found_lat, found_lon)
        off_lat, off_lon = lat - there_lat, lon - there_lon
        found_lat, found_lon = found_lat + off_lat, found_lon + off_lon
        if max(np.max(np.abs(off_lat), initial=0.0), np.max(np.abs(off_lon), initial=0.0)) < _CLOSE_DEG:
            break
    return found_lat, found_lon


def to_bd09(lat_deg: Array, lon_deg: Array) -> tuple[Array, Array]:
    """GCJ-02 degrees (N,), (N,) to BD-09, the further shift of one map service."""
    lat, lon = np.asarray(lat_deg, dtype=np.float64), np.asarray(lon_deg, dtype=np.float64)
    radius = np.hypot(lon, lat) + 0.00002 * np.sin(lat * _BD_PI)
    angle = np.arctan2(lat, lon) + 0.000003 * np.cos(lon * _BD_PI)
    return radius * np.sin(angle) + _BD_LAT, radius * np.cos(angle) + _BD_LON


def from_bd09(lat_deg: Array, lon_deg: Array) -> tuple[Array, Array]:
    """BD-09 degrees (N,), (N,) to GCJ-02, to below 1e-10 degrees."""
    lat, lon = np.asarray(lat_deg, dtype=np.float64), np.asarray(lon_deg, dtype=np.float64)
    found_lat, found_lon = lat - _BD_LAT, lon - _BD_LON
    for _ in range(_MOST_ROUNDS):
        there_lat, there_lon = to_bd09(found_lat, found_lon)
        off_lat, off_lon = lat - there_lat, lon - there_lon
        found_lat, found_lon = found_lat + off_lat, found_lon + off_lon
        if max(np.max(np.abs(off_lat), initial=0.0), np.max(np.abs(off_lon), initial=0.0)) < _CLOSE_DEG:
            break
    return found_lat, found_lon


def _shift(lat: Array, lon: Array) -> tuple[Array, Array]:
    """The shift in degrees, north and east."""
    y, x = lat - _LAT0, lon - _LON0
    root = np.sqrt(np.abs(x))
    both = (20.0 * np.sin(6.0 * x * math.pi) + 20.0 * np.sin(2.0 * x * math.pi)) * 2.0 / 3.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + both
    north += (20.0 * np.sin(y * math.pi) + 40.0 * np.sin(y / 3.0 * math.pi)) * 2.0 / 3.0
    north += (160.0 * np.sin(y / 12.0 * math.pi) + 320.0 * np.sin(y * math.pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + both
    east += (20.0 * np.sin(x * math.pi) + 40.0 * np.sin(x / 3.0 * math.pi)) * 2.0 / 3.0
    east += (150.0 * np.sin(x / 12.0 * math.pi) + 300.0 * np.sin(x / 30.0 * math.pi)) * 2.0 / 3.0
    radians = np.radians(lat)
    magic = 1.0 - _EE * np.sin(radians) ** 2
    meridian = _A * (1.0 - _EE) / (magic * np.sqrt(magic)) * math.pi
    normal = _A / np.sqrt(magic) * np.cos(radians) * math.pi
    return north * 180.0 / meridian, east * 180.0 / normal
