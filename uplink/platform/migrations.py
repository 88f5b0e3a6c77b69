"""Schema of the reference platform's database, in SQLite's words; `storage.dialect` turns them into PostgreSQL's."""

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

_SECOND = (
    # Devices: a key once enrolled, a date once revoked; an invitation lets one device bring its key itself.
    "ALTER TABLE device ADD COLUMN public_key TEXT",
    "ALTER TABLE device ADD COLUMN enrolled_ns INTEGER",
    "ALTER TABLE device ADD COLUMN revoked_ns INTEGER",
    "ALTER TABLE device ADD COLUMN revoked_why TEXT",
    """CREATE TABLE invitation (
        device TEXT PRIMARY KEY, code_hash TEXT NOT NULL, expires_ns INTEGER NOT NULL) STRICT""",
    """CREATE TABLE person (
        name TEXT PRIMARY KEY, role TEXT NOT NULL, token_hash TEXT NOT NULL UNIQUE, added_ns INTEGER NOT NULL,
        revoked_ns INTEGER) STRICT""",
    # The case as people and vehicles read it: `body` for people, `memory` for vehicles, after everybody's decisions.
    "ALTER TABLE case_head ADD COLUMN body TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE case_head ADD COLUMN memory TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE case_head ADD COLUMN exact INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE case_head ADD COLUMN lat_deg REAL NOT NULL DEFAULT 0",
    "ALTER TABLE case_head ADD COLUMN lon_deg REAL NOT NULL DEFAULT 0",
    "ALTER TABLE case_head ADD COLUMN tile_row INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE case_head ADD COLUMN tile_col INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE case_head ADD COLUMN grid TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE case_head ADD COLUMN confidence REAL NOT NULL DEFAULT 0",
    "ALTER TABLE case_head ADD COLUMN last_seen_ns INTEGER",
    "ALTER TABLE case_head ADD COLUMN author TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE case_head ADD COLUMN decision TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE case_head ADD COLUMN decided_ns INTEGER",
    "ALTER TABLE case_head ADD COLUMN changed_tx INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE case_head ADD COLUMN changed_id INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX case_head_tile ON case_head (tile_row, tile_col)",
    "CREATE INDEX case_head_changed ON case_head (changed_tx, changed_id)",
    "CREATE INDEX case_head_grid ON case_head (grid, case_id)",
    # Everything that ever happened to a case, by whomever: the feed of vehicles, consoles and webhooks.
    """CREATE TABLE change (
        id INTEGER PRIMARY KEY, tx INTEGER NOT NULL, case_id TEXT NOT NULL, change TEXT NOT NULL,
        revision INTEGER NOT NULL, state TEXT NOT NULL, actor TEXT NOT NULL, detail TEXT NOT NULL,
        at_ns INTEGER NOT NULL) STRICT""",
    "CREATE INDEX change_case ON change (case_id, id)",
    "CREATE INDEX change_tx ON change (tx, id)",
    # Pairs that an officer split: never merged again by machine.
    "CREATE TABLE apart (a TEXT NOT NULL, b TEXT NOT NULL, PRIMARY KEY (a, b)) STRICT",
    """CREATE TABLE dirty_tile (
        tile_row INTEGER NOT NULL, tile_col INTEGER NOT NULL, since_ns INTEGER NOT NULL,
        PRIMARY KEY (tile_row, tile_col)) STRICT""",
    """CREATE TABLE track (
        device TEXT NOT NULL, utc_ns INTEGER NOT NULL, lat_deg REAL NOT NULL, lon_deg REAL NOT NULL,
        PRIMARY KEY (device, utc_ns)) STRICT""",
    """CREATE TABLE audit (
        id INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, actor TEXT NOT NULL, address TEXT NOT NULL,
        action TEXT NOT NULL, target TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL) STRICT""",
    """CREATE TABLE upload (
        name TEXT PRIMARY KEY, device TEXT NOT NULL, sha256 TEXT NOT NULL, mime TEXT NOT NULL, size INTEGER NOT NULL,
        taken INTEGER NOT NULL, holder INTEGER NOT NULL, made_ns INTEGER NOT NULL) STRICT""",
    "CREATE INDEX upload_device ON upload (device, sha256)",
    """CREATE TABLE webhook (
        id INTEGER PRIMARY KEY, url TEXT NOT NULL, secret TEXT NOT NULL, changes TEXT NOT NULL,
        made_ns INTEGER NOT NULL, cursor_tx INTEGER NOT NULL, cursor_id INTEGER NOT NULL,
        failures INTEGER NOT NULL, due_ns INTEGER NOT NULL,
        last_status INTEGER, stopped INTEGER NOT NULL) STRICT""",
)

_THIRD = (
    # The signed manifest that came beside a body; `proven`: its signature was checked with the device's enrolled key.
    "ALTER TABLE event ADD COLUMN manifest TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE event ADD COLUMN proven INTEGER NOT NULL DEFAULT 0",
)

PLATFORM = Schema(
    application_id=0x51494A50,
    migrations=(
        Migration(1, "intake, cases and pictures", _FIRST),
        Migration(2, "decisions, fleet memory, people, audit, uploads, webhooks", _SECOND),
        Migration(3, "signed manifests", _THIRD),
    ),
)

POSTGIS: dict[int, tuple[str, ...]] = {
    2: (
        "CREATE EXTENSION IF NOT EXISTS postgis",
        """ALTER TABLE case_head ADD COLUMN place geometry(Point, 4326)
           GENERATED ALWAYS AS (ST_SetSRID(ST_MakePoint(lon_deg, lat_deg), 4326)) STORED""",
        "CREATE INDEX case_head_place ON case_head USING gist (place)",
        # An intake commits thousands of small rows an hour into these: leave room for updates in place.
        "ALTER TABLE case_head SET (fillfactor = 80)",
    )
}
"""What only PostgreSQL gets, after the statements of the same version."""
