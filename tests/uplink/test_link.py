"""The link as one thing: waits, networks, meters, bandwidth, the platform's clock; clips in pieces; lost memory."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gnss.clock import ManualClock
from perception.serial import case_to_dict
from perception.store import tile_of
from perception.types import CaseState, Tile
from tests.uplink.builders import UTC_NS, case, change, crash, opened, picture
from tests.uplink.faults import FaultProxy
from tests.uplink.model_platform import ModelPlatform
from uplink.envelope import BlobItem
from uplink.evidence import read_header
from uplink.link import Link, LinkPolicy, ServerClock
from uplink.platform.serve import LocalPlatform
from uplink.retry import Backoff, Reply, RetryClass, retry_after_s
from uplink.sender import Sender
from uplink.store import SqliteStore
from uplink.transport import HttpTransport, Signer


def test_another_network_ends_the_wait_but_not_what_the_server_asked_for(clock: ManualClock) -> None:
    network = ["wlan0/1"]
    link = Link(clock, random.Random(1), LinkPolicy(network=lambda: network[0]), Backoff(base_s=100.0))
    link.failed()
    assert link.wait_s() > 0
    network[0] = "wwan0/2"
    assert link.wait_s() == 0
    link.failed(after_s=60.0)
    network[0] = "wlan0/1"
    assert link.wait_s() >= 60.0


def test_a_long_wait_survives_a_restart_of_the_program(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([opened(1, pictures=0)])
    platform = ModelPlatform()
    platform.fault, platform.retry_after = "503", "600"
    assert Sender(store, platform, clock, random.Random(1)).step() is False
    again = Sender(store, platform, clock, random.Random(2))
    assert again.step() is False
    assert platform.requests == 1
    assert 600.0 <= again.link.wait_s() <= 900.0


def test_on_a_metered_link_candidates_and_pictures_wait(store: SqliteStore, clock: ManualClock) -> None:
    metered = [True]
    platform = ModelPlatform()
    sender = Sender(store, platform, clock, random.Random(1), policy=LinkPolicy(is_metered=lambda: metered[0]))
    store.commit([opened(1), change(case(2, CaseState.CANDIDATE))])
    assert sender.drain(10.0)
    assert (len(platform.events), len(platform.pictures)) == (1, 0)
    metered[0] = False
    assert sender.drain(10.0)
    assert (len(platform.events), len(platform.pictures)) == (2, 1)


def test_bandwidth_is_kept_in_the_mean(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([change(case(k), (picture(k, size=50_000),)) for k in range(20)])
    sender = Sender(store, ModelPlatform(), clock, random.Random(1), policy=LinkPolicy(bytes_per_s=10_000.0))
    begin = clock.monotonic_ns()
    assert sender.drain(10_000.0)
    assert (clock.monotonic_ns() - begin) * 1e-9 >= 20 * 50_000 / 10_000 * 0.9


def test_retry_after_as_a_date_counts_from_the_date_of_the_same_reply() -> None:
    now = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert retry_after_s("Wed, 21 Oct 2015 07:30:00 GMT", now) == 120.0
    assert retry_after_s("Wed, 21 Oct 2015 07:00:00 GMT", now) == 0.0
    assert retry_after_s("Wed, 21 Oct 2099 07:00:00 GMT", now) == 3600.0
    assert retry_after_s("soon", now) is None


def test_the_offset_to_the_platform_is_kept_and_the_clock_never_set(clock: ManualClock) -> None:
    server = ServerClock(clock)
    server.learn(Reply(200, b'{"server_time": "2026-09-22T14:13:20.000Z"}'))
    assert server.offset_s == pytest.approx(86_400.0)
    assert server.now_s() == UTC_NS // 10**9 + 86_400
    assert clock.utc_ns() == UTC_NS
    server.learn(Reply(401, b"", date="Mon, 21 Sep 2026 14:13:21 GMT"))
    assert server.offset_s == pytest.approx(1.0)
    server.learn(Reply(200, b'{"server_time": "yesterday"}'))
    assert server.offset_s == pytest.approx(1.0)


def test_what_the_platform_acknowledged_and_lost_is_sent_again(store: SqliteStore, clock: ManualClock) -> None:
    class Forgetful(ModelPlatform):
        def heartbeat(self, device: str, body: object) -> Reply:
            return Reply(200, json.dumps({"gaps": [[2, 2], ["x"], [0, 9], None]}).encode())

    platform = Forgetful()
    store.commit([opened(k, pictures=0) for k in range(3)])
    sender = Sender(store, platform, clock, random.Random(1))
    assert sender.drain(10.0)
    sender.heartbeat()
    assert store.outbox.backlog().events == 1
    assert sender.drain(10.0)
    assert platform.repeats == 1


def _clip(store: SqliteStore, size: int) -> BlobItem:
    """A picture that is large enough for the route in pieces."""
    made = picture(5, size=size)
    store.commit([change(case(1), (made,))])
    return BlobItem(made.sha256, size, "image/jpeg", store.spool.path(made.sha256))


def test_large_files_go_in_pieces_through_cuts_and_urgent_events_go_in_between(
    store: SqliteStore, platform: LocalPlatform, clock: ManualClock
) -> None:
    size = 1_500_000
    clip = _clip(store, size)
    script = ["pass", "pass", "pass", "lose", "pass", "reset", "pass", "500", "half", "pass", "html"]
    with FaultProxy(platform.url, script) as proxy:
        sender = Sender(store, HttpTransport(proxy.url, stall_s=5.0), clock, random.Random(1))
        for _ in range(3):
            sender.step()
        store.commit([opened(2, pictures=0)])
        assert sender.drain(100_000.0)
        order = [path.rpartition("/")[0].rpartition("/")[2] for method, path, _ in proxy.seen if method != "HEAD"]
    assert sender.counts[RetryClass.PART] >= 5
    assert order.index("events", 2) < len(order) - 2
    assert store.outbox.losses() == {}
    assert platform.intake.database.value("SELECT size FROM blob WHERE sha256 = ?", (clip.sha256,)) == size


def test_an_upload_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    transport = HttpTransport("http://127.0.0.1:9", connect_s=0.1)
    for place in (
        "http://example.com/v1/devices/car-1/uploads/a",
        "/v1/devices/car-2/uploads/a",
        "../../../x",
        "a?b=c",
    ):
        assert transport.upload_offset("car-1", place).error == "upload elsewhere"


def test_signed_requests_are_taken_by_the_platform(
    store: SqliteStore, platform: LocalPlatform, clock: ManualClock
) -> None:
    store.commit([opened(1)])
    server = ServerClock(clock)
    transport = HttpTransport(platform.url, signer=Signer(store.key, server.now_s))
    sender = Sender(store, transport, clock, random.Random(1), server_clock=server)
    assert sender.drain(100.0)
    assert store.outbox.backlog().events == 0
    assert server.offset_s is not None


def _damaged(store: SqliteStore, clock: ManualClock) -> SqliteStore:
    """The store after its database has become garbage."""
    crash(store)
    store.path.write_bytes(b"\xa5" * store.path.stat().st_size)
    for segment in (store.path.parent / "journal").iterdir():
        segment.unlink()
    return SqliteStore(store.path, "car-1", clock)


def test_lost_memory_is_asked_for_before_anything_new_is_told(store: SqliteStore, clock: ManualClock) -> None:
    platform = ModelPlatform()
    store.commit([opened(1), opened(9000)])
    platform.cases = {c.id: case_to_dict(replace(c, evidence=())) for c in store.cases()}
    with _damaged(store, clock) as again:
        assert (again.cases(), again.memory_lost, len(again.memory_holes)) == ([], True, 2)
        tiles = [tile_of(opened(1).case.lat_deg, opened(1).case.lon_deg)]
        sender = Sender(again, platform, clock, random.Random(1))
        platform.fault = "unreached"
        assert again.known(tiles, 1)[0].cases == ()
        again.commit([opened(1, pictures=0)])
        envelope = again.outbox.next_event()
        assert envelope is not None
        assert json.loads(read_header(envelope.evidence)[0])["memory_lost"] is True
        platform.fault = "none"
        clock.advance(61.0)
        assert [c.id for c in again.known(tiles, 1)[0].cases] == ["case-00001"]
        again.commit([change(case(1, revision=2))])
        envelope = again.outbox.next_event({envelope.seq})
        assert envelope is not None
        assert json.loads(read_header(envelope.evidence)[0])["memory_lost"] is False
        assert again.memory_lost
        assert sender.resync.idle()
        assert not again.memory_lost
        assert len(again.cases()) == 2
        assert not sender.resync.idle()


def test_memory_comes_from_the_real_platform_too(
    store: SqliteStore, platform: LocalPlatform, clock: ManualClock
) -> None:
    store.commit([opened(k, pictures=0) for k in range(3)])
    before = store.cases()
    assert Sender(store, HttpTransport(platform.url), clock, random.Random(1)).drain(100.0)
    with _damaged(store, clock) as again:
        sender = Sender(again, HttpTransport(platform.url), clock, random.Random(1))
        while sender.resync.idle():
            pass
        assert not again.memory_lost
        assert [(c.id, c.revision, c.state) for c in again.cases()] == [(c.id, c.revision, c.state) for c in before]


def test_with_fleet_memory_what_others_filed_is_known(store: SqliteStore, clock: ManualClock) -> None:
    asked: list[Sequence[Tile]] = []

    class Asked(ModelPlatform):
        def memory(self, device: str, tiles: Sequence[Tile], cursor: str) -> Reply:
            asked.append(tiles)
            return super().memory(device, tiles, cursor)

    platform = Asked()
    other = replace(case(5), vehicle="car-2")
    platform.cases = {other.id: case_to_dict(other)}
    tile = tile_of(other.lat_deg, other.lon_deg)
    sender = Sender(store, platform, clock, random.Random(1), fleet=True)
    assert store.known([tile], 1)[0].cases == ()
    assert sender.resync.idle()
    assert [c.id for c in store.known([tile], 1)[0].cases] == [other.id]
    assert not sender.resync.idle()
    clock.advance(601.0)
    assert sender.resync.idle()
    assert len(asked) == 2


def test_a_body_damaged_inside_the_database_is_mended_from_the_journal(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([opened(1, pictures=0), opened(2, pictures=0)])
    with store._database.transaction() as tx:
        tx.execute("UPDATE event SET manifest = x'7b7d'")
    store.journal.close()
    segment = next((store.path.parent / "journal").iterdir())
    lines = segment.read_bytes().split(b"\n")
    segment.write_bytes(b"\n".join([lines[0], lines[1].replace(b"A", b"B")]) + b"\n")
    platform = ModelPlatform()
    assert Sender(store, platform, clock, random.Random(1)).drain(100.0)
    assert len(platform.events) == 1
    assert store.outbox.losses() == {"dead event": 1}


def test_a_picture_damaged_on_the_disk_is_put_aside_not_sent(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([opened(1)])
    made = opened(1).pictures[0]
    store.spool.path(made.sha256).write_bytes(made.jpeg[:-1] + b"x")
    platform = ModelPlatform()
    assert Sender(store, platform, clock, random.Random(1)).drain(100.0)
    assert platform.pictures == {}
    assert store.outbox.losses() == {"lost evidence": 1}
    aside = store.path.parent / "quarantine" / "evidence" / f"{made.sha256}.jpg"
    assert hashlib.sha256(aside.read_bytes()).hexdigest() != made.sha256


def test_a_flipped_bit_in_the_memory_is_forgotten_aloud(store: SqliteStore) -> None:
    store.commit([opened(1), opened(2)])
    with store._database.transaction() as tx:
        tx.execute("UPDATE case_state SET body = replace(body, '06010', '06011') WHERE case_uid = 'case-00001'")
    assert [c.id for c in store.cases()] == ["case-00002"]
    assert store.outbox.losses() == {"damaged memory": 1}
    assert store.memory_holes == {tile_of(opened(1).case.lat_deg, opened(1).case.lon_deg)}
