from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from gnss.geodesy import LocalFrame, bearing_deg, distance_m, ellipse95, wrap360, wrap_deg

PLACES = [(39.9, 116.4), (0.0, 0.0), (-33.9, 151.2), (70.0, -179.99), (30.25, 120.16)]


def oracle(lat0: float, lon0: float) -> Transformer:
    """PROJ's topocentric conversion: an independent ECEF -> ENU."""
    pipeline = (
        "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad "
        f"+step +proj=cart +ellps=WGS84 +step +proj=topocentric +ellps=WGS84 +lon_0={lon0} +lat_0={lat0} +h_0=0"
    )
    return Transformer.from_pipeline(pipeline)


@pytest.mark.parametrize(("lat0", "lon0"), PLACES)
def test_to_enu_agrees_with_proj_and_comes_back(lat0: float, lon0: float) -> None:
    rng = np.random.default_rng(1)
    lat = lat0 + rng.uniform(-0.4, 0.4, 200)
    lon = lon0 + rng.uniform(-0.4, 0.4, 200)
    frame = LocalFrame(lat0, lon0)
    east, north = frame.to_enu(lat, lon)
    e, n, _ = oracle(lat0, lon0).transform(lon, lat, np.zeros_like(lat))
    np.testing.assert_allclose(east, e, atol=1e-3)
    np.testing.assert_allclose(north, n, atol=1e-3)
    lat_back, lon_back = frame.to_geo(east, north)
    np.testing.assert_allclose(lat_back, lat, atol=1e-9)
    np.testing.assert_allclose((lon_back - lon + 180) % 360 - 180, 0.0, atol=1e-9)


def test_scalars_equal_arrays() -> None:
    frame = LocalFrame(30.0, 120.0)
    east, north = frame.to_enu(30.01, 120.02)
    arrays = frame.to_enu(np.array([30.01]), np.array([120.02]))
    assert (east, north) == pytest.approx((arrays[0][0], arrays[1][0]), abs=1e-6)
    assert isinstance(frame.to_geo(east, north)[0], float)
    assert frame.to_geo(east, north) == pytest.approx((30.01, 120.02), abs=1e-10)


@pytest.mark.parametrize(("lat0", "lon0"), PLACES)
def test_distance_and_bearing_agree_with_geodesics(lat0: float, lon0: float) -> None:
    geod = Geod(ellps="WGS84")
    for azimuth in range(0, 360, 37):
        for length in (1.0, 250.0, 5_000.0):
            lon, lat, _ = geod.fwd(lon0, lat0, azimuth, length)
            assert distance_m(lat0, lon0, lat, lon) == pytest.approx(length, rel=2e-5, abs=1e-3)
            assert abs(wrap_deg(bearing_deg(lat0, lon0, lat, lon) - azimuth)) < 0.01


@given(st.floats(-1e6, 1e6))
def test_wraps(angle: float) -> None:
    assert -180.0 <= wrap_deg(angle) < 180.0
    assert 0.0 <= wrap360(angle) < 360.0
    assert math.cos(math.radians(wrap_deg(angle))) == pytest.approx(math.cos(math.radians(angle)), abs=1e-6)


def test_wrap360_of_a_tiny_negative_angle() -> None:
    assert wrap360(-1e-20) == 0.0


@pytest.mark.parametrize("azimuth", [0.0, 30.0, 90.0, 135.0, 179.0])
def test_ellipse_holds_95_percent_and_points_the_right_way(azimuth: float) -> None:
    a = math.radians(azimuth)
    axes = np.array([[math.sin(a), math.cos(a)], [math.cos(a), -math.sin(a)]]).T
    cov = axes @ np.diag([4.0, 0.25]) @ axes.T
    major, minor, angle = ellipse95(cov)
    assert (major, minor) == pytest.approx((2 * math.sqrt(5.991), 0.5 * math.sqrt(5.991)), rel=1e-3)
    assert abs((angle - azimuth + 90.0) % 180.0 - 90.0) < 1e-6
    points = np.random.default_rng(3).multivariate_normal([0, 0], cov, 20_000)
    inside = np.sum((points @ axes / [major, minor]) ** 2, axis=1) <= 1.0
    assert inside.mean() == pytest.approx(0.95, abs=0.006)


def test_ellipse_refuses_what_is_no_covariance() -> None:
    for bad in ([[1.0, 2.0], [2.0, 1.0]], [[math.nan, 0.0], [0.0, 1.0]], [1.0, 2.0]):
        with pytest.raises(ValueError, match="covariance"):
            ellipse95(bad)
