"""Delivery over real HTTP, through a proxy that does to it what networks and servers do."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from gnss.clock import ManualClock, SystemClock
from perception.errors import SetupError
from perception.types import CaseState, JsonDict
from tests.uplink.builders import case, change, opened, picture
from tests.uplink.faults import FaultProxy
from tests.uplink.model_platform import ModelPlatform
from uplink.envelope import BlobItem, Envelope
from uplink.folder import FolderTransport
from uplink.platform.serve import LocalPlatform
from uplink.retry import PROBLEM, Reply, RetryClass
from uplink.sender import Sender
from uplink.store import SqliteStore
from uplink.transport import HttpTransport


def http_sender(store: SqliteStore, url: str, clock: ManualClock) -> Sender:
    return Sender(store, HttpTransport(url, stall_s=5.0), clock, random.Random(7))


def listed(platform: LocalPlatform) -> dict[str, JsonDict]:
    reply = requests.get(platform.url + "/v1/cases", timeout=5)
    return {item["case_id"]: item for item in reply.json()["cases"]}


def test_cases_and_pictures_arrive_and_candidates_are_not_listed(
    store: SqliteStore, platform: LocalPlatform, clock: ManualClock
) -> None:
    store.commit([opened(k, pictures=2) for k in range(4)])
    store.commit([change(case(9, CaseState.CANDIDATE), (picture(900),))])
    store.commit([change(case(1, CaseState.RESOLVED, revision=2), (picture(901, role="gone"),))])
    sender = http_sender(store, platform.url, clock)
    assert sender.drain(60.0)
    found = listed(platform)
    assert sorted(found) == [f"case-{k:05d}" for k in range(4)]
    assert {item["evidence_state"] for item in found.values()} == {"complete"}
    assert found["case-00001"]["state"] == "resolved"
    assert len(found["case-00001"]["evidence"]) == 3
    everything = requests.get(platform.url + "/v1/cases?include=candidates", timeout=5).json()
    assert everything["total"] == 5
    # What is acknowledged is deleted here; the candidate's picture stays.
    assert list(store.spool.names()) == [picture(900).sha256]
    assert sender.counts == {RetryClass.OK: 15}
    assert json.loads(sender.heartbeat().body)["gaps"] == []


@pytest.mark.parametrize(
    "fault", ["500", "503", "429", "reset", "lose", "half", "html", "redirect", "twice", "204", "507"]
)
def test_every_fault_ends_in_exactly_one_case(
    store: SqliteStore, platform: LocalPlatform, clock: ManualClock, fault: str
) -> None:
    store.commit([opened(1), opened(2)])
    with FaultProxy(platform.url, [fault, "pass", fault, fault, fault, "pass", fault]) as proxy:
        sender = http_sender(store, proxy.url, clock)
        assert sender.drain(100_000.0)
    assert sorted(listed(platform)) == ["case-00001", "case-00002"]
    assert {item["evidence_state"] for item in listed(platform).values()} == {"complete"}
    assert platform.intake.database.value("SELECT count(*) FROM event") == 2
    assert store.outbox.losses() == {}


def test_a_reply_lost_after_the_commit_gives_the_same_receipt_again(
    store: SqliteStore, platform: LocalPlatform, clock: ManualClock
) -> None:
    store.commit([opened(1, pictures=0)])
    with FaultProxy(platform.url, ["lose"]) as proxy:
        sender = http_sender(store, proxy.url, clock)
        assert sender.step() is False
        assert platform.intake.database.value("SELECT count(*) FROM event") == 1
        assert store.outbox.backlog().events == 1
        assert sender.drain(1000.0)
    row = store._database.rows("SELECT state, receipt, last_status, attempts FROM event")[0]
    assert (row["state"], row["last_status"]) == ("acked", 200)
    assert json.loads(row["receipt"])["receipt_id"] == "event-1"
    assert platform.intake.database.value("SELECT count(*) FROM event") == 1


@pytest.mark.parametrize("status", ["401", "403"])
def test_a_refused_identity_never_means_sent_and_never_counts_against_an_item(
    store: SqliteStore, platform: LocalPlatform, clock: ManualClock, status: str
) -> None:
    store.commit([opened(1)])
    with FaultProxy(platform.url, [status] * 20) as proxy:
        sender = http_sender(store, proxy.url, clock)
        before = clock.monotonic_ns()
        assert sender.step() is False
        assert sender.step() is False
        assert len(proxy.seen) == 1
        assert sender.drain(100_000.0)
        assert sender.counts[RetryClass.CONFIG] == 20
        assert (clock.monotonic_ns() - before) * 1e-9 >= 20 * 30.0
    assert store._database.value("SELECT attempts FROM event") == 1
    assert sorted(listed(platform)) == ["case-00001"]


def test_retry_after_is_obeyed(store: SqliteStore, platform: LocalPlatform, clock: ManualClock) -> None:
    store.commit([opened(1, pictures=0)])
    with FaultProxy(platform.url, ["429"]) as proxy:
        sender = http_sender(store, proxy.url, clock)
        assert sender.step() is False
        clock.advance(6.9)
        assert sender.step() is False
        assert len(proxy.seen) == 1
        # A fleet was told the same number: the return is spread over half of it.
        clock.advance(3.7)
        assert sender.step() is True


def test_what_the_platform_refuses_is_a_dead_letter_and_the_others_go_on(
    store: SqliteStore, platform: LocalPlatform, clock: ManualClock
) -> None:
    store.commit([opened(1), change(case(2, code="notcode"), (picture(2),)), opened(3)])
    sender = http_sender(store, platform.url, clock)
    assert sender.drain(1000.0)
    assert sorted(listed(platform)) == ["case-00001", "case-00003"]
    assert store.outbox.losses() == {"dead event": 1}
    row = store._database.rows("SELECT case_uid, last_status, last_error FROM event WHERE state = 'dead'")[0]
    assert tuple(row) == ("case-00002", 422, "422 invalid-body")
    assert store.spool.size(picture(2).sha256) is not None
    assert store.outbox.revive() == 1


def test_one_event_the_server_stumbles_over_does_not_hold_up_the_rest(store: SqliteStore, clock: ManualClock) -> None:
    class Stumbling(FolderTransport):
        def put_event(self, device: str, envelope: Envelope) -> Reply:
            return Reply(500) if envelope.seq == 1 else super().put_event(device, envelope)

    store.commit([opened(k, pictures=0) for k in range(1, 6)])
    sender = Sender(store, Stumbling(store.path.parent / "out"), clock, random.Random(3))
    assert not sender.drain(2000.0)
    assert store.outbox.backlog().events == 1
    assert store.outbox.backlog().oldest_seq == 1


def test_a_mad_server_opens_the_breaker_and_nothing_is_buried(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([opened(k, pictures=0) for k in range(30)])
    platform = ModelPlatform()
    platform.fault = "422"
    sender = Sender(store, platform, clock, random.Random(3))
    assert not sender.drain(3600.0)
    # Five refusals open it; then one try every quarter of an hour.
    assert 5 <= platform.requests <= 10
    assert store.outbox.losses() == {}
    platform.fault = "none"
    assert sender.drain(2000.0)
    assert len(platform.events) == 30
    assert store.outbox.losses() == {}


def test_a_suspect_is_buried_only_when_the_server_took_others_after_both_refusals(
    store: SqliteStore, clock: ManualClock
) -> None:
    platform = ModelPlatform(lambda item: isinstance(item, Envelope) and item.seq == 1)
    sender = Sender(store, platform, clock, random.Random(3))
    store.commit([opened(1, pictures=0)])
    assert sender.drain(3 * 3600.0)
    assert store.outbox.losses() == {}
    assert store.outbox.backlog().events == 1
    store.commit([opened(2, pictures=0)])
    sender.drain(10.0)
    assert store.outbox.losses() == {}
    store.commit([opened(3, pictures=0)])
    sender.drain(10.0)
    assert store.outbox.losses() == {"dead event": 1}
    assert len(platform.events) == 2


def test_bytes_damaged_on_the_way_get_three_tries(store: SqliteStore, clock: ManualClock) -> None:
    class Damaging(FolderTransport):
        tries = 0

        def put_event(self, device: str, envelope: Envelope) -> Reply:
            if envelope.seq > 1:
                return super().put_event(device, envelope)
            self.tries += 1
            return Reply(422, json.dumps({"type": PROBLEM + "digest-mismatch"}).encode())

    store.commit([opened(1, pictures=0)])
    transport = Damaging(store.path.parent / "out")
    sender = Sender(store, transport, clock, random.Random(3))
    assert sender.drain(100.0)
    assert transport.tries == 3
    for number in (2, 3):
        store.commit([opened(number, pictures=0)])
        assert sender.drain(100.0)
    assert store.outbox.losses() == {"dead event": 1}


def test_a_picture_whose_file_is_gone_is_counted_as_lost(
    store: SqliteStore, platform: LocalPlatform, clock: ManualClock
) -> None:
    store.commit([opened(1), opened(2)])
    store.spool.path(opened(1).pictures[0].sha256).unlink()
    assert http_sender(store, platform.url, clock).drain(1000.0)
    assert store.outbox.losses() == {"lost evidence": 1}
    assert {k: v["evidence_state"] for k, v in listed(platform).items()} == {
        "case-00001": "awaiting_evidence",
        "case-00002": "complete",
    }


def test_no_link_means_waiting_longer_and_longer_but_not_for_ever(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([opened(1, pictures=0)])

    class Dead(FolderTransport):
        times_ns: Iterable[int] = ()

        def put_event(self, device: str, envelope: Envelope) -> Reply:
            self.times_ns = (*self.times_ns, clock.monotonic_ns())
            return Reply(None, error="ConnectionError")

    transport = Dead(store.path.parent / "out")
    assert not Sender(store, transport, clock, random.Random(3)).drain(50_000.0)
    times = list(transport.times_ns)
    gaps = [(b - a) * 1e-9 for a, b in pairwise(times)]
    assert max(gaps) <= 300.0
    assert max(gaps) > 200.0
    assert max(gaps[:3]) <= 4.0
    row = store._database.rows("SELECT state, attempts, last_error FROM event")[0]
    assert tuple(row) == ("ready", 0, "ConnectionError")


def test_a_portal_that_says_200_to_everything_swallows_no_picture(
    store: SqliteStore, platform: LocalPlatform, clock: ManualClock
) -> None:
    store.commit([opened(1)])
    with FaultProxy(platform.url, ["pass", "html", "html", "html"]) as proxy:
        sender = http_sender(store, proxy.url, clock)
        assert sender.step() is True
        assert sender.step() is False
        assert store.outbox.backlog().blobs == 1
        assert sender.drain(1000.0)
    assert listed(platform)["case-00001"]["evidence_state"] == "complete"


def test_the_thread_delivers_and_stops(store: SqliteStore, platform: LocalPlatform) -> None:
    clock = SystemClock()
    sender = Sender(store, HttpTransport(platform.url), clock, random.Random(1))
    stop = threading.Event()
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    store.commit([opened(1)])
    for _ in range(2000):
        if store._database.value("SELECT state FROM blob") == "purged":
            break
        clock.sleep(0.005)
    stop.set()
    thread.join()
    assert sorted(listed(platform)) == ["case-00001"]
    assert store._database.value("SELECT state FROM blob") == "purged"
    assert platform.intake.devices()[0]["heartbeat"]["epoch"] == store.epoch


def test_a_folder_takes_the_same_and_tells_conflicts(store: SqliteStore, clock: ManualClock, tmp_path: Path) -> None:
    store.commit([opened(1)])
    transport = FolderTransport(tmp_path / "stick")
    envelope = store.outbox.next_event()
    assert envelope is not None
    assert Sender(store, transport, clock, random.Random(1)).drain(10.0)
    assert transport.put_event("car-1", envelope).status == 200
    other = Envelope(envelope.seq, envelope.key, b"{}", envelope.digest)
    assert transport.put_event("car-1", other).status == 409
    sha256 = opened(1).pictures[0].sha256
    assert (tmp_path / "stick" / "blobs" / f"{sha256}.jpg").read_bytes() == opened(1).pictures[0].jpeg
    assert transport.has_blob("car-1", BlobItem(sha256, 1, "image/jpeg", tmp_path)).status == 200


def test_an_address_without_scheme_is_a_setup_mistake() -> None:
    with pytest.raises(SetupError, match="not http"):
        HttpTransport("platform.example")
