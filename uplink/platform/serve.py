"""Run the platform: for a city (`serve`) or inside a program on a free local port (`LocalPlatform`)."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from gnss.clock import Clock, SystemClock
from perception.errors import SetupError
from uplink.platform.app import create_app
from uplink.platform.intake import Intake


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        remedy = "choose another port (0 takes a free one) or stop what uses it"
        raise SetupError(f"cannot listen on {host}:{port}: {error.strerror}", remedy=remedy) from error
    return listener


def _server(app: FastAPI) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=30,
        limit_concurrency=200,
    )
    return uvicorn.Server(config)


def serve(host: str, port: int, data_dir: Path) -> None:
    """Serve until SIGINT or SIGTERM. Raises SetupError when the address cannot be had."""
    listener = _bind(host, port)
    app = create_app(data_dir)
    # uvicorn raises the signal again after its shutdown; it must not end the process before the database is closed.
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: None) for number in signals]
    try:
        _server(app).run(sockets=[listener])
    finally:
        app.state.intake.close()
        listener.close()
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


class LocalPlatform:
    """A platform in a thread of this process at `url`. Use `start`, then `stop`, or as a context manager."""

    def __init__(self, app: FastAPI, listener: socket.socket, clock: Clock) -> None:
        self.app = app
        self.intake: Intake = app.state.intake
        host, port = listener.getsockname()[:2]
        self.url = f"http://{host}:{port}"
        self._listener = listener
        self._clock = clock
        self._server = _server(app)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="platform", daemon=True
        )

    @classmethod
    def start(
        cls, data_dir: Path, *, host: str = "127.0.0.1", port: int = 0, clock: Clock | None = None
    ) -> LocalPlatform:
        """Start and return when it answers. Raises SetupError when the address cannot be had."""
        platform = cls(create_app(data_dir, clock), _bind(host, port), SystemClock())
        platform._thread.start()
        while not platform._server.started:
            if not platform._thread.is_alive():
                raise RuntimeError("the platform's thread ended before it answered")
            platform._clock.sleep(0.005)
        return platform

    def stop(self) -> None:
        """Finish running requests, close the database; safe to call twice."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
        self.intake.close()

    def __enter__(self) -> LocalPlatform:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
