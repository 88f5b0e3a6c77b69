"""The feed of changes, for consoles that are open and for webhooks."""

from __future__ import annotations

import json

from perception.serial import utc_text
from perception.types import JsonDict
from uplink.platform.fleet import Cursor
from uplink.platform.storage import Storage


def newest(storage: Storage) -> Cursor:
    """Where the feed ends now."""
    rows = storage.rows(
        "SELECT tx, id FROM change WHERE tx < ? ORDER BY tx DESC, id DESC LIMIT 1", (storage.settled(),)
    )
    return Cursor(rows[0]["tx"], rows[0]["id"]) if rows else Cursor()


def changes_after(storage: Storage, since: Cursor, limit: int = 200) -> tuple[list[JsonDict], Cursor]:
    """Changes in their order after `since`, and the next cursor; those of open transactions wait."""
    rows = storage.rows(
        "SELECT * FROM change WHERE tx < ? AND (tx > ? OR (tx = ? AND id > ?)) ORDER BY tx, id LIMIT ?",
        (storage.settled(), since.tx, since.tx, since.id, limit),
    )
    found = [
        {
            "cursor": str(Cursor(row["tx"], row["id"])), "case_id": row["case_id"], "change": row["change"],
            "revision": row["revision"], "state": row["state"], "actor": row["actor"], "at": utc_text(row["at_ns"]),
            "detail": json.loads(row["detail"]),
        }
        for row in rows
    ]  # fmt: skip
    return found, Cursor(rows[-1]["tx"], rows[-1]["id"]) if rows else since


def as_event(change: JsonDict) -> str:
    """One change as a server-sent event."""
    return f"id: {change['cursor']}\nevent: change\ndata: {json.dumps(change, ensure_ascii=False)}\n\n"
