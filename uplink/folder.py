"""A folder carried to the platform by hand, as a transport like any other."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from perception.types import JsonDict, Tile
from uplink.envelope import BlobItem, Envelope
from uplink.evidence import canonical_bytes, read_header
from uplink.files import sync_folder
from uplink.retry import Reply


class FolderTransport:
    """Writes `events/<uid>.json`, `evidence/<uid>.json` (signed manifest) and `blobs/<sha256>.jpg` into a folder,
    durably, for carrying to the platform."""

    def __init__(self, folder: Path) -> None:
        self._events, self._blobs, self._evidence = folder / "events", folder / "blobs", folder / "evidence"
        for place in (self._events, self._blobs, self._evidence):
            place.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def _keep(target: Path, content: bytes) -> Reply | None:
        """None when the bytes are durably there; else the fault, as a reply of a link that does not work."""
        part = target.with_name(target.name + ".part")
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(part, target)
            sync_folder(target.parent)
        except OSError as error:
            return Reply(None, error=f"{type(error).__name__}: {error}")
        return None

    def put_event(self, device: str, envelope: Envelope) -> Reply:
        """201, or 200 when the same body lies there already, or 409 when another one does."""
        target = self._events / f"{envelope.key.replace(':', '_')}.json"
        receipt = json.dumps(
            {"receipt_id": f"folder:{envelope.key}", "uid": envelope.key, "digest": envelope.digest}
        ).encode()
        if target.exists():
            same = target.read_bytes() == envelope.body
            return Reply(200, receipt) if same else Reply(409, b'{"type": "urn:qiji:problem:uid-conflict"}')
        if envelope.evidence:
            manifest, signature = read_header(envelope.evidence)
            signed = canonical_bytes({"manifest": json.loads(manifest), "signature": signature})
            if (fault := self._keep(self._evidence / target.name, signed)) is not None:
                return fault
        return self._keep(target, envelope.body) or Reply(201, receipt)

    def has_blob(self, device: str, blob: BlobItem) -> Reply:
        """200 or 404."""
        return Reply(200 if (self._blobs / f"{blob.sha256}.jpg").exists() else 404)

    def put_blob(self, device: str, blob: BlobItem) -> Reply:
        """201 when the picture lies there durably."""
        receipt = json.dumps({"receipt_id": f"folder:{blob.sha256}", "sha256": blob.sha256, "size": blob.size}).encode()
        return self._keep(self._blobs / f"{blob.sha256}.jpg", blob.file.read_bytes()) or Reply(201, receipt)

    def heartbeat(self, device: str, body: JsonDict) -> Reply:
        """A folder has nobody to tell; 200."""
        return Reply(200, b'{"gaps": []}')

    def open_upload(self, device: str, blob: BlobItem) -> Reply:
        """A folder takes everything whole; 501."""
        return Reply(501)

    def upload_offset(self, device: str, location: str) -> Reply:
        """There are no uploads; 404."""
        return Reply(404)

    def send_piece(self, device: str, location: str, blob: BlobItem, offset: int, size: int) -> Reply:
        """There are no uploads; 404."""
        return Reply(404)

    def memory(self, device: str, tiles: Sequence[Tile], cursor: str) -> Reply:
        """A folder remembers nothing; 404."""
        return Reply(404)
