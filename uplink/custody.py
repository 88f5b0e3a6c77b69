"""Who looks after the store's files: opening them after anything, and replacing a damaged database while it is in use.

The holders of the `Database` object do not notice a replacement, except that the epoch is a new one.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gnss.clock import Clock
from uplink.disk import MB, Disk, DiskLimits
from uplink.errors import DatabaseDamaged, StoreError
from uplink.files import Spool
from uplink.journal import Journal
from uplink.memory import HOLES, holes_of
from uplink.outbox import Outbox
from uplink.rebuild import entry_of, rebuild
from uplink.record import insert, remember
from uplink.repair import CleanMark, FolderLock, Quarantined, damage_of, move_aside, open_or_replace, settle_spool
from uplink.salvage import Salvage, salvage
from uplink.tiles import TileLog

log = logging.getLogger(__name__)

CHECK_AT_ONCE = 16 * MB
"""A larger database is read through beside the work, so that a start takes seconds at most."""

Result = TypeVar("Result")


class Custody:
    """The files of one store folder, held by this process: lock, database, spool, journal, disk."""

    def __init__(
        self,
        path: Path,
        device: str,
        clock: Clock,
        make_epoch: Callable[[], str],
        limits: DiskLimits,
        check_at_once: int = CHECK_AT_ONCE,
    ) -> None:
        """Raises StoreError when another process holds the folder or the store belongs to another device."""
        self.path = path
        self.device = device
        self._make_epoch = make_epoch
        self._lock = FolderLock(path.parent)
        self._checker: threading.Thread | None = None
        try:
            self._clean = CleanMark(path.parent)
            orderly = self._clean.take()
            small = not path.exists() or path.stat().st_size < check_at_once
            self.database, moved = open_or_replace(path, check=small and not orderly)
            self.spool = Spool(path.parent / "spool")
            self.journal = Journal(path.parent / "journal")
            self.tiles = TileLog(path.parent / "tiles")
            self.outbox = Outbox(self.database, self.spool, clock)
            self.disk = Disk(path.parent, limits, self._used)
            self._begin(moved)
            self._look_over(orderly=orderly and moved is None, at_once=small or moved is not None)
        except BaseException:
            self._lock.release()
            raise

    def _used(self) -> int:
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return self.spool.used + self.journal.used + sum(f.stat().st_size for f in files if f.exists())

    def _begin(self, moved: Quarantined | None) -> None:
        """Name the file's owner and epoch; after a loss, put back what can be read of the old one."""
        pages = self.disk.wal_pages()
        self.database.connection.execute(f"PRAGMA wal_autocheckpoint={pages:d}")
        self.database.connection.execute(f"PRAGMA journal_size_limit={4096 * pages:d}")
        self._moved = moved
        fresh = self.meta("outbox_epoch") is None
        found = None if moved is None else salvage(moved.folder / self.path.name)
        if moved is None and fresh and self.journal.segments():
            # An empty file beside a journal: it was deleted, or SQLite has dropped all of a damaged write-ahead log.
            found = Salvage()
        with self.database.transaction() as tx:
            for key, value in (("device_id", self.device), ("outbox_epoch", self._make_epoch()), ("chain_head", "")):
                tx.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", (key, value))
            if found is not None:
                rebuild(tx, found, self.journal, self.spool, self.device)
                self._note_holes(tx, found)
                why = "the database was empty" if moved is None else f"{moved.folder.name}: {moved.why}"
                self.outbox.record_loss(tx, "damaged store", why, 0 if moved is None else moved.size)
        if fresh:
            self.database.fold()
        owner = self.meta("device_id")
        if owner != self.device:
            raise StoreError(
                f"belongs to device {owner!r}, not {self.device!r}",
                file=self.path,
                remedy="use that name or another folder",
            )
        self.epoch = self.meta("outbox_epoch") or ""
        sizes = "SELECT sum((size + 4095) / 4096 * 4096) FROM blob WHERE state IN ('held', 'ready', 'acked', 'dead')"
        self.spool.used = int(self.database.value(sizes) or 0)

    def _note_holes(self, tx: sqlite3.Connection, found: Salvage) -> None:
        """The memory may miss something in every tile that it ever held something of."""
        rows = tx.execute("SELECT DISTINCT tile_row, tile_col FROM case_state").fetchall()
        holes = self.tiles.known | {(row[0], row[1]) for row in rows} | set(holes_of(found.meta.get(HOLES)))
        if holes:
            tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (HOLES, json.dumps(sorted(holes))))

    def meta(self, key: str) -> str | None:
        """A value that outlives the process."""
        value = self.database.value("SELECT v FROM meta WHERE k = ?", (key,))
        return None if value is None else str(value)

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest event of this epoch, 0 for none."""
        return max(0, int(self.database.value("SELECT seq FROM sqlite_sequence WHERE name = 'event'") or 0))

    def _look_over(self, *, orderly: bool, at_once: bool) -> None:
        """After anything but an orderly end: redo the journal's tail, tidy the spool, read a large file through."""
        if orderly:
            return
        self.healing(self._redo)
        if at_once:
            self._settle()
            return
        self._checker = threading.Thread(target=self._check_beside, name="store-check", daemon=True)
        self._checker.start()

    def _redo(self) -> None:
        """Commit what the journal has beyond the newest committed event, as far as it follows it."""
        with self.database.transaction() as tx:
            seq, head = self.last_seq, self.meta("chain_head")
            for tree in self.journal.tail(self.epoch, seq):
                entry = entry_of(tree)
                if entry is None or entry.seq != seq + 1 or entry.prev_hash != head:
                    continue
                insert(tx, entry)
                remember(tx, entry.case)
                seq, head = entry.seq, entry.digest
                tx.execute("UPDATE meta SET v = ? WHERE k = 'chain_head'", (head,))
                log.warning("event_redone", extra={"event": entry.uid})

    def _check_beside(self) -> None:
        generation = self.database.generation
        why = damage_of(self.path)
        if why is not None:
            self.heal(DatabaseDamaged(why, generation))
        else:
            self.healing(self._settle)

    def wait_checked(self) -> None:
        """Wait for the look that a start after a crash takes beside the work."""
        if self._checker is not None:
            self._checker.join()

    def _settle(self) -> None:
        aside = None if self._moved is None else self._moved.folder / "spool"
        missing = settle_spool(self.database, self.spool, aside)
        with self.database.transaction() as tx:
            for sha256, size in missing:
                tx.execute("UPDATE blob SET state = 'lost' WHERE sha256 = ?", (sha256,))
                self.outbox.record_loss(tx, "lost evidence", f"{sha256}: no good file at start", size)

    def heal(self, damage: DatabaseDamaged) -> None:
        """Replace the file that `damage` speaks of, unless another thread has done so since."""
        with self.database.lock:
            if damage.generation != self.database.generation:
                return
            self.database.connection.close()
            moved = move_aside(self.path, str(damage))
            self.database.reopen()
            self._begin(moved)
            self._settle()

    def healing(self, work: Callable[[], Result]) -> Result:
        """Do `work`; where it meets damage, replace the file and do it again."""
        try:
            return work()
        except DatabaseDamaged as damage:
            self.heal(damage)
            return work()

    def close(self) -> None:
        """Close in order, and let the next process in."""
        self.wait_checked()
        self.database.close()
        self.journal.close()
        self._clean.set()
        self._lock.release()
