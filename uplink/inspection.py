"""`qiji outbox status|retry|export`: look at a store from outside, and help it along."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from gnss.clock import Clock
from perception.types import JsonDict
from uplink.database import Database
from uplink.errors import StoreError
from uplink.files import Spool
from uplink.migrations import DEVICE_STORE
from uplink.outbox import Outbox
from uplink.repair import FolderLock


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """Counts by state, the losses, and why the dead are dead."""

    device: str
    epoch: str
    last_seq: int
    chain_head: str
    events: dict[str, int]
    blobs: dict[str, int]
    blob_bytes_ready: int
    cases: dict[str, int]
    losses: dict[str, int]
    dead: list[JsonDict]

    def to_dict(self) -> JsonDict:
        """For `--json`."""
        return asdict(self)


def _connect(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise StoreError("there is no store", file=path, remedy="name the store's file (see `store` in the car's TOML)")
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    connection.row_factory = sqlite3.Row
    return connection


def _counts(connection: sqlite3.Connection, sql: str) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(sql)}


def status(path: Path) -> OutboxStatus:
    """Read-only, also while the car is running. Raises StoreError when `path` is not a readable store."""
    try:
        with closing(_connect(path)) as connection:
            meta = {row["k"]: row["v"] for row in connection.execute("SELECT k, v FROM meta")}
            dead = connection.execute(
                "SELECT uid, case_uid, last_status, last_error FROM event WHERE state = 'dead' ORDER BY seq LIMIT 100"
            )
            return OutboxStatus(
                device=meta["device_id"],
                epoch=meta["outbox_epoch"],
                last_seq=connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0],
                chain_head=meta["chain_head"],
                events=_counts(connection, "SELECT state, count(*) FROM event GROUP BY state ORDER BY state"),
                blobs=_counts(connection, "SELECT state, count(*) FROM blob GROUP BY state ORDER BY state"),
                blob_bytes_ready=connection.execute(
                    "SELECT coalesce(sum(size), 0) FROM blob WHERE state = 'ready'"
                ).fetchone()[0],
                cases=_counts(connection, "SELECT state, count(*) FROM case_state GROUP BY state ORDER BY state"),
                losses=_counts(connection, "SELECT what, count(*) FROM loss GROUP BY what ORDER BY what"),
                dead=[dict(row) for row in dead],
            )
    except (sqlite3.DatabaseError, KeyError) as error:
        raise StoreError(
            f"cannot be read as a store: {error}", file=path, remedy="start the car once: it moves damage aside"
        ) from error


def retry_dead(path: Path, clock: Clock) -> int:
    """Make dead events and pictures ready again; returns how many. Raises StoreError while the car is running."""
    _connect(path).close()
    lock = FolderLock(path.parent)
    try:
        database = Database(path, DEVICE_STORE)
        try:
            return Outbox(database, Spool(path.parent / "spool"), clock).revive()
        finally:
            database.close()
    finally:
        lock.release()


def export(path: Path, out: Path, states: tuple[str, ...] = ("ready", "dead")) -> int:
    """Write `events.jsonl` and `evidence/` of the events in `states` into the new folder `out`; returns how many.

    Raises StoreError when `out` exists already.
    """
    if out.exists():
        raise StoreError("exists already", file=out, remedy="name a new folder")
    spool = Spool(path.parent / "spool")
    with closing(_connect(path)) as connection:
        (out / "evidence").mkdir(parents=True)
        rows = [row for row in connection.execute("SELECT * FROM event ORDER BY seq") if row["state"] in states]
        with (out / "events.jsonl").open("w", encoding="utf-8") as file:
            for row in rows:
                entry = {
                    name: row[name]
                    for name in ("seq", "uid", "state", "attempts", "last_status", "last_error", "digest")
                }
                file.write(
                    json.dumps({**entry, "body": json.loads(row["manifest"] or b"null")}, ensure_ascii=False) + "\n"
                )
        wanted = {row["seq"] for row in rows}
        for row in connection.execute("SELECT seq, sha256 FROM event_blob"):
            if row["seq"] in wanted and spool.size(row["sha256"]) is not None:
                shutil.copy(spool.path(row["sha256"]), out / "evidence")
    return len(rows)
