"""The way to the platform over HTTP. A transport reports replies and never judges them (see also uplink/folder.py)."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol
from urllib.parse import quote, urlencode, urljoin, urlsplit

import requests

from perception.errors import SetupError
from perception.types import JsonDict, Tile
from uplink.envelope import BlobItem, Envelope, digest_of
from uplink.evidence import HEADER
from uplink.keys import DeviceKey
from uplink.retry import Reply
from uplink.signing import signed_headers

_REPLY_CAP = 65_536
_MEMORY_CAP = 16 * 1024 * 1024


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

    def open_upload(self, device: str, blob: BlobItem) -> Reply:
        """Begin an upload in pieces: 201 with its location; 404, 405 or 501 where there is no such route."""
        ...

    def upload_offset(self, device: str, location: str) -> Reply:
        """How many bytes an upload has, as `offset`."""
        ...

    def send_piece(self, device: str, location: str, blob: BlobItem, offset: int, size: int) -> Reply:
        """Up to `size` bytes from `offset`: 204 with the new offset, or the receipt after the last piece."""
        ...

    def heartbeat(self, device: str, body: JsonDict) -> Reply: ...

    def memory(self, device: str, tiles: Sequence[Tile], cursor: str) -> Reply:
        """A page of the cases that all vehicles filed in these tiles, changed after a cursor ("0.0" begins)."""
        ...


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests with the device's key; `now_s` is the platform's time as far as it is known."""

    key: DeviceKey
    now_s: Callable[[], int]

    def headers(self, method: str, target: str, headers: Mapping[str, str]) -> dict[str, str]:
        """The two signature headers of a request."""
        nonce = secrets.token_urlsafe(16)
        return signed_headers(self.key, method, target, headers, created_s=self.now_s(), nonce=nonce)


class HttpTransport:
    """The `/v1` contract over requests. Redirects are not followed and the environment's proxies not used."""

    def __init__(
        self,
        base_url: str,
        session: requests.Session | None = None,
        *,
        connect_s: float = 10.0,
        stall_s: float = 20.0,
        signer: Signer | None = None,
    ) -> None:
        """`stall_s` is the longest silence, not a total time. Raises SetupError when `base_url` is not http(s)."""
        if not base_url.startswith(("http://", "https://")):
            raise SetupError(
                f"platform address {base_url!r} is not http:// or https://", remedy="give the platform's full address"
            )
        self._base = base_url.rstrip("/") + "/v1/devices/"
        self._signer = signer
        self._session = session or requests.Session()
        self._session.trust_env = False
        self._timeout = (connect_s, stall_s)

    def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: bytes | IO[bytes] | None = None,
        cap: int = _REPLY_CAP,
    ) -> tuple[Reply, Mapping[str, str]]:
        url = self._base + path
        sent = dict(headers)
        if self._signer is not None:
            parts = urlsplit(url)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            sent |= self._signer.headers(method, target, sent)
        try:
            with self._session.request(
                method,
                url,
                data=data,
                headers=sent,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = b""
                for chunk in response.iter_content(8192):
                    body += chunk
                    if len(body) > cap:
                        return Reply(None, error="reply too long"), {}
                return _reply(response, body), response.headers
        except (requests.RequestException, UnicodeError, ValueError) as error:
            return Reply(None, error=f"{type(error).__name__}: {error}"), {}

    def put_event(self, device: str, envelope: Envelope) -> Reply:
        """PUT /v1/devices/{d}/events/{uid}."""
        headers = {"Content-Type": "application/json", "Content-Digest": content_digest(envelope.digest)}
        if envelope.evidence:
            headers[HEADER] = envelope.evidence
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

    def open_upload(self, device: str, blob: BlobItem) -> Reply:
        """POST /v1/devices/{d}/uploads."""
        body = {"sha256": blob.sha256, "size": blob.size, "mime": blob.mime}
        return self._post(f"{device}/uploads", body)

    def _own(self, device: str, location: str) -> str | None:
        """The path below this device's uploads that a Location names; None for any other place."""
        parts = urlsplit(urljoin(f"{self._base}{device}/uploads", location))
        base = urlsplit(f"{self._base}{device}/uploads/")
        inside = parts[:2] == base[:2] and parts.path.startswith(base.path) and ".." not in parts.path
        return f"{device}/uploads/{parts.path[len(base.path) :]}" if inside and not parts.query else None

    def upload_offset(self, device: str, location: str) -> Reply:
        """HEAD of the upload."""
        path = self._own(device, location)
        return Reply(None, error="upload elsewhere") if path is None else self._send("HEAD", path, {})[0]

    def send_piece(self, device: str, location: str, blob: BlobItem, offset: int, size: int) -> Reply:
        """PATCH of the upload, with Upload-Offset."""
        path = self._own(device, location)
        if path is None:
            return Reply(None, error="upload elsewhere")
        with blob.file.open("rb") as file:
            file.seek(offset)
            piece = file.read(size)
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Content-Digest": content_digest(digest_of(piece)),
            "Upload-Offset": str(offset),
        }
        return self._send("PATCH", path, headers, piece)[0]

    def heartbeat(self, device: str, body: JsonDict) -> Reply:
        """POST /v1/devices/{d}/heartbeat."""
        return self._post(f"{device}/heartbeat", body)

    def _post(self, path: str, body: JsonDict) -> Reply:
        content = json.dumps(body, sort_keys=True, allow_nan=False).encode()
        headers = {"Content-Type": "application/json", "Content-Digest": content_digest(digest_of(content))}
        return self._send("POST", path, headers, content)[0]

    def memory(self, device: str, tiles: Sequence[Tile], cursor: str) -> Reply:
        """GET /v1/devices/{d}/cases."""
        query = [*(("tile", f"{row},{column}") for row, column in tiles), ("since", cursor), ("limit", "500")]
        return self._send("GET", f"{device}/cases?{urlencode(query)}", {}, cap=_MEMORY_CAP)[0]

    def enrol(self, device: str, code: str, public_key: str) -> Reply:
        """POST /v1/devices/{d}/enrolment: bring the public key (base64 of 32 bytes) with the code of an invitation."""
        return self._post(f"{device}/enrolment", {"code": code, "public_key": public_key})


def _reply(response: requests.Response, body: bytes) -> Reply:
    headers = response.headers
    offset = headers.get("Upload-Offset", "")
    return Reply(
        response.status_code,
        body,
        headers.get("Retry-After"),
        "",
        headers.get("Date"),
        headers.get("Location"),
        int(offset) if offset.isascii() and offset.isdecimal() and len(offset) < 16 else None,
    )
