"""What goes first when the disk fills: named, counted in `loss`, never silently nothing; urgent cases never go.

80 %: acknowledged pictures. 90 %: pictures of candidates, then those beyond the first of each case. 95 %: the journal's
closed segments (a second copy), then all pictures of cases that are not urgent. Only when writing fails, and the
ballast has been given up: events that are not urgent, candidates first. Oldest first within each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from uplink.database import Database
from uplink.disk import Disk
from uplink.files import Spool
from uplink.journal import Journal
from uplink.outbox import Outbox
from uplink.record import OTHER, URGENT

log = logging.getLogger(__name__)

PURGE, SPARE, PICTURES = 0.80, 0.90, 0.95
NEW_PICTURES = "new pictures"
_BATCH = 20
_SPARE_BLOBS = """SELECT sha256, size, file_seq FROM blob WHERE state IN ('held', 'ready') AND prio > ? AND EXISTS (
    SELECT 1 FROM event_blob e WHERE e.sha256 = blob.sha256 AND e.ord > 0) AND NOT EXISTS (
    SELECT 1 FROM event_blob e WHERE e.sha256 = blob.sha256 AND e.ord = 0) ORDER BY prio DESC, file_seq LIMIT ?"""
_HELD_BLOBS = """SELECT sha256, size, file_seq FROM blob WHERE state = 'held' AND prio > ? ORDER BY file_seq LIMIT ?"""
_LOW_BLOBS = """SELECT sha256, size, file_seq FROM blob WHERE state IN ('held', 'ready', 'dead') AND prio > ?
    ORDER BY prio DESC, file_seq LIMIT ?"""
_LOW_EVENTS = "SELECT seq, length(manifest) AS size FROM event WHERE state = 'ready' AND prio >= ? ORDER BY seq LIMIT ?"


class Shedder:
    """Makes room in one store."""

    def __init__(self, database: Database, spool: Spool, journal: Journal, outbox: Outbox, disk: Disk) -> None:
        self._database = database
        self._spool = spool
        self._journal = journal
        self._outbox = outbox
        self._disk = disk

    def tidy(self) -> None:
        """Before a write: keep below the levels, as far as there is something to give up."""
        if self._disk.level() < PURGE:
            return
        while self._disk.level() >= PURGE and self._outbox.purge(_BATCH):
            pass
        for level, query, why in (
            (SPARE, _HELD_BLOBS, "90 % full: pictures of candidates"),
            (SPARE, _SPARE_BLOBS, "90 % full: beyond the first of its case"),
        ):
            while self._disk.level() >= level and self._shed_pictures(query, why):
                pass
        if self._disk.level() >= PICTURES:
            self._journal.drop_closed()
        while self._disk.level() >= PICTURES and self._shed_pictures(_LOW_BLOBS, "95 % full: not urgent"):
            pass

    def make_room(self) -> Iterator[str]:
        """After a write failed for want of room: one measure at a time, worst last; the caller tries after each."""
        if self._disk.drop_ballast():
            log.error("disk_full", extra={"measure": "ballast"})
            yield "ballast"
        elif self._journal.drop_closed():
            # Without a ballast nothing can be recorded: what needs no record goes first.
            log.error("disk_full", extra={"measure": "journal"})
            yield "journal"
        yield from self._carry_out(
            ("acknowledged pictures", lambda: self._outbox.purge(_BATCH)),
            ("pictures of candidates", lambda: self._shed_pictures(_HELD_BLOBS, "disk full: pictures of candidates")),
            ("pictures beyond the first", lambda: self._shed_pictures(_SPARE_BLOBS, "disk full: beyond the first")),
            ("journal", self._journal.drop_closed),
            ("pictures", lambda: self._shed_pictures(_LOW_BLOBS, "disk full: not urgent")),
        )
        yield NEW_PICTURES
        yield from self._carry_out(
            ("candidates", lambda: self._shed_events(OTHER)),
            ("events", lambda: self._shed_events(URGENT + 1)),
        )

    def _carry_out(self, *measures: tuple[str, Callable[[], int]]) -> Iterator[str]:
        for name, measure in measures:
            while measure():
                self._database.fold()
                log.error("disk_full", extra={"measure": name})
                yield name

    def _shed_pictures(self, query: str, why: str) -> int:
        """Recorded first, then deleted: a crash in between leaves a file that the next start removes."""
        rows = self._database.rows(query, (URGENT, _BATCH))
        if not rows:
            return 0
        with self._database.transaction() as tx:
            for row in rows:
                tx.execute("UPDATE blob SET state = 'shed', last_error = ? WHERE sha256 = ?", (why, row["sha256"]))
                self._outbox.record_loss(tx, "shed evidence", f"{row['sha256']}: {why}", row["size"], row["file_seq"])
        for row in rows:
            self._spool.remove(row["sha256"])
        return len(rows)

    def _shed_events(self, least: int) -> int:
        rows = self._database.rows(_LOW_EVENTS, (least, _BATCH))
        if not rows:
            return 0
        why = "disk full: the oldest that are not urgent"
        with self._database.transaction() as tx:
            for row in rows:
                tx.execute(
                    "UPDATE event SET state = 'shed', manifest = x'', proof = NULL, last_error = ? WHERE seq = ?",
                    (why, row["seq"]),
                )
                self._outbox.record_loss(tx, "shed event", why, row["size"], row["seq"])
        return len(rows)
