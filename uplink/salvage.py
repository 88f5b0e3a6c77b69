"""What a damaged database still tells: every row that can be read and proves itself, table by table, page by page."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perception.types import JsonDict
from uplink.envelope import digest_of
from uplink.record import crc_of

_TOP = 2**62
_SETTLED = ("acked", "purged", "shed")


@dataclass(slots=True)
class Salvage:
    """Rows that hold: events by uid (with their pictures), uids of settled ones, memory, anchors, calibrations."""

    events: dict[str, JsonDict] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    cases: dict[str, str] = field(default_factory=dict)
    anchors: list[tuple[Any, ...]] = field(default_factory=list)
    meta: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0


def _scan(connection: sqlite3.Connection, table: str, found: Salvage) -> Iterator[sqlite3.Row]:
    """Rows by rowid; where a page is bad, the search goes on behind it in steps that double."""
    last, step = -_TOP, 0
    while last < _TOP:
        try:
            sql = f"SELECT rowid AS _rowid, * FROM {table} WHERE rowid > ? ORDER BY rowid"  # noqa: S608
            for row in connection.execute(sql, (last,)):
                last, step = row["_rowid"], 0
                yield row
            return
        except (sqlite3.Error, OverflowError, UnicodeDecodeError):
            found.unreadable += step == 0
            step = max(1, 2 * step)
            last = max(last, -1_000_000) + step
            if step > 1_000_000_000:
                return


def _event(row: sqlite3.Row) -> JsonDict | None:
    """The event when its body has the digest it was filed under."""
    body = row["manifest"]
    if not isinstance(body, bytes) or not body or digest_of(body) != row["digest"]:
        return None
    try:
        tree = json.loads(body)
    except ValueError:
        return None
    names = ("kind", "prio", "case_uid", "rev", "prev_hash", "sig", "state")
    proof = row["proof"] if "proof" in row.keys() else None
    own = {name: row[name] for name in names}
    return own | {
        "row": row["seq"], "uid": row["uid"], "epoch": tree["epoch"], "seq": tree["seq"], "body": body.decode(),
        "proof": proof, "pictures": [], "announced": [p["sha256"] for p in tree["evidence"]], "shown": [], "shed": [],
        "case": "",
    }  # fmt: skip


def _read_events(connection: sqlite3.Connection, found: Salvage) -> None:
    by_row: dict[int, JsonDict] = {}
    for row in _scan(connection, "event", found):
        event = _event(row)
        if row["state"] in _SETTLED:
            found.settled.add(row["uid"])
        elif event is None:
            found.unreadable += 1
        if event is not None:
            found.events[event["uid"]] = by_row[event["row"]] = event
    sizes = {row["sha256"]: (row["size"], row["state"]) for row in _scan(connection, "blob", found)}
    for row in _scan(connection, "event_blob", found):
        event, blob = by_row.get(row["seq"]), sizes.get(row["sha256"])
        if event is not None and blob is not None:
            event["shown"].append(row["sha256"])
            if blob[1] in ("held", "ready", "dead"):
                event["pictures"].append([row["sha256"], blob[0]])


def _read_memory(connection: sqlite3.Connection, found: Salvage) -> None:
    for row in _scan(connection, "case_state", found):
        body = row["body"]
        good = isinstance(body, str) and ("crc" not in row.keys() or row["crc"] in (None, crc_of(body)))
        try:
            json.loads(body) if good else None
        except ValueError:
            good = False
        if good:
            found.cases[row["case_uid"]] = body
        else:
            found.unreadable += 1
    for row in _scan(connection, "anchor", found):
        found.anchors.append(tuple(row)[1:])
    for row in _scan(connection, "meta", found):
        if isinstance(row["k"], str) and isinstance(row["v"], str):
            found.meta[row["k"]] = row["v"]


def salvage(path: Path) -> Salvage:
    """Read what can be read of the database at `path`, which is not changed."""
    found = Salvage()
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)) as readable:
            readable.row_factory = sqlite3.Row
            for read in (_read_events, _read_memory):
                try:
                    read(readable, found)
                except (sqlite3.Error, LookupError, TypeError, UnicodeDecodeError):
                    found.unreadable += 1
    except sqlite3.Error:
        found.unreadable += 1
    return found
