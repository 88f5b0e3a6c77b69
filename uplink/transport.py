"""Ways to the platform: HTTP, and a folder carried by hand. A transport reports replies and never judges them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import quote

import requests

from perception.errors import SetupError
from perception.types import JsonDict
from uplink.envelope import BlobItem, Envelope
from uplink.files import sync_folder
from uplink.retry import Reply

_REPLY_CAP = 65_536


def content_digest(sha256_hex: str) -> str:
    """Value of a Content-Digest header (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256_hex)).decode()}:"


class Transport(Protocol):
    """Carries events and pictures. Network faults come back as a Reply without status, never as an exception."""

    def put_event(self, device: str, envelope: Envelope) -> Reply: ...

    def has_blob(self, device: str, blob: BlobItem) -> Reply:
        """200 only when the other side proved that it holds these bytes; 404 when it does not."""
        ...

    def put_blob(self, device: str, blob: BlobItem) -> Reply:
        """Raises FileNotFoundError when the picture's file is gone."""
        ...

    def heartbeat(self, device: str, body: JsonDict) -> Reply: ...


class HttpTransport:
    """The `/v1` contract over requests. Redirects are not followed and the environment's proxies not used."""

    def __init__(
        self, base_url: str, session: requests.Session | None = None, *, connect_s: float = 10.0, stall_s: float = 20.0
    ) -> None:
        """`stall_s` is the longest silence, not a total time. Raises SetupError when `base_url` is not http(s)."""
        if not base_url.startswith(("http://", "https://")):
            raise SetupError(
                f"platform address {base_url!r} is not http:// or https://", remedy="give the platform's full address"
            )
        self._base = base_url.rstrip("/") + "/v1/devices/"
        self._session = session or requests.Session()
        self._session.trust_env = False
        self._timeout = (connect_s, stall_s)

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], data: bytes | IO[bytes] | None = None
    ) -> tuple[Reply, Mapping[str, str]]:
        try:
            with self._session.request(
                method,
                self._base + path,
                data=data,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = b""
                for chunk in response.iter_content(8192):
                    body += chunk
                    if len(body) > _REPLY_CAP:
                        return Reply(None, error="reply too long"), {}
                return Reply(response.status_code, body, response.headers.get("Retry-After")), response.headers
        except requests.RequestException as error:
            return Reply(None, error=f"{type(error).__name__}: {error}"), {}

    def put_event(self, device: str, envelope: Envelope) -> Reply:
        """PUT /v1/devices/{d}/events/{uid}."""
        headers = {"Content-Type": "application/json", "Content-Digest": content_digest(envelope.digest)}
        return self._send("PUT", f"{device}/events/{quote(envelope.key, safe='')}", headers, envelope.body)[0]

    def has_blob(self, device: str, blob: BlobItem) -> Reply:
        """HEAD /v1/devices/{d}/blobs/{sha256}; a 200 counts only with the digest of our bytes."""
        reply, headers = self._send("HEAD", f"{device}/blobs/{blob.sha256}", {})
        if reply.status == 200 and headers.get("Content-Digest") != content_digest(blob.sha256):
            return Reply(None, error="HEAD 200 without our digest")
        return reply

    def put_blob(self, device: str, blob: BlobItem) -> Reply:
        """PUT /v1/devices/{d}/blobs/{sha256}, streamed from the file."""
        headers = {
            "Content-Type": blob.mime,
            "Content-Digest": content_digest(blob.sha256),
            "Content-Length": str(blob.size),
        }
        with blob.file.open("rb") as file:
            return self._send("PUT", f"{device}/blobs/{blob.sha256}", headers, file)[0]

    def heartbeat(self, device: str, body: JsonDict) -> Reply:
        """POST /v1/devices/{d}/heartbeat."""
        content = json.dumps(body, sort_keys=True, allow_nan=False).encode()
        return self._send("POST", f"{device}/heartbeat", {"Content-Type": "application/json"}, content)[0]


class FolderTransport:
    """Writes `events/<uid>.json` and `blobs/<sha256>.jpg` into a folder, durably, for carrying to the platform."""

    def __init__(self, folder: Path) -> None:
        self._events, self._blobs = folder / "events", folder / "blobs"
        for place in (self._events, self._blobs):
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
