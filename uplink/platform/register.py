"""The platform's cases as people and programs read them."""

from __future__ import annotations

import json
import sqlite3

from perception.serial import utc_text
from perception.types import LISTED_STATES, JsonDict
from uplink.database import Database

LISTED = tuple(sorted(state.value for state in LISTED_STATES))
MAX_PAGE = 5000


def _pictures(database: Database, case_id: str) -> list[JsonDict]:
    rows = database.rows(
        """SELECT body, EXISTS (SELECT 1 FROM blob WHERE blob.sha256 = case_picture.sha256) AS here
           FROM case_picture WHERE case_id = ? ORDER BY rowid""",
        (case_id,),
    )
    return [{**json.loads(row["body"]), "available": bool(row["here"])} for row in rows]


def _summary(database: Database, row: sqlite3.Row) -> JsonDict:
    pictures = _pictures(database, row["case_id"])
    return {
        **json.loads(row["body"]),
        "evidence": pictures,
        "evidence_state": "complete" if all(picture["available"] for picture in pictures) else "awaiting_evidence",
        "received": utc_text(row["first_ns"]),
        "updated": utc_text(row["updated_ns"]),
    }


def list_cases(
    database: Database, states: tuple[str, ...], kind: str | None, limit: int, after: str
) -> tuple[list[JsonDict], int]:
    """Cases in `states` (and of `kind`) by id, `limit` of them after the id `after`; and how many there are in all."""
    chosen = json.dumps(states)
    where = (chosen, kind, kind)
    rows = database.rows(
        """SELECT case_head.*, event.body FROM case_head JOIN event ON event.id = case_head.event_id
           WHERE state IN (SELECT value FROM json_each(?)) AND (? IS NULL OR kind = ?) AND case_id > ?
           ORDER BY case_id LIMIT ?""",
        (*where, after, limit),
    )
    total: int = database.value(
        "SELECT count(*) FROM case_head WHERE state IN (SELECT value FROM json_each(?)) AND (? IS NULL OR kind = ?)",
        where,
    )
    return [_summary(database, row) for row in rows], total


def get_case(database: Database, case_id: str) -> JsonDict | None:
    """One case with all its revisions in order, or None."""
    rows = database.rows(
        "SELECT case_head.*, event.body FROM case_head JOIN event ON event.id = case_head.event_id WHERE case_id = ?",
        (case_id,),
    )
    if not rows:
        return None
    history = database.rows(
        """SELECT case_revision.*, event.uid, event.device, event.received_ns, event.body FROM case_revision
           JOIN event ON event.id = case_revision.event_id WHERE case_id = ? ORDER BY revision, event_id""",
        (case_id,),
    )
    return {**_summary(database, rows[0]), "history": [_step(row) for row in history]}


def _step(row: sqlite3.Row) -> JsonDict:
    body = json.loads(row["body"])
    kept = (
        "change",
        "change_reason",
        "state",
        "existence",
        "confidence",
        "position",
        "ellipse",
        "pass_id",
        "vehicle",
        "changed_utc",
    )
    return {
        "revision": row["revision"],
        "base_revision": row["base_revision"],
        "canonical": bool(row["canonical"]),
        "uid": row["uid"],
        "device": row["device"],
        "received": utc_text(row["received_ns"]),
        **{name: body[name] for name in kept},
    }
