"""Opening the store after anything: one process at a time, damage moved aside, leftovers of a crash removed.

The commonest field failure of disk buffers is "damaged, so it will not start until a person deletes it"; here bad data
never stops the start: it is put into `quarantine/`, counted as a loss, what can be read is carried over, and a new
epoch begins.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from uplink.database import Database
from uplink.errors import DatabaseDamaged, StoreError
from uplink.files import Spool, sync_folder
from uplink.migrations import DEVICE_STORE

log = logging.getLogger(__name__)
_ROOMS = 5


class FolderLock:
    """An exclusive lock on a store's folder, freed by the kernel when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "lock").open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise StoreError(
                "is in use by another process", file=folder, remedy="stop it, or give this one a store of its own"
            ) from error

    def release(self) -> None:
        """Let the next one in."""
        self._file.close()


class CleanMark:
    """A file that stands while the store is closed in order: a start that misses it looks at everything."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "clean"

    def take(self) -> bool:
        """Was the store closed in order? The mark is gone afterwards, durably."""
        if not self._path.exists():
            return False
        self._path.unlink()
        sync_folder(self._path.parent)
        return True

    def set(self) -> None:
        """The store is closed in order. A full disk only costs the next start a check."""
        try:
            self._path.touch()
            sync_folder(self._path.parent)
        except OSError:
            log.warning("clean_mark_not_written")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What was moved aside, and why."""

    folder: Path
    why: str
    size: int


def move_aside(path: Path, why: str) -> Quarantined:
    """Put the database's files into the next room of `quarantine/`; only the newest rooms are kept."""
    room = path.parent / "quarantine"
    room.mkdir(exist_ok=True)
    numbers = sorted(int(entry.name) for entry in room.iterdir() if entry.name.isdecimal())
    for number in numbers[: max(0, len(numbers) - _ROOMS + 1)]:
        shutil.rmtree(room / f"{number:04d}", ignore_errors=True)
    target = room / f"{numbers[-1] + 1 if numbers else 0:04d}"
    target.mkdir()
    size = 0
    for member in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if member.exists():
            size += member.stat().st_size
            os.rename(member, target / member.name)
    for folder in (target, room, path.parent):
        sync_folder(folder)
    log.error("store_quarantined", extra={"folder": str(target), "why": why})
    return Quarantined(target, why, size)


def open_or_replace(path: Path, *, check: bool) -> tuple[Database, Quarantined | None]:
    """The database of `path`; a damaged one is moved aside and a new one made."""
    try:
        return Database(path, DEVICE_STORE, check=check), None
    except DatabaseDamaged as error:
        moved = move_aside(path, str(error))
        return Database(path, DEVICE_STORE), moved


def damage_of(path: Path) -> str | None:
    """Read every page of a database in use, on a connection that cannot write; what is wrong, or None."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)) as reader:
            verdict = str(reader.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if verdict == "ok" else verdict


@dataclass(slots=True)
class Settled:
    """What was found in the spool: unfinished files, files without a row, rows without a good file."""

    parts: int = 0
    orphans: int = 0
    missing: int = 0


def settle_spool(database: Database, spool: Spool, aside: Path | None = None) -> list[tuple[str, int]]:
    """Remove what a crash left in the spool; returns (sha256, size) of kept pictures whose rows have no good file.

    A file without a row belongs to a change that was never committed: nobody was told of it, and it will be seen again.
    After the loss of a database such files are put `aside`: a person can still match them. Memory is bounded: one of
    256 folders at a time. May run beside commits: what they have written and not yet recorded is left alone.
    """
    found, bad = Settled(), []
    for number in range(256):
        files, parts = spool.listing(number)
        for part in parts:
            if part.stem not in spool.pending:
                part.unlink(missing_ok=True)
                found.parts += 1
        with database.lock:
            rows = database.rows(
                "SELECT sha256, size, state FROM blob WHERE sha256 >= ? AND sha256 < ?",
                (f"{number:02x}", f"{number + 1:02x}" if number < 255 else "g"),
            )
            kept = {row["sha256"] for row in rows if row["state"] in ("held", "ready", "dead", "acked")}
            for sha256 in files.keys() - kept - spool.pending:
                found.orphans += 1
                spool.remove(sha256) if aside is None else spool.move(sha256, aside)
        # A picture that is due may be at the platform already: the sender asks before it calls it lost.
        unsent = [row for row in rows if row["state"] in ("held", "dead")]
        unseen = [(row["sha256"], row["size"]) for row in unsent if files.get(row["sha256"]) != row["size"]]
        bad += [(sha256, size) for sha256, size in unseen if spool.size(sha256) != size]
    found.missing = len(bad)
    if found.parts or found.orphans or found.missing:
        log.info("spool_cleaned", extra={"parts": found.parts, "orphans": found.orphans, "missing": found.missing})
    return bad
