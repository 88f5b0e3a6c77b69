"""`qiji outbox export`: undelivered events, their pictures and the evidence chain, for people and `qiji evidence`.

Written: `events.jsonl` (one event per line with its body), `evidence/<sha256>.jpg`, `chain.jsonl` (one link per event
of the epoch and per exported event), `head.json` (where the chain stands, signed) and `device.pub` (the public key).
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from perception.serial import canonical_json
from perception.types import JsonDict
from uplink.errors import StoreError
from uplink.evidence import head_of
from uplink.files import Spool
from uplink.inspection import connect, read_json
from uplink.keys import PUBLIC, device_key

STATES = ("ready", "dead", "acked")
_ENTRY = ("seq", "uid", "state", "attempts", "last_status", "last_error", "digest")


def _link(row: sqlite3.Row) -> JsonDict:
    """What the chain holds of an event: hashes, and the signed manifest as long as the car keeps it."""
    epoch, seq = row["uid"].rsplit(":", 2)[1:]
    manifest = read_json(row["proof"])
    signature = None if manifest is None else row["sig"]
    return {
        "uid": row["uid"],
        "epoch": epoch,
        "seq": int(seq),
        "digest": row["digest"],
        "prev_hash": row["prev_hash"],
        "manifest": manifest,
        "signature": signature,
    }


def _links(connection: sqlite3.Connection, epoch: str, states: Sequence[str]) -> Iterator[JsonDict]:
    for row in connection.execute("SELECT * FROM event ORDER BY seq"):
        if row["uid"].rsplit(":", 2)[1] == epoch or row["state"] in states:
            yield _link(row)


def _write_lines(path: Path, trees: Iterator[JsonDict]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for tree in trees:
            file.write(canonical_json(tree) + "\n")
            count += 1
    return count


def _entries(connection: sqlite3.Connection, states: Sequence[str]) -> Iterator[JsonDict]:
    for row in connection.execute("SELECT * FROM event ORDER BY seq"):
        if row["state"] in states:
            yield {name: row[name] for name in _ENTRY} | {"body": read_json(row["manifest"])}


def export(path: Path, out: Path, states: Sequence[str] = ("ready", "dead")) -> int:
    """Write the events in `states` into the new folder `out`; returns how many. Also while the car is running.

    Raises StoreError when `out` exists already or `path` is no readable store.
    """
    if out.exists():
        raise StoreError("exists already", file=out, remedy="name a new folder")
    spool, key = Spool(path.parent / "spool"), device_key(path.parent / "keys")
    try:
        with closing(connect(path)) as connection:
            # One moment for all: the car may be adding events meanwhile.
            connection.execute("BEGIN")
            meta = {row["k"]: row["v"] for row in connection.execute("SELECT k, v FROM meta")}
            (out / "evidence").mkdir(parents=True)
            count = _write_lines(out / "events.jsonl", _entries(connection, states))
            epoch = meta["outbox_epoch"]
            _write_lines(out / "chain.jsonl", _links(connection, epoch, states))
            newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
            last = max(0, newest[0]) if newest else 0
            first = connection.execute("SELECT min(seq) FROM event WHERE seq > 0").fetchone()[0] or last + 1
            head = head_of(meta["device_id"], epoch, first, last, meta["chain_head"], key)
            (out / "head.json").write_text(canonical_json(head) + "\n", encoding="utf-8")
            (out / PUBLIC).write_bytes(key.public.pem())
            marks = ", ".join("?" * len(states))
            shown = f"SELECT DISTINCT sha256 FROM event_blob JOIN event USING (seq) WHERE state IN ({marks})"  # noqa: S608
            for row in connection.execute(shown, tuple(states)):
                if spool.size(row["sha256"]) is not None:
                    shutil.copy(spool.path(row["sha256"]), out / "evidence")
    except (sqlite3.DatabaseError, KeyError) as error:
        raise StoreError(
            f"cannot be read as a store: {error}", file=path, remedy="start the car once: it moves damage aside"
        ) from error
    return count
