"""What stands before every route: security headers, whose address, how many at once, and how slowly a body may come."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uplink.platform.limits import Buckets, Rate
from uplink.platform.problems import document
from uplink.platform.settings import is_own_machine

STALL_S = 20.0
BODY_S = 600.0
_MOST_AT_ONCE = 300
_MOST_HEADERS = 100


def security_headers(tile_origin: str) -> list[tuple[bytes, bytes]]:
    """Headers of every reply. The map draws in a worker of our own and, if configured, with tiles of one origin."""
    policy = (
        f"default-src 'self'; img-src 'self' data: blob: {tile_origin}; connect-src 'self' {tile_origin}; "
        "worker-src 'self' blob:; style-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'"
    )
    return [
        (b"content-security-policy", " ".join(policy.split()).replace(" ;", ";").encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]


class Guard:
    """ASGI middleware. In `open` mode only names of this machine are served: a page from elsewhere that points its
    own name here (DNS rebinding) gets nothing."""

    def __init__(self, app: ASGIApp, *, buckets: Buckets, rate: Rate, tile_origin: str, own_names_only: bool) -> None:
        self._app = app
        self._buckets = buckets
        self._rate = rate
        self._headers = security_headers(tile_origin)
        self._own_names_only = own_names_only
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse early, or pass on with a watched body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        self._running += 1
        try:
            await self._app(scope, _Watched(receive), guarded)
        except _Stalled:
            # The peer stopped in the middle of its body: nothing that it would read can be answered.
            await document(408, "too-slow")(scope, receive, guarded)
        except ClientDisconnect:
            # Gone in the middle of its own body; what was durable stays, and nobody waits for a reply.
            return
        finally:
            self._running -= 1

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        if len(scope["headers"]) > _MOST_HEADERS:
            return document(431, "too-many-headers")
        if self._own_names_only and not _own_name(scope):
            return document(403, "foreign-host", "served to this machine's own names only")
        peer = scope.get("client")
        wait_s = self._buckets.wait_s(f"address {peer[0] if peer else ''}", self._rate)
        if wait_s > 0:
            return document(429, "too-many-requests", extra={"retry-after": str(int(wait_s) + 1)})
        if self._running >= _MOST_AT_ONCE:
            return document(503, "busy", extra={"retry-after": "2"})
        return None


def _own_name(scope: Scope) -> bool:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    try:
        return is_own_machine(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


class _Stalled(Exception):
    """No bytes for too long."""


class _Watched:
    """The receive side of a request with a limit on silence and on the whole."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._done = False
        self._end_s: float | None = None

    async def __call__(self) -> Message:
        if self._done:
            return await self._receive()
        now_s = asyncio.get_running_loop().time()
        self._end_s = self._end_s or now_s + BODY_S
        try:
            message = await asyncio.wait_for(self._receive(), min(STALL_S, max(self._end_s - now_s, 0.0)))
        except TimeoutError as error:
            raise _Stalled from error
        self._done = message["type"] != "http.request" or not message.get("more_body", False)
        return message
