"""From a receiver's bytes, as they arrive, to fixes at their time of validity: what the car and a replay both use."""

from __future__ import annotations

import datetime

from gnss.receiver_time import ReceiverTime
from gnss.refusal import Refusal
from gnss.stream import StreamReader
from gnss.types import Fix


class FixStream:
    """`StreamReader` and `ReceiverTime` as one. Arrivals are monotonic stamps, local to the run or the drive.

    `latency_s` > 0: a fix is older than the earliest arrival of its first byte. `not_before`: see EpochAssembler.
    """

    def __init__(self, latency_s: float = 0.0, not_before: datetime.date | None = None) -> None:
        self.reader = StreamReader(not_before)
        self.time = ReceiverTime(self.reader.counters, latency_s)

    @property
    def counters(self) -> dict[Refusal, int]:
        """What gave nothing, by reason."""
        return self.reader.counters

    def feed(self, data: bytes, stamp_ns: int) -> list[Fix]:
        """Take bytes that arrived at `stamp_ns`; returns the fixes that they complete, their stamps rising."""
        return [self.time.place(fix) for fix in self.reader.feed(data, stamp_ns)]

    def flush(self) -> list[Fix]:
        """End of the stream: what is left in the reader."""
        return [self.time.place(fix) for fix in self.reader.flush()]
