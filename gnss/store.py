"""A city as one SQLite file with R*Trees (`.atlas`): opened in milliseconds, answered from disk, never changed.

Boxes are kept in whole 1e-7 degrees (1 cm), rounded outward, because SQLite's float R*Tree has 32 bits and would be
0.7 m coarse at 120 degrees east; the exact coordinates stand beside them.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import OrderedDict
from pathlib import Path
from typing import Any

import shapely

from gnss.atlas import Atlas, box_around, gap_m, metres_per_degree, near_roads
from gnss.calendar import Calendar, CalendarError, parse_calendar
from gnss.city import Component, Place, Road, Zone
from gnss.cityfile import CityFacts
from gnss.errors import AtlasError
from gnss.hours import HoursError, parse_hours

APPLICATION_ID = 0x51494A41
"""'QIJA' in the file's header."""

FORMAT = 1
UNITS_PER_DEG = 10_000_000
TABLES = ("grid", "zone", "component", "road", "place")
_CACHE_KB = 8192
_HELD = 512
_REMEDY = "import the city again (qiji city import)"

SCHEMA = """
CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE grid (n INTEGER PRIMARY KEY, id TEXT NOT NULL, name TEXT NOT NULL, shape BLOB NOT NULL);
CREATE TABLE zone (n INTEGER PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, hours TEXT NOT NULL,
  dwell_s REAL, classes TEXT NOT NULL, margin_m REAL NOT NULL, from_day INTEGER, to_day INTEGER, permits TEXT NOT NULL,
  shape BLOB NOT NULL);
CREATE TABLE component (n INTEGER PRIMARY KEY, id TEXT NOT NULL, type TEXT NOT NULL, code TEXT NOT NULL,
  lat REAL NOT NULL, lon REAL NOT NULL, accuracy TEXT);
CREATE TABLE road (n INTEGER PRIMARY KEY, id TEXT NOT NULL, name TEXT NOT NULL, name_en TEXT NOT NULL,
  shape BLOB NOT NULL);
CREATE TABLE place (n INTEGER PRIMARY KEY, id TEXT NOT NULL, name TEXT NOT NULL, name_en TEXT NOT NULL,
  kind TEXT NOT NULL, lat REAL NOT NULL, lon REAL NOT NULL);
""" + "".join(f"CREATE VIRTUAL TABLE {name}_box USING rtree_i32(n, x0, x1, y0, y1);\n" for name in TABLES)


def open_atlas(file: Path) -> StoredAtlas:
    """Open an imported city; raises AtlasError when it is none, of another format, or broken at first sight."""
    return StoredAtlas(file)


def connect(file: Path) -> sqlite3.Connection:
    """A read-only connection that takes no locks: an atlas file is replaced, never written to."""
    try:
        db = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise AtlasError(f"cannot be opened ({error})", file=file, remedy=_REMEDY) from error
    try:
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
    except sqlite3.Error as error:
        db.close()
        raise AtlasError(f"is no atlas ({error})", file=file, remedy=_REMEDY) from error
    if application != APPLICATION_ID or version != FORMAT:
        db.close()
        said = (
            "is no atlas of this software" if application != APPLICATION_ID else f"has format {version}, not {FORMAT}"
        )
        raise AtlasError(said, file=file, remedy=_REMEDY)
    return db


def read_facts(db: sqlite3.Connection, file: Path) -> dict[str, str]:
    """What the file says of itself; raises AtlasError when it cannot be read."""
    try:
        return dict(db.execute("SELECT key, value FROM fact"))
    except (sqlite3.Error, ValueError, UnicodeDecodeError) as error:
        raise AtlasError(f"is a broken atlas ({error})", file=file, remedy=_REMEDY) from error


