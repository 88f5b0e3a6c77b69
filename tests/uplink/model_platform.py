"""The receiver reduced to what matters, without HTTP: for long runs on a clock of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from perception.store import tile_of
from perception.types import JsonDict, Tile
from uplink.envelope import BlobItem, Envelope
from uplink.retry import PROBLEM, Reply

FAULTS = ("none", "unreached", "lost reply", "500", "503", "401", "html", "422")


class ModelPlatform:
    """Bodies by uid, pictures by hash; `fault` as told, `refuses` decides by item who is refused.

    `order` lists what was taken, first time only; `requests` counts all; `cases` is what the fleet memory tells.
    """

    def __init__(self, refuses: Callable[[Envelope | BlobItem], bool] | None = None) -> None:
        self.events: dict[str, bytes] = {}
        self.pictures: dict[str, int] = {}
        self.order: list[str] = []
        self.cases: dict[str, JsonDict] = {}
        self.conflicts = 0
        self.repeats = 0
        self.requests = 0
        self.fault = "none"
        self.retry_after: str | None = None
        self._refuses = refuses or (lambda _: False)

    def _broken(self, item: Envelope | BlobItem) -> Reply | None:
        self.requests += 1
        if self.fault == "none" and self._refuses(item):
            return Reply(422, b'{"type": "urn:qiji:problem:invalid-body"}')
        return {
            "unreached": Reply(None, error="x"),
            "500": Reply(500),
            "503": Reply(503, b"", self.retry_after),
            "401": Reply(401),
            "html": Reply(200, b"<p>"),
            "422": Reply(422, b'{"type": "urn:qiji:problem:invalid-body"}'),
        }.get(self.fault)

    def _answer(self, status: int, receipt: JsonDict) -> Reply:
        if self.fault == "lost reply":
            return Reply(None, error="reset")
        return Reply(status, json.dumps({"receipt_id": "r", **receipt}).encode())

    def put_event(self, device: str, envelope: Envelope) -> Reply:
        if (broken := self._broken(envelope)) is not None:
            return broken
        known = envelope.key in self.events
        if self.events.setdefault(envelope.key, envelope.body) != envelope.body:
            self.conflicts += 1
            return Reply(409, f'{{"type": "{PROBLEM}uid-conflict"}}'.encode())
        self.repeats += known
        if not known:
            self.order.append(envelope.key)
        return self._answer(200 if known else 201, {"uid": envelope.key, "digest": envelope.digest})

    def has_blob(self, device: str, blob: BlobItem) -> Reply:
        return self._broken(blob) or Reply(200 if blob.sha256 in self.pictures else 404)

    def put_blob(self, device: str, blob: BlobItem) -> Reply:
        if (broken := self._broken(blob)) is not None:
            return broken
        self.pictures[blob.sha256] = blob.file.stat().st_size
        self.order.append(blob.sha256)
        return self._answer(201, {"sha256": blob.sha256, "size": blob.size})

    def open_upload(self, device: str, blob: BlobItem) -> Reply:
        return Reply(501)

    def upload_offset(self, device: str, location: str) -> Reply:
        return Reply(404)

    def send_piece(self, device: str, location: str, blob: BlobItem, offset: int, size: int) -> Reply:
        return Reply(404)

    def memory(self, device: str, tiles: Sequence[Tile], cursor: str) -> Reply:
        if self.fault != "none":
            return Reply(None, error="x")
        found = [c for c in self.cases.values() if tile_of(c["lat_deg"], c["lon_deg"]) in tiles]
        told = [{**c, "decision": "", "exact": True} for c in found]
        return Reply(200, json.dumps({"cases": told, "cursor": "1.1", "more": False}).encode())

    def heartbeat(self, device: str, body: JsonDict) -> Reply:
        return Reply(200, b"{}")
