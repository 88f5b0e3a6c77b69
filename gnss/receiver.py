"""The receiver's serial port, read by a thread of its own: bytes are stamped the moment they arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import serial

from gnss.clock import Clock
from gnss.errors import ReceiverError

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0
_READ_TIMEOUT_S = 0.2
_LARGEST_READ = 4096


@dataclass(frozen=True, slots=True)
class ReceiverStats:
    """Counters since the start; `last_error` is what the port said last."""

    connected: bool = False
    opened: int = 0
    failures: int = 0
    bytes_read: int = 0
    last_byte_ns: int | None = None
    last_error: str = ""


class SerialReceiver:
    """Reads `device` in a thread and hands (stamp_ns, bytes) to `sink`; a lost port is opened again with back-off.

    `sink` is called in the reader's thread and must be quick (a queue's put). An exception in it is a bug: it ends
    the thread, and `alive` turns false for the supervisor to see.
    """

    def __init__(
        self,
        device: str,
        sink: Callable[[int, bytes], None],
        clock: Clock,
        baudrate: int = 115_200,
        open_port: Callable[[], serial.Serial] | None = None,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self.device = device
        self._sink = sink
        self._clock = clock
        self._baudrate = baudrate
        self._open_port = open_port or self._open_serial
        self._first_wait_s = first_wait_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._stats = ReceiverStats()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the port and start reading; raises ReceiverError when the port cannot be opened at start."""
        if self._thread is not None:
            raise RuntimeError("the receiver was started before")
        try:
            port = self._open_port()
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise ReceiverError(
                f"the receiver's port cannot be opened ({error})",
                file=self.device,
                remedy="check the device name, the cable, and that the user may read it (group dialout)",
            ) from error
        self._thread = threading.Thread(target=self._run, args=(port,), name=f"receiver {self.device}", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread and close the port; raises RuntimeError when the thread does not end in time."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise RuntimeError(f"the reader of {self.device} did not end within {timeout_s} s")

    @property
    def alive(self) -> bool:
        """Is the reading thread running?"""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stats(self) -> ReceiverStats:
        """A snapshot of the counters."""
        with self._lock:
            return self._stats

    def _open_serial(self) -> serial.Serial:
        return serial.Serial(self.device, self._baudrate, timeout=_READ_TIMEOUT_S, exclusive=True)

    def _count(self, **changes: Any) -> None:
        with self._lock:
            self._stats = replace(self._stats, **changes)

    def _run(self, port: serial.Serial | None) -> None:
        wait_s, heard = self._first_wait_s, 0
        while not self._stop.is_set():
            try:
                if port is None:
                    port = self._open_port()
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

    def _read(self, port: serial.Serial) -> None:
        while not self._stop.is_set():
            data = port.read(1)
            if not data:
                continue
            stamp_ns = self._clock.monotonic_ns()
            waiting = min(port.in_waiting, _LARGEST_READ)
            if waiting:
                data += port.read(waiting)
            self._count(bytes_read=self.stats.bytes_read + len(data), last_byte_ns=stamp_ns)
            self._deliver(stamp_ns, data)

    def _deliver(self, stamp_ns: int, data: bytes) -> None:
        try:
            self._sink(stamp_ns, data)
        except (OSError, ValueError) as error:
            # Not the port's fault: it must not be taken for an unplugged cable and retried.
            raise RuntimeError(f"the sink of {self.device} failed") from error

    def _close(self, port: serial.Serial | None) -> None:
        if port is None:
            return
        try:
            port.close()
        except OSError as error:
            self._count(last_error=f"closing: {error}")
