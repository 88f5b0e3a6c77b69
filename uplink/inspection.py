"""`qiji outbox status|retry`: look at a store from outside, and help it along."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from gnss.clock import Clock
from perception.serial import case_from_dict
from perception.types import Case, JsonDict
from uplink.database import Database
from uplink.errors import DatabaseDamaged, StoreError
from uplink.files import Spool
from uplink.memory import HOLES, holes_of
from uplink.migrations import DEVICE_STORE
from uplink.outbox import Outbox
from uplink.repair import FolderLock


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """Counts by state, the losses, and why the dead are dead. `holes`: tiles whose memory was damaged.

    `waiting` are ready events by priority (0 urgent), `refusals` the commonest reasons of items that are still here.
    """

    device: str
    epoch: str
    last_seq: int
    chain_head: str
    events: dict[str, int]
    waiting: dict[str, int]
    blobs: dict[str, int]
    blob_bytes_ready: int
    cases: dict[str, int]
    losses: dict[str, int]
    refusals: dict[str, int]
    holes: int
    dead: list[JsonDict]

    def to_dict(self) -> JsonDict:
        """For `--json`."""
        return asdict(self)

    @property
    def needs_attention(self) -> bool:
        """Something was refused, lost or damaged: a person should look."""
        return bool(self.dead or self.losses or self.holes)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, also while the car is running. Raises StoreError when there is no file."""
    if not path.is_file():
        raise StoreError("there is no store", file=path, remedy="name the store's file (see `store` in the car's TOML)")
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    connection.row_factory = sqlite3.Row
    return connection


def _counts(connection: sqlite3.Connection, sql: str) -> dict[str, int]:
    return {str(row[0]): row[1] for row in connection.execute(sql)}


def status(path: Path) -> OutboxStatus:
    """Read-only, also while the car is running. Raises StoreError when `path` is not a readable store."""
    try:
        with closing(connect(path)) as connection:
            meta = {row["k"]: row["v"] for row in connection.execute("SELECT k, v FROM meta")}
            dead = connection.execute(
                "SELECT uid, case_uid, last_status, last_error FROM event WHERE state = 'dead' ORDER BY seq LIMIT 100"
            )
            newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
            return OutboxStatus(
                device=meta["device_id"],
                epoch=meta["outbox_epoch"],
                last_seq=max(0, newest[0]) if newest else 0,
                chain_head=meta["chain_head"],
                events=_counts(connection, "SELECT state, count(*) FROM event GROUP BY state ORDER BY state"),
                waiting=_counts(
                    connection, "SELECT prio, count(*) FROM event WHERE state = 'ready' GROUP BY prio ORDER BY prio"
                ),
                blobs=_counts(connection, "SELECT state, count(*) FROM blob GROUP BY state ORDER BY state"),
                blob_bytes_ready=connection.execute(
                    "SELECT coalesce(sum(size), 0) FROM blob WHERE state = 'ready'"
                ).fetchone()[0],
                cases=_counts(connection, "SELECT state, count(*) FROM case_state GROUP BY state ORDER BY state"),
                losses=_counts(connection, "SELECT what, count(*) FROM loss GROUP BY what ORDER BY what"),
                refusals=_counts(
                    connection,
                    """SELECT last_error, count(*) FROM event WHERE state = 'ready' AND last_error IS NOT NULL
                       GROUP BY last_error ORDER BY count(*) DESC, last_error LIMIT 10""",
                ),
                holes=len(holes_of(meta.get(HOLES))),
                dead=[dict(row) for row in dead],
            )
    except (sqlite3.DatabaseError, KeyError) as error:
        raise StoreError(
            f"cannot be read as a store: {error}", file=path, remedy="start the car once: it moves damage aside"
        ) from error


def retry_dead(path: Path, clock: Clock, uid: str | None = None) -> int:
    """Make dead events and pictures ready again, or the event `uid`; returns how many.

    Raises StoreError while the car is running, and when there is no dead event `uid`.
    """
    connect(path).close()
    lock = FolderLock(path.parent)
    try:
        database = Database(path, DEVICE_STORE)
        try:
            count = Outbox(database, Spool(path.parent / "spool"), clock).revive(uid)
        finally:
            database.close()
    except DatabaseDamaged as error:
        raise StoreError(
            f"is damaged: {error}", file=path, remedy="start the car once: it moves damage aside"
        ) from error
    finally:
        lock.release()
    if uid is not None and count == 0:
        raise StoreError(f"no dead event {uid!r}", file=path, remedy="see `qiji outbox status`")
    return count


def remembered(path: Path, begins: str = "") -> list[Case]:
    """Cases whose id begins so, by id; read-only, also while the car is running. Raises StoreError as `status` does."""
    try:
        with closing(connect(path)) as connection:
            rows = connection.execute("SELECT case_uid, body FROM case_state ORDER BY case_uid")
            return [case_from_dict(json.loads(body)) for name, body in rows if str(name).startswith(begins)]
    except (sqlite3.DatabaseError, KeyError, ValueError, TypeError) as error:
        raise StoreError(
            f"cannot be read as a store: {error}", file=path, remedy="start the car once: it moves damage aside"
        ) from error


def read_json(text: bytes | str | None) -> JsonDict | None:
    """A stored JSON object, None for none or a damaged one."""
    try:
        tree = json.loads(text or "null")
    except ValueError:
        return None
    return tree if isinstance(tree, dict) else None
