"""One city, the same answers: GeoJSON, GeoPackage, Shapefile (zipped too) and CSV, in degrees and in metres."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from gnss.atlas import Atlas, load_atlas
from gnss.errors import AtlasError
from gnss.gcj02 import to_bd09, to_gcj02
from gnss.local_grid import LocalGrid
from gnss.types import Array
from tests.gnss.cities import (
    GK40_PRJ,
    LAT,
    LON,
    Row,
    components,
    grids,
    write_csv,
    write_geojson,
    write_gpkg,
    write_shp,
    zones,
)

HEAD = 'version = 1\nname = "x"\ndivision = "330106"\n'


def load(folder: Path, members: str) -> Atlas:
    (folder / "city.toml").write_text(HEAD + members, encoding="utf-8")
    return load_atlas(folder / "city.toml")


def projected(rows: list[Row], datum: str) -> list[Row]:
    convert = Transformer.from_crs("EPSG:4490", datum, always_xy=True)
    return [(p, shapely.transform(shape, convert.transform, interleaved=False)) for p, shape in rows]


def same(atlas: Atlas) -> None:
    """The grids and components are where the city put them."""
    assert atlas.grid_at(LAT + 0.0001, LON + 0.0001) == "330106001002001"
    assert atlas.grid_at(LAT + 0.0012, LON + 0.0014) == "330106001002005"
    assert atlas.grid_at(LAT - 0.0001, LON) is None
    near = atlas.components_near(LAT + 0.0004, LON + 0.0004, 30.0)
    assert [c.id[-1] for c in near] == ["1", "2"]
    assert near[0].lat_deg == pytest.approx(LAT + 0.0004, abs=2e-8)
    assert near[0].lon_deg == pytest.approx(LON + 0.0004, abs=2e-8)
    assert (near[0].code, near[0].type, near[0].accuracy_class) == ("01001", "井盖", "A")


def test_geojson(tmp_path: Path) -> None:
    write_geojson(tmp_path / "g.geojson", grids())
    write_geojson(tmp_path / "c.geojson", components())
    same(load(tmp_path, 'grids = "g.geojson"\ncomponents = "c.geojson"\n'))


def test_geopackage(tmp_path: Path) -> None:
    write_gpkg(tmp_path / "g.gpkg", grids())
    write_gpkg(tmp_path / "c.gpkg", projected(components(), "EPSG:4549"), layer="c", srs=4549)
    same(load(tmp_path, 'grids = "g.gpkg"\ncomponents = { file = "c.gpkg", layer = "c" }\n'))


def test_shapefile_with_and_without_zip(tmp_path: Path) -> None:
    write_shp(tmp_path / "g.shp", projected(grids(), "EPSG:4528"), prj=GK40_PRJ)
    write_shp(tmp_path / "c.shp", components(), encoding="gbk")
    # The format cuts names to ten characters.
    columns = 'columns = { accuracy_class = "accuracy_c" }'
    same(load(tmp_path, f'grids = "g.shp"\ncomponents = {{ file = "c.shp", encoding = "gbk", {columns} }}\n'))
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for part in [*tmp_path.glob("g.*"), *tmp_path.glob("c.*")]:
            out.write(part, f"data/{part.name}")
        out.writestr("data/c.cpg", "936")
    zipped = f'{{ file = "all.zip", layer = "c", {columns} }}'
    same(load(tmp_path, f'grids = {{ file = "all.zip", layer = "g" }}\ncomponents = {zipped}\n'))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_csv_in_degrees(tmp_path: Path, encoding: str) -> None:
    write_csv(tmp_path / "g.csv", grids(), encoding=encoding)
    write_csv(tmp_path / "c.csv", components(), encoding=encoding)
    named = "" if encoding.startswith("utf-8") else f', encoding = "{encoding}"'
    members = "".join(f'{k} = {{ file = "{k[0]}.csv"{named} }}\n' for k in ("grids", "components"))
    same(load(tmp_path, 'datum = "CGCS2000"\n' + members))


def test_csv_in_metres_with_the_citys_own_column_names(tmp_path: Path) -> None:
    write_geojson(tmp_path / "g.geojson", grids())
    write_csv(tmp_path / "c.csv", components(), metres="EPSG:4549")
    text = (tmp_path / "c.csv").read_text(encoding="utf-8")
    (tmp_path / "c.csv").write_text(text.replace("easting,northing", "Y坐标,X坐标", 1), encoding="utf-8")
    columns = 'columns = { easting = "Y坐标", northing = "X坐标" }'
    same(load(tmp_path, f'grids = "g.geojson"\ncomponents = {{ file = "c.csv", datum = "EPSG:4549", {columns} }}\n'))


def shifted(rows: list[Row], datum: str) -> list[Row]:
    """The rows as a map service shows them, or in a made-up local grid."""

    def there(xy: Array) -> Array:
        if datum == "local":
            return LocalGrid(**LOCAL).from_degrees(xy)
        lat, lon = to_gcj02(xy[:, 1], xy[:, 0])
        if datum == "BD-09":
            lat, lon = to_bd09(lat, lon)
        return np.column_stack([lon, lat])

    return [(p, shapely.transform(shape, there)) for p, shape in rows]


LOCAL = {"central_deg": 120.15, "height_m": 10.0, "false_east_m": 80_000.0, "turn_deg": 0.3, "north_m": -3_200_000.0}


@pytest.mark.parametrize("datum", ["GCJ-02", "BD-09", "local"])
def test_shifted_and_local_datums_are_declared_and_undone(tmp_path: Path, datum: str) -> None:
    """A Shapefile of such data says WGS 84: what the city declares wins over that. In a local grid it says nothing."""
    write_geojson(tmp_path / "g.geojson", shifted(grids(), datum))
    write_shp(tmp_path / "c.shp", shifted(components(), datum))
    named = ""
    if datum == "local":
        (tmp_path / "c.prj").unlink()
        named = "local_grid = { " + ", ".join(f"{k} = {v}" for k, v in LOCAL.items()) + " }\n"
    columns = 'columns = { accuracy_class = "accuracy_c" }'
    head = f'datum = "{datum}"\n{named}'
    same(load(tmp_path, f'{head}grids = "g.geojson"\ncomponents = {{ file = "c.shp", {columns} }}\n'))
    (tmp_path / "c.csv").write_text("id,easting,northing\n" if datum == "local" else "id,lon,lat\n")
    assert load(tmp_path, f'{head}components = "c.csv"\n').counts()["components"] == 0


def test_a_local_grid_without_parameters_is_refused(tmp_path: Path) -> None:
    for members, says in (
        ('datum = "local"\n', "needs the grid's parameters"),
        ('datum = "local"\nlocal_grid = { x = 1 }\n', "key 'local_grid'"),
        ('local_grid = { central_deg = "120" }\n', "parameters are numbers"),
    ):
        with pytest.raises(AtlasError, match=says):
            load(tmp_path, members)


def test_zones_keep_their_words_days_and_margins(tmp_path: Path) -> None:
    write_geojson(tmp_path / "z.geojson", zones())
    school, bay = load(tmp_path, 'zones = "z.geojson"\n').zones
    assert (school.dwell_s, school.hours.by_kind) == (0.0, (("schoolday", 7 * 3600, 8 * 3600 + 1800),))
    assert (bay.classes, bay.margin_m, bay.to_day) == (("bus",), 1.5, None)
    may_first_noon = 1_777_608_000 * 10**9
    assert bay.active(may_first_noon, 8.0)
    assert not bay.active(may_first_noon - 86_400 * 10**9, 8.0)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ('components = "c.csv"\n', "says nothing of its datum"),
        ('datum = "EPSG:4549"\ncomponents = "c.csv"\n', "no columns 'easting' and 'northing'"),
        ('grids = "noprj.shp"\n', "names no datum"),
        ('datum = "EPSG:4549"\ngrids = "g.shp"\n', "is in WGS-84, but city.toml declares EPSG:4549"),
        ('grids = "mercator.gpkg"\n', "EPSG:3857"),
        ('grids = { file = "g.gpkg", layer = "x" }\n', "holds the layers"),
        ('grids = { file = "g.gpkg", layer = 7 }\n', "key 'layer'"),
        ('grids = "slip.zip"\n', "leads out of it"),
        ('grids = "bomb.zip"\n', "unpacks to"),
        ('grids = "empty.zip"\n', "holds no .shp"),
        ('datum = "CGCS2000"\ncomponents = "gbk.csv"\n', "gbk.csv.*is no UTF-8 text.*gb18030"),
        ('datum = "CGCS2000"\ncomponents = "twice.csv"\n', "column 'id' stands twice"),
    ],
)
def test_nothing_is_guessed_and_nothing_leaves_a_zip(tmp_path: Path, members: str, says: str) -> None:
    write_csv(tmp_path / "c.csv", components())
    write_csv(tmp_path / "gbk.csv", components(), encoding="gbk")
    (tmp_path / "twice.csv").write_text("id,id,lon,lat\n")
    write_shp(tmp_path / "g.shp", grids())
    write_shp(tmp_path / "noprj.shp", grids())
    (tmp_path / "noprj.prj").unlink()
    write_gpkg(tmp_path / "g.gpkg", grids())
    write_gpkg(tmp_path / "mercator.gpkg", grids(), srs=3857)
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as out:
        out.writestr("../../evil.shp", b"x")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("big.shp", bytes(5_000_000))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as out:
        out.writestr("readme.txt", b"x")
    with pytest.raises(AtlasError, match=says) as error:
        load(tmp_path, members)
    assert "Remedy: " in str(error.value)
    assert not list(tmp_path.parent.glob("evil*"))


def test_an_unclosed_ring_is_no_polygon(tmp_path: Path) -> None:
    ring = [[LON, LAT], [LON + 0.001, LAT], [LON + 0.001, LAT + 0.001], [LON, LAT + 0.001]]
    feature = {"type": "Feature", "properties": {"id": "z", "kind": "k"}}
    collection = {
        "type": "FeatureCollection",
        "features": [feature | {"geometry": {"type": "Polygon", "coordinates": [ring]}}],
    }
    (tmp_path / "z.geojson").write_text(json.dumps(collection))
    with pytest.raises(AtlasError, match="feature 1: a ring is not closed"):
        load(tmp_path, 'zones = "z.geojson"\n')


def test_a_large_collection_is_read_a_piece_at_a_time(tmp_path: Path) -> None:
    """Features that lie across the borders of the reader's window; a member may come after them."""
    rows = [({"id": f"z{n}", "kind": "k", "name": "路" * 300}, zones()[0][1]) for n in range(3000)]
    write_geojson(tmp_path / "z.geojson", rows)
    text = (tmp_path / "z.geojson").read_text(encoding="utf-8")
    assert len(text) > 1_000_000
    (tmp_path / "z.geojson").write_text(text[:-1] + ', "bbox": [1, 2, 3, 4]}', encoding="utf-8")
    found = load(tmp_path, 'zones = "z.geojson"\n').zones
    assert [zone.id for zone in found] == [f"z{n}" for n in range(3000)]
