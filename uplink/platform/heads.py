"""The one canonical state of each case: what vehicles reported, what the platform merged, what officers decided.

A report made from the newest state replaces it. One made from an older state loses nothing: its passes are united with
those that are here. A decision of an officer stands whatever vehicles report, but a closed case that is seen again
later is reopened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gnss.geodesy import ellipse95
from perception.approach import MOST_PASSES
from perception.casework import MOST_EVIDENCE
from perception.fuse import aligned, fuse
from perception.serial import canonical_json, case_from_dict, case_to_dict, rounded, triple, utc_text
from perception.store import tile_of
from perception.types import ACTIVE_STATES, LISTED_STATES, Case, CaseState, JsonDict, PassPosition
from uplink.platform.storage import Row, Tx

ACCEPTED, REJECTED, CLOSED, MERGED = "accepted", "rejected", "closed", "merged"
_STATES = {REJECTED: CaseState.REJECTED, CLOSED: CaseState.RESOLVED, MERGED: CaseState.MERGED}


@dataclass(frozen=True, slots=True)
class Head:
    """The newest state of a case. `body` is for people, `case` for vehicles.

    `author` is the device whose report it is, "" when the platform had a hand in it; decision "" is none.
    """

    case: Case
    body: JsonDict
    exact: bool
    author: str
    event_id: int
    first_ns: int
    decision: str = ""
    decided_ns: int | None = None


def _pass_key(p: PassPosition) -> tuple[int, str]:
    return p.utc_ns or 0, p.pass_id


def _latest(*stamps: int | None) -> int | None:
    return max((s for s in stamps if s is not None), default=None)


def _earliest(*stamps: int | None) -> int | None:
    return min((s for s in stamps if s is not None), default=None)


def placed(case: Case, passes: Sequence[PassPosition]) -> Case:
    """The case where these passes together put it; raises ValueError when there is none."""
    ordered = tuple(sorted(passes, key=_pass_key))
    if len(ordered) > MOST_PASSES:
        ordered = ordered[:1] + ordered[1 - MOST_PASSES :]
    fused, among = fuse(ordered), aligned(ordered)
    budget = [("gnss_m", fused.gnss_sigma_m), ("own_m", fused.own_sigma_m)]
    if any(any(p.cov_site_m2) for p in ordered):
        budget.append(("site_m", fused.site_sigma_m))
    return replace(
        case, passes=ordered, lat_deg=fused.lat_deg, lon_deg=fused.lon_deg, cov_m2=triple(fused.cov_m2),
        map_lat_deg=among[0], map_lon_deg=among[1], map_cov_m2=triple(among[2]), error_budget=tuple(budget),
    )  # fmt: skip


def last_look_ns(case: Case) -> int:
    """UTC of the last time anybody looked at the place; 0 when nobody knows."""
    return _latest(case.last_seen_utc_ns, case.last_clear_look_utc_ns) or 0


def united(kept: Case, other: Case, *, exact: bool) -> Case:
    """`kept` with the pictures and times of `other` too; the state is that of the later look.

    `exact`: both carry their true passes, so those of `other` place it too; else it stays where `kept` puts it.
    """
    known = {p.pass_id for p in kept.passes}
    news = [p for p in other.passes if p.pass_id not in known] if exact else []
    later = other if last_look_ns(other) > last_look_ns(kept) else kept
    pictures = {p.sha256: p for c in (kept, other) for p in c.evidence}
    whole = replace(
        kept, state=later.state, existence=later.existence, reason=later.reason, clear_misses=later.clear_misses,
        confidence=max(kept.confidence, other.confidence), component=kept.component or other.component,
        first_seen_utc_ns=_earliest(kept.first_seen_utc_ns, other.first_seen_utc_ns),
        last_seen_utc_ns=_latest(kept.last_seen_utc_ns, other.last_seen_utc_ns),
        first_clear_look_utc_ns=_earliest(kept.first_clear_look_utc_ns, other.first_clear_look_utc_ns),
        last_clear_look_utc_ns=_latest(kept.last_clear_look_utc_ns, other.last_clear_look_utc_ns),
        evidence=tuple(pictures.values())[:MOST_EVIDENCE],
        aliases=tuple(dict.fromkeys([*kept.aliases, *(n for n in (other.id, *other.aliases) if n != kept.id)])),
    )  # fmt: skip
    return placed(whole, [*kept.passes, *news]) if news else whole


def decided(head: Head, reported: CaseState) -> tuple[CaseState, str]:
    """State and decision after a report of this state: a decision stands, unless a closed case is seen again later."""
    seen = head.case.last_seen_utc_ns
    if head.decision == CLOSED and reported in ACTIVE_STATES and (seen or 0) > (head.decided_ns or 0):
        return CaseState.REOPENED, ""
    if head.decision == ACCEPTED and reported in (CaseState.CANDIDATE, CaseState.WITHDRAWN):
        return CaseState.OPEN, ACCEPTED
    return _STATES.get(head.decision, reported), head.decision


def _moved(case: Case, body: JsonDict) -> JsonDict:
    """Place, ellipse and budget of a case that the platform placed itself."""
    ee, _, nn = case.cov_m2
    # Rounding may have made the matrix a trace worse than singular.
    most = math.sqrt(ee * nn)
    en = min(max(case.cov_m2[1], -most), most)
    major, minor, azimuth = ellipse95(((ee, en), (en, nn)))
    return {
        "position": {**body["position"], "lat_deg": case.lat_deg, "lon_deg": case.lon_deg},
        "ellipse": {**body["ellipse"], "semi_major_m": major, "semi_minor_m": minor, "azimuth_deg": azimuth},
        "error_budget_m": dict(case.error_budget),
        "passes": len(case.passes),
    }


def shown(case: Case, body: JsonDict) -> JsonDict:
    """The body for people: what the newest report said, with everything that the canonical case knows better."""
    better: JsonDict = {
        "case_id": case.id, "revision": case.revision, "state": case.state.value, "existence": case.existence,
        "confidence": case.confidence, "reason": case.reason, "aliases": list(case.aliases),
        "merged_into": case.merged_into, "grid": case.grid, "zone": case.zone,
        "first_seen_utc": utc_text(case.first_seen_utc_ns), "last_seen_utc": utc_text(case.last_seen_utc_ns),
        "first_clear_look_utc": utc_text(case.first_clear_look_utc_ns),
        "last_clear_look_utc": utc_text(case.last_clear_look_utc_ns),
    }  # fmt: skip
    if (case.lat_deg, case.lon_deg) != (body["position"]["lat_deg"], body["position"]["lon_deg"]):
        better |= _moved(case, body)
    kept = {k: v for k, v in body.items() if k != "memory"}
    result: JsonDict = {**kept, **rounded(better)}
    return result


def read_head(tx: Tx, case_id: str) -> Head | None:
    """The canonical state of a case, or None."""
    rows = tx.rows("SELECT * FROM case_head WHERE case_id = ?", (case_id,))
    return head_of(rows[0]) if rows else None


def head_of(row: Row) -> Head:
    """A row of case_head as a Head."""
    return Head(
        case_from_dict(json.loads(row["memory"])), json.loads(row["body"]), bool(row["exact"]), row["author"],
        row["event_id"], row["first_ns"], row["decision"], row["decided_ns"],
    )  # fmt: skip


def target_of(tx: Tx, case_id: str) -> str:
    """The id under which a case lives now: that of what it was merged into, or its own."""
    seen = {case_id}
    while True:
        rows = tx.rows("SELECT memory FROM case_head WHERE case_id = ? AND decision = ?", (case_id, MERGED))
        into = json.loads(rows[0]["memory"])["merged_into"] if rows else None
        if into is None or into in seen:
            return case_id
        seen.add(into)
        case_id = into


def write_head(tx: Tx, head: Head, change: str, actor: str, now_ns: int, detail: JsonDict | None = None) -> int:
    """Make this the canonical state and tell the feed; the number of the change. The case's revision must be new."""
    case = head.case
    (told,) = tx.rows(
        """INSERT INTO change (tx, case_id, change, revision, state, actor, detail, at_ns)
           VALUES (THIS_TX, ?, ?, ?, ?, ?, ?, ?) RETURNING id, tx""",
        (case.id, change, case.revision, case.state.value, actor, canonical_json(detail or {}), now_ns),
    )
    row, column = tile_of(case.lat_deg, case.lon_deg)
    tx.run(
        """INSERT INTO case_head (case_id, revision, state, kind, event_id, first_ns, updated_ns, body, memory, exact,
             lat_deg, lon_deg, tile_row, tile_col, grid, confidence, last_seen_ns, author, decision, decided_ns,
             changed_tx, changed_id)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (case_id) DO UPDATE SET revision = excluded.revision, state = excluded.state,
             kind = excluded.kind, event_id = excluded.event_id, updated_ns = excluded.updated_ns,
             body = excluded.body, memory = excluded.memory, exact = excluded.exact, lat_deg = excluded.lat_deg,
             lon_deg = excluded.lon_deg, tile_row = excluded.tile_row, tile_col = excluded.tile_col,
             grid = excluded.grid, confidence = excluded.confidence, last_seen_ns = excluded.last_seen_ns,
             author = excluded.author, decision = excluded.decision, decided_ns = excluded.decided_ns,
             changed_tx = excluded.changed_tx, changed_id = excluded.changed_id""",
        (
            case.id, case.revision, case.state.value, case.kind, head.event_id, head.first_ns, now_ns,
            json.dumps(shown(case, head.body), ensure_ascii=False), canonical_json(case_to_dict(case)),
            int(head.exact), case.lat_deg, case.lon_deg, row, column, case.grid or "", case.confidence,
            case.last_seen_utc_ns, head.author, head.decision, head.decided_ns, told["tx"], told["id"],
        ),
    )  # fmt: skip
    if case.state in LISTED_STATES or case.state is CaseState.CANDIDATE:
        tx.run("INSERT INTO dirty_tile VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (row, column, now_ns))
    return int(told["id"])
