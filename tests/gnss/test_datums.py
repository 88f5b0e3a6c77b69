"""Declared datums: Gauss-Kruger zones with and without prefix, and nothing guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gnss.atlas import load_atlas
from gnss.datums import GEOGRAPHIC, from_degrees, gauss_kruger, to_degrees, zone_of
from gnss.gcj02 import from_bd09, from_gcj02, to_bd09, to_gcj02
from gnss.geodesy import distance_m
from gnss.local_grid import LocalGrid

PLACE = (120.159, 30.267)
"""Longitude and latitude of the test vector below (computed with PROJ 9.5.1)."""


@pytest.mark.parametrize(
    ("datum", "easting", "northing"),
    [("EPSG:4528", 40515300.094, 3349722.302), ("EPSG:4549", 515300.094, 3349722.302)],
)
def test_gauss_kruger_vectors(datum: str, easting: float, northing: float) -> None:
    convert = to_degrees(datum)
    assert convert is not None
    # A millimetre is 1e-8 degrees.
    assert convert(np.array([[easting, northing]]))[0] == pytest.approx(PLACE, abs=2e-8)


def test_geographic_datums_need_no_conversion() -> None:
    assert [to_degrees(name) for name in GEOGRAPHIC] == [None] * len(GEOGRAPHIC)


@pytest.mark.parametrize("datum", ["GCJ-02", "EPSG:3857", "EPSG:4555", ""])
def test_others_are_refused(datum: str) -> None:
    with pytest.raises(ValueError, match="is not one of"):
        to_degrees(datum)


def test_a_city_in_gauss_kruger_lies_where_it_should(tmp_path: Path) -> None:
    east, north = 515300.094, 3349722.302
    ring = [[east + x, north + y] for x, y in ((-20, -20), (20, -20), (20, 20), (-20, 20), (-20, -20))]
    properties = {"id": "zone-1", "kind": "no_parking"}
    zone = {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    collection = {"type": "FeatureCollection", "features": [zone]}
    (tmp_path / "zones.geojson").write_text(json.dumps(collection), encoding="utf-8")
    city = 'version = 1\nname = "x"\ndatum = "EPSG:4549"\nzones = "zones.geojson"\n'
    (tmp_path / "city.toml").write_text(city, encoding="utf-8")
    found = load_atlas(tmp_path / "city.toml").zones[0]
    assert found.contains(PLACE[1], PLACE[0])
    assert not found.contains(PLACE[1] + 0.0005, PLACE[0])


def test_gauss_kruger_there_and_back() -> None:
    for datum, easting in (("EPSG:4528", 40515300.094), ("EPSG:4549", 515300.094)):
        convert = from_degrees(datum)
        assert convert is not None
        assert convert(np.array([PLACE]))[0] == pytest.approx((easting, 3349722.302), abs=1e-3)
    assert from_degrees("CGCS2000") is None


@pytest.mark.parametrize(
    ("lon", "zone", "prefixed", "plain"),
    [(116.3975, 39, 4527, 4548), (121.47, 40, 4528, 4549), (113.26, 38, 4526, 4547), (104.07, 35, 4523, 4544)],
)
def test_zones(lon: float, zone: int, prefixed: int, plain: int) -> None:
    assert zone_of(lon) == zone
    assert gauss_kruger(lon, zone_prefix=True) == f"EPSG:{prefixed}"
    assert gauss_kruger(lon, zone_prefix=False) == f"EPSG:{plain}"


@pytest.mark.parametrize("lon", [73.4, 136.6, -120.0])
def test_no_zone_is_made_up(lon: float) -> None:
    with pytest.raises(ValueError, match="no zone 25 to 45"):
        gauss_kruger(lon, zone_prefix=True)


SHIFTED = [
    ((39.9087, 116.3975), (39.91010349934476, 116.40374357265176), (39.91644274963076, 116.4101165864734)),
    ((31.2304, 121.4737), (31.22845773757727, 121.47822305927693), (31.234310593689997, 121.484781468503)),
    ((23.1291, 113.2644), (23.126423339922844, 113.26972959210308), (23.13271125723948, 113.27615075157122)),
    ((43.8256, 87.6168), (43.82680539311119, 87.61964994946926), (43.83294979479328, 87.62609977081571)),
    ((39.47, 75.99), (39.47022749677051, 75.9929556381645), (39.476187842272964, 75.99946519930792)),
]
"""WGS-84, GCJ-02, BD-09 (lat, lon): the first of standards.md, all as coord-convert 0.2.1 computes them."""


@pytest.mark.parametrize(("wgs", "gcj", "bd"), SHIFTED)
def test_shifted_coordinates(wgs: tuple[float, float], gcj: tuple[float, float], bd: tuple[float, float]) -> None:
    def pair(place: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([place[0]]), np.array([place[1]])

    assert np.ravel(to_gcj02(*pair(wgs))) == pytest.approx(gcj, abs=1e-13)
    assert np.ravel(to_bd09(*pair(gcj))) == pytest.approx(bd, abs=1e-13)
    assert np.ravel(from_gcj02(*pair(gcj))) == pytest.approx(wgs, abs=1e-12)
    assert np.ravel(from_bd09(*pair(bd))) == pytest.approx(gcj, abs=1e-12)


def test_the_first_vector_is_as_far_off_as_it_should_be() -> None:
    # 555.55 m on a sphere; the ellipsoid gives 0.6 m more.
    assert distance_m(*SHIFTED[0][0], *SHIFTED[0][1]) == pytest.approx(555.55, rel=2e-3)


def test_inverses_all_over_china_and_nothing_outside() -> None:
    rng = np.random.default_rng(1)
    lat, lon = rng.uniform(18.2, 53.0, 20_000), rng.uniform(74.0, 134.5, 20_000)
    gcj = to_gcj02(lat, lon)
    for found, wanted in ((from_gcj02(*gcj), (lat, lon)), (from_bd09(*to_bd09(*gcj)), gcj)):
        assert max(np.abs(found[0] - wanted[0]).max(), np.abs(found[1] - wanted[1]).max()) < 1e-9
    abroad = np.array([51.5, -33.9]), np.array([-0.1, 151.2])
    assert np.array_equal(np.ravel(to_gcj02(*abroad)), np.ravel(abroad))
    assert np.array_equal(np.ravel(from_gcj02(*abroad)), np.ravel(abroad))


def test_a_local_grid_is_the_national_one_with_its_parameters() -> None:
    plain = LocalGrid(120.0)
    assert plain.from_degrees(np.array([PLACE]))[0] == pytest.approx((515300.094, 3349722.302), abs=1e-3)
    city = LocalGrid(
        120.2, height_m=40.0, false_east_m=50_000.0, false_north_m=-3_300_000.0, turn_deg=0.35, ppm=12.0,
        east_m=103.2, north_m=-55.1, pivot_east_m=50_000.0, pivot_north_m=40_000.0,
    )  # fmt: skip
    places = np.array([PLACE, (120.3, 30.1), (119.95, 30.4)])
    grid = city.from_degrees(places)
    assert city.to_degrees(grid) == pytest.approx(places, abs=1e-10)
    # Lengths are those on a plane 40 m up, a little stretched: 1 + 40 / 6371000 + 12e-6.
    length = float(np.hypot(*(grid[1] - grid[0])))
    assert length == pytest.approx(distance_m(PLACE[1], PLACE[0], 30.1, 120.3) * (1 + 18.3e-6), rel=1.2e-6)


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"central_deg": float("nan")}, {"ppm": 1e6}])
def test_a_local_grid_needs_sane_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"grid"):
        LocalGrid(**{"central_deg": 120.0, **wrong})
