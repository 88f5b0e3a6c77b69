"""Positions on the ground: a local metric frame, distances, bearings and error ellipses.

WGS-84 and CGCS2000 share the semi-axis and differ by 0.1 mm in the other, so one ellipsoid serves both.
"""

from __future__ import annotations

import math
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from gnss.types import Array

SEMI_MAJOR_M = 6378137.0
FLATTENING = 1.0 / 298.257223563
_SEMI_MINOR_M = SEMI_MAJOR_M * (1.0 - FLATTENING)
_E2 = FLATTENING * (2.0 - FLATTENING)
CHI2_95_2D = 5.991464547107979
"""95 % quantile of the chi-square distribution with two degrees of freedom: -2 ln 0.05."""


def radii_m(lat_deg: float) -> tuple[float, float]:
    """Radii of curvature in the meridian and in the prime vertical, metres."""
    s = math.sin(math.radians(lat_deg))
    w2 = 1.0 - _E2 * s * s
    return SEMI_MAJOR_M * (1.0 - _E2) / w2**1.5, SEMI_MAJOR_M / math.sqrt(w2)


class LocalFrame:
    """East/north metres in the plane that touches the ellipsoid at (lat0_deg, lon0_deg).

    Both ways go through ECEF and assume points on the ellipsoid, so `to_geo(to_enu(p))` is p to below a millimetre
    within 50 km. The plane drops away from the ground by d^2/2R (200 m at 50 km), which shortens a distance at
    range d by d^3/6R^2: 0.5 m at 50 km, 4 mm at 10 km; re-centre the frame where distances matter.
    """

    __slots__ = ("_cos_lat", "_cos_lon", "_origin", "_sin_lat", "_sin_lon", "lat0_deg", "lon0_deg")

    def __init__(self, lat0_deg: float, lon0_deg: float) -> None:
        if not (-90.0 <= lat0_deg <= 90.0 and math.isfinite(lon0_deg)):
            raise ValueError(f"no such place: lat {lat0_deg}, lon {lon0_deg}")
        self.lat0_deg, self.lon0_deg = float(lat0_deg), float(lon0_deg)
        lat, lon = math.radians(lat0_deg), math.radians(lon0_deg)
        self._sin_lat, self._cos_lat = math.sin(lat), math.cos(lat)
        self._sin_lon, self._cos_lon = math.sin(lon), math.cos(lon)
        nu = SEMI_MAJOR_M / math.sqrt(1.0 - _E2 * self._sin_lat**2)
        self._origin = (
            nu * self._cos_lat * self._cos_lon,
            nu * self._cos_lat * self._sin_lon,
            nu * (1.0 - _E2) * self._sin_lat,
        )

    @overload
    def to_enu(self, lat_deg: float, lon_deg: float) -> tuple[float, float]: ...

    @overload
    def to_enu(self, lat_deg: Array, lon_deg: Array) -> tuple[Array, Array]: ...

    def to_enu(self, lat_deg: float | Array, lon_deg: float | Array) -> tuple[float, float] | tuple[Array, Array]:
        """East and north in metres of points on the ellipsoid; floats give floats, arrays give arrays of that shape."""
        if isinstance(lat_deg, np.ndarray) or isinstance(lon_deg, np.ndarray):
            return self._to_enu_arrays(lat_deg, lon_deg)
        lat, lon = math.radians(lat_deg), math.radians(lon_deg)
        s, c = math.sin(lat), math.cos(lat)
        nu = SEMI_MAJOR_M / math.sqrt(1.0 - _E2 * s * s)
        x0, y0, z0 = self._origin
        dx, dy, dz = nu * c * math.cos(lon) - x0, nu * c * math.sin(lon) - y0, nu * (1.0 - _E2) * s - z0
        inward = self._cos_lon * dx + self._sin_lon * dy
        return -self._sin_lon * dx + self._cos_lon * dy, self._cos_lat * dz - self._sin_lat * inward

    def _to_enu_arrays(self, lat_deg: ArrayLike, lon_deg: ArrayLike) -> tuple[Array, Array]:
        lat = np.radians(np.asarray(lat_deg, dtype=np.float64))
        lon = np.radians(np.asarray(lon_deg, dtype=np.float64))
        s, c = np.sin(lat), np.cos(lat)
        nu = SEMI_MAJOR_M / np.sqrt(1.0 - _E2 * s * s)
        x0, y0, z0 = self._origin
        dx, dy, dz = nu * c * np.cos(lon) - x0, nu * c * np.sin(lon) - y0, nu * (1.0 - _E2) * s - z0
        inward = self._cos_lon * dx + self._sin_lon * dy
        return -self._sin_lon * dx + self._cos_lon * dy, self._cos_lat * dz - self._sin_lat * inward

    @overload
    def to_geo(self, east_m: float, north_m: float) -> tuple[float, float]: ...

    @overload
    def to_geo(self, east_m: Array, north_m: Array) -> tuple[Array, Array]: ...

    def to_geo(self, east_m: float | Array, north_m: float | Array) -> tuple[float, float] | tuple[Array, Array]:
        """Latitude and longitude in degrees of the point of the ellipsoid below (east, north)."""
        x0, y0, z0 = self._origin
        x = x0 - self._sin_lon * east_m - self._cos_lon * self._sin_lat * north_m
        y = y0 + self._cos_lon * east_m - self._sin_lon * self._sin_lat * north_m
        z = z0 + self._cos_lat * north_m
        # The line through it along the origin's up meets the ellipsoid where (x2 + y2)/a2 + z2/b2 = 1.
        ux, uy, uz = self._cos_lat * self._cos_lon, self._cos_lat * self._sin_lon, self._sin_lat
        a2, b2 = SEMI_MAJOR_M**2, _SEMI_MINOR_M**2
        qa = (ux * ux + uy * uy) / a2 + uz * uz / b2
        qb = (x * ux + y * uy) / a2 + z * uz / b2
        qc = (x * x + y * y) / a2 + z * z / b2 - 1.0
        if isinstance(qc, np.ndarray):
            t = -qc / (qb + np.sqrt(np.maximum(qb * qb - qa * qc, 0.0)))
            x, y, z = x + t * ux, y + t * uy, z + t * uz
            return np.degrees(np.arctan2(z, (1.0 - _E2) * np.hypot(x, y))), np.degrees(np.arctan2(y, x))
        s = -qc / (qb + math.sqrt(max(qb * qb - qa * qc, 0.0)))
        xs, ys, zs = float(x + s * ux), float(y + s * uy), float(z + s * uz)
        return math.degrees(math.atan2(zs, (1.0 - _E2) * math.hypot(xs, ys))), math.degrees(math.atan2(ys, xs))


