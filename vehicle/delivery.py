"""The sender's thread beside a run; without a platform everything stays in the outbox."""

from __future__ import annotations

import random
import threading

from gnss.clock import SystemClock
from uplink.sender import Sender
from uplink.store import SqliteStore
from uplink.transport import HttpTransport


class Delivery:
    """A context manager: the thread runs from entry until `finish`, or until the block ends by an error."""

    def __init__(self, store: SqliteStore, platform: str | None, timeout_s: float = 20.0) -> None:
        """Raises SetupError when `platform` is no http(s) address; None: nothing is sent."""
        self.store = store
        self._stop = threading.Event()
        self._sender: Sender | None = None
        self._thread: threading.Thread | None = None
        if platform is not None:
            # Jitter spreads a fleet's retries over time; it needs no secret and no repeatability.
            rng = random.Random()  # noqa: S311
            transport = HttpTransport(platform, connect_s=timeout_s, stall_s=timeout_s)
            self._sender = Sender(store, transport, SystemClock(), rng)

    def __enter__(self) -> Delivery:
        if self._sender is not None:
            self._thread = threading.Thread(target=self._sender.run, args=(self._stop,), name="sender", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._join()

    @property
    def unsent(self) -> int:
        """Events and pictures that still wait for a platform."""
        backlog = self.store.outbox.backlog()
        return backlog.events + backlog.blobs

    def finish(self, drain_s: float) -> int:
        """Stop the thread, deliver what is left within `drain_s`; returns how much stays in the outbox."""
        self._join()
        if self._sender is not None:
            self._sender.drain(drain_s)
        return self.unsent

    def _join(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
