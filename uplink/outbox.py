"""The outbox: what is due, and what became of it. Every step is one durable transaction.

Event: ready -> acked -> purged | dead. Blob: held -> ready -> acked -> purged | dead | lost. "In flight" lives only in
memory: after a crash everything not acknowledged is simply ready.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnss.clock import Clock
from perception.serial import canonical_json
from perception.types import JsonDict
from uplink.database import Database
from uplink.envelope import BlobItem, Envelope
from uplink.files import Spool

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str | None:
    """The kernel's id of this boot: monotonic times of other boots mean nothing. None where the kernel has none."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What still waits for the platform."""

    events: int
    blobs: int
    blob_bytes: int
    oldest_seq: int | None


class Outbox:
    """Delivery side of the store; shares its database and spool."""

    def __init__(self, database: Database, spool: Spool, clock: Clock) -> None:
        self._database = database
        self._spool = spool
        self._clock = clock
        self._boot = boot_id()

    def next_event(self, skip: Collection[int] = ()) -> Envelope | None:
        """The most urgent, then oldest ready event whose seq is not in `skip`."""
        rows = self._database.rows(
            "SELECT seq, uid, manifest, digest, attempts FROM event WHERE state = 'ready' ORDER BY prio, seq LIMIT ?",
            (len(skip) + 1,),
        )
        row = next((row for row in rows if row["seq"] not in skip), None)
        return (
            None if row is None else Envelope(row["seq"], row["uid"], row["manifest"], row["digest"], row["attempts"])
        )

    def next_blob(self, skip: Collection[str] = ()) -> BlobItem | None:
        """The oldest ready picture of which the platform has heard (its event is acknowledged)."""
        rows = self._database.rows(
            """SELECT sha256, size, mime, attempts FROM blob WHERE state = 'ready' AND EXISTS (
                 SELECT 1 FROM event_blob JOIN event USING (seq)
                 WHERE event_blob.sha256 = blob.sha256 AND event.state IN ('acked', 'purged'))
               ORDER BY file_seq, sha256 LIMIT ?""",
            (len(skip) + 1,),
        )
        row = next((row for row in rows if row["sha256"] not in skip), None)
        return (
            None
            if row is None
            else BlobItem(row["sha256"], row["size"], row["mime"], self._spool.path(row["sha256"]), row["attempts"])
        )

    def ack_event(self, seq: int, receipt: JsonDict, status: int) -> None:
        """The platform has it durably. The pictures are deleted later, never before this is committed."""
        with self._database.transaction() as tx:
            tx.execute(
                """UPDATE event SET state = 'acked', receipt = ?, last_status = ?, attempts = attempts + 1
                   WHERE seq = ? AND state = 'ready'""",
                (canonical_json(receipt), status, seq),
            )

    def ack_blob(self, sha256: str, status: int) -> None:
        """The platform has this picture durably."""
        with self._database.transaction() as tx:
            tx.execute(
                """UPDATE blob SET state = 'acked', last_status = ?, attempts = attempts + 1
                   WHERE sha256 = ? AND state = 'ready'""",
                (status, sha256),
            )

    def note_failure(self, item: Envelope | BlobItem, status: int | None, error: str, *, counts: bool) -> None:
        """Remember why an item is still here; `counts` is false for failures that say nothing about the item."""
        noted = (int(counts), status, error[:500])
        with self._database.transaction() as tx:
            if isinstance(item, Envelope):
                tx.execute(
                    "UPDATE event SET attempts = attempts + ?, last_status = ?, last_error = ? WHERE seq = ?",
                    (*noted, item.seq),
                )
            else:
                tx.execute(
                    "UPDATE blob SET attempts = attempts + ?, last_status = ?, last_error = ? WHERE sha256 = ?",
                    (*noted, item.sha256),
                )

    def bury_event(self, item: Envelope, status: int | None, why: str) -> None:
        """Dead letter: kept with its pictures, counted in `loss`, not tried again until somebody asks."""
        with self._database.transaction() as tx:
            tx.execute(
                """UPDATE event SET state = 'dead', attempts = attempts + 1, last_status = ?, last_error = ?
                   WHERE seq = ?""",
                (status, why[:500], item.seq),
            )
            self.record_loss(tx, "dead event", why, len(item.body), item.seq)

    def bury_blob(self, item: BlobItem, state: str, status: int | None, why: str) -> None:
        """A picture the platform refuses (`dead`) or whose file is gone (`lost`)."""
        with self._database.transaction() as tx:
            tx.execute(
                "UPDATE blob SET state = ?, attempts = attempts + 1, last_status = ?, last_error = ? WHERE sha256 = ?",
                (state, status, why[:500], item.sha256),
            )
            self.record_loss(tx, f"{state} evidence", f"{item.sha256}: {why}", item.size)

    def record_loss(self, tx: Any, what: str, why: str, size: int, seq: int | None = None) -> None:
        """Write a tombstone inside the open transaction `tx`."""
        tx.execute(
            "INSERT INTO loss (seq, what, why, bytes, at_boot, at_mono) VALUES (?, ?, ?, ?, ?, ?)",
            (seq, what, why[:500], size, self._boot, self._clock.monotonic_ns()),
        )

    def purge(self, limit: int = 100) -> int:
        """Delete acknowledged pictures: unlink, sync the folder, then record it. Returns how many."""
        rows = self._database.rows("SELECT sha256 FROM blob WHERE state = 'acked' ORDER BY file_seq LIMIT ?", (limit,))
        for row in rows:
            self._spool.remove(row["sha256"])
        if rows:
            with self._database.transaction() as tx:
                tx.executemany("UPDATE blob SET state = 'purged' WHERE sha256 = ?", [(row["sha256"],) for row in rows])
        return len(rows)

    def purge_events(self, keep: int) -> int:
        """Empty the bodies of acknowledged events older than the newest `keep`; rows stay as proof; how many."""
        with self._database.transaction() as tx:
            cursor = tx.execute(
                """UPDATE event SET state = 'purged', manifest = x'' WHERE state = 'acked'
                   AND seq <= (SELECT coalesce(max(seq), 0) FROM event) - ?""",
                (keep,),
            )
            return cursor.rowcount

    def revive(self) -> int:
        """Make dead events and pictures ready again; returns how many."""
        with self._database.transaction() as tx:
            events = tx.execute("UPDATE event SET state = 'ready', attempts = 0 WHERE state = 'dead'").rowcount
            return events + tx.execute("UPDATE blob SET state = 'ready', attempts = 0 WHERE state = 'dead'").rowcount

    def backlog(self) -> Backlog:
        """Ready events and pictures."""
        event = self._database.rows("SELECT count(*) AS n, min(seq) AS oldest FROM event WHERE state = 'ready'")[0]
        blob = self._database.rows(
            "SELECT count(*) AS n, coalesce(sum(size), 0) AS total FROM blob WHERE state = 'ready'"
        )[0]
        return Backlog(event["n"], blob["n"], blob["total"], event["oldest"])

    def losses(self) -> dict[str, int]:
        """Tombstones by what was lost."""
        return {
            row["what"]: row["n"]
            for row in self._database.rows("SELECT what, count(*) AS n FROM loss GROUP BY what ORDER BY what")
        }
