"""Delivers the outbox: events before pictures, one at a time, without hurry when the link or the server is ill.

The back-off belongs to the link, not to the item. An item the server stumbles over steps back behind the others, so
that one poisoned event cannot hold up the rest.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter

from gnss.clock import Clock
from perception.types import JsonDict
from uplink.envelope import BlobItem, Envelope
from uplink.retry import Backoff, Outcome, Reply, RetryClass, classify
from uplink.store import SqliteStore
from uplink.transport import Transport

log = logging.getLogger(__name__)

_CONFIG_PAUSE_S = 30.0
_DIGEST_TRIES = 3
_BREAKER_ITEMS = 5
_BREAKER_PAUSE_S = 900.0
_KEEP_EVENTS = 10_000
_IDLE_S = 0.5
_HEARTBEAT_S = 60.0


class Sender:
    """One delivery loop over a store; `counts` holds how often each retry class was seen."""

    def __init__(
        self, store: SqliteStore, transport: Transport, clock: Clock, rng: random.Random, backoff: Backoff | None = None
    ) -> None:
        self._store = store
        self._outbox = store.outbox
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._backoff = backoff or Backoff()
        self._failures = 0
        self._not_before_ns = 0
        self._next_beat_ns = 0
        self._stepped_back: set[int | str] = set()
        self._tried_blobs: set[str] = set()
        self._digest_tries: Counter[str] = Counter()
        self._refused_in_row: set[str] = set()
        self.counts: Counter[RetryClass] = Counter()

    def step(self) -> bool | None:
        """Try one item. True: settled. False: failed, or waiting for the link. None: nothing to send."""
        if self._clock.monotonic_ns() < self._not_before_ns:
            return False
        item = self._next()
        if item is None:
            self._outbox.purge()
            return None
        outcome = self._deliver_event(item) if isinstance(item, Envelope) else self._deliver_blob(item)
        self.counts[outcome.cls] += 1
        return self._settle(item, outcome)

    def _next(self) -> Envelope | BlobItem | None:
        for _ in range(2):
            events = {key for key in self._stepped_back if isinstance(key, int)}
            blobs = {key for key in self._stepped_back if isinstance(key, str)}
            item = self._outbox.next_event(events) or self._outbox.next_blob(blobs)
            if item is not None:
                return item
            self._stepped_back.clear()
        return None

    def _deliver_event(self, event: Envelope) -> Outcome:
        reply = self._transport.put_event(self._store.device, event)
        return classify(reply, {"uid": event.key, "digest": event.digest})

    def _deliver_blob(self, blob: BlobItem) -> Outcome:
        # Asking first pays only when an earlier try may have arrived; the first time it would cost a round trip.
        if blob.sha256 in self._tried_blobs:
            held = self._transport.has_blob(self._store.device, blob)
            if held.status == 200:
                return Outcome(RetryClass.OK, "already there", 200, receipt={})
            if held.status != 404:
                return classify(held, {"sha256": blob.sha256})
        self._tried_blobs.add(blob.sha256)
        try:
            reply = self._transport.put_blob(self._store.device, blob)
        except FileNotFoundError:
            return Outcome(RetryClass.ITEM, "file is gone")
        return classify(reply, {"sha256": blob.sha256, "size": blob.size})

    def _settle(self, item: Envelope | BlobItem, outcome: Outcome) -> bool:
        if outcome.cls in (RetryClass.OK, RetryClass.GONE):
            self._acknowledge(item, outcome)
            return True
        if outcome.cls is RetryClass.ITEM and self._is_final(item, outcome):
            return True
        self._wait(item, outcome)
        return False

    def _acknowledge(self, item: Envelope | BlobItem, outcome: Outcome) -> None:
        status = outcome.status or 0
        if isinstance(item, Envelope):
            self._outbox.ack_event(item.seq, outcome.receipt or {"gone": outcome.reason}, status)
        else:
            self._outbox.ack_blob(item.sha256, status)
            self._tried_blobs.discard(item.sha256)
        self._failures = 0
        self._refused_in_row.clear()

    def _is_final(self, item: Envelope | BlobItem, outcome: Outcome) -> bool:
        """Bury a refused item; False when it deserves another try (bytes damaged on the way, or a mad server)."""
        name = item.key if isinstance(item, Envelope) else item.sha256
        self._digest_tries[name] += 1
        if outcome.reason.endswith("digest-mismatch") and self._digest_tries[name] < _DIGEST_TRIES:
            return False
        self._refused_in_row.add(name)
        if outcome.status is not None and len(self._refused_in_row) >= _BREAKER_ITEMS:
            return False
        del self._digest_tries[name]
        log.error("item_refused", extra={"item": name, "why": outcome.reason})
        if isinstance(item, Envelope):
            self._outbox.bury_event(item, outcome.status, outcome.reason)
        else:
            self._outbox.bury_blob(item, "lost" if outcome.status is None else "dead", outcome.status, outcome.reason)
        return True

    def _wait(self, item: Envelope | BlobItem, outcome: Outcome) -> None:
        delay_s = max(self._backoff.delay_s(self._failures, self._rng), outcome.after_s or 0.0)
        if outcome.cls is RetryClass.CONFIG:
            delay_s = max(delay_s, _CONFIG_PAUSE_S)
            log.error("platform_refuses_us", extra={"why": outcome.reason})
        elif outcome.cls is RetryClass.ITEM and len(self._refused_in_row) >= _BREAKER_ITEMS:
            delay_s = _BREAKER_PAUSE_S
            self._refused_in_row.clear()
            log.error("breaker_open", extra={"why": outcome.reason, "pause_s": delay_s})
        elif outcome.cls in (RetryClass.SERVER, RetryClass.SYNC):
            self._stepped_back.add(item.seq if isinstance(item, Envelope) else item.sha256)
        self._failures += 1
        self._not_before_ns = self._clock.monotonic_ns() + round(delay_s * 1e9)
        counts = outcome.cls in (RetryClass.SERVER, RetryClass.SYNC, RetryClass.ITEM)
        self._outbox.note_failure(item, outcome.status, outcome.reason, counts=counts)

    def _rest_s(self) -> float:
        return max(0.0, (self._not_before_ns - self._clock.monotonic_ns()) * 1e-9)

    def drain(self, timeout_s: float) -> bool:
        """Deliver until nothing is left to send (True) or `timeout_s` is over (False); sleeps on the clock."""
        end_ns = self._clock.monotonic_ns() + round(timeout_s * 1e9)
        while (result := self.step()) is not None:
            left_s = (end_ns - self._clock.monotonic_ns()) * 1e-9
            if left_s <= 0:
                return False
            if result is False:
                self._clock.sleep(min(self._rest_s(), left_s))
        return True

    def run(self, stop: threading.Event) -> None:
        """The thread: deliver until `stop` is set; a bug ends it with its exception."""
        while not stop.is_set():
            result = self.step()
            if result is None:
                self._outbox.purge_events(_KEEP_EVENTS)
                self._beat()
                stop.wait(_IDLE_S)
            elif result is False:
                stop.wait(min(self._rest_s(), 5.0))

    def _beat(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._next_beat_ns:
            return
        self._next_beat_ns = now_ns + round(_HEARTBEAT_S * 1e9)
        reply = self.heartbeat()
        if reply.status != 200:
            log.warning("heartbeat_unanswered", extra={"status": reply.status, "why": reply.error})

    def heartbeat(self, health: JsonDict | None = None) -> Reply:
        """Tell the platform what it should have; its reply lists the sequence numbers it misses (`gaps`)."""
        backlog = self._outbox.backlog()
        body: JsonDict = {
            "epoch": self._store.epoch,
            "max_seq": self._store.last_seq,
            "oldest_unacked": backlog.oldest_seq,
            "backlog": {"events": backlog.events, "blobs": backlog.blobs, "bytes": backlog.blob_bytes},
            "loss": self._outbox.losses(),
            "chain_head": self._store.chain_head,
            "health": health or {},
        }
        return self._transport.heartbeat(self._store.device, body)
