"""A new database from what a damaged one and the journal still hold. Nothing undelivered is given up that can be read.

Rescued events keep their uid, so that the platform knows those it has; in the new file they get negative row numbers,
before all events of the new epoch.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass

from perception.types import JsonDict
from uplink.files import Spool
from uplink.journal import Journal
from uplink.record import Entry, insert, insert_blob, remember
from uplink.salvage import Salvage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How much came back: events to deliver, cases of the memory, and rows that nobody could read."""

    events: int
    cases: int
    unreadable: int


def entry_of(tree: JsonDict) -> Entry | None:
    """A line of the journal, or a row, as an entry; None for what is none."""
    try:
        return Entry.from_json(tree)
    except (KeyError, TypeError, ValueError):
        return None


def _entries(found: Salvage, journal: Journal, spool: Spool, device: str) -> list[Entry]:
    """Every event with something left to send, by epoch and seq: what the database holds, and what only the journal
    does. Where both tell the same body the journal's line is taken: it knows the pictures and the case too.
    """
    entries: dict[str, Entry] = {}
    for tree in journal.records():
        entry = entry_of(tree)
        if entry is not None:
            entries[entry.uid] = entry
    for uid, tree in found.events.items():
        entry, known = entry_of(tree), entries.get(uid)
        if entry is not None and (known is None or known.body != entry.body):
            entries[uid] = entry
    # An acknowledged event stays as long as a picture of it is here.
    mine = [entry for entry in entries.values() if entry.uid.startswith(f"{device}:")]
    left = [e for e in mine if e.uid not in found.settled or any(map(spool.size, _pictures(e)))]
    # Rescued before: older than everything.
    rank = {uid: tree["row"] for uid, tree in found.events.items() if tree["row"] < 0}
    return sorted(left, key=lambda e: (rank.get(e.uid, 0), e.epoch, e.seq))


def _pictures(entry: Entry) -> set[str]:
    return {sha256 for sha256, _ in entry.pictures} | set(entry.announced)


def _restore_events(tx: sqlite3.Connection, found: Salvage, entries: list[Entry], spool: Spool) -> None:
    for number, entry in enumerate(entries):
        row = number - len(entries)
        insert(tx, entry, row)
        carried = {sha256 for sha256, _ in entry.pictures}
        for order, sha256 in enumerate(entry.announced):
            size = spool.size(sha256)
            if sha256 not in carried and size is not None:
                insert_blob(tx, sha256, size, "ready", entry.prio, row)
                tx.execute("INSERT OR IGNORE INTO event_blob VALUES (?, ?, ?)", (row, sha256, 1000 + order))
        state = "acked" if entry.uid in found.settled else found.events.get(entry.uid, {}).get("state", "ready")
        if state in ("acked", "dead"):
            tx.execute("UPDATE event SET state = ?, last_error = 'rescued' WHERE seq = ?", (state, row))


def _restore_memory(tx: sqlite3.Connection, found: Salvage, entries: list[Entry]) -> int:
    for body in (*found.cases.values(), *(entry.case for entry in entries if entry.case)):
        try:
            remember(tx, body)
        except (ValueError, KeyError, TypeError, sqlite3.Error):
            continue
    known = {row[1] for row in tx.execute("PRAGMA table_info(anchor)")}
    marks = ", ".join("?" * len(known))
    for anchor in found.anchors:
        if len(anchor) == len(known):
            tx.execute(f"INSERT OR REPLACE INTO anchor VALUES ({marks})", anchor)  # noqa: S608
    for key, value in found.meta.items():
        if key.startswith("calibration/"):
            tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
    return int(tx.execute("SELECT count(*) FROM case_state").fetchone()[0])


def rebuild(tx: sqlite3.Connection, found: Salvage, journal: Journal, spool: Spool, device: str) -> Rebuilt:
    """Fill the empty database of `device` behind `tx`."""
    entries = _entries(found, journal, spool, device)
    _restore_events(tx, found, entries, spool)
    cases = _restore_memory(tx, found, entries)
    log.warning("store_rebuilt", extra={"events": len(entries), "cases": cases, "unreadable": found.unreadable})
    return Rebuilt(len(entries), cases, found.unreadable)
