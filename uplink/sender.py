"""Delivers the outbox: events before pictures, urgent first, without hurry when the link or the server is ill.

An item that the server stumbles over (5xx) steps back behind the others; one that it refuses is a suspect (see
breaker). 401 and 403 pause everything and count against nobody. A full or damaged disk is the store's to mend; the
loop goes on.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
from collections import Counter

from gnss.clock import Clock
from perception.types import JsonDict
from uplink.breaker import PAUSE_S, Breaker, Item, Suspect, name_of
from uplink.courier import DAMAGED, GONE, Courier
from uplink.disk import is_full
from uplink.envelope import Envelope
from uplink.errors import DatabaseDamaged
from uplink.link import Link, LinkPolicy, ServerClock
from uplink.outbox import boot_id
from uplink.record import LISTED
from uplink.resync import Resync
from uplink.retry import Backoff, Outcome, Reply, RetryClass, json_object
from uplink.store import SqliteStore
from uplink.transport import Transport

log = logging.getLogger(__name__)

_CONFIG_PAUSE_S = 30.0
_DIGEST_TRIES = 3
_KEEP_EVENTS = 10_000
_IDLE_S = 0.5
_HEARTBEAT_S = 60.0
_KEPT_WAIT_S = 60.0
_LONGEST_WAIT_S = 2 * 3600.0
_WAIT = "server_wait"


class Sender:
    """One delivery loop over a store; `counts` holds how often each retry class was seen."""

    def __init__(
        self,
        store: SqliteStore,
        transport: Transport,
        clock: Clock,
        rng: random.Random,
        backoff: Backoff | None = None,
        *,
        policy: LinkPolicy | None = None,
        server_clock: ServerClock | None = None,
        fleet: bool = False,
    ) -> None:
        self._store = store
        self._transport = transport
        self._clock = clock
        self.server_clock = server_clock or ServerClock(clock)
        self._courier = Courier(store, transport, self.server_clock)
        self.link = Link(clock, rng, policy or LinkPolicy(), backoff or Backoff())
        self.breaker = Breaker()
        self.resync = Resync(store, transport, clock, fleet=fleet)
        store.ahead = self.resync.ahead
        self._next_beat_ns = 0
        self._stepped_back: set[int | str] = set()
        self._digest_tries: Counter[str] = Counter()
        self._probe_ns = 0
        self.counts: Counter[RetryClass] = Counter()
        self._recall_wait()

    def _recall_wait(self) -> None:
        """A restart does not shorten what the server asked for; a new boot does (its clock began anew)."""
        boot, _, until = (self._store.meta(_WAIT) or "").rpartition("/")
        left_s = (int(until or 0) - self._clock.monotonic_ns()) * 1e-9
        if boot == (boot_id() or "") and 0 < left_s <= _LONGEST_WAIT_S:
            self.link.hold_server(left_s)

    def step(self) -> bool | None:
        """Try one item. True: settled. False: failed, or waiting for the link. None: nothing can be sent now."""
        try:
            return self._step()
        except DatabaseDamaged as damage:
            self._store.heal(damage)
        except (OSError, sqlite3.Error) as error:
            if not is_full(error):
                raise
            self._store.give_way()
        return False

    def _step(self) -> bool | None:
        if self.link.wait_s() > 0:
            return False
        item = self._next()
        if item is None:
            self._store.outbox.purge()
            return None
        if self.link.wait_s(item.prio) > 0:
            return False
        before = self._courier.carried
        outcome = self._courier.deliver(item)
        self.counts[outcome.cls] += 1
        return self._settle(item, outcome, self._courier.carried - before)

    def _next(self) -> Item | None:
        events, pictures = self.link.policy.lowest()
        parked = self.breaker.parked()
        for skip in (self._stepped_back | parked, parked, self._probed()):
            rows = {key for key in skip if isinstance(key, int)}
            hashes = {key for key in skip if isinstance(key, str)}
            item = self._store.outbox.next_event(rows, events) or self._store.outbox.next_blob(hashes, pictures)
            if item is not None:
                return item
            self._stepped_back.clear()
        return None

    def _probed(self) -> set[int | str]:
        """With nothing but suspects left, one is tried every quarter of an hour: the server may be well again."""
        parked = self.breaker.parked()
        now_ns = self._clock.monotonic_ns()
        if parked and now_ns >= self._probe_ns:
            self._probe_ns = now_ns + round(PAUSE_S * 1e9)
            return set()
        return parked

    def _settle(self, item: Item, outcome: Outcome, size: int) -> bool:
        if outcome.cls in (RetryClass.OK, RetryClass.GONE):
            self._acknowledge(item, outcome, size)
            return True
        if outcome.cls is RetryClass.PART:
            self.link.succeeded(size)
            return True
        if outcome.cls is RetryClass.ITEM and outcome.reason in (DAMAGED, GONE):
            self._bury(Suspect(item, outcome, 0, 0))
            return True
        if outcome.cls is RetryClass.ITEM and self._is_refusal(item, outcome):
            return self._refuse(item, outcome)
        self._wait(item, outcome)
        return False

    def _acknowledge(self, item: Item, outcome: Outcome, size: int) -> None:
        status = outcome.status or 0
        if isinstance(item, Envelope):
            self._store.outbox.ack_event(item.key, outcome.receipt or {"gone": outcome.reason}, status)
        else:
            self._store.outbox.ack_blob(item.sha256, status)
        self._digest_tries.pop(name_of(item), None)
        self.link.succeeded(size)
        for guilty in self.breaker.accepted(item):
            self._bury(guilty)

    def _is_refusal(self, item: Item, outcome: Outcome) -> bool:
        """Bytes that were good when they left and bad when they arrived deserve another try: three in all."""
        if not outcome.reason.endswith("digest-mismatch"):
            return True
        self._digest_tries[name_of(item)] += 1
        return self._digest_tries[name_of(item)] >= _DIGEST_TRIES

    def _refuse(self, item: Item, outcome: Outcome) -> bool:
        now_ns = self._clock.monotonic_ns()
        self._store.outbox.note_failure(item, outcome.status, outcome.reason, counts=True)
        self._probe_ns = now_ns + round(PAUSE_S * 1e9)
        if self.breaker.refused(item, outcome, now_ns):
            self._hold(PAUSE_S)
            log.error("breaker_open", extra={"why": outcome.reason, "pause_s": PAUSE_S})
            return False
        return True

    def _bury(self, suspect: Suspect) -> None:
        item, outcome = suspect.item, suspect.outcome
        log.error("item_refused", extra={"item": name_of(item), "why": outcome.reason})
        if isinstance(item, Envelope):
            self._store.outbox.bury_event(item, outcome.status, outcome.reason)
        else:
            lost = outcome.status is None
            self._store.outbox.bury_blob(item, "lost" if lost else "dead", outcome.status, outcome.reason)

    def _wait(self, item: Item, outcome: Outcome) -> None:
        after_s = outcome.after_s
        if outcome.cls is RetryClass.CONFIG:
            after_s = _CONFIG_PAUSE_S
            log.error("platform_refuses_us", extra={"why": outcome.reason})
        elif outcome.cls in (RetryClass.SERVER, RetryClass.SYNC):
            self._stepped_back.add(item.seq if isinstance(item, Envelope) else item.sha256)
        self.link.failed(after_s)
        if after_s:
            self._keep_wait()
        counts = outcome.cls in (RetryClass.SERVER, RetryClass.SYNC, RetryClass.ITEM)
        self._store.outbox.note_failure(item, outcome.status, outcome.reason, counts=counts)

    def _hold(self, seconds: float) -> None:
        self.link.hold_server(seconds)
        self._keep_wait()

    def _keep_wait(self) -> None:
        until_ns = self.link.server_until_ns
        if until_ns - self._clock.monotonic_ns() >= _KEPT_WAIT_S * 1e9:
            self._store.set_meta(_WAIT, f"{boot_id() or ''}/{until_ns}")

    def drain(self, timeout_s: float) -> bool:
        """Deliver until nothing can be sent (True) or `timeout_s` is over (False); sleeps on the clock."""
        end_ns = self._clock.monotonic_ns() + round(timeout_s * 1e9)
        while (result := self.step()) is not None:
            left_s = (end_ns - self._clock.monotonic_ns()) * 1e-9
            if left_s <= 0:
                return False
            if result is False:
                self._clock.sleep(min(max(self.link.wait_s(LISTED), 1e-3), left_s))
        return True

    def run(self, stop: threading.Event) -> None:
        """The thread: deliver until `stop` is set; a bug ends it with its exception."""
        while not stop.is_set():
            result = self.step()
            self._beat()
            if result is None and not self._tidied():
                stop.wait(_IDLE_S)
            elif result is False:
                stop.wait(min(max(self.link.wait_s(LISTED), 1e-3), _IDLE_S))

    def _tidied(self) -> bool:
        try:
            return self.resync.idle() or self._store.tidy(_KEEP_EVENTS)
        except DatabaseDamaged as damage:
            self._store.heal(damage)
            return True

    def _beat(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._next_beat_ns or self.link.wait_s() > 0:
            return
        self._next_beat_ns = now_ns + round(_HEARTBEAT_S * 1e9)
        reply = self.heartbeat()
        if reply.status != 200:
            log.warning("heartbeat_unanswered", extra={"status": reply.status, "why": reply.error})

    def heartbeat(self, health: JsonDict | None = None) -> Reply:
        """Tell the platform what it should have; its reply lists the sequence numbers it misses (`gaps`).

        What it acknowledged and misses now is sent again, as long as it is still here.
        """
        backlog = self._store.outbox.backlog()
        body: JsonDict = {
            "epoch": self._store.epoch,
            "max_seq": self._store.last_seq,
            "oldest_unacked": None if backlog.oldest_seq is None else max(0, backlog.oldest_seq),
            "backlog": {"events": backlog.events, "blobs": backlog.blobs, "bytes": backlog.blob_bytes},
            "loss": self._store.outbox.losses(),
            "chain_head": self._store.chain_head,
            "health": {**self.health(), **(health or {})},
        }
        reply = self._transport.heartbeat(self._store.device, body)
        answer = json_object(reply.body) if reply.status == 200 else None
        if answer is not None and "gaps" in answer:
            self.server_clock.learn(reply)
            again = self._store.outbox.send_again(answer["gaps"])
            if again:
                log.error("platform_lost_events", extra={"count": again})
        return reply

    def health(self) -> JsonDict:
        """State of delivery for the heartbeat."""
        return {
            "memory_lost": self._store.memory_lost,
            "server_offset_ms": None if self.server_clock.offset_s is None else 1e3 * self.server_clock.offset_s,
            "disk_used": round(self._store.disk.level(), 4),
            "breaker_open": self.breaker.open,
            "suspects": float(len(self.breaker.suspects)),
            "key": self._store.key.public.id,
        }
