"""What the platform does with what devices send: idempotent, in one transaction, answered only after the commit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gnss.clock import Clock
from perception.serial import utc_ns_of, utc_text
from perception.types import JsonDict
from uplink.casememory import case_of_body
from uplink.envelope import digest_of
from uplink.platform.contract import BlobReceipt, Canonical, CaseBody, Heartbeat, HeartbeatReply, Receipt
from uplink.platform.heads import MERGED, Head, decided, last_look_ns, read_head, target_of, united, write_head
from uplink.platform.manifests import checked
from uplink.platform.problems import Refused
from uplink.platform.storage import Storage, Tx
from uplink.platform.uploads import Pictures, Upload

_GREET_EVERY_NS = 10_000_000_000
Body = TypeVar("Body", bound=BaseModel)


def parsed(model: type[Body], content: bytes) -> Body:
    """A body of the contract; raises Refused (400 invalid-json, 422 invalid-body) that names the first bad field."""
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        status, name = (400, "invalid-json") if first["type"] == "json_invalid" else (422, "invalid-body")
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(status, name, f"{where}: {first['msg']}") from error


class Intake:
    """Events, pictures and heartbeats of all devices; safe to call from several threads."""

    def __init__(self, data_dir: Path, clock: Clock, storage: Storage, *, sweep: bool = True) -> None:
        """`sweep` drops unfinished files of the last run: only while no other process serves `data_dir`."""
        data_dir.mkdir(parents=True, exist_ok=True)
        self.database = storage
        self.pictures = Pictures(data_dir / "blobs", sweep=sweep)
        self.clock = clock
        self._fill_heads()

    def now(self) -> str:
        """The platform's time as text."""
        return utc_text(self.clock.utc_ns()) or ""

    def _greet(self, tx: Tx, device: str) -> None:
        now = self.clock.utc_ns()
        tx.run(
            """INSERT INTO device (id, first_seen_ns, last_seen_ns) VALUES (?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET last_seen_ns = excluded.last_seen_ns
               WHERE device.last_seen_ns < excluded.last_seen_ns - ?""",
            (device, now, now, _GREET_EVERY_NS),
        )

    def _fill_heads(self) -> None:
        """Heads written by the first version of this software have no body of their own: make it of their event."""
        missing = "SELECT case_id, event_id, first_ns FROM case_head WHERE body = '' LIMIT 500"
        while rows := self.database.rows(missing):
            with self.database.transaction() as tx:
                for row in rows:
                    body = json.loads(tx.value("SELECT body FROM event WHERE id = ?", (row["event_id"],)))
                    case, exact = case_of_body(body)
                    head = Head(case, body, exact, body["device"], row["event_id"], row["first_ns"])
                    write_head(tx, head, body["change"], f"device:{body['device']}", self.clock.utc_ns())

    def take_event(self, device: str, uid: str, content: bytes, manifest: str | None = None) -> tuple[Receipt, bool]:
        """Receipt, and whether the event was new. Raises Refused (409 uid-conflict, 422 with the first bad field)."""
        body = parsed(CaseBody, content)
        if body.device != device or body.uid != uid:
            raise Refused(422, "uid-mismatch", "device and uid of the address and of the body differ")
        digest = digest_of(content)
        known = None
        if manifest is not None:
            known = self.database.value("SELECT public_key FROM device WHERE id = ?", (device,))
        signed = checked(manifest, uid, digest, known)
        with self.database.transaction() as tx:
            self._greet(tx, device)
            now = self.clock.utc_ns()
            # Every statement is a round trip to the server: a new event, the usual case, takes the fewest.
            event_id = tx.value(
                """INSERT INTO event (device, uid, epoch, seq, digest, body, received_ns, manifest, proven)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id""",
                (device, uid, body.epoch, body.seq, digest, content, now, signed.header, int(signed.proven)),
            )
            if event_id is not None:
                canonical = self._apply(tx, event_id, body)
                return self._receipt(tx, event_id, now, body, digest, canonical), True
            rows = tx.rows("SELECT id, digest, received_ns FROM event WHERE device = ? AND uid = ?", (device, uid))
            if not rows or rows[0]["digest"] != digest:
                raise Refused(409, "uid-conflict", "this uid was used for another body")
            target = target_of(tx, body.case_id)
            revision = tx.value("SELECT revision FROM case_head WHERE case_id = ?", (target,))
            canonical = Canonical(case_id=target, revision=revision)
            return self._receipt(tx, rows[0]["id"], rows[0]["received_ns"], body, digest, canonical), False

    def _apply(self, tx: Tx, event_id: int, body: CaseBody) -> Canonical:
        """Let the report change the canonical case; a report of a merged case goes to what it was merged into."""
        target = body.case_id
        tx.lock(f"case {target}")
        head = read_head(tx, target)
        if head is not None and head.decision == MERGED:
            target = target_of(tx, body.case_id)
            tx.lock(f"case {target}")
            head = read_head(tx, target)
        newest = head is None or (body.base_revision >= head.case.revision or self._unbroken(head, body))
        newest = newest and target == body.case_id
        tx.run(
            "INSERT INTO case_revision VALUES (?, ?, ?, ?, ?)",
            (event_id, body.case_id, body.revision, body.base_revision, int(newest)),
        )
        for picture in body.evidence:
            tx.run(
                "INSERT INTO case_picture VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (target, picture.sha256, picture.model_dump_json()),
            )
        after = self._after(head, event_id, body, newest=newest)
        if after is not None:
            detail = {} if target == body.case_id else {"reported_as": body.case_id}
            write_head(tx, after, body.change, f"device:{body.device}", self.clock.utc_ns(), detail)
        known = after or head
        return Canonical(case_id=target, revision=body.revision if known is None else known.case.revision)

    @staticmethod
    def _unbroken(head: Head, body: CaseBody) -> bool:
        """Is this the next step of the same device's own line, to which nobody else has added anything?"""
        return head.author == body.device and not head.decision and body.revision > head.case.revision

    def _after(self, head: Head | None, event_id: int, body: CaseBody, *, newest: bool) -> Head | None:
        """The head after a report; None when it changes nothing."""
        plain = body.model_dump(mode="json", by_alias=True)
        case, exact = case_of_body(plain)
        if head is None:
            return Head(case, plain, exact, body.device, event_id, self.clock.utc_ns())
        if newest and self._unbroken(head, body):
            return replace(head, case=case, body=plain, exact=exact, event_id=event_id)
        both = exact and head.exact
        fresh = both and {p.pass_id for p in case.passes} - {p.pass_id for p in head.case.passes}
        if not newest and not fresh and last_look_ns(case) <= last_look_ns(head.case):
            return None
        whole = united(case, head.case, exact=both) if newest else united(head.case, case, exact=both)
        state, decision = decided(replace(head, case=whole), whole.state)
        revision = max(head.case.revision + 1, body.revision if newest else 0)
        whole = replace(whole, id=head.case.id, revision=revision, state=state, merged_into=head.case.merged_into)
        foreign = {p.pass_id for p in head.case.passes} - {p.pass_id for p in case.passes}
        author = body.device if newest and not foreign else ""
        return replace(
            head, case=whole, body=plain if newest else head.body, exact=exact if newest else head.exact, author=author,
            event_id=event_id if newest else head.event_id, decision=decision,
        )  # fmt: skip

    def _receipt(
        self, tx: Tx, event_id: int, received_ns: int, body: CaseBody, digest: str, canonical: Canonical
    ) -> Receipt:
        need = [
            p.sha256 for p in body.evidence if not tx.value("SELECT 1 FROM blob WHERE sha256 = ? LIMIT 1", (p.sha256,))
        ]
        return Receipt(
            receipt_id=f"event-{event_id}",
            uid=body.uid,
            digest=digest,
            received=utc_text(received_ns) or "",
            need=need,
            canonical=canonical,
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
        return self.record_blob(device, upload.sha256, upload.size)

    def record_blob(self, device: str, sha256: str, size: int) -> tuple[BlobReceipt, bool]:
        """Record a published file of a device, and tell the feed of the cases that waited for it."""
        now = self.clock.utc_ns()
        with self.database.transaction() as tx:
            self._greet(tx, device)
            fresh = tx.run(
                "INSERT INTO blob VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (device, sha256, size, now),
            )
            if fresh:
                tx.run(
                    """INSERT INTO change (tx, case_id, change, revision, state, actor, detail, at_ns)
                       SELECT THIS_TX, case_id, 'picture', revision, state, ?, '{}', ? FROM case_head
                       WHERE case_id IN (SELECT case_id FROM case_picture WHERE sha256 = ?)""",
                    (f"device:{device}", now, sha256),
                )
        receipt = BlobReceipt(receipt_id=f"blob-{sha256[:16]}", sha256=sha256, size=size, server_time=self.now())
        return receipt, bool(fresh)

    def take_heartbeat(self, device: str, content: bytes) -> HeartbeatReply:
        """Keep the newest heartbeat and name the gaps. Raises Refused (400, 422)."""
        beat = parsed(Heartbeat, content)
        kept = beat.model_dump_json(exclude={"track"})
        with self.database.transaction() as tx:
            self._greet(tx, device)
            tx.run(
                "UPDATE device SET heartbeat = ?, heartbeat_ns = ? WHERE id = ?", (kept, self.clock.utc_ns(), device)
            )
            for point in beat.track:
                tx.run(
                    "INSERT INTO track VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (device, utc_ns_of(point.utc), point.lat_deg, point.lon_deg),
                )
        return HeartbeatReply(gaps=self.gaps(device, beat.epoch, beat.max_seq), server_time=self.now(), config_rev=0)

    def gaps(self, device: str, epoch: str, max_seq: int) -> list[list[int]]:
        """Inclusive ranges of 1..max_seq that never came, the first 1000 of them."""
        rows = self.database.rows(
            """SELECT first, last FROM (
                 SELECT seq + 1 AS first, lead(seq, 1, CAST(? AS BIGINT)) OVER (ORDER BY seq) - 1 AS last FROM (
                   SELECT 0 AS seq UNION ALL SELECT seq FROM event WHERE device = ? AND epoch = ? AND seq <= ?) AS known
               ) AS ranges WHERE last >= first ORDER BY first LIMIT 1000""",
            (max_seq + 1, device, epoch, max_seq),
        )
        return [[row["first"], row["last"]] for row in rows]

    def devices(self) -> list[JsonDict]:
        """All devices with their newest heartbeat."""
        return [
            {
                "id": row["id"],
                "first_seen": utc_text(row["first_seen_ns"]),
                "last_seen": utc_text(row["last_seen_ns"]),
                "enrolled": utc_text(row["enrolled_ns"]),
                "revoked": utc_text(row["revoked_ns"]),
                "heartbeat": None if row["heartbeat"] is None else json.loads(row["heartbeat"]),
            }
            for row in self.database.rows("SELECT * FROM device ORDER BY id")
        ]

    def close(self) -> None:
        """Close the database."""
        self.database.close()
