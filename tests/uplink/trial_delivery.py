"""Delivery in bad weather: faulty links, poisoned items, mad servers, fleets that come back at once, wrong clocks."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from gnss.clock import ManualClock
from perception.types import JsonDict
from tests.uplink.builders import UTC_NS, opened
from tests.uplink.faults import FaultProxy
from tests.uplink.model_platform import ModelPlatform
from uplink.envelope import BlobItem, Envelope
from uplink.platform.serve import LocalPlatform
from uplink.sender import Sender
from uplink.store import SqliteStore
from uplink.transport import HttpTransport, Signer

FAULTS = ("500", "503", "429", "late", "lose", "twice", "half", "html")
"""Server errors, a limit, silence before the commit, a reset after it, a duplicate, a cut body, a portal's page."""


def through_faults(folder: Path, cases: int, seed: int, share: float = 0.3) -> JsonDict:
    """Deliver `cases` cases, one picture each tenth, over real HTTP through a proxy where `share` of requests fail."""
    rng, clock = random.Random(seed), ManualClock(1, UTC_NS)

    def script() -> Iterator[str]:
        while True:
            yield rng.choice(FAULTS) if rng.random() < share else "pass"

    with (
        LocalPlatform.start(folder / "platform") as platform,
        SqliteStore(folder / "car" / "store.sqlite", "car-1", clock) as store,
        FaultProxy(platform.url, forever=script()) as proxy,
    ):
        for first in range(0, cases, 100):
            store.commit([opened(k, pictures=int(k % 10 == 0)) for k in range(first, min(first + 100, cases))])
        signer = Signer(store.key, lambda: round(clock.utc_ns() * 1e-9))
        sender = Sender(store, HttpTransport(proxy.url, stall_s=0.25, signer=signer), clock, random.Random(seed))
        assert sender.drain(1e9)
        database = platform.intake.database
        found: JsonDict = {
            "cases": cases,
            "unique_events": database.value("SELECT count(DISTINCT uid) FROM event"),
            "events": database.value("SELECT count(*) FROM event"),
            "case_heads": database.value("SELECT count(*) FROM case_head"),
            "pictures": database.value("SELECT count(*) FROM blob"),
            "requests": len(proxy.seen),
            "faults": sum(fault != "pass" for *_, fault in proxy.seen),
            "losses": store.outbox.losses(),
            "gaps": json.loads(sender.heartbeat().body or b"{}").get("gaps"),
        }
    assert found["unique_events"] == found["events"] == found["case_heads"] == cases, found
    assert found["pictures"] == len(range(0, cases, 10)), found
    assert found["losses"] == {}, found
    return found