class StoredAtlas(Atlas):
    """An atlas whose things lie in a file. Not for several threads at once; a file that breaks raises AtlasError."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._db = connect(file)
        self.facts = read_facts(self._db, file)
        try:
            self._tell(city_facts(self.facts))
            self.version = self.facts["version"]
            self.serial = int(self.facts["serial"])
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            self._db.close()
            raise AtlasError(f"is a broken atlas ({error!r})", file=file, remedy=_REMEDY) from error
        self._held: dict[str, OrderedDict[int, Any]] = {name: OrderedDict() for name in TABLES}

    def __reduce__(self) -> tuple[Any, ...]:
        return open_atlas, (self.file,)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def zones(self) -> list[Zone]:
        """All zones in the order of the file, read now."""
        return [_zone(row) for row in self._rows("SELECT * FROM zone ORDER BY n", ())]

    def counts(self) -> dict[str, int]:
        """How many things of each kind there are."""
        return {f"{name}s": int(self.facts.get(f"count_{name}", "0")) for name in TABLES}

    def grid_at(self, lat_deg: float, lon_deg: float) -> str | None:
        """Id of the unit grid at a point (the first of the file where two touch), or None."""
        for n in self._touching("grid", (lon_deg, lat_deg, lon_deg, lat_deg)):
            name, polygon = self._get("grid", n)
            if shapely.intersects_xy(polygon, lon_deg, lat_deg):
                return str(name)
        return None

    def zones_near(self, lat_deg: float, lon_deg: float, radius_m: float) -> list[Zone]:
        """Zones that come, with their margin, within `radius_m` of a point, in the order of the file."""
        near = [self._get("zone", n) for n in self._touching("zone", box_around(lat_deg, lon_deg, radius_m))]
        return [z for z in near if gap_m(z.polygon, lat_deg, lon_deg) <= radius_m + z.margin_m]

    def components_near(self, lat_deg: float, lon_deg: float, radius_m: float) -> list[Component]:
        """Components within `radius_m` of a point, nearest first."""
        return self._points("component", Component, "id, type, code, lat, lon, accuracy", lat_deg, lon_deg, radius_m)

    def places_near(self, lat_deg: float, lon_deg: float, radius_m: float) -> list[Place]:
        """Named places within `radius_m` of a point, nearest first."""
        return self._points("place", Place, "id, name, name_en, kind, lat, lon", lat_deg, lon_deg, radius_m)

    def roads_near(self, lat_deg: float, lon_deg: float, radius_m: float) -> list[Road]:
        """Roads that come within `radius_m` of a point, nearest first."""
        found = [self._get("road", n) for n in self._touching("road", box_around(lat_deg, lon_deg, radius_m))]
        return near_roads(found, lat_deg, lon_deg, radius_m)

    def _touching(self, table: str, box: tuple[float, float, float, float]) -> list[int]:
        """Rows whose box touches one (west, south, east, north in degrees), in the order of the file."""
        west, south, east, north = outward(box)
        found = self._rows(
            f"SELECT n FROM {table}_box WHERE x0 <= ? AND x1 >= ? AND y0 <= ? AND y1 >= ?",  # noqa: S608
            (east, west, north, south),
        )
        return sorted(n for (n,) in found)

    def _points(
        self, table: str, make: Any, columns: str, lat_deg: float, lon_deg: float, radius_m: float
    ) -> list[Any]:
        m_lat, m_lon = metres_per_degree(lat_deg)
        west, south, east, north = outward(box_around(lat_deg, lon_deg, radius_m))
        rows = self._rows(
            f"SELECT {columns} FROM {table}_box b JOIN {table} t ON t.n = b.n"  # noqa: S608 - names of this module
            " WHERE x0 <= ? AND x1 >= ? AND y0 <= ? AND y1 >= ?",
            (east, west, north, south),
        )
        at = columns.split(", ").index("lat")
        ranked = []
        for row in rows:
            gap = math.hypot((row[at] - lat_deg) * m_lat, (row[at + 1] - lon_deg) * m_lon)
            if gap <= radius_m:
                ranked.append((gap, row[0], row))
        ranked.sort(key=lambda item: item[:2])
        return [make(*row) for _, _, row in ranked]

    def _get(self, table: str, n: int) -> Any:
        """A thing with a geometry, kept for the next questions about the same street."""
        held = self._held[table]
        if n in held:
            held.move_to_end(n)
            return held[n]
        rows = self._rows(f"SELECT * FROM {table} WHERE n = ?", (n,))  # noqa: S608 - a name of this module
        if len(rows) != 1:
            raise self._broken(f"{table} {n} is missing")
        try:
            made = _MAKERS[table](rows[0])
        except (shapely.errors.ShapelyError, HoursError, TypeError, ValueError) as error:
            raise self._broken(str(error)) from error
        held[n] = made
        if len(held) > _HELD:
            held.popitem(last=False)
        return made

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._broken(str(error)) from error

    def _broken(self, problem: str) -> AtlasError:
        return AtlasError(f"is a broken atlas ({problem})", file=self.file, remedy=_REMEDY)


def outward(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """A box in degrees as whole units, rounded outward."""
    west, south, east, north = box
    units = UNITS_PER_DEG
    return math.floor(west * units), math.floor(south * units), math.ceil(east * units), math.ceil(north * units)


def city_facts(told: dict[str, str]) -> CityFacts:
    """The facts of the city from those of a file; raises KeyError or ValueError."""
    texts = {key[5:]: value for key, value in told.items() if key.startswith("text_")}
    try:
        calendar = parse_calendar(texts["calendar"]) if "calendar" in texts else Calendar()
    except CalendarError as error:
        raise ValueError(str(error)) from error
    return CityFacts(
        told["name"], told["division"] or None, float(told["utc_offset_hours"]), float(told["default_dwell_s"]),
        calendar, texts,
    )  # fmt: skip


def zone_row(n: int, zone: Zone) -> tuple[Any, ...]:
    """A zone as a row of its table."""
    return (
        n, zone.id, zone.kind, zone.name, zone.hours.text, zone.dwell_s, json.dumps(zone.classes), zone.margin_m,
        zone.from_day, zone.to_day, json.dumps(zone.permits), shapely.to_wkb(zone.polygon),
    )  # fmt: skip


def _zone(row: tuple[Any, ...]) -> Zone:
    _, name, kind, title, hours, dwell_s, classes, margin_m, first, last, permits, blob = row
    polygon = shapely.from_wkb(blob)
    shapely.prepare(polygon)
    return Zone(
        name, kind, title, parse_hours(hours), dwell_s, polygon, tuple(json.loads(classes)), margin_m, first, last,
        tuple(json.loads(permits)),
    )  # fmt: skip


def _grid(row: tuple[Any, ...]) -> tuple[str, Any]:
    polygon = shapely.from_wkb(row[3])
    shapely.prepare(polygon)
    return row[1], polygon


def _road(row: tuple[Any, ...]) -> Road:
    return Road(row[1], row[2], row[3], shapely.from_wkb(row[4]))


_MAKERS: dict[str, Any] = {"zone": _zone, "grid": _grid, "road": _road}
