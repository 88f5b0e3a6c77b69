"""Schema of the reference platform's database."""

from __future__ import annotations

from uplink.database import Migration, Schema

_FIRST = (
    """CREATE TABLE device (
        id TEXT PRIMARY KEY, first_seen_ns INTEGER NOT NULL, last_seen_ns INTEGER NOT NULL, heartbeat TEXT,
        heartbeat_ns INTEGER) STRICT""",
    # UNIQUE decides races between equal requests; rows are kept as long as any vehicle may stay offline.
    """CREATE TABLE event (
        id INTEGER PRIMARY KEY, device TEXT NOT NULL REFERENCES device (id), uid TEXT NOT NULL, epoch TEXT NOT NULL,
        seq INTEGER NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL, received_ns INTEGER NOT NULL,
        UNIQUE (device, uid), UNIQUE (device, epoch, seq)) STRICT""",
    """CREATE TABLE blob (
        device TEXT NOT NULL REFERENCES device (id), sha256 TEXT NOT NULL, size INTEGER NOT NULL,
        received_ns INTEGER NOT NULL, PRIMARY KEY (device, sha256)) STRICT""",
    "CREATE INDEX blob_sha ON blob (sha256)",
    """CREATE TABLE case_head (
        case_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, state TEXT NOT NULL, kind TEXT NOT NULL,
        event_id INTEGER NOT NULL REFERENCES event (id), first_ns INTEGER NOT NULL,
        updated_ns INTEGER NOT NULL) STRICT""",
    "CREATE INDEX case_head_list ON case_head (state, kind, case_id)",
    # canonical = 0: made from a state that was no longer the newest when it came; kept, and the vehicle is told.
    """CREATE TABLE case_revision (
        event_id INTEGER PRIMARY KEY REFERENCES event (id), case_id TEXT NOT NULL, revision INTEGER NOT NULL,
        base_revision INTEGER NOT NULL, canonical INTEGER NOT NULL) STRICT""",
    "CREATE INDEX case_revision_case ON case_revision (case_id, revision, event_id)",
    """CREATE TABLE case_picture (
        case_id TEXT NOT NULL, sha256 TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (case_id, sha256)) STRICT""",
)

PLATFORM = Schema(application_id=0x51494A50, migrations=(Migration(1, "intake, cases and pictures", _FIRST),))
