"""Small cities in every format that is read: nine grids of 120 m around a place in Hangzhou, zones, components."""

from __future__ import annotations

import io
import json
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import shapefile
import shapely
from pyproj import Transformer

LAT, LON = 30.25, 120.16
STEP_LAT, STEP_LON = 120.0 / 110_900.0, 120.0 / 96_400.0
DIVISION = "330106"
WGS84_PRJ = (
    'GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],'
    'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]'
)
GK40_PRJ = (
    'PROJCS["CGCS2000_3_Degree_GK_Zone_40",GEOGCS["GCS_China_Geodetic_Coordinate_System_2000",'
    'DATUM["D_China_2000",SPHEROID["CGCS2000",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],'
    'UNIT["Degree",0.0174532925199433]],PROJECTION["Gauss_Kruger"],PARAMETER["False_Easting",40500000.0],'
    'PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",120.0],PARAMETER["Scale_Factor",1.0],'
    'PARAMETER["Latitude_Of_Origin",0.0],UNIT["Meter",1.0]]'
)
Row = tuple[dict[str, Any], Any]
"""Properties and the shapely geometry in (lon, lat) degrees."""


class _Writer(shapefile.Writer):  # type: ignore[misc]
    """pyshp's writer closes once more when it is collected, and complains then."""

    def __del__(self) -> None:
        pass


def cell(row: int, column: int) -> Any:
    """A grid's square."""
    x, y = LON + column * STEP_LON, LAT + row * STEP_LAT
    return shapely.box(x, y, x + STEP_LON, y + STEP_LAT)


def grids() -> list[Row]:
    """Nine squares, numbered west to east, south to north."""
    return [
        ({"id": f"{DIVISION}001002{3 * r + c + 1:03d}", "name": f"文三路第{3 * r + c + 1}网格"}, cell(r, c))
        for r in range(3)
        for c in range(3)
    ]


def components() -> list[Row]:
    """Two covers, a lamp and a bin, inside the grids."""
    places = [
        ("01001", 0.0004, 0.0004),
        ("01001", 0.0004, 0.0006),
        ("01037", 0.0010, 0.0010),
        ("03005", 0.0020, 0.0012),
    ]
    return [
        (
            {"id": f"{DIVISION}{code}{n:06d}", "type": "井盖", "accuracy_class": "A"},
            shapely.Point(round(LON + dx, 7), round(LAT + dy, 7)),
        )
        for n, (code, dx, dy) in enumerate(places, 1)
    ]


def zones() -> list[Row]:
    """A kerb without parking on school days, and a bay for buses."""
    kerb = shapely.box(LON, LAT + 0.0005, LON + 0.001, LAT + 0.00053)
    bay = shapely.box(LON, LAT + 0.001, LON + 0.001, LAT + 0.00103)
    return [
        ({"id": "z1", "kind": "school", "hours": "schoolday 07:00-08:30", "dwell_s": 0, "name": "校门"}, kerb),
        ({"id": "z2", "kind": "parking_bay", "classes": "bus", "from": "2026-05-01", "margin_m": 1.5}, bay),
    ]


def as_geojson(rows: list[Row]) -> dict[str, Any]:
    """A feature collection."""
    features = [
        {"type": "Feature", "properties": p, "geometry": json.loads(shapely.to_geojson(shape))} for p, shape in rows
    ]
    return {"type": "FeatureCollection", "features": features}


def write_geojson(file: Path, rows: list[Row]) -> None:
    """A GeoJSON file."""
    file.write_text(json.dumps(as_geojson(rows), ensure_ascii=False), encoding="utf-8")


def write_gpkg(file: Path, rows: list[Row], *, layer: str = "grids", srs: int = 4490) -> None:
    """A GeoPackage with one feature table; text columns only."""
    names = sorted({key for properties, _ in rows for key in properties})
    with closing(sqlite3.connect(file)) as db:
        db.executescript(
            "PRAGMA application_id = 0x47504B47;"
            "CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT, srs_id INTEGER PRIMARY KEY, organization TEXT,"
            " organization_coordsys_id INTEGER, definition TEXT, description TEXT);"
            "CREATE TABLE gpkg_contents (table_name TEXT PRIMARY KEY, data_type TEXT, identifier TEXT, srs_id INTEGER);"
            "CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT, geometry_type_name TEXT,"
            " srs_id INTEGER, z INTEGER, m INTEGER);"
        )
        db.execute("INSERT INTO gpkg_spatial_ref_sys VALUES ('x', ?, 'EPSG', ?, '', '')", (srs, srs))
        db.execute("INSERT INTO gpkg_contents VALUES (?, 'features', ?, ?)", (layer, layer, srs))
        db.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 'GEOMETRY', ?, 0, 0)", (layer, srs))
        columns = ", ".join(f'"{name}"' for name in names)
        db.execute(f'CREATE TABLE "{layer}" (fid INTEGER PRIMARY KEY, geom BLOB, {columns})')
        for properties, shape in rows:
            blob = b"GP\0\x01" + struct.pack("<i", srs) + shapely.to_wkb(shape, byte_order=1)
            values = [blob, *(properties.get(name) for name in names)]
            holes = ", ".join("?" * len(values))
            db.execute(f'INSERT INTO "{layer}" (geom, {columns}) VALUES ({holes})', values)
        db.commit()


def write_shp(file: Path, rows: list[Row], *, prj: str = WGS84_PRJ, encoding: str = "utf-8") -> None:
    """A Shapefile with its parts; text fields only."""
    names = sorted({key for properties, _ in rows for key in properties})
    parts = {name: io.BytesIO() for name in ("shp", "shx", "dbf")}
    with _Writer(**parts, encoding=encoding) as out:
        for name in names:
            out.field(name[:10], "C", 120)
        for properties, shape in rows:
            out.record(*(str(properties.get(name, "")) for name in names))
            if shape.geom_type == "Point":
                out.point(shape.x, shape.y)
            else:
                out.shape(shape.__geo_interface__)
    for name, part in parts.items():
        file.with_suffix(f".{name}").write_bytes(part.getvalue())
    file.with_suffix(".prj").write_text(prj)


def write_csv(file: Path, rows: list[Row], *, encoding: str = "utf-8", metres: str | None = None) -> None:
    """Points, or WKT for other geometries; `metres`: the projected datum to write them in."""
    names = sorted({key for properties, _ in rows for key in properties})
    points = all(shape.geom_type == "Point" for _, shape in rows)
    place = ("easting", "northing") if metres else ("lon", "lat")
    lines = [",".join([*names, *(place if points else ("wkt",))])]
    convert = Transformer.from_crs("EPSG:4490", metres, always_xy=True) if metres else None
    for properties, shape in rows:
        if points:
            x, y = convert.transform(shape.x, shape.y) if convert else (shape.x, shape.y)
            where = [f"{x:.9f}", f"{y:.9f}"]
        else:
            where = [f'"{shape.wkt}"']
        lines.append(",".join([*(str(properties.get(name, "")) for name in names), *where]))
    file.write_text("\n".join(lines) + "\n", encoding=encoding)


def write_city(folder: Path, extra: str = "", **members: list[Row]) -> Path:
    """A city.toml with GeoJSON members; the defaults are those above."""
    rows = {"grids": grids(), "zones": zones(), "components": components()} | members
    for key, value in rows.items():
        write_geojson(folder / f"{key}.geojson", value)
    named = "".join(f'{key} = "{key}.geojson"\n' for key in rows)
    city = folder / "city.toml"
    city.write_text(f'version = 1\nname = "杭州"\ndivision = "{DIVISION}"\n{named}{extra}', encoding="utf-8")
    return city
