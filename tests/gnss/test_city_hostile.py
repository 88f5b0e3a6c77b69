"""Hostile city data: two hundred mutated files and bombs give clear errors, and the old atlas stays in force."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import zipfile
import zlib
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnss.atlas import load_atlas
from gnss.errors import AtlasError
from gnss.features import MOST_VERTICES
from gnss.importer import import_city
from gnss.store import open_atlas
from tests.gnss.cities import (
    DIVISION,
    LAT,
    LON,
    components,
    grids,
    write_city,
    write_csv,
    write_geojson,
    write_gpkg,
    write_shp,
)

WHEN = "2026-11-24T00:00:00Z"
HEAD = f'version = 1\nname = "x"\ndivision = "{DIVISION}"\ndatum = "CGCS2000"\n'
FORMATS = ("geojson", "gpkg", "shp", "zip", "csv")
MUTATIONS = 40
"""Of each format: 200 in all."""


def write(folder: Path, suffix: str) -> tuple[Path, list[Path]]:
    """A good city whose grids and components have this format; its city.toml, and the files to spoil."""
    files = {key: folder / f"{key}.{suffix}" for key in ("grids", "components")}
    rows = {"grids": grids(), "components": components()}
    spoilt: list[Path] = []
    for key, file in files.items():
        if suffix == "zip":
            write_shp(file.with_suffix(".shp"), rows[key])
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
                for part in ("shp", "shx", "dbf", "prj"):
                    out.write(file.with_suffix(f".{part}"), f"{key}.{part}")
                    file.with_suffix(f".{part}").unlink()
        elif suffix == "gpkg":
            write_gpkg(file, rows[key], layer=key)
        else:
            {"geojson": write_geojson, "shp": write_shp, "csv": write_csv}[suffix](file, rows[key])
        spoilt += [p for p in folder.glob(f"{key}.*") if p.suffix in (f".{suffix}", ".shx", ".dbf", ".prj")]
    columns = ', columns = { accuracy_class = "accuracy_c" }' if suffix in ("shp", "zip") else ""
    city = folder / "city.toml"
    city.write_text(HEAD + "".join(f'{key} = {{ file = "{f.name}"{columns} }}\n' for key, f in files.items()))
    return city, sorted(spoilt)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One spoiling: bits, a cut, a gap, a repeat, zeros, foreign bytes or a hostile number."""
    broken = bytearray(data)
    at, width = int(rng.integers(len(broken))), int(rng.integers(1, 200))
    match int(rng.integers(8)):
        case 0:
            for place in rng.integers(len(broken), size=width // 10 + 1).tolist():
                broken[place] ^= 1 << int(rng.integers(8))
        case 1:
            del broken[at:]
        case 2:
            del broken[at : at + width]
        case 3:
            broken[at:at] = broken[at : at + width] * int(rng.integers(1, 50))
        case 4:
            broken[at : at + width] = bytes(width)
        case 5:
            broken[at : at + width] = "中文".encode("gbk") * (width // 4 + 1)
        case 6:
            broken[at : at + 8] = struct.pack("<d", float(rng.choice([np.nan, np.inf, -1e308, 1e308])))
        case _:
            broken[at : at + 4] = struct.pack("<i", int(rng.choice([-1, 2**31 - 1, -(2**31), 10**7])))
    return bytes(broken)


def refused(city: Path, out: Path) -> str | None:
    """The complaint of an import, None when there is none; anything but an AtlasError is a crash."""
    try:
        import_city(city, out, imported_utc=WHEN)
    except AtlasError as error:
        return str(error)
    return None


@pytest.mark.parametrize("suffix", FORMATS)
def test_mutated_files_are_errors_and_the_old_version_stays(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng([5, FORMATS.index(suffix)])
    city, files = write(tmp_path, suffix)
    out = tmp_path / "city.atlas"
    first = import_city(city, out, imported_utc=WHEN)
    good = {file: file.read_bytes() for file in files}
    told: Counter[str] = Counter()
    for _ in range(MUTATIONS):
        file = files[int(rng.integers(len(files)))]
        file.write_bytes(mutate(good[file], rng))
        before = out.read_bytes()
        refusal = refused(city, out)
        told["imported" if refusal is None else "refused"] += 1
        if refusal is not None:
            assert "Remedy: " in refusal
            assert len(refusal) < 2000
            assert out.read_bytes() == before
        with closing(open_atlas(out)) as atlas:
            atlas.grid_at(LAT, LON)
            atlas.components_near(LAT, LON, 300.0)
        file.write_bytes(good[file])
        assert not list(tmp_path.glob("*.part"))
    assert told["refused"] >= MUTATIONS // 4, told
    assert sum(told.values()) == MUTATIONS
    assert import_city(city, out, imported_utc=WHEN).version == first.version


def geojson(geometry: Any) -> str:
    feature = {"type": "Feature", "properties": {"id": "z", "kind": "k"}, "geometry": geometry}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})


def zones(folder: Path, text: str | bytes) -> Path:
    (folder / "zones.geojson").write_bytes(text if isinstance(text, bytes) else text.encode())
    city = folder / "city.toml"
    city.write_text('version = 1\nzones = "zones.geojson"\n')
    return city


NAN_RING = [[LON, LAT], [float("nan"), LAT], [LON + 1, LAT + 1], [LON, LAT]]
BIG_RING = [[LON, LAT], [1e400, LAT], [LON + 1, LAT + 1], [LON, LAT]]
HOLE_OUTSIDE = [[[0, 0], [1, 0], [1, 1], [0, 0]], [[5, 5], [6, 5], [6, 6], [5, 5]]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (geojson({"type": "Polygon", "coordinates": [NAN_RING]}), "feature 1: "),
        (geojson({"type": "Polygon", "coordinates": [BIG_RING]}), "feature 1: "),
        (geojson({"type": "Polygon", "coordinates": HOLE_OUTSIDE}), "feature 1: the polygon is not valid"),
        (geojson({"type": "Polygon", "coordinates": []}), "feature 1: the geometry is empty"),
        (geojson({"type": "Polygon", "coordinates": [[]]}), "feature 1: a ring has fewer"),
        (geojson({"type": "Polygon", "coordinates": {}}), "feature 1: the coordinates cannot be read"),
        (geojson({"type": "Polygon"}), "feature 1: the coordinates cannot be read"),
        (geojson({"type": "Polygon", "coordinates": [[["a", "b"]] * 4]}), "feature 1: the coordinates cannot be read"),
        (geojson({"type": "Polygon", "coordinates": [[[True, False]] * 4]}), "feature 1: "),
        (geojson({"type": ["Polygon"], "coordinates": []}), "feature 1: geometry is"),
        (geojson({"type": "GeometryCollection", "geometries": []}), "feature 1: geometry is"),
        (geojson({"type": "Polygon", "coordinates": [[[10**400, 1]] * 4]}), "feature 1: "),
        ('{"type": "FeatureCollection", "features": [' + "[" * 100_000, "is no GeoJSON|is no JSON"),
        ('{"type": "FeatureCollection", "features": [' + '{"a":' * 100_000, "is no GeoJSON|is no JSON"),
        ('{"type": "FeatureCollection", "features": [1' + "0" * 10_000 + "]}", "is no JSON|feature 1: has no geometry"),
        ('{"type": "FeatureCollection", "features": [' + '"' + "x" * 100_000, "is no JSON"),
        ('{"features": [], "type": "Feature"}', "no GeoJSON FeatureCollection"),
        ('{"type": "FeatureCollection", "features": []} tail', "is no JSON"),
        ("", "is no JSON"),
        (b"\xff\xfe{\x00}\x00", "is no UTF-8"),
        (b"\x00" * 1000, "is no JSON"),
        (geojson({"type": "Polygon", "coordinates": []}).replace("z", "中").encode("gbk"), "is no UTF-8"),
    ],
)  # fmt: skip
def test_hand_made_geojson(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(AtlasError, match=says) as error:
        load_atlas(zones(tmp_path, text))
    assert "Remedy: " in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    write_geojson(tmp_path / "zones.geojson", [({"id": "z", "kind": "k"}, grids()[0][1])])
    text = (tmp_path / "zones.geojson").read_bytes()
    assert len(load_atlas(zones(tmp_path, b"\xef\xbb\xbf" + text)).zones) == 1


def ring(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A closed ring of so many points around the place."""
    angle = np.linspace(0.0, 2 * np.pi, count)
    points = np.column_stack([LON + 0.01 * np.cos(angle), LAT + 0.01 * np.sin(angle)])
    points[-1] = points[0]
    return points


@pytest.mark.slow
def test_ten_million_vertices_are_refused_in_every_format(tmp_path: Path) -> None:
    """As text they are refused unread; as binary by their number."""
    count = 10_000_000
    body = ",".join(["[120.16,30.25]"] * 100_000)
    head = '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"id": "z", "kind": "k"}, '
    with (tmp_path / "zones.geojson").open("w") as out:
        out.write(head + '"geometry": {"type": "Polygon", "coordinates": [[' + body)
        for _ in range(count // 100_000 - 1):
            out.write("," + body)
        out.write("]]}}]}")
    city = tmp_path / "city.toml"
    city.write_text('version = 1\nzones = "zones.geojson"\n')
    with pytest.raises(AtlasError, match="one value has more than"):
        load_atlas(city)
    wkb = struct.pack("<BIII", 1, 3, 1, count) + ring(count).tobytes()
    (tmp_path / "zones.geojson").unlink()
    write_gpkg(tmp_path / "zones.gpkg", [({"id": "z", "kind": "k"}, grids()[0][1])], layer="zones")
    with closing(sqlite3.connect(tmp_path / "zones.gpkg")) as db:
        db.execute("UPDATE zones SET geom = ?", (b"GP\0\x01" + struct.pack("<i", 4490) + wkb,))
        db.commit()
    city.write_text('version = 1\nzones = "zones.gpkg"\n')
    with pytest.raises(AtlasError, match=r"vertices, at most|cannot be read"):
        load_atlas(city)


def test_a_geometry_just_above_the_limit_is_refused_and_one_below_is_read(tmp_path: Path) -> None:
    def gpkg(count: int) -> Path:
        wkb = struct.pack("<BIII", 1, 3, 1, count) + ring(count).tobytes()
        file = tmp_path / f"{count}.gpkg"
        write_gpkg(file, [({"id": "z", "kind": "k"}, grids()[0][1])], layer="zones")
        with closing(sqlite3.connect(file)) as db:
            db.execute("UPDATE zones SET geom = ?", (b"GP\0\x01" + struct.pack("<i", 4490) + wkb,))
            db.commit()
        city = tmp_path / "city.toml"
        city.write_text(f'version = 1\nzones = "{file.name}"\n')
        return city

    with pytest.raises(AtlasError, match=f"{MOST_VERTICES + 1} vertices"):
        load_atlas(gpkg(MOST_VERTICES + 1))
    assert len(load_atlas(gpkg(50_000)).zones) == 1


def test_wkb_that_promises_more_than_it_has(tmp_path: Path) -> None:
    for blob in (
        struct.pack("<BII", 1, 3, 0xFFFFFFFF) + bytes(16),
        struct.pack("<BIII", 1, 3, 1, 0x7FFFFFFF) + bytes(64),
        struct.pack("<BII", 1, 6, 0xFFFFFFF0),
        (struct.pack("<BII", 1, 7, 1) * 20_000),
        b"\x01",
        b"",
    ):
        file = tmp_path / "zones.gpkg"
        file.unlink(missing_ok=True)
        write_gpkg(file, [({"id": "z", "kind": "k"}, grids()[0][1])], layer="zones")
        with closing(sqlite3.connect(file)) as db:
            db.execute("UPDATE zones SET geom = ?", (b"GP\0\x01" + struct.pack("<i", 4490) + blob,))
            db.commit()
        (tmp_path / "city.toml").write_text('version = 1\nzones = "zones.gpkg"\n')
        with pytest.raises(AtlasError, match="feature 1: "):
            load_atlas(tmp_path / "city.toml")


def test_a_geopackage_whose_layer_is_a_query_without_end_is_not_asked(tmp_path: Path) -> None:
    file = tmp_path / "zones.gpkg"
    write_gpkg(file, [({"id": "z", "kind": "k"}, grids()[0][1])], layer="zones")
    with closing(sqlite3.connect(file)) as db:
        db.execute("ALTER TABLE zones RENAME TO other")
        db.execute(
            "CREATE VIEW zones AS WITH RECURSIVE n(fid) AS (SELECT 1 UNION ALL SELECT fid + 1 FROM n)"
            " SELECT fid, x'00' AS geom FROM n"
        )
        db.commit()
    (tmp_path / "city.toml").write_text('version = 1\nzones = "zones.gpkg"\n')
    with pytest.raises(AtlasError, match="holds the layers"):
        load_atlas(tmp_path / "city.toml")


def test_zip_bombs_and_slips_touch_nothing(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    city = inside / "city.toml"
    city.write_text('version = 1\ngrids = "g.zip"\n')
    for name in ("../g.shp", "/etc/g.shp", "..\\g.shp", "C:\\g.shp", "a/../../g.shp"):
        with zipfile.ZipFile(inside / "g.zip", "w") as out:
            out.writestr(name, b"x")
        with pytest.raises(AtlasError, match="leads out of it"):
            load_atlas(city)
    with zipfile.ZipFile(inside / "g.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for part in ("shp", "dbf"):
            out.writestr(f"g.{part}", bytes(50_000_000))
    with pytest.raises(AtlasError, match="unpacks to 50000000 bytes"):
        load_atlas(city)
    # A head that lies about the unpacked size: what comes is cut off at what was promised, or the sum is wrong.
    packed = zlib.compress(bytes(50_000_000))[2:-4]
    with zipfile.ZipFile(inside / "g.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("g.shp", b"x" * 100)
        out.writestr("g.dbf", b"x" * 100)
    data = (inside / "g.zip").read_bytes()
    (inside / "g.zip").write_bytes(data[:40] + packed[:1000] + data[40:])
    with pytest.raises(AtlasError, match="zip"):
        load_atlas(city)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    city = write_city(tmp_path)
    (tmp_path / "zones.geojson").unlink()
    (tmp_path / "zones.geojson").mkdir()
    with pytest.raises(AtlasError, match=r"zones.geojson: cannot be read"):
        load_atlas(city)
    shutil.rmtree(tmp_path / "zones.geojson")
