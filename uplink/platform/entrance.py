"""Who stands at a route: the device of the address, or a person; and bodies of bounded size and announced digest."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Annotated, Any

from fastapi import Path as PathParameter
from fastapi import Request

from uplink.platform import problems
from uplink.platform.contract import Problem
from uplink.platform.limits import Buckets
from uplink.platform.people import Person, Registry
from uplink.platform.problems import Refused
from uplink.platform.settings import Settings
from uplink.platform.signatures import SignedRequest

EVENT_CAP = 64 * 1024
COOKIE = "qiji_session"
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
LOCAL = Person("local", "admin")

Device = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{64}$")]
CaseName = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Refusals = dict[int | str, dict[str, Any]]
_ALWAYS = (400, 403, 408, 422, 429, 431, 503)


def refusals(*statuses: int) -> Refusals:
    """Declared problem replies of a route, with those that every route may give."""
    content = {problems.MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": "refused", "content": content} for status in sorted({*_ALWAYS, *statuses})}


def announced_digest(request: Request) -> str | None:
    """The sha256 (hex) of a Content-Digest header, None without one. Raises Refused 400 for another one."""
    given = request.headers.get("content-digest")
    if given is None:
        return None
    match = _DIGEST.fullmatch(given)
    if match is None:
        raise Refused(400, "digest-missing", "send Content-Digest: sha-256=:base64:")
    return base64.b64decode(match[1]).hex()


def require_type(request: Request, *media_types: str) -> None:
    """Raises Refused 415 for another media type, or a content coding (which could hide a bomb)."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in media_types or request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "unsupported-media-type", f"send {media_types[0]} without content coding")


def refuse_long(request: Request, cap: int) -> None:
    """Raises Refused 413 by the announced length, before a byte is read."""
    text = request.headers.get("content-length", "0")
    if text.isdecimal() and int(text[:12]) > cap:
        raise Refused(413, "too-large", f"at most {cap} bytes")


async def small_body(request: Request) -> bytes:
    """A JSON body, counted while it comes; its digest is checked when one was announced. Raises Refused."""
    require_type(request, "application/json")
    refuse_long(request, EVENT_CAP)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > EVENT_CAP:
            raise Refused(413, "too-large", f"at most {EVENT_CAP} bytes")
    digest = announced_digest(request)
    if digest is not None and hashlib.sha256(body).hexdigest() != digest:
        raise Refused(422, "digest-mismatch", "the body does not have the announced digest")
    return bytes(body)


def signed_request(request: Request) -> SignedRequest:
    """The request as a signature sees it."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return SignedRequest(
        request.method, raw.decode("latin-1"), request.scope["query_string"].decode("latin-1"),
        headers.get("host", ""), headers,
    )  # fmt: skip


def address_of(request: Request) -> str:
    """The peer's address; "" where there is none."""
    return "" if request.client is None else request.client.host


class Entrance:
    """Checks of identity and rate; used by every route but the health of the process."""

    def __init__(self, settings: Settings, registry: Registry, buckets: Buckets) -> None:
        self._settings = settings
        self._registry = registry
        self._buckets = buckets

    def _pace(self, name: str, *, person: bool = False) -> None:
        limits = self._settings.limits
        wait_s = self._buckets.wait_s(name, limits.person if person else limits.device)
        if wait_s > 0:
            raise Refused(429, "too-many-requests", extra={"retry-after": str(int(wait_s) + 1)})

    def device(self, request: Request, device: str, *, body: bool) -> None:
        """Raises Refused 401, 403 or 429 unless this device may ask this now; may block on the database."""
        self._pace(f"device {device}")
        strict = self._settings.devices == "enrolled"
        self._registry.check_device(device, signed_request(request), body=body, strict=strict)

    def person(self, request: Request, role: str = "viewer") -> Person:
        """Who asks. Raises Refused 401, 403 or 429."""
        if self._settings.people == "open":
            self._pace(f"person {address_of(request)}", person=True)
            return LOCAL
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        token = given.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE, "")
        person = self.person_of(token, address_of(request)) if token else None
        if person is None:
            raise Refused(401, "login-needed", "send Authorization: Bearer TOKEN, or log in")
        self._pace(f"person {person.name}", person=True)
        if not person.may(role):
            raise Refused(403, "not-allowed", f"this needs the role {role}")
        return person

    def person_of(self, token: str, address: str) -> Person | None:
        """Whose token this is; guesses are slowed down by address. Raises Refused 429."""
        person = self._registry.person_of(token)
        if person is None:
            self.guess(address)
        return person

    def guess(self, address: str) -> None:
        """Count a try at a secret; raises Refused 429 when an address has too many."""
        wait_s = self._buckets.wait_s(f"failures {address}", self._settings.limits.failures)
        if wait_s > 0:
            raise Refused(429, "too-many-requests", extra={"retry-after": str(int(wait_s) + 1)})
