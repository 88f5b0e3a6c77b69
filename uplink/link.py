"""The link as one thing: how long to leave it alone, what it may carry, and what time it is at the other end.

The back-off belongs to the link, not to the item, and starts anew on another network. A wait that the server asked for
is kept over restarts of the program. After an outage a car comes back slowly, so that a fleet does not fall upon a
server that has just recovered.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gnss.clock import Clock
from uplink.outbox import LOWEST
from uplink.record import LISTED, URGENT
from uplink.retry import Backoff, Reply, http_time, json_object

_ROUTES = Path("/proc/net/route")
_MOBILE = ("wwan", "ppp", "rmnet", "usb", "rndis")
_OUTAGE_FAILURES = 5
_SLOW = ((60.0, 1.0), (90.0, 0.5), (120.0, 0.25))
"""(seconds since the link came back, seconds between two items) after an outage."""
_BURST_S = 2.0


def default_route() -> str:
    """Interface and gateway of the default route, "" without one: another text is another network."""
    try:
        rows = [line.split() for line in _ROUTES.read_text().splitlines()[1:]]
    except OSError:
        return ""
    return " ".join(f"{row[0]}/{row[2]}" for row in rows if len(row) > 2 and row[1] == "00000000")


def on_mobile_network() -> bool:
    """Does the default route go over an interface that is named like a mobile one?"""
    return default_route().startswith(_MOBILE)


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """What the link may carry. On a metered one only events up to `metered_events` and pictures up to
    `metered_pictures` in priority (0 urgent, 1 listed, 2 candidates); urgent items are never held to `bytes_per_s`.
    """

    bytes_per_s: float | None = None
    is_metered: Callable[[], bool] = _never
    metered_events: int = LISTED
    metered_pictures: int = URGENT
    network: Callable[[], str] = default_route

    def lowest(self) -> tuple[int, int]:
        """Lowest priorities of events and of pictures that may go now."""
        return (self.metered_events, self.metered_pictures) if self.is_metered() else (LOWEST, LOWEST)


class Link:
    """Waits: `not before` of the link (back-off), of the server (Retry-After, breaker), and of the pace."""

    def __init__(self, clock: Clock, rng: random.Random, policy: LinkPolicy, backoff: Backoff) -> None:
        self._clock = clock
        self._rng = rng
        self.policy = policy
        self._backoff = backoff
        self._network = policy.network()
        self.failures = 0
        self._link_ns = self._server_ns = self._pace_ns = 0
        self._back_ns: int | None = None
        self._debt_s = 0.0
        self._debt_at_ns = clock.monotonic_ns()

    @property
    def server_until_ns(self) -> int:
        """Until when the server wants to be left alone (monotonic)."""
        return self._server_ns

    def wait_s(self, prio: int | None = None) -> float:
        """Seconds until the next try; an urgent item (priority 0) is not held to the pace."""
        now_ns = self._clock.monotonic_ns()
        if self._link_ns > now_ns and (network := self.policy.network()) != self._network:
            self._network = network
            self._link_ns, self.failures = now_ns, 0
        until_ns = max(self._link_ns, self._server_ns, 0 if prio in (None, URGENT) else self._pace_ns)
        return max(0.0, (until_ns - now_ns) * 1e-9)

    def hold_server(self, seconds: float) -> None:
        """Leave the server alone for so long."""
        self._server_ns = max(self._server_ns, self._clock.monotonic_ns() + round(seconds * 1e9))

    def failed(self, after_s: float | None = None) -> float:
        """Count a failure; returns the wait. What the server asks for is spread: a fleet was told the same."""
        delay_s = self._backoff.delay_s(self.failures, self._rng)
        if after_s:
            delay_s = after_s + max(delay_s, self._rng.uniform(0.0, after_s / 2))
            self.hold_server(delay_s)
        self.failures += 1
        self._link_ns = self._clock.monotonic_ns() + round(delay_s * 1e9)
        return delay_s

    def succeeded(self, size: int) -> None:
        """Something was carried: the back-off ends; pace and bandwidth set the next moment."""
        now_ns = self._clock.monotonic_ns()
        if self.failures >= _OUTAGE_FAILURES:
            self._back_ns = now_ns
        self.failures = 0
        self._pace_ns = now_ns + round(max(self._slow_s(now_ns), self._bandwidth_s(now_ns, size)) * 1e9)

    def _slow_s(self, now_ns: int) -> float:
        if self._back_ns is None:
            return 0.0
        back_s = (now_ns - self._back_ns) * 1e-9
        every_s = next((every for until, every in _SLOW if back_s < until), None)
        if every_s is None:
            self._back_ns = None
            return 0.0
        return every_s * self._rng.uniform(0.5, 1.5)

    def _bandwidth_s(self, now_ns: int, size: int) -> float:
        rate = self.policy.bytes_per_s
        if rate is None:
            return 0.0
        self._debt_s = max(0.0, self._debt_s - (now_ns - self._debt_at_ns) * 1e-9) + size / rate
        self._debt_at_ns = now_ns
        return max(0.0, self._debt_s - _BURST_S)


class ServerClock:
    """The platform's time by its own word: an offset is kept, the computer's clock is never set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.offset_s: float | None = None

    def learn(self, reply: Reply) -> None:
        """Take the time that a reply tells: `server_time` of its body, else its Date."""
        told: datetime | None = None
        tree = json_object(reply.body) or {}
        if isinstance(text := tree.get("server_time"), str):
            try:
                told = datetime.fromisoformat(text)
            except ValueError:
                told = None
        told = told or http_time(reply.date)
        if told is not None:
            told = told if told.tzinfo is not None else told.replace(tzinfo=UTC)
            self.offset_s = told.timestamp() - self._clock.utc_ns() * 1e-9

    def now_s(self) -> int:
        """The platform's time as far as it is known, in seconds since 1970."""
        return round(self._clock.utc_ns() * 1e-9 + (self.offset_s or 0.0))
