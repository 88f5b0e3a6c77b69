"""The only module that reads a clock; everywhere else time is an argument."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Monotonic stamps (ns, local to the run), the computer's UTC (ns since 1970) and sleeping."""

    def monotonic_ns(self) -> int: ...

    def utc_ns(self) -> int: ...

    def sleep(self, s: float) -> None: ...


class SystemClock:
    """The computer's clocks. Its UTC may be wrong: a case's UTC comes from GNSS unless the config says otherwise."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def utc_ns(self) -> int:
        return time.time_ns()

    def sleep(self, s: float) -> None:
        if s > 0:
            time.sleep(s)


class ManualClock:
    """A clock that moves only when told to, or slept on; safe to share between threads."""

    def __init__(self, monotonic_ns: int = 0, utc_ns: int = 0) -> None:
        self._lock = threading.Lock()
        self._monotonic_ns = monotonic_ns
        self._utc_offset_ns = utc_ns - monotonic_ns

    def monotonic_ns(self) -> int:
        with self._lock:
            return self._monotonic_ns

    def utc_ns(self) -> int:
        with self._lock:
            return self._monotonic_ns + self._utc_offset_ns

    def sleep(self, s: float) -> None:
        self.advance(s)

    def advance(self, s: float) -> None:
        """Move both times forward by `s` seconds; raises ValueError when `s` is negative."""
        if s < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-s} s")
        with self._lock:
            self._monotonic_ns += round(s * 1e9)

    def set_utc_ns(self, utc_ns: int) -> None:
        """Step the UTC (as a computer's clock may be stepped); the monotonic time is untouched."""
        with self._lock:
            self._utc_offset_ns = utc_ns - self._monotonic_ns


def stopwatch() -> Callable[[], float]:
    """Start a stopwatch; the returned function gives the seconds since the start."""
    start_ns = time.perf_counter_ns()
    return lambda: (time.perf_counter_ns() - start_ns) * 1e-9
