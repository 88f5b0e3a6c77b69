"""Cases, changes and pictures for the uplink's tests."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from perception.types import Case, CaseChange, CaseState, ChangeKind, PassPosition, Picture
from uplink.store import SqliteStore

UTC_NS = 1_790_000_000_000_000_000
JPEG_HEAD = bytes.fromhex("ffd8 ffc0 0011 08 00f0 0140 03 011100 021101 031101")
LISTED_CHANGE = {
    CaseState.CANDIDATE: ChangeKind.CANDIDATE,
    CaseState.OPEN: ChangeKind.OPENED,
    CaseState.RESOLVED: ChangeKind.RESOLVED,
    CaseState.REOPENED: ChangeKind.REOPENED,
    CaseState.WITHDRAWN: ChangeKind.WITHDRAWN,
    CaseState.MONITORING: ChangeKind.UPDATED,
}


def jpeg(seed: int, size: int = 600) -> bytes:
    """Bytes with the first marks, the frame header (320 x 240) and the last mark of a JPEG; others for each seed."""
    filling = hashlib.sha256(f"picture {seed}".encode()).digest() * (size // 32 + 1)
    return JPEG_HEAD + filling[: size - len(JPEG_HEAD) - 2] + b"\xff\xd9"


def picture(seed: int, role: str = "close_up", size: int = 600) -> Picture:
    content = jpeg(seed, size)
    return Picture(hashlib.sha256(content).hexdigest(), role, seed, UTC_NS, "front", 320, 240, content)


def case(number: int, state: CaseState = CaseState.OPEN, revision: int = 1, **fields: object) -> Case:
    made = Case(
        id=f"case-{number:05d}",
        revision=revision,
        kind="exposed_garbage",
        matter_kind="matter",
        code="06010",
        class_name="garbage",
        state=state,
        existence=0.93,
        confidence=0.81,
        lat_deg=30.25 + number * 1e-4,
        lon_deg=120.15,
        cov_m2=(0.25, 0.05, 0.16),
        error_budget=(("gnss", 0.4), ("pixels", 0.1)),
        passes=(PassPosition("p1", UTC_NS, 30.25, 120.15, (0.1, 0.0, 0.1), (0.2, 0.0, 0.2)),),
        vehicle="car-1",
        first_seen_utc_ns=UTC_NS,
        last_seen_utc_ns=UTC_NS,
        first_clear_look_utc_ns=None,
        last_clear_look_utc_ns=None,
        reason="a heap on the pavement",
        grid="330106001001001",
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def change(made: Case, pictures: tuple[Picture, ...] = ()) -> CaseChange:
    evidence = made.evidence or pictures
    return CaseChange(
        made.id,
        made.revision - 1,
        LISTED_CHANGE[made.state],
        replace(made, evidence=evidence),
        1_000,
        UTC_NS,
        "p1",
        "seen",
        pictures,
    )


def opened(number: int, pictures: int = 1) -> CaseChange:
    """A new open case with that many pictures of its own."""
    return change(case(number), tuple(picture(number * 10 + k) for k in range(pictures)))


def crash(store: SqliteStore) -> None:
    """Leave a store as a killed process does: nothing said to be in order, uncommitted work undone."""
    store._files.database.close()
    store.journal.close()
    store._files._lock.release()
