from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gnss.atlas import Atlas, load_atlas
from gnss.errors import AtlasError

LAT, LON = 30.25, 120.16
MONDAY_NOON_UTC_NS = 1_790_000_000 * 10**9


def square(size_deg: float = 0.001, lat: float = LAT, lon: float = LON) -> dict[str, Any]:
    corners = [(0, 0), (size_deg, 0), (size_deg, size_deg), (0, size_deg), (0, 0)]
    return {"type": "Polygon", "coordinates": [[[lon + x, lat + y] for x, y in corners]]}


def collection(*features: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    rows = [{"type": "Feature", "properties": p, "geometry": g} for p, g in features]
    return {"type": "FeatureCollection", "features": rows}


GOOD: dict[str, Any] = {
    "grids": collection(
        ({"id": "330106001002001", "name": "one"}, square()),
        ({"id": "330106001002002", "name": "two"}, square(lon=LON + 0.001)),
    ),
    "zones": collection(
        ({"id": "z1", "kind": "no_parking", "hours": "07:00-22:00", "dwell_s": 0, "name": "kerb"}, square(0.0002)),
        ({"id": "z2", "kind": "parking_bay"}, square(0.0002, lat=LAT + 0.002)),
    ),
    "components": collection(
        (
            {"id": "33010601015000001", "type": "manhole", "code": "01015", "accuracy_class": "A"},
            {"type": "Point", "coordinates": [LON, LAT]},
        ),
        ({"id": "3301060115000002"}, {"type": "Point", "coordinates": [LON + 0.0001, LAT]}),
    ),
}
CITY = 'version = 1\nname = "Sample"\ndivision = "330106"\nutc_offset_hours = 8\ndatum = "CGCS2000"\n'


def write(folder: Path, members: dict[str, Any] | None = None, city: str = CITY) -> Path:
    for key, value in (GOOD if members is None else members).items():
        (folder / f"{key}.geojson").write_text(json.dumps(value))
        city += f'{key} = "{key}.geojson"\n'
    (folder / "city.toml").write_text(city)
    return folder / "city.toml"


def test_good_atlas(tmp_path: Path) -> None:
    atlas = load_atlas(write(tmp_path))
    assert (atlas.name, atlas.division) == ("Sample", "330106")
    assert (atlas.utc_offset_hours, atlas.default_dwell_s) == (8.0, 180.0)
    assert atlas.grid_at(LAT + 0.0005, LON + 0.0005) == "330106001002001"
    assert atlas.grid_at(LAT + 0.0005, LON + 0.001) == "330106001002001"  # on the border: the first of the file
    assert atlas.grid_at(LAT + 0.0005, LON + 0.0015) == "330106001002002"
    assert atlas.grid_at(LAT - 0.0005, LON) is None
    kerb, bay = atlas.zones
    assert (kerb.dwell_s, bay.dwell_s, kerb.name, bay.kind) == (0.0, None, "kerb", "parking_bay")
    assert kerb.contains(LAT + 0.0001, LON + 0.0001)
    assert not kerb.contains(LAT + 0.0003, LON)
    assert bay.active(MONDAY_NOON_UTC_NS, 8.0)


def test_zones_near_counts_metres_in_both_directions(tmp_path: Path) -> None:
    atlas = load_atlas(write(tmp_path))
    west = LON - 50.0 / 96_240.0  # a degree of longitude at this latitude is 96.24 km
    assert [z.id for z in atlas.zones_near(LAT, west, 51.0)] == ["z1"]
    assert atlas.zones_near(LAT, west, 49.0) == []
    assert [z.id for z in atlas.zones_near(LAT, LON, 500.0)] == ["z1", "z2"]
    south = LAT - 50.0 / 110_860.0
    assert atlas.zones_near(south, LON - 50.0 / 96_240.0, 60.0) == []  # in the box, not in the circle


def test_components_near(tmp_path: Path) -> None:
    atlas = load_atlas(write(tmp_path))
    near = atlas.components_near(LAT, LON + 0.00009, 20.0)
    assert [(c.id, c.code, c.accuracy_class) for c in near] == [
        ("3301060115000002", "0115", None),
        ("33010601015000001", "01015", "A"),
    ]
    assert len(atlas.components_near(LAT, LON, 5.0)) == 1
    assert atlas.components_near(LAT + 1.0, LON, 5.0) == []


def test_empty_atlas() -> None:
    atlas = Atlas.empty()
    assert atlas.grid_at(LAT, LON) is None
    assert atlas.zones_near(LAT, LON, 100.0) == []
    assert atlas.components_near(LAT, LON, 100.0) == []
    assert (atlas.division, atlas.utc_offset_hours) == (None, 8.0)


def one(key: str, properties: dict[str, Any], geometry: dict[str, Any]) -> dict[str, Any]:
    """A member whose last feature is the given one; zones have a good one before it."""
    before = [({"id": "z0", "kind": "x"}, square())] if key == "zones" else []
    return {key: collection(*before, (properties, geometry))}


POINT = {"type": "Point", "coordinates": [LON, LAT]}
BOW_TIE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
SWAPPED = {"type": "Polygon", "coordinates": [[[30, 120], [31, 120], [31, 121], [30, 120]]]}


@pytest.mark.parametrize(
    ("members", "file", "says"),
    [
        (one("zones", {"id": "a", "kind": "k", "hours": "7 to 9"}, square()), "zones.geojson", "feature 2: .*Remedy"),
        (one("zones", {"id": "a", "kind": "k"}, POINT), "zones.geojson", "feature 2: geometry is 'Point'"),
        (one("zones", {"id": "a", "kind": "k"}, BOW_TIE), "zones.geojson", "feature 2: the polygon is not valid"),
        (one("zones", {"id": "a", "kind": "k"}, SWAPPED), "zones.geojson", "feature 2: coordinates lie outside"),
        (one("zones", {"id": "a", "kind": "k", "dwell_s": -1}, square()), "zones.geojson", "feature 2: .*dwell_s"),
        (one("zones", {"id": "a", "kind": "k", "dwell_s": True}, square()), "zones.geojson", "feature 2: .*dwell_s"),
        (one("zones", {"id": "a"}, square()), "zones.geojson", "feature 2: property 'kind'"),
        (one("zones", {"id": "z0", "kind": "k"}, square()), "zones.geojson", "feature 2: id 'z0' is that of feature 1"),
        (one("zones", {"id": 5, "kind": "k"}, square()), "zones.geojson", "feature 2: property 'id' must be text"),
        (one("grids", {"id": "33010600100200"}, square()), "grids.geojson", "feature 1: .*15 characters"),
        (one("grids", {"id": "330107001002001"}, square()), "grids.geojson", "feature 1: .*division 330106"),
        (one("components", {"id": "123"}, POINT), "components.geojson", "feature 1: .*17 digits"),
        ({"zones": {"type": "Feature"}}, "zones.geojson", "no GeoJSON FeatureCollection"),
        ({"zones": {"type": "FeatureCollection", "features": [7]}}, "zones.geojson", "feature 1: has no geometry"),
        ({"zones": collection() | {"crs": {"properties": {"name": "EPSG:4549"}}}}, "zones.geojson", "EPSG:4549"),
    ],
)
def test_bad_members_name_file_feature_and_remedy(tmp_path: Path, members: Any, file: str, says: str) -> None:
    with pytest.raises(AtlasError, match=rf"{file}.*{says}") as error:
        load_atlas(write(tmp_path, members))
    assert "Remedy: " in str(error.value)


@pytest.mark.parametrize(
    ("city", "says"),
    [
        ("version = 2\n", "version is 2"),
        ("version = 1\ndatum = 'GCJ02'\n", "datum 'GCJ02' is not one of"),
        ("version = 1\ndivision = '12'\n", "key 'division'"),
        ("version = 1\nutc_offset_hours = 99\n", "utc_offset_hours"),
        ("version = 1\nzoness = 'a.geojson'\n", "key 'zoness' is not known"),
        ("version = 1\nzones = '../a.geojson'\n", "beside city.toml"),
        ("version = 1\nzones = 'a.kml'\n", "GeoJSON"),
        ("version = 1\nzones = 'a.gpkg'\n", "a.gpkg: the file is missing"),
        ("version = 1\nzones = { file = 'a.csv', colour = 'x' }\n", "zones.colour"),
        ("version = 1\nzones = { file = 'a.csv', encoding = 'x' }\n", "zones.encoding"),
        ("version = 1\nzones = { file = 'a.csv', datum = 'x' }\n", "datum 'x' is not one of"),
        ("version = 1\ncomponents = 'a.csv'\n", "says nothing of its datum"),
        ("version = 1\nzones = 'a.geojson'\n", "a.geojson: the file is missing"),
        ("version = \n", "is no TOML"),
    ],
)
def test_bad_city_toml(tmp_path: Path, city: str, says: str) -> None:
    with pytest.raises(AtlasError, match=says) as error:
        load_atlas(write(tmp_path, {}, city))
    assert "Remedy: " in str(error.value)


def test_broken_json_names_the_line(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "zones.geojson").write_text('{\n"type": oops\n}')
    with pytest.raises(AtlasError, match=r"zones\.geojson:2: is no JSON"):
        load_atlas(file)
    with pytest.raises(AtlasError, match="missing"):
        load_atlas(tmp_path / "other.toml")
