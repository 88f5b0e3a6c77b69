"""One SQLite file with one connection: WAL, synchronous=FULL, explicit transactions, ordered migrations.

One connection per file, shared by threads under a lock, because two connections that write and checkpoint at the same
moment can corrupt a WAL file in SQLite 3.7.0-3.51.2.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uplink.errors import DatabaseDamaged, StoreError

_DAMAGE_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a schema, applied and recorded in a transaction of its own; `version` counts 1, 2, 3, ..."""

    version: int
    name: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file of this program is: its SQLite application id and the way to its newest version."""

    application_id: int
    migrations: tuple[Migration, ...]


def is_damage(error: sqlite3.Error) -> bool:
    """Does the error mean that the file itself is bad (not that it is busy, full or missing)?"""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE_CODES


class Database:
    """The connection. `transaction()` is the only way to write; `rows()` reads."""

    def __init__(self, path: Path, schema: Schema, *, check: bool = True) -> None:
        """Open or create `path` and bring it to the newest version; `check` reads every page first.

        Raises DatabaseDamaged when the file is bad, StoreError when it belongs to another program or newer software.
        """
        self.path = path
        self.schema = schema
        self.lock = threading.RLock()
        self.generation = 0
        self._open(check)

    def _open(self, check: bool) -> None:
        self.connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
        self.connection.row_factory = sqlite3.Row
        try:
            self._configure()
            self._check(self.schema, check)
            self._migrate(self.schema)
        except sqlite3.DatabaseError as error:
            self.connection.close()
            if is_damage(error):
                raise DatabaseDamaged(f"{self.path}: {error}", self.generation) from error
            raise
        except (DatabaseDamaged, StoreError):
            self.connection.close()
            raise

    def reopen(self) -> None:
        """Connect again, to a new file where the old one was moved away; the holders of this object need not know."""
        with self.lock:
            self.connection.close()
            self.generation += 1
            self._open(check=True)

    def _configure(self) -> None:
        # auto_vacuum takes effect in a new file only, and before its first page is written.
        for pragma in (
            "auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000",
            "mmap_size=0", "journal_size_limit=4194304",
        ):  # fmt: skip
            self.connection.execute(f"PRAGMA {pragma}")

    def _pragma(self, name: str) -> Any:
        return self.connection.execute(f"PRAGMA {name}").fetchone()[0]

    def _tables(self) -> set[str]:
        return {row[0] for row in self.connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}

    def _check(self, schema: Schema, every_page: bool) -> None:
        tables = self._tables()
        if not tables:
            return
        if "migration" not in tables:
            raise StoreError(
                "is a database of another program", file=self.path, remedy="give the store a file of its own"
            )
        verdict = self._pragma("quick_check(1)") if every_page else "ok"
        if verdict != "ok":
            raise DatabaseDamaged(f"{self.path}: {verdict}", self.generation)
        recorded = self.connection.execute("SELECT coalesce(max(version), 0) FROM migration").fetchone()[0]
        if recorded != self._pragma("user_version") or self._pragma("application_id") != schema.application_id:
            why = f"{self.path}: the head does not fit the {recorded} recorded migrations"
            raise DatabaseDamaged(why, self.generation)
        if recorded > len(schema.migrations):
            raise StoreError(
                f"has schema {recorded}, newer than {len(schema.migrations)}",
                file=self.path,
                remedy="update this software",
            )

    def _migrate(self, schema: Schema) -> None:
        for step in schema.migrations[self._pragma("user_version") :]:
            with self.transaction() as tx:
                if step.version == 1:
                    tx.execute(f"PRAGMA application_id = {schema.application_id:d}")
                    tx.execute("CREATE TABLE migration (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT")
                for statement in step.statements:
                    tx.execute(statement)
                tx.execute("INSERT INTO migration VALUES (?, ?)", (step.version, step.name))
                tx.execute(f"PRAGMA user_version = {step.version:d}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """BEGIN IMMEDIATE ... COMMIT; any exception rolls back and is raised again. Durable when it returns.

        Raises DatabaseDamaged where SQLite says that the file is bad.
        """
        with self.lock, self._damage_named():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                raise DatabaseDamaged(f"{self.path}: {error}", self.generation) from error
            raise

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query. Raises DatabaseDamaged."""
        with self.lock, self._damage_named():
            return self.connection.execute(sql, parameters).fetchall()

    def fold(self) -> None:
        """Write the log back into the file and cut it to nothing."""
        with self.lock, self._damage_named():
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def shrink(self, pages: int) -> bool:
        """Give up to `pages` unused pages back to the disk; False when there was none."""
        with self.lock, self._damage_named():
            if not self._pragma("freelist_count"):
                return False
            self.connection.execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()
            return True

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """First column of the first row, or None when there is no row."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def close(self) -> None:
        """Checkpoint and close; the object is dead afterwards."""
        with self.lock:
            self.connection.close()
