"""Run the platform: for a city (`serve`) or inside a program on a free local port (`LocalPlatform`)."""

from __future__ import annotations

import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from gnss.clock import Clock, SystemClock
from perception.errors import SetupError
from uplink.platform.app import close_app, create_app
from uplink.platform.intake import Intake
from uplink.platform.settings import Settings
from uplink.platform.storage import open_storage
from uplink.platform.uploads import Pictures
from uplink.platform.workers import run_workers

_GRACE_S = 5


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


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE_S,
        # The guard answers with a problem document before this bare 503 would.
        limit_concurrency=1000,
    )


class _Server(uvicorn.Server):
    """Tells the open streams of changes to end before it waits for them."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(_config(app))
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.streams.stopping = True
        super().handle_exit(sig, frame)


def _serve_app(app: FastAPI, sockets: list[socket.socket]) -> None:
    """Serve until SIGINT or SIGTERM, then close everything."""
    # uvicorn raises the signal again after its shutdown; it must not end the process before the database is closed.
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: None) for number in signals]
    app.state.chores.start()
    try:
        _Server(app).run(sockets=sockets)
    finally:
        close_app(app)
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True)
class _Worker:
    """What one of several processes runs; sent to it by pickle."""

    settings: Settings
    listener: socket.socket

    def __call__(self) -> None:
        _serve_app(create_app(self.settings, sweep=False), [self.listener])


def serve(host: str, port: int, settings: Settings | Path) -> None:
    """Serve until SIGINT or SIGTERM. Raises SetupError when the address cannot be had or the settings are wrong."""
    chosen = Settings(settings) if isinstance(settings, Path) else settings
    chosen.check(host)
    listener = _bind(host, port)
    try:
        if chosen.workers == 1:
            _serve_app(create_app(chosen), [listener])
            return
        # Once, before the workers: the schema, and what the last run left unfinished.
        chosen.data_dir.mkdir(parents=True, exist_ok=True)
        open_storage(chosen.data_dir, chosen.database_url).close()
        Pictures(chosen.data_dir / "blobs")
        run_workers(_Worker(chosen, listener), chosen.workers, SystemClock())
    finally:
        listener.close()


class LocalPlatform:
    """A platform in a thread of this process at `url`. Use `start`, then `stop`, or as a context manager."""

    def __init__(self, app: FastAPI, listener: socket.socket, clock: Clock) -> None:
        self.app = app
        self.intake: Intake = app.state.intake
        host, port = listener.getsockname()[:2]
        self.url = f"http://{host}:{port}"
        self._listener = listener
        self._clock = clock
        self._server = _Server(app)
        self._closed = False
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="platform", daemon=True
        )

    @classmethod
    def start(
        cls, settings: Settings | Path, *, host: str = "127.0.0.1", port: int = 0, clock: Clock | None = None
    ) -> LocalPlatform:
        """Start and return when it answers. Raises SetupError when the address cannot be had."""
        listener = _bind(host, port)
        try:
            app = create_app(settings, clock)
        except BaseException:
            listener.close()
            raise
        platform = cls(app, listener, SystemClock())
        app.state.chores.start()
        platform._thread.start()
        while not platform._server.started:
            if not platform._thread.is_alive():
                raise RuntimeError("the platform's thread ended before it answered")
            platform._clock.sleep(0.005)
        return platform

    def stop(self) -> None:
        """Finish running requests, close the database; safe to call twice."""
        self.app.state.streams.stopping = True
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
        if not self._closed:
            self._closed = True
            close_app(self.app)

    def __enter__(self) -> LocalPlatform:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
