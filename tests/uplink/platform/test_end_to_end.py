"""The car's own store and sender against a platform that takes enrolled, signing devices only."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gnss.clock import ManualClock, SystemClock
from perception.store import tiles_around
from tests.uplink.builders import UTC_NS, opened
from tests.uplink.platform.talk import act, problem
from uplink.evidence import canonical_bytes, check_manifest, header_value, read_header, sign
from uplink.keys import PublicKey
from uplink.platform.people import Registry
from uplink.platform.serve import LocalPlatform
from uplink.resync import Resync
from uplink.sender import Sender
from uplink.store import SqliteStore
from uplink.transport import HttpTransport, Signer

START = Callable[..., LocalPlatform]


def now_s() -> int:
    return SystemClock().utc_ns() // 10**9


def car(folder: Path, name: str, number: int) -> SqliteStore:
    clock = ManualClock(monotonic_ns=1, utc_ns=UTC_NS)
    return SqliteStore(folder / name / "store.sqlite", name, clock, make_epoch=lambda: f"{number:016x}")


def linked(platform: LocalPlatform, store: SqliteStore) -> HttpTransport:
    """An enrolled car's way to the platform."""
    registry: Registry = platform.app.state.registry
    transport = HttpTransport(platform.url, signer=Signer(store.key, now_s))
    reply = transport.enrol(store.device, registry.invite(store.device), store.key.public.raw_base64())
    assert reply.status == 201
    return transport


def test_enrolled_cars_deliver_sign_and_share_their_memory(started: START, tmp_path: Path) -> None:
    platform = started(devices="enrolled")
    with car(tmp_path, "car-1", 1) as one, car(tmp_path, "car-2", 2) as two:
        one.commit([opened(k) for k in range(1, 6)])
        first, second = linked(platform, one), linked(platform, two)
        assert Sender(one, first, SystemClock(), random.Random(1)).drain(30.0)
        listed = requests.get(f"{platform.url}/v1/cases", timeout=20).json()["cases"]
        assert [c["evidence_state"] for c in listed] == ["complete"] * 5
        history = requests.get(f"{platform.url}/v1/cases/case-00001", timeout=20).json()["history"]
        assert [step["signed"] for step in history] == ["proven"]
        # The second car learns of the cases, and of the officer's decision on one of them.
        act(platform, "case-00002", "reject", reason="lawful")
        sync = Resync(two, second, ManualClock(monotonic_ns=1), fleet=True)
        sync.ahead(tiles_around(30.25, 120.15))
        while sync.idle():
            pass
        held = {c.id: c.state.value for c in two.cases()}
        assert held == {f"case-{k:05d}": "rejected" if k == 2 else "open" for k in range(1, 6)}


def test_anybody_can_check_what_was_signed(started: START, tmp_path: Path) -> None:
    platform = started()
    with car(tmp_path, "car-1", 1) as store:
        store.commit([opened(1)])
        assert Sender(store, linked(platform, store), SystemClock(), random.Random(1)).drain(30.0)
        (event,) = requests.get(f"{platform.url}/v1/cases/case-00001/evidence", timeout=20).json()["events"]
        key = PublicKey(Ed25519PublicKey.from_public_bytes(base64.b64decode(event["public_key"])))
        tree = check_manifest(canonical_bytes(event["manifest"]), event["signature"], key)
        assert (tree["event_sha256"], tree["uid"], event["proven"]) == (event["sha256"], event["uid"], True)


@pytest.mark.parametrize("spoil", ["other body", "no base64", "too long", "other key"])
def test_evidence_that_proves_nothing_is_refused(started: START, tmp_path: Path, spoil: str) -> None:
    platform = started()
    with car(tmp_path, "car-1", 1) as store, car(tmp_path, "car-2", 2) as stranger:
        store.commit([opened(1), opened(2)])
        transport = linked(platform, store)
        first, second = store.outbox.next_event(), store.outbox.next_event({1})
        assert first is not None
        assert second is not None
        value = {
            "other body": second.evidence, "no base64": ":@@:", "too long": f":{'A' * 9000}:",
            "other key": _resigned(first.evidence, stranger),
        }[spoil]  # fmt: skip
        reply = transport.put_event("car-1", replace(first, evidence=value))
        assert reply.status == 422
        assert b"bad-evidence" in reply.body
        assert transport.put_event("car-1", first).status == 201


def _resigned(header: str, stranger: SqliteStore) -> str:
    content, _ = read_header(header)
    return header_value(content, sign(stranger.key, content))


def test_a_car_that_is_not_enrolled_is_told_so_and_keeps_everything(started: START, tmp_path: Path) -> None:
    platform = started(devices="enrolled")
    with car(tmp_path, "car-1", 1) as store:
        store.commit([opened(1)])
        transport = HttpTransport(platform.url, signer=Signer(store.key, now_s))
        event = store.outbox.next_event()
        assert event is not None
        assert transport.put_event("car-1", event).status == 401
        sender = Sender(store, transport, ManualClock(monotonic_ns=1, utc_ns=UTC_NS), random.Random(1))
        assert not sender.drain(100.0)
        assert store.outbox.backlog().events == 1
    reply = requests.get(f"{platform.url}/v1/devices/car-1/cases", timeout=20)
    assert problem(reply) == (401, "unknown-device")
