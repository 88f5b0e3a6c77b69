"""How much one peer may ask: token buckets by name, held in memory of this process."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from gnss.clock import Clock

_MOST_NAMES = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many per second on average, so many at once."""

    per_s: float
    burst: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates by what is asked. With several worker processes each one grants this much."""

    device: Rate = Rate(100.0, 400.0)
    person: Rate = Rate(50.0, 200.0)
    address: Rate = Rate(2000.0, 4000.0)
    failures: Rate = Rate(0.2, 20.0)
    streams: int = 64


class Buckets:
    """Token buckets; the names used longest ago are forgotten first, so that nobody fills the memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._levels: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_s(self, name: str, rate: Rate, cost: float = 1.0) -> float:
        """0 when granted; else the seconds after which it would be (nothing is taken then)."""
        now = self._clock.monotonic_ns()
        with self._lock:
            level, then = self._levels.pop(name, (rate.burst, now))
            level = min(rate.burst, level + (now - then) * 1e-9 * rate.per_s)
            granted = level >= cost
            self._levels[name] = (level - cost if granted else level), now
            if len(self._levels) > _MOST_NAMES:
                self._levels.popitem(last=False)
        return 0.0 if granted else (cost - level) / rate.per_s
