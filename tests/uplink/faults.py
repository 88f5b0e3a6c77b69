"""A proxy before the platform that answers, cuts and loses as a script says: real HTTP, real sockets."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from gnss.clock import SystemClock

_FORWARDED = ("content-type", "content-digest", "evidence-manifest", "signature", "signature-input", "upload-offset")
_RETURNED = ("content-type", "content-digest", "location", "upload-offset")
HTML = b"<html><body>Welcome to the hotel network</body></html>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _handle(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        fault = self.server.next_fault()
        self.server.seen.append((self.command, self.path, fault))
        if fault == "reset":
            return self._cut()
        if fault == "late":
            self.server.clock.sleep(0.6)
            return self._cut()
        if fault == "html":
            return self._answer(200, HTML, [("Content-Type", "text/html")])
        if fault == "redirect":
            return self._answer(302, b"", [("Location", "http://127.0.0.1:9/")])
        if fault.isdigit():
            return self._answer(int(fault), b"{}", [("Retry-After", "7")] if fault == "429" else [])
        kept = {k: v for k, v in self.headers.items() if k.lower() in _FORWARDED}
        reply = requests.request(self.command, self.server.target + self.path, data=content, headers=kept, timeout=10)
        if fault == "twice":
            reply = requests.request(
                self.command, self.server.target + self.path, data=content, headers=kept, timeout=10
            )
        if fault == "lose":
            return self._cut()
        headers = [(k, v) for k, v in reply.headers.items() if k.lower() in _RETURNED]
        return self._answer(reply.status_code, reply.content[:20] if fault == "half" else reply.content, headers)

    do_PUT = do_HEAD = do_POST = do_GET = do_PATCH = _handle


class FaultProxy(ThreadingHTTPServer):
    """`script` holds one word for each request to come: pass, reset, late (silence, nothing forwarded), lose, half,
    html, redirect, twice, or a status."""

    daemon_threads = True
    block_on_close = False
    clock = SystemClock()

    def __init__(self, target: str, script: Iterable[str] = (), forever: Iterator[str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.script = deque(script)
        self._forever = forever
        self._lock = threading.Lock()
        self.seen: list[tuple[str, str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def next_fault(self) -> str:
        """The script's next word, then those of `forever`; pass when all are at their end."""
        with self._lock:
            if self.script:
                return self.script.popleft()
            return "pass" if self._forever is None else next(self._forever)

    def handle_error(self, request: object, client_address: object) -> None:
        """A cut connection is what was asked for."""

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