def poisoned(folder: Path, cases: int, seed: int) -> JsonDict:
    """1 % of the cases are refused for ever, and in the middle a bad release refuses everything for an hour."""
    rng, clock = random.Random(seed), ManualClock(1, UTC_NS)
    bad = {f"case-{number:05d}" for number in rng.sample(range(cases), max(1, cases // 100))}

    def refuses(item: Envelope | BlobItem) -> bool:
        return isinstance(item, Envelope) and json.loads(item.body)["case_id"] in bad

    platform = ModelPlatform(refuses)
    with SqliteStore(folder / "store.sqlite", "car-1", clock) as store:
        for first in range(0, cases, 100):
            store.commit([opened(k, pictures=int(k % 5 == 0)) for k in range(first, min(first + 100, cases))])
        sender = Sender(store, platform, clock, random.Random(seed))
        while len(platform.events) < cases // 2:
            sender.step()
        platform.fault = "422"
        before = platform.requests
        sender.drain(3600.0)
        during = platform.requests - before
        platform.fault = "none"
        sender.drain(4 * 3600.0)
        dead = {row["case_uid"] for row in store._database.rows("SELECT case_uid FROM event WHERE state = 'dead'")}
        # What is refused last waits for others to speak for the server.
        waiting = {row["case_uid"] for row in store._database.rows("SELECT case_uid FROM event WHERE state = 'ready'")}
        kept = [
            row["sha256"]
            for row in store._database.rows(
                "SELECT sha256 FROM event_blob JOIN event USING (seq) WHERE event.state = 'dead'"
            )
            if store.spool.holds(row["sha256"])
        ]
        found: JsonDict = {
            "cases": cases, "poisoned": len(bad), "dead": len(dead), "waiting": len(waiting), "during_bad_hour": during,
            "delivered": len(platform.events), "evidence_kept": len(kept), "losses": store.outbox.losses(),
        }  # fmt: skip
    assert dead <= bad, dead - bad
    assert dead | waiting == bad, found
    assert found["delivered"] == cases - len(bad), found
    assert set(found["losses"]) <= {"dead event"}, found
    assert len(kept) == sum(int(name[5:]) % 5 == 0 for name in dead), found
    return found


def clock_jumps(folder: Path, cases: int, seed: int) -> JsonDict:
    """UTC jumps by a day, to 1970 and to 2038 between all steps; the platform fails now and then."""
    rng, clock, platform = random.Random(seed), ManualClock(1, UTC_NS), ModelPlatform()
    jumps = (UTC_NS + 86_400 * 10**9, UTC_NS - 86_400 * 10**9, 0, 2**31 * 10**9, 630_720_000 * 10**9)
    with SqliteStore(folder / "store.sqlite", "car-1", clock) as store:
        sender = Sender(store, platform, clock, random.Random(seed))
        steps = 0
        for number in range(cases):
            store.commit([opened(number)])
            clock.set_utc_ns(rng.choice(jumps))
            platform.fault = rng.choice(("none", "none", "unreached", "503"))
            for _ in range(3):
                sender.step()
                clock.advance(rng.uniform(0.0, 20.0))
            steps += 3
        platform.fault = "none"
        assert sender.drain(1e6)
        losses = store.outbox.losses()
    events = [int(key.rpartition(":")[2]) for key in platform.order if ":" in key]
    assert losses == {}
    assert len(events) == cases
    # An item that a 503 hit steps back behind the others; nothing else changes the order.
    late = sum(b < a for a, b in itertools.pairwise(events))
    return {"cases": cases, "jumps": cases, "expired": 0, "stepped_back": late, "requests": platform.requests}


def returning_fleet(folder: Path, vehicles: int, seed: int, down_s: float = 600.0, each: int = 20) -> JsonDict:
    """All vehicles have a backlog; the server is down for `down_s`, then takes everything. Simulated time."""
    platform = ModelPlatform()
    platform.fault, platform.retry_after = "503", "30"
    clocks = [ManualClock(1, UTC_NS) for _ in range(vehicles)]
    stores = [SqliteStore(folder / f"v{k}" / "s.sqlite", f"car-{k}", clocks[k]) for k in range(vehicles)]
    senders = []
    for k, store in enumerate(stores):
        store.commit([opened(n, pictures=0) for n in range(each)])
        senders.append(Sender(store, platform, clocks[k], random.Random(f"{seed} {k}")))
    seconds: Counter[int] = Counter()
    queue = [(random.Random(f"{seed} start {k}").uniform(0.0, 5.0), k) for k in range(vehicles)]
    heapq.heapify(queue)
    requests_down = 0
    while queue:
        now_s, k = heapq.heappop(queue)
        clock = clocks[k]
        clock.advance(max(0.0, now_s - (clock.monotonic_ns() - 1) * 1e-9))
        platform.fault = "503" if now_s < down_s else "none"
        before = platform.requests
        result = senders[k].step()
        if platform.requests > before:
            if now_s < down_s:
                requests_down += 1
            else:
                seconds[int(now_s)] += 1
        if result is not None:
            heapq.heappush(queue, (now_s + max(senders[k].link.wait_s(1), 0.05), k))
    for store in stores:
        store.close()
    busy = range(min(seconds), max(seconds) + 1)
    # The mean over the time in which 95 % came: a few stragglers must not make it look small.
    total, mean = sum(seconds.values()), 0.0
    counted, last = 0, max(seconds)
    for second in busy:
        counted += seconds[second]
        if counted >= 0.95 * total:
            last = second
            break
    mean = sum(seconds[s] for s in range(min(seconds), last + 1)) / (last + 1 - min(seconds))
    found: JsonDict = {
        "vehicles": vehicles, "items": vehicles * each, "delivered": len(platform.events),
        "requests_while_down": requests_down, "mean_per_s": round(mean, 2), "peak_per_s": max(seconds.values()),
        "ratio": round(max(seconds.values()) / mean, 2), "all_back_after_s": max(seconds) - int(down_s),
        "median_per_s": statistics.median(seconds[s] for s in busy),
    }  # fmt: skip
    assert found["delivered"] == vehicles * each, found
    return found
