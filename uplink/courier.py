"""One item on its way: looked at before it leaves, sent by the right route, and the reply judged.

A body or picture that was damaged on this disk is mended or set aside here: the platform is not asked to find out.
Pictures above 1 MiB (clips) go by the resumable route, one piece per call, so that an urgent event can go in between.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from uplink.envelope import BlobItem, Envelope, digest_of
from uplink.link import ServerClock
from uplink.retry import Outcome, Reply, RetryClass, classify
from uplink.store import SqliteStore
from uplink.transport import Transport

log = logging.getLogger(__name__)

RESUMABLE_BYTES = 1024 * 1024
PIECE_BYTES = 256 * 1024
DAMAGED = "damaged on this disk"
GONE = "file is gone"
_NOT_OFFERED = (404, 405, 501)


class Courier:
    """Carries items of one store over one transport; `carried` counts bytes."""

    def __init__(self, store: SqliteStore, transport: Transport, server_clock: ServerClock) -> None:
        self._store = store
        self._transport = transport
        self._server_clock = server_clock
        self._tried: set[str] = set()
        self._uploads: dict[str, tuple[str, int | None]] = {}
        self._no_uploads = False
        self.carried = 0

    def deliver(self, item: Envelope | BlobItem) -> Outcome:
        """Try once. Network faults come back as an outcome."""
        return self._event(item) if isinstance(item, Envelope) else self._blob(item)

    def _heard(self, reply: Reply) -> Reply:
        # A portal's clock is not the platform's: only a reply in the contract's terms tells the time.
        if reply.status in (200, 201, 204, 401) and (b'"server_time"' in reply.body or reply.status == 401):
            self._server_clock.learn(reply)
        return reply

    def _event(self, event: Envelope) -> Outcome:
        if digest_of(event.body) != event.digest:
            body = self._store.mend_body(event.key)
            if body is None or digest_of(body) != event.digest:
                return Outcome(RetryClass.ITEM, DAMAGED)
            log.error("body_mended", extra={"event": event.key})
            event = replace(event, body=body)
        reply = self._heard(self._transport.put_event(self._store.device, event))
        self.carried += len(event.body)
        return classify(reply, {"uid": event.key, "digest": event.digest})

    def _blob(self, blob: BlobItem) -> Outcome:
        whole = self._store.spool.holds(blob.sha256)
        # Asking first pays only when an earlier try may have arrived; the first time it would cost a round trip.
        if blob.sha256 in self._tried or not whole:
            held = self._transport.has_blob(self._store.device, blob)
            if held.status == 200:
                return Outcome(RetryClass.OK, "already there", 200, receipt={})
            if held.status != 404:
                return classify(held, {"sha256": blob.sha256})
        if not whole:
            return self._not_whole(blob)
        if blob.size > RESUMABLE_BYTES and not self._no_uploads:
            return self._piece(blob)
        return self._whole(blob)

    def _not_whole(self, blob: BlobItem) -> Outcome:
        if self._store.spool.size(blob.sha256) is None:
            return Outcome(RetryClass.ITEM, GONE)
        self._store.spool.move(blob.sha256, self._store.path.parent / "quarantine" / "evidence")
        return Outcome(RetryClass.ITEM, DAMAGED)

    def _whole(self, blob: BlobItem) -> Outcome:
        self._tried.add(blob.sha256)
        try:
            reply = self._heard(self._transport.put_blob(self._store.device, blob))
        except FileNotFoundError:
            return Outcome(RetryClass.ITEM, GONE)
        self.carried += blob.size
        outcome = classify(reply, {"sha256": blob.sha256, "size": blob.size})
        if outcome.cls is RetryClass.OK:
            self._tried.discard(blob.sha256)
        return outcome

    def _piece(self, blob: BlobItem) -> Outcome:
        """The next step of an upload in pieces: open it, ask where it stands, or send a piece."""
        upload = self._uploads.get(blob.sha256)
        if upload is None:
            return self._open_upload(blob)
        location, offset = upload
        if offset is None:
            reply = self._transport.upload_offset(self._store.device, location)
            if reply.status in (404, 410):
                return self._lost_upload(blob, reply)
            if reply.status not in (200, 204) or reply.offset is None or not 0 <= reply.offset <= blob.size:
                return self._not_ok(reply)
            offset = reply.offset
        reply = self._transport.send_piece(self._store.device, location, blob, offset, PIECE_BYTES)
        self.carried += min(PIECE_BYTES, blob.size - offset)
        # Whatever this reply says, the next step asks where the upload stands unless it says so itself.
        self._uploads[blob.sha256] = (location, None)
        if reply.status in (404, 410):
            return self._lost_upload(blob, reply)
        if reply.status == 204 and reply.offset is not None and offset < reply.offset <= blob.size:
            self._uploads[blob.sha256] = (location, reply.offset)
            return Outcome(RetryClass.PART, f"{reply.offset} of {blob.size} bytes", 204)
        outcome = classify(self._heard(reply), {"sha256": blob.sha256, "size": blob.size})
        if outcome.cls is RetryClass.OK or outcome.cls is RetryClass.ITEM:
            del self._uploads[blob.sha256]
        return outcome

    def _open_upload(self, blob: BlobItem) -> Outcome:
        reply = self._transport.open_upload(self._store.device, blob)
        if reply.status in _NOT_OFFERED:
            self._no_uploads = True
            return self._whole(blob)
        if reply.status not in (200, 201) or reply.location is None:
            return self._not_ok(reply)
        # 200: the same file was begun before; where it stands is asked next.
        self._uploads[blob.sha256] = (reply.location, 0 if reply.status == 201 else None)
        return Outcome(RetryClass.PART, "upload opened", reply.status)

    def _lost_upload(self, blob: BlobItem, reply: Reply) -> Outcome:
        del self._uploads[blob.sha256]
        return Outcome(RetryClass.SYNC, f"{reply.status}: the upload is gone, a new one begins", reply.status)

    @staticmethod
    def _not_ok(reply: Reply) -> Outcome:
        """A 2xx that is none of the contract's answers is a fault of the link; the rest is judged as always."""
        return classify(reply, {"": "nothing is acknowledged here"})
