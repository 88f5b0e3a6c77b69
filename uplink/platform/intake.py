"""What the platform does with what it receives: idempotent, in one transaction, answered only after the commit."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from pydantic import ValidationError

from gnss.clock import Clock
from perception.serial import utc_text
from perception.types import JsonDict
from uplink.database import Database
from uplink.envelope import digest_of
from uplink.platform.contract import BlobReceipt, Canonical, CaseBody, Heartbeat, HeartbeatReply, Receipt
from uplink.platform.migrations import PLATFORM
from uplink.platform.problems import Refused
from uplink.platform.uploads import Pictures, Upload


class Intake:
    """Events, pictures and heartbeats of all devices, in `data_dir`; safe to call from several threads."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.database = Database(data_dir / "platform.sqlite", PLATFORM)
        self.pictures = Pictures(data_dir / "blobs")
        self._clock = clock

    def now(self) -> str:
        """The platform's time as text."""
        return utc_text(self._clock.utc_ns()) or ""

    def _greet(self, tx: sqlite3.Connection, device: str) -> None:
        now = self._clock.utc_ns()
        tx.execute(
            """INSERT INTO device (id, first_seen_ns, last_seen_ns) VALUES (?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET last_seen_ns = excluded.last_seen_ns""",
            (device, now, now),
        )

    def take_event(self, device: str, uid: str, content: bytes) -> tuple[Receipt, bool]:
        """Receipt, and whether the event was new. Raises Refused (409 uid-conflict, 422 with the first bad field)."""
        body = self._parse(device, uid, content)
        digest = digest_of(content)
        with self.database.transaction() as tx:
            self._greet(tx, device)
            fresh = tx.execute(
                """INSERT INTO event (device, uid, epoch, seq, digest, body, received_ns) VALUES (?, ?, ?, ?, ?, ?, ?)
                   ON CONFLICT DO NOTHING""",
                (device, uid, body.epoch, body.seq, digest, content, self._clock.utc_ns()),
            ).rowcount
            row = tx.execute(
                "SELECT id, digest, received_ns FROM event WHERE device = ? AND uid = ?", (device, uid)
            ).fetchone()
            if row["digest"] != digest:
                raise Refused(409, "uid-conflict", "this uid was used for another body")
            if fresh:
                self._apply(tx, row["id"], body)
        return self._receipt(row, body, digest), bool(fresh)

    @staticmethod
    def _parse(device: str, uid: str, content: bytes) -> CaseBody:
        try:
            body = CaseBody.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            name = "invalid-json" if first["type"] == "json_invalid" else "invalid-body"
            where = ".".join(str(part) for part in first["loc"])
            raise Refused(400 if name == "invalid-json" else 422, name, f"{where}: {first['msg']}") from error
        if body.device != device or body.uid != uid:
            raise Refused(422, "uid-mismatch", "device and uid of the address and of the body differ")
        return body

    def _apply(self, tx: sqlite3.Connection, event_id: int, body: CaseBody) -> None:
        head = tx.execute("SELECT revision FROM case_head WHERE case_id = ?", (body.case_id,)).fetchone()
        newest = head is None or body.revision > head["revision"]
        tx.execute(
            "INSERT INTO case_revision VALUES (?, ?, ?, ?, ?)",
            (event_id, body.case_id, body.revision, body.base_revision, int(newest)),
        )
        for picture in body.evidence:
            tx.execute(
                "INSERT INTO case_picture VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (body.case_id, picture.sha256, picture.model_dump_json()),
            )
        if newest:
            now = self._clock.utc_ns()
            tx.execute(
                """INSERT INTO case_head VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (case_id) DO UPDATE
                   SET revision = excluded.revision, state = excluded.state, kind = excluded.kind,
                   event_id = excluded.event_id, updated_ns = excluded.updated_ns""",
                (body.case_id, body.revision, body.state, body.kind, event_id, now, now),
            )

    def _receipt(self, row: sqlite3.Row, body: CaseBody, digest: str) -> Receipt:
        need = [
            p.sha256
            for p in body.evidence
            if not self.database.value("SELECT 1 FROM blob WHERE sha256 = ?", (p.sha256,))
        ]
        revision = self.database.value("SELECT revision FROM case_head WHERE case_id = ?", (body.case_id,))
        return Receipt(
            receipt_id=f"event-{row['id']}",
            uid=body.uid,
            digest=digest,
            received=utc_text(row["received_ns"]) or "",
            need=need,
            canonical=Canonical(case_id=body.case_id, revision=revision),
            server_time=self.now(),
        )

    def blob_size(self, device: str, sha256: str) -> int | None:
        """Size of a picture that this device has delivered, or None."""
        size: int | None = self.database.value(
            "SELECT size FROM blob WHERE device = ? AND sha256 = ?", (device, sha256)
        )
        return size

    def take_blob(self, device: str, upload: Upload) -> tuple[BlobReceipt, bool]:
        """Publish a finished upload, then record it. Raises Refused (422) when the bytes are not the right ones."""
        self.pictures.publish(upload)
        with self.database.transaction() as tx:
            self._greet(tx, device)
            fresh = tx.execute(
                "INSERT INTO blob VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (device, upload.sha256, upload.size, self._clock.utc_ns()),
            ).rowcount
        receipt = BlobReceipt(
            receipt_id=f"blob-{upload.sha256[:16]}", sha256=upload.sha256, size=upload.size, server_time=self.now()
        )
        return receipt, bool(fresh)

    def take_heartbeat(self, device: str, content: bytes) -> HeartbeatReply:
        """Keep the newest heartbeat and name the gaps. Raises Refused (400, 422)."""
        try:
            beat = Heartbeat.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            status, name = (400, "invalid-json") if first["type"] == "json_invalid" else (422, "invalid-body")
            raise Refused(status, name, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
        with self.database.transaction() as tx:
            self._greet(tx, device)
            tx.execute(
                "UPDATE device SET heartbeat = ?, heartbeat_ns = ? WHERE id = ?",
                (beat.model_dump_json(), self._clock.utc_ns(), device),
            )
        return HeartbeatReply(gaps=self.gaps(device, beat.epoch, beat.max_seq), server_time=self.now(), config_rev=0)

    def gaps(self, device: str, epoch: str, max_seq: int) -> list[tuple[int, int]]:
        """Inclusive ranges of 1..max_seq that never came, the first 1000 of them."""
        rows = self.database.rows(
            """SELECT seq, lead(seq, 1, ? + 1) OVER (ORDER BY seq) AS following FROM
               (SELECT 0 AS seq UNION ALL SELECT seq FROM event WHERE device = ? AND epoch = ? AND seq <= ?)""",
            (max_seq, device, epoch, max_seq),
        )
        found = [(row["seq"] + 1, row["following"] - 1) for row in rows if row["following"] > row["seq"] + 1]
        return found[:1000]

    def devices(self) -> list[JsonDict]:
        """All devices with their newest heartbeat."""
        return [
            {
                "id": row["id"],
                "first_seen": utc_text(row["first_seen_ns"]),
                "last_seen": utc_text(row["last_seen_ns"]),
                "heartbeat": None if row["heartbeat"] is None else json.loads(row["heartbeat"]),
            }
            for row in self.database.rows("SELECT * FROM device ORDER BY id")
        ]

    def close(self) -> None:
        """Close the database."""
        self.database.close()
