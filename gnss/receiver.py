"""The receiver's line, read by a thread of its own: bytes are stamped the moment they arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gnss.baud import BaudFinder
from gnss.clock import Clock
from gnss.errors import ReceiverError
from gnss.ports import FIRST_BAUD, Port, open_port, parse_address

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0
SILENCE_S = 10.0
"""A connection over a network that says nothing for so long may be dead without knowing: it is opened anew."""


@dataclass(frozen=True, slots=True)
class ReceiverStats:
    """Counters since the start; `last_error` is what the line said last, `baud` the rate listened at."""

    connected: bool = False
    opened: int = 0
    failures: int = 0
    bytes_read: int = 0
    last_byte_ns: int | None = None
    last_error: str = ""
    baud: int = FIRST_BAUD
    baud_changes: int = 0


class ReceiverThread:
    """Reads a receiver in a thread and hands (stamp_ns, bytes) to `sink`; a lost line is opened again with back-off.

    `address` is a device, `tcp://host:port` or `gpsd://host[:port][/device]`; `baud` None: the rate is found, and
    found again when the receiver changes it. `sink` is called in the reader's thread and must be quick (a queue's
    put). An exception in it is a bug: it ends the thread, and `alive` turns false for the supervisor to see.
    """

    def __init__(
        self,
        address: str,
        sink: Callable[[int, bytes], None],
        clock: Clock,
        baud: int | None = None,
        open_line: Callable[[int], Port] | None = None,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        """Raises ReceiverError when the address cannot be read."""
        self.address = address
        self._parsed = parse_address(address)
        self._sink = sink
        self._clock = clock
        self._baud = baud or FIRST_BAUD
        self._finder = BaudFinder() if baud is None and not self._parsed.remote else None
        self._open_line = open_line or (lambda rate: open_port(self._parsed, rate))
        self._first_wait_s = first_wait_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._stats = ReceiverStats(baud=self._baud)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start reading; raises ReceiverError when a device of this computer cannot be opened.

        A receiver in the network may come later: it is waited for like one that was lost.
        """
        if self._thread is not None:
            raise RuntimeError("the receiver was started before")
        port: Port | None = None
        if not self._parsed.remote:
            try:
                port = self._open_line(self._baud)
            except (OSError, ValueError) as error:  # SerialException is an OSError
                raise ReceiverError(
                    f"the receiver's port cannot be opened ({error})",
                    file=self.address,
                    remedy="check the device name, the cable, and that the user may read it (group dialout)",
                ) from error
        self._thread = threading.Thread(target=self._run, args=(port,), name=f"receiver {self.address}", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the thread and close the line; raises RuntimeError when the thread does not end in time."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise RuntimeError(f"the reader of {self.address} did not end within {timeout_s} s")

    @property
    def alive(self) -> bool:
        """Is the reading thread running?"""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stats(self) -> ReceiverStats:
        """A snapshot of the counters."""
        with self._lock:
            return self._stats

    def _count(self, **changes: Any) -> None:
        with self._lock:
            self._stats = replace(self._stats, **changes)

    def _run(self, port: Port | None) -> None:
        wait_s, heard = self._first_wait_s, 0
        while not self._stop.is_set():
            try:
                if port is None:
                    port = self._open_line(self._baud)
                self._count(connected=True, opened=self.stats.opened + 1)
                self._read(port)
            except (OSError, ValueError) as error:
                stats = self.stats
                self._count(connected=False, failures=stats.failures + 1, last_error=str(error))
                if stats.bytes_read > heard:  # it worked for a while: begin the back-off anew
                    wait_s, heard = self._first_wait_s, stats.bytes_read
                self._close(port)
                port = None
                self._stop.wait(wait_s)
                wait_s = min(2.0 * wait_s, LONGEST_WAIT_S)
        self._close(port)
        self._count(connected=False)

    def _read(self, port: Port) -> None:
        heard_ns = self._clock.monotonic_ns()
        if self._finder is not None:
            self._finder.gap()
        while not self._stop.is_set():
            data = port.read()
            stamp_ns = self._clock.monotonic_ns()
            if data:
                heard_ns = stamp_ns
                self._count(bytes_read=self.stats.bytes_read + len(data), last_byte_ns=stamp_ns)
                self._deliver(stamp_ns, data)
                self._listen(port, data, stamp_ns)
            elif self._parsed.remote and stamp_ns - heard_ns > SILENCE_S * 1e9:
                raise TimeoutError(f"nothing came for {SILENCE_S:g} s")

    def _deliver(self, stamp_ns: int, data: bytes) -> None:
        try:
            self._sink(stamp_ns, data)
        except (OSError, ValueError) as error:
            # Not the line's fault: it must not be taken for an unplugged cable and retried.
            raise RuntimeError(f"the sink of {self.address} failed") from error

    def _listen(self, port: Port, data: bytes, stamp_ns: int) -> None:
        if self._finder is not None and self._finder.feed(data, stamp_ns):
            self._baud = self._finder.baud
            port.set_baud(self._baud)
            self._count(baud=self._baud, baud_changes=self.stats.baud_changes + 1)

    def _close(self, port: Port | None) -> None:
        if port is None:
            return
        try:
            port.close()
        except OSError as error:
            self._count(last_error=f"closing: {error}")
