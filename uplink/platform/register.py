"""The platform's cases as people and programs read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from perception.serial import utc_text
from perception.types import LISTED_STATES, JsonDict
from uplink.platform.storage import Row, Storage

LISTED = tuple(sorted(state.value for state in LISTED_STATES))
MAX_PAGE = 5000
_STEP = (
    "change", "change_reason", "state", "existence", "confidence", "position", "ellipse", "pass_id", "vehicle",
    "changed_utc",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter of the list. `seen_..._ns` bound the last sight; `box` is west, south, east, north in degrees."""

    states: tuple[str, ...] = LISTED
    kind: str | None = None
    grid: str | None = None
    confidence: float = 0.0
    seen_after_ns: int | None = None
    seen_before_ns: int | None = None
    box: tuple[float, float, float, float] | None = None

    def where(self, storage: Storage) -> tuple[str, list[object]]:
        """The condition on case_head and its parameters."""
        parts = [f"state IN ({', '.join('?' * len(self.states))})", "confidence >= ?"]
        values: list[object] = [*self.states, self.confidence]
        for column, value in (("kind", self.kind), ("grid", self.grid)):
            if value is not None:
                parts.append(f"{column} = ?")
                values.append(value)
        for sign, bound in ((">=", self.seen_after_ns), ("<=", self.seen_before_ns)):
            if bound is not None:
                parts.append(f"last_seen_ns {sign} ?")
                values.append(bound)
        if self.box is not None:
            parts.append(storage.in_box())
            values += self.box
        return " AND ".join(parts), values


def _pictures(storage: Storage, case_ids: Sequence[str]) -> dict[str, list[JsonDict]]:
    found: dict[str, list[JsonDict]] = {name: [] for name in case_ids}
    for start in range(0, len(case_ids), 500):
        some = case_ids[start : start + 500]
        rows = storage.rows(
            f"""SELECT case_id, body, EXISTS (SELECT 1 FROM blob WHERE blob.sha256 = case_picture.sha256) AS here
                FROM case_picture WHERE case_id IN ({", ".join("?" * len(some))})""",  # noqa: S608 - placeholders only
            tuple(some),
        )
        for row in rows:
            found[row["case_id"]].append({**json.loads(row["body"]), "available": bool(row["here"])})
    order = {"close_up": 0, "context": 1, "gone": 2}
    for pictures in found.values():
        pictures.sort(key=lambda p: (p["utc"] or "", order.get(p["role"], 9), p["sha256"]))
    return found


def _summary(row: Row, pictures: list[JsonDict]) -> JsonDict:
    return {
        **json.loads(row["body"]),
        "evidence": pictures,
        "evidence_state": "complete" if all(picture["available"] for picture in pictures) else "awaiting_evidence",
        "decision": row["decision"],
        "decided": utc_text(row["decided_ns"]),
        "received": utc_text(row["first_ns"]),
        "updated": utc_text(row["updated_ns"]),
    }


def list_cases(storage: Storage, wanted: Wanted, limit: int, after: str) -> tuple[list[JsonDict], int]:
    """Cases by id, `limit` of them after the id `after`; and how many there are in all."""
    where, values = wanted.where(storage)
    rows = storage.rows(
        f"SELECT * FROM case_head WHERE {where} AND case_id > ? ORDER BY case_id LIMIT ?",  # noqa: S608 - placeholders
        (*values, after, limit),
    )
    total: int = storage.value(f"SELECT count(*) FROM case_head WHERE {where}", values)  # noqa: S608 - placeholders
    pictures = _pictures(storage, [row["case_id"] for row in rows])
    return [_summary(row, pictures[row["case_id"]]) for row in rows], total


def get_case(storage: Storage, case_id: str) -> JsonDict | None:
    """One case with all its reports and decisions in order, or None."""
    rows = storage.rows("SELECT * FROM case_head WHERE case_id = ?", (case_id,))
    if not rows:
        return None
    history = storage.rows(
        """SELECT case_revision.*, event.uid, event.device, event.received_ns, event.body, event.manifest,
             event.proven FROM case_revision
           JOIN event ON event.id = case_revision.event_id WHERE case_id = ? ORDER BY revision, event_id""",
        (case_id,),
    )
    memory = json.loads(rows[0]["memory"])
    sights = [
        {
            "pass_id": p["pass_id"], "utc": utc_text(p["utc_ns"]), "lat_deg": p["lat_deg"], "lon_deg": p["lon_deg"],
            "offset_e_m": p["offset_e_m"], "offset_n_m": p["offset_n_m"],
        }
        for p in memory["passes"]
    ]  # fmt: skip
    return {
        **_summary(rows[0], _pictures(storage, [case_id])[case_id]),
        "exact": bool(rows[0]["exact"]),
        "sights": sights,
        "history": [_step(row) for row in history],
        "decisions": _decisions(storage, case_id),
    }


def _decisions(storage: Storage, case_id: str) -> list[JsonDict]:
    """What officers and the platform itself did to a case."""
    rows = storage.rows(
        """SELECT * FROM change WHERE case_id = ? AND change <> 'picture'
           AND actor NOT LIKE 'device:%' ORDER BY id""",
        (case_id,),
    )
    return [
        {
            "change": row["change"], "revision": row["revision"], "state": row["state"], "actor": row["actor"],
            "at": utc_text(row["at_ns"]), **json.loads(row["detail"]),
        }
        for row in rows
    ]  # fmt: skip


def _step(row: Row) -> JsonDict:
    body = json.loads(bytes(row["body"]))
    return {
        "revision": row["revision"],
        "base_revision": row["base_revision"],
        "canonical": bool(row["canonical"]),
        "uid": row["uid"],
        "device": row["device"],
        "received": utc_text(row["received_ns"]),
        "signed": "proven" if row["proven"] else "unproven" if row["manifest"] else "",
        **{name: body[name] for name in _STEP},
    }


def tracks(storage: Storage, since_ns: int) -> list[JsonDict]:
    """Where vehicles were since a time: as their heartbeats told, else where they saw cases (`told` is false)."""
    found: dict[tuple[str, bool], list[list[float]]] = {}
    for row in storage.rows(
        "SELECT device, lat_deg, lon_deg FROM track WHERE utc_ns >= ? ORDER BY device, utc_ns LIMIT 50000", (since_ns,)
    ):
        found.setdefault((row["device"], True), []).append([row["lon_deg"], row["lat_deg"]])
    told = {device for device, _ in found}
    for row in storage.rows(
        """SELECT event.device, event.body FROM event WHERE received_ns >= ? ORDER BY event.id DESC LIMIT 2000""",
        (since_ns,),
    ):
        if row["device"] not in told:
            place = json.loads(bytes(row["body"]))["position"]
            found.setdefault((row["device"], False), []).append([place["lon_deg"], place["lat_deg"]])
    return [{"device": device, "told": told, "points": points} for (device, told), points in sorted(found.items())]
