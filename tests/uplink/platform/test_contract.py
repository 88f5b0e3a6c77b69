"""The receiver's contract over real HTTP."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests

from gnss.clock import ManualClock, SystemClock
from perception.errors import SetupError
from perception.types import CaseChange, CaseState
from tests.uplink.builders import case, change, jpeg, opened
from uplink.payload import ChainLink, Origin, case_body
from uplink.platform.contract import case_schema
from uplink.platform.serve import LocalPlatform
from uplink.platform.storage import open_storage
from uplink.platform.uploads import BLOB_CAP
from uplink.transport import content_digest

EPOCH = "00000000aaaaaaaa"
SCHEMA_FILE = Path(__file__).parents[3] / "uplink" / "schema" / "case.v1.json"


def body_of(made: CaseChange, seq: int = 1, device: str = "car-1") -> bytes:
    return case_body(made, ChainLink(f"{device}:{EPOCH}:{seq}", device, EPOCH, seq, ""), Origin())


def put(
    platform: LocalPlatform, content: bytes, seq: int = 1, device: str = "car-1", **headers: str
) -> requests.Response:
    digest = content_digest(hashlib.sha256(content).hexdigest())
    sent = {
        "Content-Type": "application/json",
        "Content-Digest": digest,
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    address = f"{platform.url}/v1/devices/{device}/events/{device}:{EPOCH}:{seq}"
    return requests.put(address, data=content, headers=sent, timeout=5)


def put_blob(
    platform: LocalPlatform, content: bytes, sha256: str | None = None, kind: str = "image/jpeg"
) -> requests.Response:
    name = sha256 or hashlib.sha256(content).hexdigest()
    return requests.put(
        f"{platform.url}/v1/devices/car-1/blobs/{name}", data=content, headers={"Content-Type": kind}, timeout=5
    )


def problem(reply: requests.Response) -> tuple[int, str]:
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json()["status"] == reply.status_code
    return reply.status_code, reply.json()["type"].removeprefix("urn:qiji:problem:")


def altered(**fields: Any) -> bytes:
    return json.dumps({**json.loads(body_of(opened(1))), **fields}).encode()


def test_the_schema_file_is_that_of_the_receiver_and_bodies_keep_it() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == case_schema(), "write case_schema() to uplink/schema/case.v1.json"
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(body_of(opened(1))), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(altered(colour="red")), schema)


def test_new_then_same_then_conflict(platform: LocalPlatform) -> None:
    first, again = put(platform, body_of(opened(1))), put(platform, body_of(opened(1)))
    assert (first.status_code, again.status_code) == (201, 200)
    receipts = [{k: v for k, v in reply.json().items() if k != "server_time"} for reply in (first, again)]
    assert receipts[0] == receipts[1]
    assert receipts[0]["need"] == [opened(1).pictures[0].sha256]
    assert receipts[0]["uid"] == f"car-1:{EPOCH}:1"
    assert problem(put(platform, body_of(opened(2)))) == (409, "uid-conflict")
    assert platform.intake.database.value("SELECT count(*) FROM event") == 1


def test_twenty_equal_requests_at_once_make_one_event(platform: LocalPlatform) -> None:
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda _: put(platform, body_of(opened(1))), range(20)))
    assert sorted(reply.status_code for reply in replies) == [200] * 19 + [201]
    assert len({reply.json()["receipt_id"] for reply in replies}) == 1


def test_what_is_answered_is_committed_for_every_reader(platform: LocalPlatform, tmp_path: Path) -> None:
    assert put(platform, body_of(opened(1))).status_code == 201
    with closing(open_storage(tmp_path / "platform", platform.app.state.settings.database_url)) as other:
        assert other.value("SELECT count(*) FROM event") == 1


def test_a_commit_that_fails_is_never_answered_with_a_receipt(embedded: LocalPlatform) -> None:
    platform = embedded
    with platform.intake.database.transaction() as tx:
        # A deferred foreign key fails at COMMIT, after every statement of the intake has succeeded.
        tx.run("CREATE TABLE bad (x INTEGER REFERENCES device (seen) DEFERRABLE INITIALLY DEFERRED)")
        tx.run("CREATE TRIGGER spoil AFTER INSERT ON case_head BEGIN INSERT INTO bad VALUES (77); END")
    assert problem(put(platform, body_of(opened(1)))) == (500, "internal-error")
    assert platform.intake.database.value("SELECT count(*) FROM event") == 0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (400, "invalid-json")),
        (b"{", (400, "invalid-json")),
        (b"[" * 30_000, (400, "invalid-json")),
        (b"\xff\xfe", (400, "invalid-json")),
        (b"[]", (422, "invalid-body")),
        (altered(colour="red"), (422, "invalid-body")),
        (altered(existence=2.0), (422, "invalid-body")),
        (altered(existence=True), (422, "invalid-body")),
        (altered(revision="1"), (422, "invalid-body")),
        (altered(schema="case.v2"), (422, "invalid-body")),
        (altered(existence=float("nan")), (422, "invalid-body")),
        (altered(case_id="../../etc/passwd"), (422, "invalid-body")),
        (altered(first_seen_utc="2026-11-21T10:00:00"), (422, "invalid-body")),
        (altered(SZDYWGBSM="short"), (422, "invalid-body")),
        (altered(seq=2), (422, "invalid-body")),
        (altered(reason="x" * 70_000), (413, "too-large")),
    ],
)
def test_bad_bodies_are_refused_by_name(platform: LocalPlatform, content: bytes, expected: tuple[int, str]) -> None:
    assert problem(put(platform, content)) == expected
    assert platform.intake.database.value("SELECT count(*) FROM event") == 0


def test_uncounted_long_bodies_are_cut_by_counting(platform: LocalPlatform) -> None:
    digest = content_digest("0" * 64)
    address = f"{platform.url}/v1/devices/car-1/events/car-1:{EPOCH}:1"
    reply = requests.put(
        address,
        data=(b"x" * 8192 for _ in range(9)),
        headers={"Content-Type": "application/json", "Content-Digest": digest},
        timeout=5,
    )
    assert problem(reply) == (413, "too-large")


def test_digest_type_and_address_must_fit(platform: LocalPlatform) -> None:
    content = body_of(opened(1))
    assert problem(put(platform, content, Content_Digest="md5=:x:")) == (400, "digest-missing")
    assert problem(put(platform, content, Content_Digest=content_digest("0" * 64))) == (422, "digest-mismatch")
    assert problem(put(platform, content, Content_Type="text/plain")) == (415, "unsupported-media-type")
    assert problem(put(platform, content, Content_Encoding="gzip")) == (415, "unsupported-media-type")
    assert problem(put(platform, content, seq=2)) == (422, "uid-mismatch")
    assert problem(put(platform, body_of(opened(1), device="car-2"))) == (422, "uid-mismatch")


def test_pictures_are_checked_counted_and_idempotent(platform: LocalPlatform) -> None:
    content = jpeg(1)
    address = f"{platform.url}/v1/devices/car-1/blobs/{hashlib.sha256(content).hexdigest()}"
    assert requests.head(address, timeout=5).status_code == 404
    assert [put_blob(platform, content).status_code for _ in range(2)] == [201, 200]
    held = requests.head(address, timeout=5)
    assert (held.status_code, held.headers["Content-Digest"]) == (200, content_digest(address[-64:]))
    assert requests.head(address.replace("car-1", "car-2"), timeout=5).status_code == 404
    assert problem(put_blob(platform, content, "0" * 64)) == (422, "digest-mismatch")
    assert problem(put_blob(platform, b"<svg/>")) == (422, "not-a-jpeg")
    assert problem(put_blob(platform, jpeg(1)[:-2])) == (422, "not-a-jpeg")
    assert problem(put_blob(platform, content, kind="image/png")) == (415, "unsupported-media-type")
    assert problem(put_blob(platform, b"\xff" * (BLOB_CAP + 1))) == (413, "too-large")
    assert requests.get(f"{platform.url}/v1/blobs/{address[-64:]}", timeout=5).content == content
    assert problem(requests.get(f"{platform.url}/v1/blobs/{'0' * 64}", timeout=5)) == (404, "no-such-picture")


def test_refused_pictures_leave_no_file(platform: LocalPlatform, tmp_path: Path) -> None:
    put_blob(platform, b"<svg/>")
    put_blob(platform, jpeg(2), "1" * 64)
    assert [path for path in (tmp_path / "platform" / "blobs").glob("*/*")] == []


@pytest.mark.parametrize(
    "path",
    ["/v1/devices/..%2f..%2fetc/events/x", "/v1/devices/car%00/heartbeat", "/v1/devices/car-1/blobs/..%2f..%2fx.sqlite",
     "/static/..%2fapp.py", "/static/../app.py", "/v1/cases/..%2f..", "/nowhere", "/v1/blobs/../../platform.sqlite"],
)  # fmt: skip
def test_names_that_climb_are_refused(embedded: LocalPlatform, path: str) -> None:
    platform = embedded
    session = requests.Session()
    request = requests.Request("GET", platform.url + "/x").prepare()
    request.url = platform.url + path
    reply = session.send(request, timeout=5)
    assert problem(reply)[0] in (404, 405, 422)


def test_a_newer_revision_is_the_case_whatever_the_order_of_arrival(platform: LocalPlatform) -> None:
    resolved = change(case(1, CaseState.RESOLVED, revision=3))
    put(platform, body_of(opened(1)), 1)
    put(platform, body_of(resolved, 3), 3)
    late = put(platform, body_of(change(case(1, CaseState.MONITORING, revision=2)), 2), 2)
    assert late.json()["canonical"] == {"case_id": "case-00001", "revision": 3}
    found = requests.get(f"{platform.url}/v1/cases/case-00001", timeout=5).json()
    assert (found["state"], found["revision"]) == ("resolved", 3)
    assert [(step["revision"], step["canonical"]) for step in found["history"]] == [(1, True), (2, False), (3, True)]


def test_lists_filter_and_page(platform: LocalPlatform) -> None:
    states = [CaseState.OPEN, CaseState.RESOLVED, CaseState.CANDIDATE, CaseState.WITHDRAWN, CaseState.MONITORING]
    for seq, state in enumerate(states, 1):
        kind = "bin_overflow" if state is CaseState.OPEN else "exposed_garbage"
        assert put(platform, body_of(change(case(seq, state, kind=kind)), seq), seq).status_code == 201

    def ids(query: str) -> list[str]:
        return [
            item["case_id"][-1] for item in requests.get(f"{platform.url}/v1/cases{query}", timeout=5).json()["cases"]
        ]

    assert ids("") == ["1", "2", "5"]
    assert ids("?include=candidates") == ["1", "2", "3", "5"]
    assert ids("?state=withdrawn&state=open") == ["1", "4"]
    assert ids("?kind=bin_overflow") == ["1"]
    assert ids("?limit=1&after=case-00001") == ["2"]
    assert problem(requests.get(f"{platform.url}/v1/cases?state=lost", timeout=5)) == (422, "invalid-request")
    assert problem(requests.get(f"{platform.url}/v1/cases/none", timeout=5)) == (404, "no-such-case")


def test_heartbeat_names_the_gaps(platform: LocalPlatform) -> None:
    for seq in (2, 3, 6):
        put(platform, body_of(opened(seq), seq), seq)
    beat: dict[str, Any] = {
        "epoch": EPOCH, "max_seq": 8, "oldest_unacked": None, "loss": {}, "chain_head": "",
        "backlog": {"events": 0, "blobs": 0, "bytes": 0}, "health": {},
    }  # fmt: skip
    address = f"{platform.url}/v1/devices/car-1/heartbeat"
    assert requests.post(address, json=beat, timeout=5).json()["gaps"] == [[1, 1], [4, 5], [7, 8]]
    assert problem(requests.post(address, json={**beat, "x": 1}, timeout=5)) == (422, "invalid-body")
    devices = requests.get(f"{platform.url}/v1/devices", timeout=5).json()["devices"]
    assert [(device["id"], device["heartbeat"]["max_seq"]) for device in devices] == [("car-1", 8)]


def test_everything_outlives_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    with LocalPlatform.start(tmp_path / "p", clock=clock) as first:
        put(first, body_of(opened(1)))
        put_blob(first, opened(1).pictures[0].jpeg)
    (tmp_path / "p" / "blobs" / "00" / "left.part").write_bytes(b"half")
    with LocalPlatform.start(tmp_path / "p", clock=clock) as second:
        assert put(second, body_of(opened(1))).status_code == 200
        (found,) = requests.get(f"{second.url}/v1/cases", timeout=5).json()["cases"]
        assert found["evidence_state"] == "complete"
    assert not (tmp_path / "p" / "blobs" / "00" / "left.part").exists()


def test_health_and_published_contract(platform: LocalPlatform) -> None:
    assert requests.get(f"{platform.url}/healthz", timeout=5).json() == {"status": "ok"}
    assert requests.get(f"{platform.url}/readyz", timeout=5).json() == {"status": "ready"}
    tree = requests.get(f"{platform.url}/v1/openapi.json", timeout=5).json()
    paths = tree["paths"]
    assert {"/v1/devices/{device}/events/{uid}", "/v1/devices/{device}/blobs/{sha256}", "/v1/cases"} <= set(paths)
    body = paths["/v1/devices/{device}/events/{uid}"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/CaseBody"}
    assert tree["components"]["schemas"]["CaseBody"]["additionalProperties"] is False


def test_a_taken_port_is_a_setup_mistake(platform: LocalPlatform, tmp_path: Path) -> None:
    port = int(platform.url.rsplit(":", 1)[1])
    with pytest.raises(SetupError, match="cannot listen"):
        LocalPlatform.start(tmp_path / "other", port=port)


def test_serve_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    code = f"""
from pathlib import Path
from uplink.platform.serve import serve
serve("127.0.0.1", {port}, Path({str(tmp_path)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3]) as child:
        wait_until_it_answers(f"http://127.0.0.1:{port}/readyz")
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=30) == 0
    # Closing the last connection checkpoints and removes the write-ahead log.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "platform.sqlite"]


def wait_until_it_answers(address: str) -> None:
    for _ in range(1000):
        try:
            assert requests.get(address, timeout=5).status_code == 200
        except requests.ConnectionError:
            SystemClock().sleep(0.03)
        else:
            return
    pytest.fail(f"{address} never answered")
