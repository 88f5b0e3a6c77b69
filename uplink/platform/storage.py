"""The platform's database behind one small face: embedded SQLite, or PostgreSQL with PostGIS by URL.

Statements are written once, with `?` for parameters and in the words both know (ON CONFLICT, RETURNING, window
functions). What differs is here: types of the schema, locks, and which rows a reader may trust.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from perception.errors import SetupError
from uplink.database import Database
from uplink.platform.migrations import PLATFORM, POSTGIS

Row = Any
"""A row that is asked for a column by name."""


THIS_TX = "THIS_TX"
"""In a statement: the number of its transaction. Numbers ascend in the order of beginning, see `settled`."""


def _plain(sql: str) -> str:
    """A statement in SQLite's words: its transactions commit in the order of their rows' ids, so all are number 0."""
    return sql.replace(THIS_TX, "0")


class SqliteTx:
    """A transaction of the embedded database; all writers take turns, so nothing needs a lock."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute; how many rows it touched."""
        return int(self._connection.execute(_plain(sql), parameters).rowcount)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        return list(self._connection.execute(_plain(sql), parameters).fetchall())

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """First column of the first row, or None."""
        row = self._connection.execute(_plain(sql), parameters).fetchone()
        return None if row is None else row[0]

    def lock(self, name: str) -> None:
        """Nothing to do: BEGIN IMMEDIATE holds the only write lock."""


class SqliteStorage:
    """One file, one connection, one process."""

    def __init__(self, path: Path) -> None:
        """Open or create; raises DatabaseDamaged or StoreError as `Database` does."""
        self.path = path
        self.url = path.resolve().as_uri()
        self._database = Database(path, PLATFORM)

    @contextmanager
    def transaction(self) -> Iterator[SqliteTx]:
        """BEGIN IMMEDIATE ... COMMIT."""
        with self._database.transaction() as connection:
            yield SqliteTx(connection)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        return list(self._database.rows(sql, parameters))

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """First column of the first row, or None."""
        return self._database.value(sql, parameters)

    def settled(self) -> int:
        """Transactions below this number are all over: who reads by numbers misses nothing below it."""
        return 1

    def in_box(self) -> str:
        """Condition on case_head with four parameters west, south, east, north in degrees."""
        return "lon_deg >= ? AND lat_deg >= ? AND lon_deg <= ? AND lat_deg <= ?"

    def close(self) -> None:
        """Checkpoint and close."""
        self._database.close()


_HOLDER = re.compile(r"\?")


@lru_cache(maxsize=1024)
def dialect(sql: str) -> str:
    """A statement in PostgreSQL's words: placeholders, and the types of CREATE TABLE."""
    if sql.startswith(("CREATE TABLE", "ALTER TABLE")):
        sql = re.sub(r"\bid INTEGER PRIMARY KEY\b", "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", sql)
        for here, there in (("INTEGER", "BIGINT"), ("BLOB", "BYTEA"), ("REAL", "DOUBLE PRECISION"), ("STRICT", "")):
            sql = re.sub(rf"\b{here}\b", there, sql)
        sql = re.sub(r"\bTEXT\b", 'TEXT COLLATE "C"', sql)
    return _HOLDER.sub("%s", sql.replace("%", "%%").replace(THIS_TX, "pg_current_xact_id()::text::bigint"))


class PostgresTx:
    """A transaction of a server shared by several processes."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute; how many rows it touched."""
        return int(self._connection.execute(dialect(sql), parameters).rowcount)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        return list(self._connection.execute(dialect(sql), parameters).fetchall())

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """First column of the first row, or None."""
        row = self._connection.execute(dialect(sql), parameters).fetchone()
        return None if row is None else next(iter(row.values()))

    def lock(self, name: str) -> None:
        """An advisory lock of this transaction."""
        self._connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))


class PostgresStorage:
    """A pool of connections to a PostgreSQL with PostGIS."""

    def __init__(self, url: str, connections: int = 8) -> None:
        """Connect and bring the schema to the newest version.

        Raises SetupError when the packages, the server, PostGIS or fsync are missing.
        """
        try:
            import psycopg
            from psycopg.rows import dict_row
            from psycopg_pool import ConnectionPool
        except ImportError as error:
            remedy = "install the extra: pip install 'qiji[postgres]'"
            raise SetupError(f"PostgreSQL needs a package: {error.name}", remedy=remedy) from error
        self.url = url
        try:
            with psycopg.connect(url, row_factory=dict_row, connect_timeout=10) as connection:
                _migrate(connection)
        except psycopg.Error as error:
            text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            remedy = "start the server, and give a database that has PostGIS (package postgresql-NN-postgis-3)"
            raise SetupError(f"cannot use the PostgreSQL database: {text}", remedy=remedy) from error
        settings = {"row_factory": dict_row, "autocommit": True}
        self._pool: Any = ConnectionPool(url, min_size=1, max_size=connections, kwargs=settings, open=True, timeout=30)

    @contextmanager
    def transaction(self) -> Iterator[PostgresTx]:
        """BEGIN ... COMMIT on a connection of the pool."""
        with self._pool.connection() as connection, connection.transaction():
            yield PostgresTx(connection)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        with self._pool.connection() as connection:
            return PostgresTx(connection).rows(sql, parameters)

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """First column of the first row, or None."""
        with self._pool.connection() as connection:
            return PostgresTx(connection).value(sql, parameters)

    def settled(self) -> int:
        """The oldest transaction that is still open, or the next one."""
        return int(self.value("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"))

    def in_box(self) -> str:
        """PostGIS's index over the points."""
        return "place && ST_MakeEnvelope(?, ?, ?, ?, 4326)"

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


Tx = SqliteTx | PostgresTx
"""An open transaction: `run` gives the rows touched, `rows` and `value` read, `lock` waits for a name until its end."""
Storage = SqliteStorage | PostgresStorage
"""What the platform asks of its database. `rows` and `value` read outside of transactions."""


def _migrate(connection: Any) -> None:
    """Apply what is missing, one process at a time; refuses a server that does not sync and newer schemas."""
    if connection.execute("SHOW fsync").fetchone()["fsync"] != "on":
        raise SetupError(
            "the PostgreSQL server runs with fsync off", remedy="a receipt promises durability: fsync = on"
        )
    connection.execute("SELECT pg_advisory_xact_lock(20816730)")
    connection.execute("CREATE TABLE IF NOT EXISTS migration (version BIGINT PRIMARY KEY, name TEXT NOT NULL)")
    done = connection.execute("SELECT coalesce(max(version), 0) AS n FROM migration").fetchone()["n"]
    if done > len(PLATFORM.migrations):
        raise SetupError(f"the database has schema {done}, newer than this software", remedy="update this software")
    for step in PLATFORM.migrations[done:]:
        for statement in (*step.statements, *POSTGIS.get(step.version, ())):
            connection.execute(dialect(statement))
        connection.execute("INSERT INTO migration VALUES (%s, %s)", (step.version, step.name))


def open_storage(data_dir: Path, url: str | None) -> Storage:
    """The embedded database in `data_dir`, or the PostgreSQL of `url` (postgresql://...)."""
    if url is None:
        return SqliteStorage(data_dir / "platform.sqlite")
    if not url.startswith(("postgresql://", "postgres://")):
        raise SetupError(f"database address {url.split(':')[0]!r}: unknown", remedy="give postgresql://user@host/name")
    return PostgresStorage(url)


_counter = itertools.count(1)
_counter_lock = threading.Lock()


def process_number() -> int:
    """A number that no other caller in this process got: names of temporary files."""
    with _counter_lock:
        return next(_counter)
