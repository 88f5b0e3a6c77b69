"""Reads feature tables of a GeoPackage (OGC 12-128r19): SQLite with WKB geometries, opened read-only."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import shapely

from gnss.datums import ToDegrees
from gnss.errors import AtlasError
from gnss.features import BROKEN_SHAPE, Feature, FeatureError, GeometryError
from gnss.wkb import check_wkb

_ENVELOPE_BYTES = (0, 32, 48, 48, 64)
_MOST_BLOB = 64 * 1024 * 1024
_REMEDY = "export it again, or repair it with ogr2ogr"


def layers(file: Path) -> dict[str, tuple[str, int]]:
    """Feature tables: name -> (geometry column, EPSG code or 0). Raises AtlasError when it is no GeoPackage."""
    with closing(_open(file)) as db:
        try:
            rows = db.execute(
                "SELECT c.table_name, g.column_name, s.organization, s.organization_coordsys_id"
                " FROM gpkg_contents c JOIN gpkg_geometry_columns g ON g.table_name = c.table_name"
                " LEFT JOIN gpkg_spatial_ref_sys s ON s.srs_id = g.srs_id"
                # A view could hold any query, also one that never ends.
                " JOIN sqlite_master m ON m.name = c.table_name AND m.type = 'table'"
                " WHERE c.data_type = 'features' ORDER BY c.table_name LIMIT 100"
            ).fetchall()
        except sqlite3.Error as error:
            raise AtlasError(f"is no GeoPackage ({error})", file=file, remedy=_REMEDY) from error
    found = {}
    for table, column, organisation, code in rows:
        known = isinstance(organisation, str) and organisation.upper() == "EPSG" and isinstance(code, int)
        found[str(table)] = (str(column), code if known else 0)
    return found


def read_layer(
    file: Path, table: str, column: str, to_degrees: ToDegrees | None, columns: dict[str, str] | None = None
) -> Iterator[Feature | FeatureError]:
    """Features of one table, in the order of their keys. Raises AtlasError when the file breaks on the way."""
    with closing(_open(file)) as db:
        try:
            cursor = db.execute(f"SELECT * FROM {_quoted(table)} ORDER BY rowid")  # noqa: S608 - a quoted name
            names = [item[0] for item in cursor.description]
            if column not in names:
                raise AtlasError(f"table {table!r} has no column {column!r}", file=file, remedy=_REMEDY)
            for number, row in enumerate(cursor, 1):
                properties: dict[str, Any] = dict(zip(names, row, strict=True))
                yield _feature(file, number, properties, properties.pop(column), to_degrees, columns)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise AtlasError(f"table {table!r} cannot be read ({error})", file=file, remedy=_REMEDY) from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _open(file: Path) -> sqlite3.Connection:
    if not file.is_file():
        raise AtlasError("the file is missing", file=file, remedy="add it, or take its key out of city.toml")
    try:
        db = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    except sqlite3.Error as error:
        raise AtlasError(f"cannot be opened ({error})", file=file, remedy="check the file's rights") from error
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA query_only = ON")
        db.execute("PRAGMA cell_size_check = ON")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BLOB)
    except sqlite3.Error as error:
        db.close()
        raise AtlasError(f"is no GeoPackage ({error})", file=file, remedy=_REMEDY) from error
    return db


def _feature(
    file: Path,
    number: int,
    properties: dict[str, Any],
    blob: object,
    to_degrees: ToDegrees | None,
    columns: dict[str, str] | None,
) -> Feature | FeatureError:
    try:
        kind, wkb, xy = _unwrap(blob)
    except BROKEN_SHAPE as error:
        problem = f"feature {number}: the geometry cannot be read ({error})"
        return FeatureError(problem, file=file, remedy=_REMEDY, code="geometry", number=number)
    return Feature(file, number, properties, kind, lambda: _built(wkb), xy, to_degrees, columns)


def _unwrap(blob: object) -> tuple[str, bytes, tuple[float, float] | None]:
    """Kind, WKB and, for a point, the coordinates of a GeoPackage geometry blob; raises ValueError."""
    if not isinstance(blob, bytes) or len(blob) < 13 or blob[:2] != b"GP":
        raise ValueError("no GeoPackage geometry")
    flags = blob[3]
    envelope = flags >> 1 & 7
    if envelope >= len(_ENVELOPE_BYTES) or flags & 0x20:
        raise ValueError("a kind of geometry blob that is not read")
    wkb = blob[8 + _ENVELOPE_BYTES[envelope] :]
    if len(wkb) < 5:
        raise ValueError("the geometry is cut")
    order = "<" if wkb[0] else ">"
    code = struct.unpack_from(f"{order}I", wkb, 1)[0]
    if code in (1, 1001) and len(wkb) >= 21:
        return "Point", wkb, struct.unpack_from(f"{order}dd", wkb, 5)
    return "", wkb, None


def _built(wkb: bytes) -> Any:
    check_wkb(wkb)
    try:
        return shapely.from_wkb(wkb)
    except shapely.errors.ShapelyError as error:
        if "closed" in str(error):
            raise GeometryError("a ring is not closed", "unclosed", "repeat its first point at the end") from error
        raise
