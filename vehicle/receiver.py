"""The receiver as a device of the live source: its bytes are stamped on arrival and become fixes in its own thread."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from gnss.clock import Clock
from gnss.fixes import FixStream
from gnss.receiver import ReceiverThread
from vehicle.config import Receiver
from vehicle.live import LiveSource


class LiveReceiver:
    """Line, reader and clock of a receiver together. `tap` gets the raw bytes: (ns since `start_ns`, bytes).

    The stamp of a fix is its time of validity from here on: in the pipeline and in a recording.
    """

    def __init__(
        self,
        receiver: Receiver,
        source: LiveSource,
        clock: Clock,
        start_ns: int,
        not_before: datetime.date | None = None,
    ) -> None:
        """Opens a device at once; raises ReceiverError when that fails. `not_before`: see EpochAssembler."""
        self.tap: Callable[[int, bytes], None] | None = None
        self._fixes = FixStream(receiver.latency_s, not_before)
        self._source = source
        self._start_ns = start_ns
        self._thread = ReceiverThread(receiver.port, self._take, clock, receiver.baud)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait; what is left in the reader becomes the last fix."""
        self._thread.stop()
        for fix in self._fixes.flush():
            self._source.take(fix)
        counts, stats = self._source.counts, self._thread.stats
        counts.update({f"receiver: {reason.value}": n for reason, n in self._fixes.counters.items() if n})
        if stats.failures:
            counts["receiver: port lost"] += stats.failures
        if stats.baud_changes:
            counts["receiver: other baud rate tried"] += stats.baud_changes

    def check(self) -> None:
        """RuntimeError when the reading thread died, which only a bug can cause: a lost port is opened again."""
        if not self._thread.alive:
            raise RuntimeError("the receiver's thread ended by an error")

    def _take(self, stamp_ns: int, data: bytes) -> None:
        since_ns = stamp_ns - self._start_ns
        if self.tap is not None:
            self.tap(since_ns, data)
        for fix in self._fixes.feed(data, since_ns):
            self._source.take(fix)
