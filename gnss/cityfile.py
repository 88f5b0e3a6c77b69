"""`city.toml`: what a city says of itself, and which files hold its data, in which datum, encoding and columns."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gnss.calendar import Calendar, CalendarError, parse_calendar
from gnss.csvtable import read_table
from gnss.datums import GEOGRAPHIC, ToDegrees
from gnss.declared import SHIFTED, converter, in_metres
from gnss.errors import AtlasError
from gnss.features import Feature, FeatureError
from gnss.geojson import read_features
from gnss.geopackage import layers, read_layer
from gnss.ids import IdError, check_division
from gnss.local_grid import LocalGrid
from gnss.shapefiles import Shapefile

DEFAULT_DWELL_S = 180.0
LAYERS = ("grids", "zones", "components", "roads", "places")
"""Keys of city.toml that name files with geometries."""

TEXTS = ("rules", "calendar", "departments", "codes")
"""Keys that name files which are kept as text: the rules are read by perception, the rest by whoever needs it."""

MOST_TEXT_BYTES = 32 * 1024 * 1024
_KEYS = {
    "version", "name", "division", "utc_offset_hours", "datum", "local_grid", "default_dwell_s", *LAYERS, *TEXTS,
}  # fmt: skip
_MEMBER_KEYS = {"file", "datum", "encoding", "layer", "columns"}
_SUFFIXES = (".geojson", ".json", ".gpkg", ".shp", ".zip", ".csv", ".tsv")
_DEGREES = {4490: "CGCS2000", 4326: "WGS-84"}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Member:
    """One file that city.toml names. `datum`, `encoding` and `columns` (our name: the file's) are as declared there."""

    key: str
    file: Path
    datum: str | None = None
    encoding: str | None = None
    layer: str | None = None
    columns: dict[str, str] | None = None
    local: LocalGrid | None = None

    def features(self) -> Iterator[Feature | FeatureError]:
        """Its features in order, an error in the place of each that cannot be read; raises AtlasError for the file."""
        suffix = self.file.suffix.lower()
        if suffix in (".geojson", ".json"):
            return read_features(self.file, self._convert(self.datum), self.encoding or "utf-8-sig", self.columns)
        if suffix == ".gpkg":
            return self._geopackage()
        if suffix in (".shp", ".zip"):
            layer = Shapefile(self.file, self.layer)
            return layer.features(self._convert(self._agreed(layer.epsg())), self.encoding, self.columns)
        if self.datum is None:
            raise AtlasError(
                "says nothing of its datum", file=self.file, remedy='declare it in city.toml: datum = "CGCS2000"'
            )
        convert = self._convert(self.datum)
        encoding = self.encoding or "utf-8-sig"
        return read_table(self.file, convert, encoding, self.columns, metres=in_metres(self.datum))

    def _geopackage(self) -> Iterator[Feature | FeatureError]:
        found = layers(self.file)
        name = self.layer or (next(iter(found)) if len(found) == 1 else None)
        if name is None or name not in found:
            raise AtlasError(
                f"holds the layers {sorted(found)[:20]}", file=self.file, remedy="name one: { file = ..., layer = ... }"
            )
        column, code = found[name]
        return read_layer(self.file, name, column, self._convert(self._agreed(code)), self.columns)

    def _agreed(self, code: int) -> str:
        """The datum of a file that names one itself by EPSG code (0: it does not); it must not contradict city.toml."""
        found = _DEGREES.get(code, f"EPSG:{code}" if code else None)
        if self.datum is None:
            if found is None:
                raise AtlasError(
                    "names no datum that is known",
                    file=self.file,
                    remedy='declare it in city.toml: datum = "EPSG:4549"',
                )
            return found
        # GCJ-02 and BD-09 have no EPSG code: their files say WGS 84, and who declares the datum knows better.
        marked = found in _DEGREES.values() and self.datum in SHIFTED
        same = found is None or marked or found.upper() == self.datum.upper()
        same = same or (found in _DEGREES.values() and self.datum in GEOGRAPHIC)
        if not same:
            raise AtlasError(
                f"is in {found}, but city.toml declares {self.datum}", file=self.file, remedy="declare what it is in"
            )
        return self.datum

    def _convert(self, datum: str | None) -> ToDegrees | None:
        try:
            return converter(datum or GEOGRAPHIC[0], self.local)
        except ValueError as error:
            raise AtlasError(str(error), file=self.file, remedy="convert the file, or declare its datum") from error


@dataclass(frozen=True, slots=True)
class CityFacts:
    """What holds for the whole city. `texts` are the members kept as text, by key."""

    name: str = ""
    division: str | None = None
    utc_offset_hours: float = 8.0
    default_dwell_s: float = DEFAULT_DWELL_S
    calendar: Calendar = field(default_factory=Calendar)
    texts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CityFile:
    """A city.toml that was read: its facts, and the members that hold geometries by key."""

    file: Path
    facts: CityFacts
    members: dict[str, Member]


def read_city(file: Path) -> CityFile:
    """Read city.toml and its text members; raises AtlasError (file, key, remedy) on any mistake."""
    city = _toml(file)
    division = city.get("division")
    if division is not None:
        try:
            check_division(division)
        except IdError as error:
            remedy = 'write for example division = "110101"'
            raise AtlasError(f"key 'division': {error}", file=file, remedy=remedy) from error
    members = {key: member for key in (*LAYERS, *TEXTS) if (member := _member(file, city, key)) is not None}
    texts = {key: _text(members.pop(key)) for key in TEXTS if key in members}
    try:
        calendar = parse_calendar(texts.get("calendar", "version = 1"))
    except CalendarError as error:
        named = city["calendar"]
        place = file.parent / (named if isinstance(named, str) else named["file"])
        raise AtlasError(str(error), file=place, remedy="see docs/city.md, calendar") from error
    facts = CityFacts(
        _value(file, city, "name", str, ""),
        division,
        _number(file, city, "utc_offset_hours", 8.0, -12.0, 14.0),
        _number(file, city, "default_dwell_s", DEFAULT_DWELL_S, 0.0, 86_400.0),
        calendar,
        texts,
    )
    return CityFile(file, facts, members)


def named_members(file: Path) -> list[Path]:
    """The files beside a city.toml that it names, for whoever copies a city; raises AtlasError."""
    city = _toml(file)
    members = (_member(file, city, key) for key in (*LAYERS, *TEXTS))
    return [member.file for member in members if member is not None]


def _toml(file: Path) -> dict[str, Any]:
    try:
        city = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise AtlasError("the file is missing", file=file, remedy="add it, or take it out of the config") from None
    except OSError as error:
        raise AtlasError(f"cannot be read ({error.strerror})", file=file, remedy="check the file's rights") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AtlasError(f"is no TOML ({error})", file=file, remedy="mend the line named") from error
    for key in city:
        if key not in _KEYS:
            raise AtlasError(f"key '{key}' is not known", file=file, remedy=f"known are {', '.join(sorted(_KEYS))}")
    if city.get("version") != 1:
        raise AtlasError(f"version is {city.get('version')!r}", file=file, remedy="write version = 1")
    _check_datum(file, _value(file, city, "datum", str, GEOGRAPHIC[0]), _local(file, city))
    return city


def _local(file: Path, city: dict[str, Any]) -> LocalGrid | None:
    """The parameters of the city's own grid, which only the city can give."""
    table = _value(file, city, "local_grid", dict, {})
    if not table:
        return None
    try:
        if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in table.values()):
            raise TypeError("parameters are numbers")
        return LocalGrid(**table)
    except (TypeError, ValueError) as error:
        said = f"key 'local_grid': {error}"
        raise AtlasError(said, file=file, remedy="see gnss/local_grid.py for the parameters") from error


