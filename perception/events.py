"""Events of the pipeline and their one order: (stamp_ns, kind, camera, index), with a fixed lateness bound."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from gnss.atlas import Atlas
from gnss.types import Fix, Motion
from perception.types import CalibrationUpdate, KnownObjects, Seen, Shed


@dataclass(frozen=True, slots=True, eq=False)
class Reload:
    """A new version of the city is in force from here on."""

    stamp_ns: int
    atlas: Atlas


Event = Fix | Motion | Seen | KnownObjects | Shed | CalibrationUpdate | Reload

_RANK: dict[type, int] = {Reload: -1, KnownObjects: 0, CalibrationUpdate: 1, Fix: 2, Motion: 3, Shed: 4, Seen: 5}


def order_key(event: Event) -> tuple[int, int, str, int, int]:
    """Sort key of an event; known objects of one stamp are ordered by tile."""
    rank = _RANK[type(event)]
    if isinstance(event, (Seen, Shed)):
        return event.stamp_ns, rank, event.camera, event.index, 0
    if isinstance(event, KnownObjects):
        return event.stamp_ns, rank, "", event.tile[0], event.tile[1]
    if isinstance(event, CalibrationUpdate):
        return event.stamp_ns, rank, event.camera, 0, 0
    return event.stamp_ns, rank, "", 0, 0


@dataclass(slots=True)
class EventOrder:
    """Releases events in order once they are `lateness_s` older than the newest; drops and counts later ones.

    The redactor holds frames for a few periods and receivers answer late, so arrival order is not stamp order.
    """

    lateness_s: float = 1.0
    late: int = 0
    _heap: list[tuple[tuple[int, int, str, int, int], int, Event]] = field(default_factory=list)
    _newest_ns: int = -(1 << 62)
    _released: tuple[int, int, str, int, int] | None = None
    _count: int = 0

    def push(self, event: Event) -> Iterator[Event]:
        """Take one event, yield those that are now safe to handle."""
        key = order_key(event)
        if self._released is not None and key < self._released:
            self.late += 1
            return
        self._count += 1
        heapq.heappush(self._heap, (key, self._count, event))
        self._newest_ns = max(self._newest_ns, event.stamp_ns)
        yield from self._release(self._newest_ns - int(self.lateness_s * 1e9))

    def flush(self) -> Iterator[Event]:
        """Yield what is left, in order."""
        yield from self._release(1 << 62)

    def _release(self, until_ns: int) -> Iterator[Event]:
        while self._heap and self._heap[0][2].stamp_ns <= until_ns:
            key, _, event = heapq.heappop(self._heap)
            self._released = key
            yield event
