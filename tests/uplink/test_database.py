"""Migrations, transactions, and files that are not ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from uplink.database import Database, Migration, Schema
from uplink.errors import DatabaseDamaged, StoreError
from uplink.migrations import DEVICE_STORE

ONE = Migration(1, "one", ("CREATE TABLE a (x INTEGER) STRICT",))
TWO = Migration(2, "two", ("CREATE TABLE b (x INTEGER) STRICT", "INSERT INTO b VALUES (7)"))


def test_settings_and_ids(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.sqlite", DEVICE_STORE)
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "mmap_size": 0,
        "user_version": len(DEVICE_STORE.migrations),
        "auto_vacuum": 2,
    }
    found = {name: database.value(f"PRAGMA {name}") for name in wanted}
    assert found == wanted
    assert database.value("PRAGMA application_id") == DEVICE_STORE.application_id
    database.close()


def test_an_old_file_is_brought_up_and_each_step_recorded(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    Database(path, Schema(5, (ONE,))).close()
    database = Database(path, Schema(5, (ONE, TWO)))
    assert [tuple(row) for row in database.rows("SELECT * FROM migration")] == [(1, "one"), (2, "two")]
    assert database.value("SELECT x FROM b") == 7
    database.close()


def test_a_failing_step_leaves_the_version_before_it(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    broken = Migration(2, "broken", ("CREATE TABLE b (x INTEGER) STRICT", "INSERT INTO nothing VALUES (1)"))
    with pytest.raises(sqlite3.OperationalError, match="nothing"):
        Database(path, Schema(5, (ONE, broken)))
    database = Database(path, Schema(5, (ONE, TWO)))
    assert database.value("SELECT x FROM b") == 7
    database.close()


def test_an_exception_rolls_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.sqlite", Schema(5, (ONE,)))

    def spoil() -> None:
        with database.transaction() as tx:
            tx.execute("INSERT INTO a VALUES (1)")
            raise KeyError

    with pytest.raises(KeyError):
        spoil()
    assert database.value("SELECT count(*) FROM a") == 0
    with database.transaction() as tx:
        tx.execute("INSERT INTO a VALUES (2)")
    assert database.value("SELECT x FROM a") == 2
    database.close()


def test_newer_schema_and_foreign_files_are_refused_untouched(tmp_path: Path) -> None:
    newer = tmp_path / "newer.sqlite"
    Database(newer, Schema(5, (ONE, TWO))).close()
    with pytest.raises(StoreError, match="update this software"):
        Database(newer, Schema(5, (ONE,)))
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        Database(foreign, Schema(5, (ONE,)))


@pytest.mark.parametrize("damage", ["garbage", "head", "version"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.sqlite"
    Database(path, Schema(5, (ONE,))).close()
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content[100:] = b"\xff" * (len(content) - 100)
    elif damage == "head":
        content[:16] = b"not a database!!"
    else:
        content[60:64] = (77).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(DatabaseDamaged):
        Database(path, Schema(5, (ONE,)))
