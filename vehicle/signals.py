"""SIGTERM and SIGINT end a run: from the first moment on, and everything behind the source finishes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopper:
    """Remembers that a stop was asked for, also before there is anything to stop."""

    def __init__(self) -> None:
        self.asked = False
        self._targets: list[Callable[[], None]] = []

    def attach(self, stop: Callable[[], None]) -> None:
        """Call `stop` when a stop is asked for; at once when that was before."""
        self._targets.append(stop)
        if self.asked:
            stop()

    def ask(self) -> None:
        """Stop what is attached, and what will be."""
        self.asked = True
        for stop in self._targets:
            stop()


@contextmanager
def stop_on_signals() -> Iterator[Stopper]:
    """A Stopper that SIGTERM and SIGINT ask; a second signal while the run finishes changes nothing.

    Only a process's main thread can take signals; elsewhere the stopper is asked by hand.
    """
    stopper = Stopper()
    if threading.current_thread() is not threading.main_thread():
        yield stopper
        return

    def ask(number: int, frame: FrameType | None) -> None:
        stopper.ask()

    old = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopper
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
