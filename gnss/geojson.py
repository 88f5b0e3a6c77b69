"""Reads GeoJSON feature collections of the city one feature at a time, so that a file of any size needs little memory.

A feature is taken apart only once its text is complete; a syntax error, an endless feature or text that is no UTF-8
ends the reading with an error that names the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import TextIOBase
from pathlib import Path
from typing import Any, NoReturn

from shapely.geometry import shape

from gnss.datums import ToDegrees
from gnss.errors import AtlasError
from gnss.features import MOST_VERTICES, Feature, FeatureError, GeometryError, too_many

MOST_FEATURE_CHARS = 64 * 1024 * 1024
_CHUNK = 1024 * 1024
_SPACE = " \t\r\n"
_AGAIN = "export it again as UTF-8 GeoJSON"


@dataclass(slots=True)
class _Reader:
    """A window over the text: `at` is the next character to read."""

    file: Path
    stream: TextIOBase
    text: str = ""
    at: int = 0
    lines: int = 1
    decoder: json.JSONDecoder = field(default_factory=json.JSONDecoder)

    def more(self) -> bool:
        """Read on, and forget what was used; false at the end of the file, where nothing changes."""
        kept = self.text[self.at :]
        if len(kept) > MOST_FEATURE_CHARS:
            self.fail(f"one value has more than {MOST_FEATURE_CHARS} characters", "split or simplify it")
        try:
            fresh = self.stream.read(max(_CHUNK, len(kept)))
        except UnicodeDecodeError as error:
            raise AtlasError(
                f"is no {error.encoding.upper()} text ({error.reason})", file=self.file,
                remedy="export it as UTF-8, or name its encoding in city.toml",
            ) from error  # fmt: skip
        if fresh:
            self.lines += self.text.count("\n", 0, self.at)
            self.text, self.at = kept + fresh, 0
        return bool(fresh)

    def fail(self, problem: str, remedy: str = "export it again", at: int | None = None) -> NoReturn:
        """Raise AtlasError with the line."""
        line = self.lines + self.text.count("\n", 0, self.at if at is None else at)
        raise AtlasError(problem, file=self.file, line=line, remedy=remedy)

    def peek(self) -> str:
        """The next character that is no space, "" at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def take(self, wanted: str) -> str:
        """The next character, which must be one of `wanted`."""
        found = self.peek()
        if not found or found not in wanted:
            self.fail(f"is no JSON (Expecting {' or '.join(wanted)})")
        self.at += 1
        return found

    def value(self) -> Any:
        """The next JSON value."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.pos > len(self.text) - 16 or error.msg.startswith("Unterminated")
                if cut and self.more():
                    continue
                self.fail(f"is no JSON ({error.msg})", at=min(error.pos, len(self.text)))
            except RecursionError:
                self.fail("is no GeoJSON (nested too deeply)", _AGAIN)
            except ValueError as error:
                self.fail(f"is no JSON ({error})")
            # A number at the very end of the window may go on beyond it.
            if end == len(self.text) and self.more():
                continue
            self.at = end
            return value


def read_features(
    file: Path,
    to_degrees: ToDegrees | None = None,
    encoding: str = "utf-8-sig",
    columns: dict[str, str] | None = None,
) -> Iterator[Feature | FeatureError]:
    """Features of a GeoJSON file in order, and an error in the place of each that is none.

    `to_degrees` converts the coordinates of a declared projected datum (gnss.datums). Raises AtlasError when the file
    is absent, no JSON or no feature collection.
    """
    try:
        with file.open(encoding=encoding) as stream:
            reader = _Reader(file, stream)
            head: dict[str, Any] = {}
            number = 0
            for raw in _collection(reader, head, to_degrees is not None):
                number += 1
                yield _feature(file, number, raw, to_degrees, columns)
    except FileNotFoundError:
        raise AtlasError("the file is missing", file=file, remedy="add it, or take its key out of city.toml") from None
    except OSError as error:
        raise AtlasError(f"cannot be read ({error.strerror})", file=file, remedy="check the file's rights") from error


def _collection(reader: _Reader, head: dict[str, Any], converted: bool) -> Iterator[Any]:
    """The values of "features"; the other members go to `head`."""
    if reader.peek() != "{":
        reader.value()
        _no_collection(reader)
    reader.take("{")
    found = False
    if reader.peek() == "}":
        _no_collection(reader)
    while True:
        key = reader.value()
        if not isinstance(key, str):
            reader.fail("is no JSON (a key must be text)")
        reader.take(":")
        if key == "features" and reader.peek() == "[":
            found = True
            if not converted:
                _check_crs(head.get("crs"), reader.file)
            reader.take("[")
            if reader.peek() != "]":
                while True:
                    yield reader.value()
                    if reader.peek() == "]":
                        break
                    reader.take(",")
            reader.take("]")
        else:
            head[key] = reader.value()
        if reader.take(",}") == "}":
            break
    if reader.peek():
        reader.fail("is no JSON (Extra data)")
    if not found or head.get("type") != "FeatureCollection":
        _no_collection(reader)
    if not converted:
        _check_crs(head.get("crs"), reader.file)


def _no_collection(reader: _Reader) -> NoReturn:
    raise AtlasError("is no GeoJSON FeatureCollection", file=reader.file, remedy="export it as a FeatureCollection")


def _feature(
    file: Path, number: int, raw: Any, to_degrees: ToDegrees | None, columns: dict[str, str] | None
) -> Feature | FeatureError:
    geometry = raw.get("geometry") if isinstance(raw, dict) else None
    properties = raw.get("properties") if isinstance(raw, dict) else None
    if not isinstance(geometry, dict) or not isinstance(properties or {}, dict):
        return FeatureError(
            f"feature {number}: has no geometry or no properties", file=file, remedy="export it again, or remove it",
            code="geometry", number=number,
        )  # fmt: skip
    kind = geometry.get("type")
    place = geometry.get("coordinates")
    plain = kind == "Point" and isinstance(place, list) and len(place) >= 2
    xy = (place[0], place[1]) if plain and isinstance(place, list) else None
    name = kind if isinstance(kind, str) and kind else "no type"
    return Feature(file, number, properties or {}, name, lambda: _built(geometry), xy, to_degrees, columns)


def _built(geometry: dict[str, Any]) -> Any:
    """The shapely geometry of a GeoJSON one; rings that do not close are refused instead of closed."""
    place = geometry.get("coordinates")
    count = _count(place)
    if count > MOST_VERTICES:
        raise too_many(count)
    if geometry.get("type") in ("Polygon", "MultiPolygon"):
        if not isinstance(place, list):
            raise TypeError("coordinates are no list")
        polygons = place if geometry["type"] == "MultiPolygon" else [place]
        for ring in (ring for polygon in polygons for ring in polygon):
            if len(ring) < 4:
                raise GeometryError("a ring has fewer than 4 points", "geometry", "draw it again")
            if ring[0] != ring[-1]:
                raise GeometryError("a ring is not closed", "unclosed", "repeat its first point at the end")
    return shape(geometry)


def _count(coordinates: Any) -> int:
    """Vertices of nested coordinates; depth beyond what GeoJSON has counts as one."""
    level, count = [coordinates], 0
    for _ in range(5):
        below: list[Any] = []
        for item in level:
            if isinstance(item, list) and item and isinstance(item[0], list):
                below.extend(item)
            else:
                count += 1
        level = below
    return count + len(level)


def _check_crs(crs: object, file: Path) -> None:
    """Old GeoJSON may name a reference system: longitude/latitude of WGS-84 or CGCS2000 is what is read here."""
    if crs is None:
        return
    inner = crs.get("properties") if isinstance(crs, dict) else crs
    name = inner.get("name") if isinstance(inner, dict) else inner
    if not any(str(name).endswith(end) for end in ("CRS84", ":4326", ":4490")):
        raise AtlasError(
            f"has the reference system {str(name)[:80]!r}", file=file,
            remedy="convert it to EPSG:4490 or EPSG:4326 degrees, or declare its datum in city.toml",
        )  # fmt: skip
