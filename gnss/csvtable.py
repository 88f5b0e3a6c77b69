"""Reads tables of points or WKT geometries (CSV, TSV) in a declared datum; the columns are named, not guessed.

Degrees stand in `lon` and `lat`, metres in `easting` and `northing`: Chinese surveying calls the northing X, so columns
named x and y say nothing and must be mapped in city.toml. Other geometries stand in `wkt`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shapely

from gnss.datums import ToDegrees
from gnss.errors import AtlasError
from gnss.features import MOST_VERTICES, Feature, FeatureError, GeometryError, too_many

MOST_FIELD_CHARS = 32 * 1024 * 1024
_MAPPING = 'write for example columns = { lon = "经度", lat = "纬度" } beside the file in city.toml'


def read_table(
    file: Path,
    to_degrees: ToDegrees | None,
    encoding: str = "utf-8-sig",
    columns: dict[str, str] | None = None,
    *,
    metres: bool = False,
) -> Iterator[Feature | FeatureError]:
    """Rows of a table as features; `metres`: the datum is projected. Raises AtlasError with the line on broken text."""
    named = columns or {}
    if csv.field_size_limit() < MOST_FIELD_CHARS:
        csv.field_size_limit(MOST_FIELD_CHARS)
    line = 1
    try:
        with file.open(encoding=encoding, newline="") as stream:
            first = stream.readline(65_536)
            delimiter = "\t" if "\t" in first else ";" if first.count(";") > first.count(",") else ","
            header = next(csv.reader([first], delimiter=delimiter), [])
            # A quoted line break inside the header is not read: no register has one.
            names = [name.strip() for name in header]
            ours = ("easting", "northing") if metres else ("lon", "lat")
            x, y, wkt = (named.get(key, key) for key in (*ours, "wkt"))
            _check_header(file, names, x, y, wkt)
            reader = csv.reader(stream, delimiter=delimiter)
            for number, row in enumerate(reader, 1):
                line = reader.line_num + 1
                if row:
                    yield _row(file, number, names, row, (x, y, wkt), to_degrees, columns)
    except FileNotFoundError:
        raise AtlasError("the file is missing", file=file, remedy="add it, or take its key out of city.toml") from None
    except UnicodeDecodeError as error:
        raise AtlasError(
            f"is no {encoding.upper().removesuffix('-SIG')} text ({error.reason})", file=file, line=line,
            remedy='save it as UTF-8, or write encoding = "gb18030" beside it in city.toml',
        ) from error  # fmt: skip
    except csv.Error as error:
        raise AtlasError(f"is no CSV ({error})", file=file, line=line, remedy="export it again") from error
    except OSError as error:
        raise AtlasError(f"cannot be read ({error.strerror})", file=file, remedy="check the file's rights") from error


def _check_header(file: Path, names: list[str], x: str, y: str, wkt: str) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise AtlasError(f"column {twice!r} stands twice", file=file, line=1, remedy="rename one")
    if wkt not in names and not (x in names and y in names):
        found = ", ".join(names)[:200]
        raise AtlasError(
            f"has no columns {x!r} and {y!r}, nor {wkt!r}; found {found}", file=file, line=1, remedy=_MAPPING
        )


def _row(
    file: Path,
    number: int,
    names: list[str],
    row: list[str],
    places: tuple[str, str, str],
    to_degrees: ToDegrees | None,
    columns: dict[str, str] | None,
) -> Feature | FeatureError:
    if len(row) != len(names):
        problem = f"feature {number}: {len(row)} cells for {len(names)} columns"
        return FeatureError(problem, file=file, remedy="mend the row", code="property", number=number)
    properties: dict[str, Any] = dict(zip(names, row, strict=True))
    x, y, wkt = places
    if properties.get(wkt):
        text = properties.pop(wkt)
        return Feature(file, number, properties, "", lambda: _from_wkt(text), None, to_degrees, columns)
    xy = (properties.get(x, ""), properties.get(y, ""))
    return Feature(file, number, properties, "Point", lambda: None, xy, to_degrees, columns)


def _from_wkt(text: str) -> Any:
    # GEOS reads collections by calling itself: nested deeply enough they end the stack.
    if "COLLECTION" in text.upper():
        raise ValueError("a collection of geometries is not read here")
    if text.count(",") >= MOST_VERTICES:
        raise too_many(text.count(",") + 1)
    try:
        return shapely.from_wkt(text)
    except shapely.errors.ShapelyError as error:
        if "closed" in str(error):
            raise GeometryError("a ring is not closed", "unclosed", "repeat its first point at the end") from error
        raise
