"""Opening the store after anything: one process at a time, damage moved aside, leftovers of a crash removed.

The commonest field failure of disk buffers is "damaged, so it will not start until a person deletes it"; here bad data
never stops the start, it is put into `quarantine/`, counted as a loss, and a new epoch begins.
"""

from __future__ import annotations

import fcntl
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from uplink.database import Database
from uplink.errors import DatabaseDamaged, StoreError
from uplink.files import Spool, sync_folder
from uplink.migrations import DEVICE_STORE

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What was moved aside, and why."""

    folder: Path
    why: str
    size: int


def _move_aside(path: Path, why: str) -> Quarantined:
    room = path.parent / "quarantine"
    room.mkdir(exist_ok=True)
    target = next(room / f"{number:04d}" for number in range(10_000) if not (room / f"{number:04d}").exists())
    target.mkdir()
    size = 0
    # The pictures go along: a person can still match them with what is readable of the old file.
    for member in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm"), path.parent / "spool"):
        if member.exists():
            size += member.stat().st_size
            os.rename(member, target / member.name)
    for folder in (target, room, path.parent):
        sync_folder(folder)
    return Quarantined(target, why, size)


def open_or_replace(path: Path) -> tuple[Database, Quarantined | None]:
    """The database of `path`; a damaged one is moved aside and a new one made."""
    try:
        return Database(path, DEVICE_STORE), None
    except DatabaseDamaged as error:
        moved = _move_aside(path, str(error))
        log.error("store_quarantined", extra={"folder": str(moved.folder), "why": moved.why})
        return Database(path, DEVICE_STORE), moved


def settle_spool(database: Database, spool: Spool) -> list[tuple[str, int]]:
    """Remove what a crash left in the spool; returns (sha256, size) of pictures whose rows have no good file.

    A file without a row belongs to a change that was never committed: nobody was told of it, and it will be seen again.
    """
    parts = spool.drop_parts()
    rows = database.rows("SELECT sha256, size FROM blob WHERE state IN ('held', 'ready', 'dead', 'acked')")
    wanted = {row["sha256"]: row["size"] for row in rows}
    orphans = [name for name in spool.names() if name not in wanted]
    for name in orphans:
        spool.remove(name)
    if parts or orphans:
        log.info("spool_cleaned", extra={"parts": parts, "orphans": len(orphans)})
    unsent = {
        row["sha256"] for row in database.rows("SELECT sha256 FROM blob WHERE state IN ('held', 'ready', 'dead')")
    }
    return [(sha256, size) for sha256, size in wanted.items() if sha256 in unsent and spool.size(sha256) != size]