def distance_m(lat1_deg: float, lon1_deg: float, lat2_deg: float, lon2_deg: float) -> float:
    """Ground distance in metres; good to 1 mm below 1 km and 1e-5 of the distance below 100 km."""
    mean = 0.5 * (lat1_deg + lat2_deg)
    m, n = radii_m(mean)
    dlat = math.radians(lat2_deg - lat1_deg)
    dlon = math.radians(wrap_deg(lon2_deg - lon1_deg))
    # Mid-latitude formula on the ellipsoid (Rapp, Geometric Geodesy I): great-circle terms with local radii.
    half_lon = 0.5 * dlon
    across = 2.0 * n * math.cos(math.radians(mean)) * math.sin(half_lon)
    along = 2.0 * m * math.sin(0.5 * dlat) * math.cos(half_lon)
    chord = math.hypot(across, along)
    radius = math.sqrt(m * n)
    return 2.0 * radius * math.asin(min(1.0, chord / (2.0 * radius)))


def bearing_deg(lat1_deg: float, lon1_deg: float, lat2_deg: float, lon2_deg: float) -> float:
    """Direction from the first point to the second at the first, degrees clockwise from true north, 0..360."""
    east, north = LocalFrame(lat1_deg, lon1_deg).to_enu(lat2_deg, lon2_deg)
    return wrap360(math.degrees(math.atan2(east, north)))


def wrap_deg(angle_deg: float) -> float:
    """The same angle in -180 (included) .. 180 (excluded)."""
    return (angle_deg + 180.0) % 360.0 - 180.0


def wrap360(angle_deg: float) -> float:
    """The same angle in 0 (included) .. 360 (excluded)."""
    wrapped = angle_deg % 360.0
    return 0.0 if wrapped >= 360.0 else wrapped  # -1e-20 % 360 is 360.0 in floating point


def ellipse95(cov_m2: ArrayLike) -> tuple[float, float, float]:
    """Semi-major and semi-minor axis in metres and azimuth of the major one (clockwise from north, 0..180).

    `cov_m2` (2, 2) east/north. Axes are sqrt(5.991 * eigenvalue): the ellipse holds 95 % of a 2-D normal.
    Raises ValueError when the matrix is not (2, 2), not finite or has a negative eigenvalue.
    """
    cov = np.asarray(cov_m2, dtype=np.float64)
    if cov.shape != (2, 2) or not np.all(np.isfinite(cov)):
        raise ValueError(f"a covariance must be a finite (2, 2), got {cov!r}")
    ee, nn, en = float(cov[0, 0]), float(cov[1, 1]), 0.5 * float(cov[0, 1] + cov[1, 0])
    middle, half = 0.5 * (ee + nn), math.hypot(0.5 * (ee - nn), en)
    small = middle - half
    if small < -1e-9 * max(1.0, middle):
        raise ValueError(f"a covariance must have no negative eigenvalue, got {small}")
    azimuth = 90.0 - 0.5 * math.degrees(math.atan2(2.0 * en, ee - nn))
    azimuth %= 180.0
    return (
        math.sqrt(CHI2_95_2D * (middle + half)),
        math.sqrt(CHI2_95_2D * max(small, 0.0)),
        0.0 if azimuth >= 180.0 else azimuth,
    )
