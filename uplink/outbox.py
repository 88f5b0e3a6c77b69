"""The outbox: what is due, and what became of it. Every step is one durable transaction.

Event: ready -> acked -> purged | dead | shed. Blob: held -> ready -> acked -> purged | dead | shed | lost. "In flight"
lives only in memory: after a crash everything not acknowledged is simply ready.
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
from uplink.evidence import header_value
from uplink.files import Spool

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOWEST = 99
_KEEP_ROWS = 100_000


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

    def next_event(self, skip: Collection[int] = (), lowest: int = LOWEST) -> Envelope | None:
        """The most urgent (priority at most `lowest`), then oldest ready event whose seq is not in `skip`."""
        due = self._database.rows(
            "SELECT seq FROM event WHERE state = 'ready' AND prio <= ? ORDER BY prio, seq LIMIT ?",
            (lowest, len(skip) + 1),
        )
        seq = next((row["seq"] for row in due if row["seq"] not in skip), None)
        if seq is None:
            return None
        row = self._database.rows("SELECT * FROM event WHERE seq = ?", (seq,))[0]
        evidence = "" if row["proof"] is None else header_value(row["proof"].encode(), row["sig"])
        return Envelope(seq, row["uid"], row["manifest"], row["digest"], row["attempts"], evidence, row["prio"])

    def next_blob(self, skip: Collection[str] = (), lowest: int = LOWEST) -> BlobItem | None:
        """The most urgent, then oldest ready picture of which the platform has heard (its event is acknowledged)."""
        due = self._database.rows(
            """SELECT sha256, size, mime, attempts, prio FROM blob WHERE state = 'ready' AND prio <= ? AND EXISTS (
                 SELECT 1 FROM event_blob JOIN event USING (seq)
                 WHERE event_blob.sha256 = blob.sha256 AND event.state IN ('acked', 'purged'))
               ORDER BY prio, file_seq, sha256 LIMIT ?""",
            (lowest, len(skip) + 1),
        )
        row = next((row for row in due if row["sha256"] not in skip), None)
        if row is None:
            return None
        file = self._spool.path(row["sha256"])
        return BlobItem(row["sha256"], row["size"], row["mime"], file, row["attempts"], row["prio"])

    def ack_event(self, uid: str, receipt: JsonDict, status: int) -> None:
        """The platform has it durably. The pictures are deleted later, never before this is committed."""
        with self._database.transaction() as tx:
            tx.execute(
                """UPDATE event SET state = 'acked', receipt = ?, last_status = ?, attempts = attempts + 1
                   WHERE uid = ? AND state = 'ready'""",
                (canonical_json(receipt), status, uid),
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
                    "UPDATE event SET attempts = attempts + ?, last_status = ?, last_error = ? WHERE uid = ?",
                    (*noted, item.key),
                )
            else:
                tx.execute(
                    "UPDATE blob SET attempts = attempts + ?, last_status = ?, last_error = ? WHERE sha256 = ?",
                    (*noted, item.sha256),
                )

    def bury_event(self, item: Envelope, status: int | None, why: str) -> None:
        """Dead letter: kept with its pictures, counted in `loss`, not tried again until somebody asks.

        Its pictures wait with it, unless another event that may still arrive shows them too.
        """
        with self._database.transaction() as tx:
            tx.execute(
                """UPDATE event SET state = 'dead', attempts = attempts + 1, last_status = ?, last_error = ?
                   WHERE uid = ? AND state = 'ready'""",
                (status, why[:500], item.key),
            )
            tx.execute(
                """UPDATE blob SET state = 'held' WHERE state = 'ready'
                   AND sha256 IN (SELECT sha256 FROM event_blob WHERE seq = ?) AND NOT EXISTS (
                     SELECT 1 FROM event_blob JOIN event USING (seq) WHERE event_blob.sha256 = blob.sha256
                     AND event.state IN ('ready', 'acked', 'purged'))""",
                (item.seq,),
            )
            self.record_loss(tx, "dead event", why, len(item.body), item.seq)

    def bury_blob(self, item: BlobItem, state: str, status: int | None, why: str) -> None:
        """A picture the platform refuses (`dead`) or whose file is gone or damaged (`lost`)."""
        with self._database.transaction() as tx:
            tx.execute(
                "UPDATE blob SET state = ?, attempts = attempts + 1, last_status = ?, last_error = ? WHERE sha256 = ?",
                (state, status, why[:500], item.sha256),
            )
            self.record_loss(tx, f"{state} evidence", f"{item.sha256}: {why}", item.size)

    def replace_body(self, uid: str, body: bytes) -> None:
        """Put a body back that was damaged inside the database."""
        with self._database.transaction() as tx:
            tx.execute("UPDATE event SET manifest = ? WHERE uid = ?", (body, uid))

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

    def purge_events(self, keep: int, limit: int = 500) -> int:
        """Empty the bodies of acknowledged events older than the newest `keep`; rows stay as proof; how many.

        Rows older than the newest 100,000 go too: the chain then starts later, and says so.
        """
        newest = self._database.value("SELECT coalesce(max(seq), 0) FROM event")
        with self._database.transaction() as tx:
            emptied = tx.execute(
                """UPDATE event SET state = 'purged', manifest = x'', proof = NULL, sig = NULL, receipt = NULL
                   WHERE seq IN (SELECT seq FROM event WHERE state = 'acked' AND seq <= ? ORDER BY seq LIMIT ?)""",
                (newest - keep, limit),
            ).rowcount
            old = "SELECT seq FROM event WHERE state = 'purged' AND seq <= ? ORDER BY seq LIMIT ?"
            bounds = (newest - max(keep, _KEEP_ROWS), limit)
            tx.execute(f"DELETE FROM event_blob WHERE seq IN ({old})", bounds)  # noqa: S608
            gone = tx.execute(f"DELETE FROM event WHERE seq IN ({old})", bounds).rowcount  # noqa: S608
            return int(emptied + gone)

    def revive(self, uid: str | None = None) -> int:
        """Make dead events and pictures ready again, or one event; returns how many."""
        with self._database.transaction() as tx:
            tx.execute(
                """UPDATE blob SET state = 'ready' WHERE state = 'held' AND EXISTS (
                     SELECT 1 FROM event_blob JOIN event USING (seq) WHERE event_blob.sha256 = blob.sha256
                     AND event.state = 'dead' AND event.uid = coalesce(?, event.uid)
                     AND instr(event.manifest, blob.sha256))""",
                (uid,),
            )
            events = tx.execute(
                "UPDATE event SET state = 'ready', attempts = 0 WHERE state = 'dead' AND uid = coalesce(?, uid)", (uid,)
            ).rowcount
            if uid is not None:
                return int(events)
            blobs = tx.execute("UPDATE blob SET state = 'ready', attempts = 0 WHERE state = 'dead'").rowcount
            return int(events + blobs)

    def send_again(self, gaps: Any) -> int:
        """Make acknowledged events ready again that the platform says it never got; how many. `gaps`: [[first, last]].

        What is said in answers of others is not trusted: nonsense is passed over, and only kept bodies are sent.
        """
        if not isinstance(gaps, list):
            return 0
        count = 0
        with self._database.transaction() as tx:
            for gap in gaps[:1000]:
                if isinstance(gap, list) and len(gap) == 2 and all(type(end) is int and 0 < end < 2**53 for end in gap):
                    count += tx.execute(
                        "UPDATE event SET state = 'ready' WHERE seq BETWEEN ? AND ? AND state = 'acked'", gap
                    ).rowcount
        return count

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
