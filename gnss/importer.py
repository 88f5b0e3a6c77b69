"""Imports a city into an `.atlas` file: written beside the old one, checked, and put in its place in one step."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from gnss.atlas import wide
from gnss.city import Component, Grid, Place, Road, Zone
from gnss.cityfile import CityFacts, read_city
from gnss.diff import Difference, compare
from gnss.errors import AtlasError
from gnss.findings import ERROR, Report
from gnss.store import APPLICATION_ID, FORMAT, SCHEMA, TABLES, connect, open_atlas, outward, read_facts, zone_row
from gnss.survey import Progress, survey

_TABLE = {"grids": "grid", "zones": "zone", "components": "component", "roads": "road", "places": "place"}
_WHOLE = 1 << 256


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. `version` names the content, `serial` counts the versions of this file.

    `changed` is false when the content is what the file held already; `difference` is None for the first version.
    """

    file: Path
    version: str
    serial: int
    changed: bool
    report: Report
    difference: Difference | None


def import_city(
    city_toml: Path, out: Path, *, imported_utc: str, skip_bad: bool = False, progress: Progress | None = None
) -> Imported:
    """Import the city; raises AtlasError, and leaves `out` alone, when anything is wrong with it.

    `skip_bad` leaves out the features in error instead. The version before is kept beside as `NAME-vN.atlas`.
    """
    city = read_city(city_toml)
    part = out.with_name(f"{out.name}.part")
    try:
        with closing(_fresh(part)) as db:
            writer = _Writer(db)
            report = survey(city, writer.put, progress)
            if report.total(ERROR) and not skip_bad:
                raise AtlasError(
                    f"{report.total(ERROR)} features cannot be used", file=city_toml,
                    remedy="see `qiji city check`, or leave them out with --skip-bad",
                )  # fmt: skip
            before = _previous(out)
            facts = writer.finish(city.facts, before, imported_utc)
            if progress is not None:
                progress("index", report.read["components"])
        if before is not None and before["version"] == facts["version"]:
            return Imported(out, facts["version"], int(before["serial"]), False, report, None)
        _prove(part, report)
        difference = None if before is None else compare(out, part)
        _replace(part, out, before)
        return Imported(out, facts["version"], int(facts["serial"]), True, report, difference)
    except sqlite3.Error as error:
        raise AtlasError(f"cannot be written ({error})", file=part, remedy="check disk space and rights") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _fresh(part: Path) -> sqlite3.Connection:
    try:
        part.unlink(missing_ok=True)
        db = sqlite3.connect(part, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise AtlasError(f"cannot be written ({error})", file=part, remedy="check that the folder exists") from error
    # A part that a power cut leaves behind is thrown away: it needs no journal.
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", "cache_size = -65536"):
        db.execute(f"PRAGMA {pragma}")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {FORMAT}")
    db.executescript(SCHEMA)
    db.execute(
        "CREATE TEMP TABLE heap (cell INTEGER, id TEXT, type TEXT, code TEXT, lat REAL, lon REAL, accuracy TEXT)"
    )
    db.execute("BEGIN")
    return db


def _previous(out: Path) -> dict[str, str] | None:
    """Facts of the version in force; None when there is none. A file that is no atlas is not overwritten."""
    if not out.exists():
        return None
    with closing(connect(out)) as db:
        return read_facts(db, out)


def _prove(part: Path, report: Report) -> None:
    """Ask the new file once for everything before it replaces one that works."""
    atlas = open_atlas(part)
    try:
        if atlas.counts()["components"] != report.read["components"] or len(atlas.zones) != report.read["zones"]:
            raise AtlasError("does not hold what was read", file=part, remedy="check the disk, import again")
        atlas.grid_at(0.0, 0.0)
        atlas.components_near(0.0, 0.0, 1.0)
    finally:
        atlas.close()


def _replace(part: Path, out: Path, before: dict[str, str] | None) -> None:
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    if before is not None:
        kept = out.with_name(f"{out.stem}-v{before['serial']}{out.suffix}")
        kept.unlink(missing_ok=True)
        os.link(out, kept)
    part.replace(out)
    folder = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class _Writer:
    """Takes things in batches; components wait in a heap, to be laid down street by street."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._sums = dict.fromkeys(TABLES, 0)
        self._counts = dict.fromkeys(TABLES, 0)

    def put(self, key: str, things: list[Any]) -> None:
        """Write a batch of one member."""
        table = _TABLE[key]
        start = self._counts[table] + 1
        self._counts[table] += len(things)
        if table == "component":
            self._heap(things)
        elif table == "place":
            self._place_rows(things, start)
        else:
            self._shapes(table, things, start)

    def finish(self, facts: CityFacts, before: dict[str, str] | None, imported_utc: str) -> dict[str, str]:
        """Lay down the components, write the facts, commit; returns the facts."""
        db = self._db
        db.execute(
            "INSERT INTO component (id, type, code, lat, lon, accuracy)"
            " SELECT id, type, code, lat, lon, accuracy FROM heap ORDER BY cell, id"
        )
        db.execute("DROP TABLE heap")
        db.execute(
            # CAST cuts toward zero, so one unit (1 cm) more on either side holds the point.
            "INSERT INTO component_box SELECT n, CAST(lon * 1e7 AS INTEGER) - 1, CAST(lon * 1e7 AS INTEGER) + 1,"
            " CAST(lat * 1e7 AS INTEGER) - 1, CAST(lat * 1e7 AS INTEGER) + 1 FROM component ORDER BY n"
        )
        for table in TABLES:
            db.execute(f"CREATE UNIQUE INDEX {table}_id ON {table} (id)")
        told = {
            "name": facts.name, "division": facts.division or "", "utc_offset_hours": repr(facts.utc_offset_hours),
            "default_dwell_s": repr(facts.default_dwell_s), **{f"text_{k}": v for k, v in sorted(facts.texts.items())},
        }  # fmt: skip
        told |= {f"count_{name}": str(count) for name, count in self._counts.items()}
        content = repr((sorted(told.items()), sorted(self._sums.items()))).encode()
        told["version"] = hashlib.sha256(content).hexdigest()[:16]
        told["serial"] = str(1 if before is None else int(before["serial"]) + 1)
        told["previous"] = "" if before is None else before["version"]
        told["imported_utc"] = imported_utc
        db.executemany("INSERT INTO fact VALUES (?, ?)", sorted(told.items()))
        db.execute("COMMIT")
        return told

    def _count_in(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """The digest is a sum over the rows, so that their order in the city's file does not matter."""
        total = self._sums[table]
        for row in rows:
            total += int.from_bytes(hashlib.sha256(repr(row).encode()).digest(), "big")
        self._sums[table] = total % _WHOLE

    def _heap(self, things: list[Component]) -> None:
        rows = [(t.id, t.type, t.code, t.lat_deg, t.lon_deg, t.accuracy_class) for t in things]
        self._count_in("component", rows)
        cells = _cells(np.array([row[3:5] for row in rows], dtype=np.float64).reshape(-1, 2))
        self._db.executemany(
            "INSERT INTO heap VALUES (?, ?, ?, ?, ?, ?, ?)", [(c, *r) for c, r in zip(cells, rows, strict=True)]
        )

    def _place_rows(self, things: list[Place], start: int) -> None:
        rows = [(t.id, t.name, t.name_en, t.kind, t.lat_deg, t.lon_deg) for t in things]
        self._count_in("place", rows)
        numbered = [(n, *row) for n, row in enumerate(rows, start)]
        self._db.executemany("INSERT INTO place VALUES (?, ?, ?, ?, ?, ?, ?)", numbered)
        self._boxes("place", [(n, *outward((row[5], row[4], row[5], row[4]))) for n, row in enumerate(rows, start)])

    def _shapes(self, table: str, things: list[Grid | Zone | Road], start: int) -> None:
        rows, boxes = [], []
        for n, thing in enumerate(things, start):
            if isinstance(thing, Zone):
                row = zone_row(n, thing)
            elif isinstance(thing, Grid):
                row = (n, thing.id, thing.name, shapely.to_wkb(thing.polygon))
            else:
                row = (n, thing.id, thing.name, thing.name_en, shapely.to_wkb(thing.line))
            rows.append(row)
            boxes.append((n, *outward(_bounds(thing))))
        self._count_in(table, (row[1:] for row in rows))
        if rows:
            holes = ", ".join("?" * len(rows[0]))
            self._db.executemany(f"INSERT INTO {table} VALUES ({holes})", rows)  # noqa: S608 - a name of this module
        self._boxes(table, boxes)

    def _boxes(self, table: str, boxes: list[tuple[int, int, int, int, int]]) -> None:
        query = f"INSERT INTO {table}_box VALUES (?, ?, ?, ?, ?)"  # noqa: S608 - a name of this module
        self._db.executemany(query, [(n, west, east, south, north) for n, west, south, east, north in boxes])


def _bounds(thing: Grid | Zone | Road) -> tuple[float, float, float, float]:
    if isinstance(thing, Zone):
        return wide(thing)
    west, south, east, north = (thing.line if isinstance(thing, Road) else thing.polygon).bounds
    return west, south, east, north


def _cells(places: np.ndarray[Any, np.dtype[np.float64]]) -> list[int]:
    """Morton codes of places (N, 2) lat, lon: neighbours on the ground become neighbours in the file."""
    units = ((places + np.array([90.0, 180.0])) * 1e5).astype(np.uint64)  # about a metre, 26 bits each
    lat, lon = units[:, 0], units[:, 1]
    code = np.zeros(len(units), np.uint64)
    for bit in range(26):
        at = np.uint64(bit)
        one = np.uint64(1)
        code |= (lon >> at & one) << np.uint64(2 * bit) | (lat >> at & one) << np.uint64(2 * bit + 1)
    return [int(value) for value in code]
