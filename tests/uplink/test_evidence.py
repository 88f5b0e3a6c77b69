"""Evidence that holds, and what is found out when somebody touches it: flips, replays, removals, other keys."""

from __future__ import annotations

import base64
import json
import random
import stat
from pathlib import Path

import pytest

from gnss.clock import ManualClock
from tests.uplink.builders import UTC_NS, opened
from tests.uplink.model_platform import ModelPlatform
from tests.uplink.trial_evidence import flips, removals, replays
from uplink.errors import StoreError
from uplink.evidence import BadEvidence, Witnessed, check_manifest, read_header
from uplink.export import export
from uplink.keys import DeviceKey, PublicKey, device_key
from uplink.sender import Sender
from uplink.signing import BadSignature, signature_base, signed_headers, verify_request
from uplink.store import SqliteStore
from uplink.verify import verify_folder
from vehicle.__main__ import main


@pytest.fixture
def folder(store: SqliteStore, tmp_path: Path) -> Path:
    """An export of twelve cases with pictures."""
    store.commit([opened(k, pictures=2) for k in range(12)])
    export(store.path, tmp_path / "export")
    return tmp_path / "export"


@pytest.fixture
def public(store: SqliteStore) -> PublicKey:
    return store.key.public


def test_what_nobody_touched_holds_and_the_command_says_so(
    folder: Path, public: PublicKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = verify_folder(folder, public)
    assert verdict.ok
    assert (verdict.links, verdict.signed, verdict.bodies, verdict.pictures) == (12, 12, 12, 24)
    key = tmp_path / "k.pub"
    key.write_bytes(public.pem())
    assert main(["evidence", "verify", str(folder), "--key", str(key)]) == 0
    assert "everything holds" in capsys.readouterr().out
    key.write_bytes(DeviceKey.from_seed(b"x" * 32).public.pem())
    assert main(["evidence", "verify", str(folder), "--key", str(key), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    key.write_bytes(b"no key")
    assert main(["evidence", "verify", str(folder), "--key", str(key)]) == 2


def test_every_flipped_bit_is_found(folder: Path, public: PublicKey) -> None:
    assert flips(folder, public, 120, seed=61) == 120


def test_a_changed_body_is_found(folder: Path, public: PublicKey) -> None:
    path = folder / "events.jsonl"
    good = path.read_text()
    path.write_text(good.replace('"lat_deg":30.2503', '"lat_deg":30.2603', 1))
    assert not verify_folder(folder, public).ok
    path.write_text(good)
    assert verify_folder(folder, public).ok


def test_replayed_moved_and_removed_links_are_found(folder: Path, public: PublicKey) -> None:
    assert replays(folder, public, 60, seed=62) == 60
    assert removals(folder, public) == 12


def test_acknowledged_and_purged_events_leave_links_that_their_successors_pin(
    store: SqliteStore, clock: ManualClock, tmp_path: Path, public: PublicKey
) -> None:
    store.commit([opened(k) for k in range(6)])
    assert Sender(store, ModelPlatform(), clock, random.Random(1)).drain(100.0)
    assert store.outbox.purge_events(keep=2) == 4
    store.commit([opened(7)])
    assert export(store.path, tmp_path / "out") == 1
    verdict = verify_folder(tmp_path / "out", public)
    assert verdict.ok
    assert (verdict.links, verdict.signed, verdict.bodies) == (7, 3, 1)
    path = tmp_path / "out" / "chain.jsonl"
    lines = path.read_text().splitlines()
    bare = json.loads(lines[1])
    assert bare["manifest"] is None
    path.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    assert not verify_folder(tmp_path / "out", public).ok


def test_the_manifest_says_what_was_known(store: SqliteStore) -> None:
    store.witness = lambda: Witnessed({"fixes": 12, "sha256": "f" * 64}, {"spread_ms": 0.4})
    store.commit([opened(1)])
    envelope = store.outbox.next_event()
    assert envelope is not None
    manifest, signature = read_header(envelope.evidence)
    tree = check_manifest(manifest, signature, store.key.public)
    assert tree["event_sha256"] == envelope.digest
    assert tree["pictures"] == [opened(1).pictures[0].sha256]
    assert tree["gnss"]["record"]["fixes"] == 12
    assert tree["clock"] == {"source": "gnss", "utc": "2026-09-21T14:13:20.000Z", "quality": {"spread_ms": 0.4}}
    assert tree["memory_lost"] is False
    assert {"model_sha256", "config_sha256", "rules_sha256", "catalogue_sha256", "software"} <= set(tree)
    assert len(envelope.evidence) < 8192


@pytest.mark.parametrize("value", ["", "x", "::", ":e30=:", ":" + "A" * 9000 + ":", ":" + "W" * 4000 + ":"])
def test_headers_that_prove_nothing_are_refused(value: str) -> None:
    with pytest.raises(BadEvidence):
        read_header(value)


def test_the_key_is_made_once_kept_to_its_user_and_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = device_key(tmp_path / "keys")
    file = tmp_path / "keys" / "device.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert device_key(tmp_path / "keys").public.id == key.public.id
    secret = "".join(file.read_text().splitlines()[1:-1])
    assert secret not in repr(key) + caplog.text
    file.chmod(0o644)
    with pytest.raises(StoreError, match="open to others"):
        device_key(tmp_path / "keys")
    file.chmod(0o600)
    file.write_text("garbage")
    assert device_key(tmp_path / "keys").public.id != key.public.id
    assert (tmp_path / "keys" / "device.key.damaged").read_text() == "garbage"
    assert "garbage" not in caplog.text


def test_the_published_example_of_rfc_9421_b_2_6() -> None:
    public = PublicKey.from_pem(
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n"
        b"-----END PUBLIC KEY-----\n"
    )
    params = (
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"'
    )
    values = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("@method", "POST"),
        ("@path", "/foo"),
        ("@authority", "example.com"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ]
    signature = base64.b64decode(
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    )
    assert public.verifies(signature, signature_base(values, params))


def test_signed_requests_hold_and_any_change_is_refused() -> None:
    key = DeviceKey.from_seed(b"7" * 32)
    target, now = "/v1/devices/car-1/events/car-1%3A00%3A1", UTC_NS // 10**9
    headers = {"Content-Digest": "sha-256=:x:", "Evidence-Manifest": ":e30=:", "Content-Type": "application/json"}
    headers |= signed_headers(key, "PUT", target, headers, created_s=now, nonce="n" * 20)
    assert verify_request("PUT", target, headers, key.public, now_s=now + 5, window_s=600) == "n" * 20
    wrong = [
        ("POST", target, headers, now),
        ("PUT", target + "?a=1", headers, now),
        ("PUT", target, headers | {"Content-Digest": "sha-256=:y:"}, now),
        ("PUT", target, headers | {"Evidence-Manifest": ":e31=:"}, now),
        ("PUT", target, {k: v for k, v in headers.items() if k != "Evidence-Manifest"}, now),
        ("PUT", target, {k: v for k, v in headers.items() if k != "Signature"}, now),
        ("PUT", target, headers, now + 10_000),
    ]
    for method, path, sent, now_s in wrong:
        with pytest.raises(BadSignature):
            verify_request(method, path, sent, key.public, now_s=now_s, window_s=600)
    with pytest.raises(BadSignature, match="another key"):
        verify_request("PUT", target, headers, DeviceKey.from_seed(b"8" * 32).public, now_s=now, window_s=600)


def test_replayed_requests_add_no_case(store: SqliteStore, clock: ManualClock) -> None:
    platform = ModelPlatform()
    store.commit([opened(k) for k in range(3)])
    envelope = store.outbox.next_event()
    assert envelope is not None
    assert Sender(store, platform, clock, random.Random(1)).drain(100.0)
    for _ in range(1000):
        assert platform.put_event("car-1", envelope).status == 200
    assert len(platform.events) == 3
