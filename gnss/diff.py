"""What differs between two versions of a city: things added, removed and changed, by id."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnss.errors import AtlasError
from gnss.store import TABLES, connect, read_facts

SHOWN = 20
_FACTS = ("name", "division", "utc_offset_hours", "default_dwell_s")
_COLUMNS = {
    "grid": ("name", "shape"),
    "zone": (
        "kind", "name", "hours", "dwell_s", "classes", "margin_m", "from_day", "to_day", "permits", "shape",
    ),
    "component": ("type", "code", "lat", "lon", "accuracy"),
    "road": ("name", "name_en", "shape"),
    "place": ("name", "name_en", "kind", "lat", "lon"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableDifference:
    """Counts, and the first ids of each sort. `changed` ids come with the names of what changed."""

    added: int
    removed: int
    changed: int
    added_ids: tuple[str, ...]
    removed_ids: tuple[str, ...]
    changed_ids: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two versions compared; `facts` are keys of city.toml (name, rules, calendar ...) that differ."""

    old_version: str
    new_version: str
    tables: dict[str, TableDifference]
    facts: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "old": self.old_version, "new": self.new_version, "facts": list(self.facts),
            **{
                f"{name}s": {
                    "added": t.added, "removed": t.removed, "changed": t.changed, "added_ids": list(t.added_ids),
                    "removed_ids": list(t.removed_ids), "changed_ids": [list(pair) for pair in t.changed_ids],
                }
                for name, t in self.tables.items()
            },
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For a person."""
        told = [f"{self.old_version} -> {self.new_version}"]
        told += [f"changed: {', '.join(self.facts)}"] if self.facts else []
        for name, t in self.tables.items():
            if t.added or t.removed or t.changed:
                told.append(f"{name}s: {t.added:,} added, {t.removed:,} removed, {t.changed:,} changed")
                told += [f"  + {one}" for one in t.added_ids[:5]] + [f"  - {one}" for one in t.removed_ids[:5]]
                told += [f"  ~ {one}: {what}" for one, what in t.changed_ids[:5]]
        return told


def compare(old: Path, new: Path) -> Difference:
    """Compare two atlas files; raises AtlasError when one cannot be read."""
    with closing(connect(old)) as before, closing(connect(new)) as after:
        old_facts, new_facts = read_facts(before, old), read_facts(after, new)
    texts = {key for key in (*old_facts, *new_facts) if key.startswith("text_")}
    facts = [key for key in (*_FACTS, *sorted(texts)) if old_facts.get(key) != new_facts.get(key)]
    with closing(sqlite3.connect(":memory:", uri=True)) as db:
        try:
            for name, file in (("a", old), ("b", new)):
                db.execute(f"ATTACH ? AS {name}", (f"{file.resolve().as_uri()}?mode=ro&immutable=1",))
            tables = {name: _table(db, name) for name in TABLES}
        except sqlite3.Error as error:
            raise AtlasError(f"cannot be compared ({error})", file=new, remedy="import the city again") from error
    plain = tuple(key.removeprefix("text_") for key in facts)
    return Difference(old_facts["version"], new_facts["version"], tables, plain)


def _table(db: sqlite3.Connection, name: str) -> TableDifference:
    # The names in these queries are those of this module.
    def missing(here: str, there: str) -> tuple[int, tuple[str, ...]]:
        where = f"FROM {here}.{name} t WHERE NOT EXISTS (SELECT 1 FROM {there}.{name} o WHERE o.id = t.id)"  # noqa: S608
        count = db.execute(f"SELECT COUNT(*) {where}").fetchone()[0]
        ids = db.execute(f"SELECT t.id {where} ORDER BY t.id LIMIT {SHOWN}").fetchall()
        return count, tuple(row[0] for row in ids)

    columns = _COLUMNS[name]
    unlike = " OR ".join(f"t.{c} IS NOT o.{c}" for c in columns)
    marks = " || ".join(f"CASE WHEN t.{c} IS NOT o.{c} THEN ' {c}' ELSE '' END" for c in columns)
    where = f"FROM a.{name} t JOIN b.{name} o ON o.id = t.id WHERE {unlike}"
    changed = db.execute(f"SELECT COUNT(*) {where}").fetchone()[0]
    pairs = db.execute(f"SELECT t.id, {marks} {where} ORDER BY t.id LIMIT {SHOWN}").fetchall()
    removed, removed_ids = missing("a", "b")
    added, added_ids = missing("b", "a")
    told = tuple((one, what.strip().replace(" ", ", ")) for one, what in pairs)
    return TableDifference(added, removed, changed, added_ids, removed_ids, told)