def _check_datum(file: Path, datum: str, local: LocalGrid | None) -> None:
    try:
        converter(datum, local)
    except ValueError as error:
        raise AtlasError(str(error), file=file, remedy="convert the city's files and declare their datum") from error


def _member(city_toml: Path, city: dict[str, Any], key: str) -> Member | None:
    """`key = "file"`, or a table with file and, if need be, datum, encoding, layer and columns { ours = theirs }."""
    spec = city.get(key)
    if spec is None:
        return None
    table = spec if isinstance(spec, dict) else {"file": spec}
    unknown = sorted(set(table) - _MEMBER_KEYS)
    if unknown:
        raise AtlasError(
            f"key '{key}.{unknown[0]}' is not known", file=city_toml, remedy=f"use {', '.join(sorted(_MEMBER_KEYS))}"
        )
    name = table.get("file")
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise AtlasError(f"key '{key}' is {name!r}", file=city_toml, remedy="name a file that lies beside city.toml")
    file = city_toml.parent / name
    if key in LAYERS and file.suffix.lower() not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise AtlasError(
            f"key '{key}' names {name!r}", file=city_toml, remedy=f"convert it to GeoJSON; read are {known}"
        )
    columns = table.get("columns")
    if columns is not None and (
        not isinstance(columns, dict) or not all(isinstance(v, str) and v for v in columns.values())
    ):
        raise AtlasError(f"key '{key}.columns' is {columns!r}", file=city_toml, remedy='write { id = "BSM" }')
    words = {name: _value(city_toml, table, name, str, "") or None for name in ("datum", "encoding", "layer")}
    if words["datum"] is not None:
        _check_datum(city_toml, words["datum"], _local(city_toml, city))
    if words["encoding"] is not None:
        try:
            "".encode(words["encoding"])
        except LookupError as error:
            raise AtlasError(f"key '{key}.encoding': {error}", file=city_toml, remedy='write "gb18030"') from error
    return Member(
        key,
        file,
        words["datum"] or city.get("datum"),
        words["encoding"],
        words["layer"],
        columns,
        _local(city_toml, city),
    )


def _text(member: Member) -> str:
    try:
        if member.file.stat().st_size > MOST_TEXT_BYTES:
            raise AtlasError(f"has more than {MOST_TEXT_BYTES} bytes", file=member.file, remedy="shorten it")
        return member.file.read_text(encoding=member.encoding or "utf-8-sig")
    except FileNotFoundError:
        remedy = "add it, or take its key out of city.toml"
        raise AtlasError("the file is missing", file=member.file, remedy=remedy) from None
    except UnicodeDecodeError as error:
        raise AtlasError(f"is no UTF-8 ({error.reason})", file=member.file, remedy="save it as UTF-8") from error
    except OSError as error:
        raise AtlasError(f"cannot be read ({error.strerror})", file=member.file, remedy="check its rights") from error


def _value(file: Path, city: dict[str, Any], key: str, kind: type[_T], default: _T) -> _T:
    value = city.get(key, default)
    if not isinstance(value, kind):
        raise AtlasError(f"key '{key}' is {value!r}", file=file, remedy=f"write a value of type {kind.__name__}")
    return value


def _number(file: Path, city: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = city.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise AtlasError(f"key '{key}' is {value!r}", file=file, remedy=f"write a number from {low:g} to {high:g}")
    return float(value)
