"""Schema of the device store (the reference platform's own is in uplink/platform/migrations.py)."""

from __future__ import annotations

from uplink.database import Migration, Schema

_FIRST = (
    "CREATE TABLE meta (k TEXT PRIMARY KEY, v TEXT NOT NULL) STRICT",
    # state: ready -> acked -> purged | dead | shed. `prio` 0 is most urgent. `manifest` is the body, exactly.
    """CREATE TABLE event (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, prio INTEGER NOT NULL,
        case_uid TEXT NOT NULL, rev INTEGER NOT NULL, manifest BLOB NOT NULL, digest TEXT NOT NULL, sig TEXT,
        prev_hash TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('ready', 'acked', 'purged', 'dead', 'shed')),
        attempts INTEGER NOT NULL DEFAULT 0, not_before_boot TEXT, not_before_mono INTEGER, last_status INTEGER,
        last_error TEXT, receipt TEXT) STRICT""",
    "CREATE INDEX event_due ON event (prio, seq) WHERE state = 'ready'",
    "CREATE INDEX event_case ON event (case_uid, rev)",
    # state: held (a candidate's picture, not sent) -> ready -> acked -> purged | shed | lost. `file_seq`: first event.
    """CREATE TABLE blob (
        sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, mime TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('held', 'ready', 'acked', 'purged', 'dead', 'shed', 'lost')),
        file_seq INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, last_status INTEGER, last_error TEXT) STRICT""",
    "CREATE INDEX blob_state ON blob (state, file_seq)",
    """CREATE TABLE event_blob (
        seq INTEGER NOT NULL REFERENCES event (seq), sha256 TEXT NOT NULL REFERENCES blob (sha256),
        ord INTEGER NOT NULL, PRIMARY KEY (seq, ord)) STRICT""",
    "CREATE INDEX event_blob_sha ON event_blob (sha256)",
    """CREATE TABLE case_state (
        case_uid TEXT PRIMARY KEY, rev INTEGER NOT NULL, state TEXT NOT NULL, kind TEXT NOT NULL,
        tile_row INTEGER NOT NULL, tile_col INTEGER NOT NULL, body TEXT NOT NULL) STRICT""",
    "CREATE INDEX case_tile ON case_state (tile_row, tile_col, case_uid)",
    """CREATE TABLE anchor (
        id TEXT PRIMARY KEY, class_name TEXT NOT NULL, lat_deg REAL NOT NULL, lon_deg REAL NOT NULL,
        cov_ee_m2 REAL NOT NULL, cov_en_m2 REAL NOT NULL, cov_nn_m2 REAL NOT NULL,
        tile_row INTEGER NOT NULL, tile_col INTEGER NOT NULL) STRICT""",
    "CREATE INDEX anchor_tile ON anchor (tile_row, tile_col, id)",
    # Tombstone of everything shed, dead or damaged: never silently nothing.
    """CREATE TABLE loss (
        id INTEGER PRIMARY KEY, seq INTEGER, what TEXT NOT NULL, why TEXT NOT NULL, bytes INTEGER NOT NULL,
        at_boot TEXT, at_mono INTEGER NOT NULL) STRICT""",
)

_SECOND = ("ALTER TABLE anchor ADD COLUMN body TEXT",)
"""`body`: all of a learned anchor as JSON; NULL for one of the city's register, which is its columns."""

_THIRD = (
    # The signed manifest; `sig` holds its signature.
    "ALTER TABLE event ADD COLUMN proof TEXT",
    "ALTER TABLE blob ADD COLUMN prio INTEGER NOT NULL DEFAULT 1",
    # crc32 of `body`: a flipped bit inside a row is no damage to SQLite. NULL: written before there was one.
    "ALTER TABLE case_state ADD COLUMN crc INTEGER",
    "CREATE INDEX blob_due ON blob (prio, file_seq, sha256) WHERE state = 'ready'",
    "CREATE INDEX event_acked ON event (seq) WHERE state = 'acked'",
    "CREATE INDEX loss_what ON loss (what)",
)
"""Events rescued from a damaged file have negative `seq`: older than all others, and the new epoch counts from 1."""

DEVICE_STORE = Schema(
    application_id=0x51494A31,
    migrations=(
        Migration(1, "store, outbox and case memory", _FIRST),
        Migration(2, "learned anchors", _SECOND),
        Migration(3, "signed manifests, priorities of pictures, checksums", _THIRD),
    ),
)
