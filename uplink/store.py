"""The device store: case memory and outbox in one SQLite file, pictures beside it.

Order of a commit (each step durable before the next): pictures -> one transaction (event, blob rows, case memory, chain
head). Only then is a change "reported". A failure at any step raises, and nothing of it counts.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from gnss.clock import Clock
from perception.serial import anchor_from_dict, anchor_to_dict, canonical_json, case_from_dict, case_to_dict
from perception.store import tile_of
from perception.types import (
    LISTED_STATES,
    Anchor,
    AnchorUpdate,
    CalibrationUpdate,
    Case,
    CaseChange,
    KnownObjects,
    Picture,
    Tile,
)
from uplink.envelope import checked_device, digest_of, event_key
from uplink.errors import StoreError
from uplink.files import Spool
from uplink.outbox import Outbox
from uplink.payload import Link, Origin, announced_pictures, case_body
from uplink.repair import FolderLock, Quarantined, open_or_replace, settle_spool

_URGENT, _LISTED, _OTHER = 0, 1, 2
_MIME = "image/jpeg"
_CALIBRATION = "calibration/"


def new_epoch() -> str:
    """A random name for a fresh outbox: sequence numbers of different files must never be mistaken for each other."""
    return secrets.token_hex(8)


def _carried(change: CaseChange) -> dict[str, Picture]:
    """Pictures of a change that come with their bytes; the others were stored earlier or belong to another vehicle."""
    return {picture.sha256: picture for picture in (*change.case.evidence, *change.pictures) if picture.jpeg}


def _anchor(row: sqlite3.Row) -> Anchor:
    """A row of the table: a learned landmark's whole text, or one of the city's register."""
    if row["body"] is not None:
        return anchor_from_dict(json.loads(row["body"]))
    cov_m2 = (row["cov_ee_m2"], row["cov_en_m2"], row["cov_nn_m2"])
    return Anchor(row["id"], row["class_name"], row["lat_deg"], row["lon_deg"], cov_m2)


class SqliteStore:
    """`perception.store.CaseStore` in the file `path` (its folder also holds `spool/`, `quarantine/`, `lock`).

    One process and one connection at a time; safe to share between the pipeline's and the sender's thread.
    """

    def __init__(
        self,
        path: Path,
        device: str,
        clock: Clock,
        *,
        origin: Origin | None = None,
        make_epoch: Callable[[], str] = new_epoch,
    ) -> None:
        """Open or create. Raises StoreError when another process holds it or it belongs to another device."""
        self.device = checked_device(device)
        self.path = path
        self._origin = origin or Origin()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(path.parent)
        try:
            self._database, moved = open_or_replace(path)
            self.spool = Spool(path.parent / "spool")
            self.outbox = Outbox(self._database, self.spool, clock)
            self._start(make_epoch, moved)
        except BaseException:
            self._lock.release()
            raise

    def _start(self, make_epoch: Callable[[], str], moved: Quarantined | None) -> None:
        with self._database.transaction() as tx:
            for key, value in (("device_id", self.device), ("outbox_epoch", make_epoch()), ("chain_head", "")):
                tx.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", (key, value))
            if moved is not None:
                self.outbox.record_loss(tx, "damaged store", f"{moved.folder.name}: {moved.why}", moved.size)
        owner = self._meta("device_id")
        if owner != self.device:
            raise StoreError(
                f"belongs to device {owner!r}, not {self.device!r}",
                file=self.path,
                remedy="use that name or another folder",
            )
        self.epoch = self._meta("outbox_epoch")
        missing = settle_spool(self._database, self.spool)
        with self._database.transaction() as tx:
            for sha256, size in missing:
                tx.execute("UPDATE blob SET state = 'lost' WHERE sha256 = ?", (sha256,))
                self.outbox.record_loss(tx, "lost evidence", f"{sha256}: no good file at start", size)

    def _meta(self, key: str) -> str:
        return str(self._database.value("SELECT v FROM meta WHERE k = ?", (key,)))

    @property
    def chain_head(self) -> str:
        """Digest of the newest event of this epoch; empty before the first."""
        return self._meta("chain_head")

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest event; 0 before the first."""
        return int(self._database.value("SELECT coalesce(max(seq), 0) FROM event"))

    def commit(
        self,
        changes: Sequence[CaseChange],
        anchors: Sequence[AnchorUpdate] = (),
        calibrations: Mapping[str, Sequence[CalibrationUpdate]] | None = None,
    ) -> None:
        """Store the changes with their pictures and enqueue them; returns only when durable.

        What a pass learned of permanent landmarks (`anchors`) and of camera mounts (`calibrations`, by vehicle) is kept
        in the same transaction, and is not sent. Raises OSError or sqlite3.Error when the disk refuses (nothing is
        committed then), EvidenceMismatch on a bug.
        """
        if not changes and not calibrations and not any(u.kept or u.gone for u in anchors):
            return
        self._write_evidence(changes)
        self._record(changes, anchors, calibrations)

    def calibration(self, vehicle: str, stamp_ns: int) -> list[CalibrationUpdate]:
        """What the last drive of a vehicle ended with, stamped `stamp_ns`, by camera."""
        rows = self._database.rows("SELECT v FROM meta WHERE k GLOB ? ORDER BY k", (f"{_CALIBRATION}{vehicle}/*",))
        return [CalibrationUpdate(**{**json.loads(row["v"]), "stamp_ns": stamp_ns}) for row in rows]

    def _write_evidence(self, changes: Sequence[CaseChange]) -> None:
        pictures = {sha256: picture for change in changes for sha256, picture in _carried(change).items()}
        for sha256, picture in pictures.items():
            state = self._database.value("SELECT state FROM blob WHERE sha256 = ?", (sha256,))
            if state not in ("held", "ready", "acked", "purged", "dead"):
                self.spool.write(sha256, picture.jpeg)

    def _record(
        self,
        changes: Sequence[CaseChange],
        anchors: Sequence[AnchorUpdate] = (),
        calibrations: Mapping[str, Sequence[CalibrationUpdate]] | None = None,
    ) -> None:
        with self._database.transaction() as tx:
            for change in changes:
                self._record_change(tx, change)
            for update in anchors:
                self._keep_anchors(tx, update.kept)
                tx.executemany("DELETE FROM anchor WHERE id = ?", [(name,) for name in update.gone])
            for vehicle, updates in (calibrations or {}).items():
                for row in updates:
                    body = json.dumps(asdict(row), sort_keys=True)
                    tx.execute(
                        "INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"{_CALIBRATION}{vehicle}/{row.camera}", body)
                    )

    def _record_change(self, tx: sqlite3.Connection, change: CaseChange) -> None:
        case = change.case
        newest = tx.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
        seq = 1 if newest is None else int(newest[0]) + 1
        prev_hash = str(tx.execute("SELECT v FROM meta WHERE k = 'chain_head'").fetchone()[0])
        uid = event_key(self.device, self.epoch, seq)
        body = case_body(change, Link(uid, self.device, self.epoch, seq, prev_hash), self._origin)
        digest = digest_of(body)
        tx.execute(
            """INSERT INTO event (seq, uid, kind, prio, case_uid, rev, manifest, digest, prev_hash, state)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'ready')""",
            (seq, uid, change.change.value, self._priority(case), case.id, case.revision, body, digest, prev_hash),
        )
        self._record_pictures(tx, seq, change)
        self._remember(tx, case)
        tx.execute("UPDATE meta SET v = ? WHERE k = 'chain_head'", (digest,))

    def _priority(self, case: Case) -> int:
        if case.state not in LISTED_STATES:
            return _OTHER
        return _URGENT if self._origin.urgent(case.kind) else _LISTED

    def _record_pictures(self, tx: sqlite3.Connection, seq: int, change: CaseChange) -> None:
        announced = {picture.sha256 for picture in announced_pictures(change)}
        for sha256, picture in _carried(change).items():
            self._record_blob(tx, seq, picture, "ready" if sha256 in announced else "held")
        for sha256 in announced:
            tx.execute("UPDATE blob SET state = 'ready' WHERE sha256 = ? AND state = 'held'", (sha256,))
        pictures = {picture.sha256: None for picture in (*change.case.evidence, *change.pictures)}
        for order, sha256 in enumerate(pictures):
            tx.execute("INSERT INTO event_blob SELECT ?, sha256, ? FROM blob WHERE sha256 = ?", (seq, order, sha256))

    @staticmethod
    def _record_blob(tx: sqlite3.Connection, seq: int, picture: Picture, state: str) -> None:
        tx.execute(
            """INSERT INTO blob (sha256, size, mime, state, file_seq) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT (sha256) DO UPDATE SET state = excluded.state WHERE blob.state IN ('lost', 'shed')""",
            (picture.sha256, len(picture.jpeg), _MIME, state, seq),
        )

    @staticmethod
    def _remember(tx: sqlite3.Connection, case: Case) -> None:
        row, column = tile_of(case.lat_deg, case.lon_deg)
        # A change made from an older state than the one kept still goes to the platform, which knows the order.
        tx.execute(
            """INSERT INTO case_state (case_uid, rev, state, kind, tile_row, tile_col, body)
               VALUES (?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT (case_uid) DO UPDATE SET rev = excluded.rev, state = excluded.state, kind = excluded.kind,
               tile_row = excluded.tile_row, tile_col = excluded.tile_col, body = excluded.body
               WHERE excluded.rev >= case_state.rev""",
            (case.id, case.revision, case.state.value, case.kind, row, column, canonical_json(case_to_dict(case))),
        )

    def known(self, tiles: Iterable[Tile], stamp_ns: int) -> list[KnownObjects]:
        """Cases of every state (candidates too) and anchors of these tiles, by id; one event per tile, in order."""
        return [KnownObjects(stamp_ns, tile, self._cases_of(tile), self._anchors_of(tile)) for tile in tiles]

    def _cases_of(self, tile: Tile) -> tuple[Case, ...]:
        rows = self._database.rows(
            "SELECT body FROM case_state WHERE tile_row = ? AND tile_col = ? ORDER BY case_uid", tile
        )
        return tuple(case_from_dict(json.loads(row["body"])) for row in rows)

    def _anchors_of(self, tile: Tile) -> tuple[Anchor, ...]:
        rows = self._database.rows("SELECT * FROM anchor WHERE tile_row = ? AND tile_col = ? ORDER BY id", tile)
        return tuple(_anchor(row) for row in rows)

    def anchors(self) -> list[Anchor]:
        """Every permanent landmark, by id."""
        return [_anchor(row) for row in self._database.rows("SELECT * FROM anchor ORDER BY id")]

    def cases(self) -> list[Case]:
        """Every remembered case, by id."""
        rows = self._database.rows("SELECT body FROM case_state ORDER BY case_uid")
        return [case_from_dict(json.loads(row["body"])) for row in rows]

    def put_anchors(self, anchors: Iterable[Anchor]) -> None:
        """Add or replace permanent landmarks; durable when it returns."""
        with self._database.transaction() as tx:
            self._keep_anchors(tx, anchors)

    @staticmethod
    def _keep_anchors(tx: sqlite3.Connection, anchors: Iterable[Anchor]) -> None:
        rows = []
        for a in anchors:
            body = canonical_json(anchor_to_dict(a)) if a.passes else None
            rows.append((a.id, a.class_name, a.lat_deg, a.lon_deg, *a.cov_m2, *tile_of(a.lat_deg, a.lon_deg), body))
        tx.executemany(
            """INSERT OR REPLACE INTO anchor (id, class_name, lat_deg, lon_deg, cov_ee_m2, cov_en_m2, cov_nn_m2,
               tile_row, tile_col, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            rows,
        )

    def close(self) -> None:
        """Close the file and let the next process in."""
        self._database.close()
        self._lock.release()

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
