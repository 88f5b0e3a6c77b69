"""What leaves the platform: the stream of changes, webhooks, thumbnails, the training set, map layers."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from models.dataset import read_names
from perception.types import CaseState, Picture
from tests.uplink.builders import UTC_NS, jpeg
from tests.uplink.platform.talk import act, deliver, made_of, photo, problem, send_photo, sighting
from uplink.platform.export import export_rejected, split_of
from uplink.platform.serve import LocalPlatform
from uplink.platform.webhooks import Webhooks
from vehicle.__main__ import main

LAT, LON = 30.25, 120.15


def with_pictures(platform: LocalPlatform, number: int) -> str:
    """An open case with two real pictures that have arrived."""
    name = f"case-{number}"
    files = [photo(number * 2), photo(number * 2 + 1)]
    pictures = tuple(
        Picture(hashlib.sha256(f).hexdigest(), role, 0, UTC_NS, "front", 320, 240)
        for f, role in zip(files, ("close_up", "context"), strict=True)
    )
    made = made_of(name, [sighting("p1", 0.0, LAT + number * 1e-3, LON)], "car-1", evidence=pictures)
    assert deliver(platform, made, number).status_code == 201
    for content in files:
        assert send_photo(platform, content).status_code == 201
    return name


def test_the_stream_tells_of_changes_as_they_come(platform: LocalPlatform) -> None:
    with requests.get(f"{platform.url}/v1/stream", stream=True, timeout=20) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        hello = [next(lines) for _ in range(4)]
        assert "event: hello" in hello
        with_pictures(platform, 1)
        seen: list[tuple[str, str]] = []
        while len(seen) < 3:
            line = next(lines)
            if line.startswith('data: {"'):
                change = json.loads(line[6:])
                seen.append((change["case_id"], change["change"]))
                cursor = change["cursor"]
    assert seen == [("case-1", "opened"), ("case-1", "picture"), ("case-1", "picture")]
    act(platform, "case-1", "accept")
    headers = {"Last-Event-ID": cursor}
    with requests.get(f"{platform.url}/v1/stream", stream=True, headers=headers, timeout=20) as stream:
        later = next(line for line in stream.iter_lines(decode_unicode=True) if line.startswith('data: {"'))
    assert json.loads(later[6:])["change"] == "accept"


def test_there_are_only_so_many_streams(started: Callable[..., LocalPlatform]) -> None:
    from uplink.platform.limits import Limits

    platform = started(limits=Limits(streams=2))
    opened = [requests.get(f"{platform.url}/v1/stream", stream=True, timeout=20) for _ in range(3)]
    assert [reply.status_code for reply in opened] == [200, 200, 503]
    for reply in opened:
        reply.close()


@contextmanager
def listener(status: list[int]) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A server that keeps what it is told and answers with the next status of the list (200 when it is empty)."""
    told: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            code = status.pop(0) if status else 200
            told.append(({k.lower(): v for k, v in self.headers.items()}, content))
            self.send_response(code)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_webhooks_are_signed_in_order_and_tried_again(started: Callable[..., LocalPlatform]) -> None:
    with listener([503, 302]) as (origin, told):
        platform = started(webhook_origins=(origin,))
        address = f"{platform.url}/v1/webhooks"
        made = requests.post(address, json={"url": f"{origin}/hook", "changes": ["opened", "reject"]}, timeout=20)
        assert made.status_code == 201
        with_pictures(platform, 1)
        act(platform, "case-1", "reject", reason="lawful")
        hooks: Webhooks = platform.app.state.webhooks
        for expected in (0, 0, 2, 0):
            assert hooks.deliver() == expected
            platform.intake.database.rows("SELECT 1")
            with platform.intake.database.transaction() as tx:
                tx.run("UPDATE webhook SET due_ns = 0")
        assert len(told) == 3
        headers, content = told[-1]
        assert [c["change"] for c in json.loads(content)["changes"]] == ["opened", "reject"]
        stamp, mac = (part.split("=")[1] for part in headers["qiji-signature"].split(","))
        wanted = hmac.new(made.json()["secret"].encode(), f"{stamp}.".encode() + content, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(mac, wanted)
        (row,) = requests.get(address, timeout=20).json()["webhooks"]
        assert (row["failures"], row["last_status"], "secret" in row) == (0, 200, False)
        assert requests.delete(f"{address}/{row['id']}", timeout=20).status_code == 204


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x", "https://good.example.evil.example/x", "https://good.example@evil.example/x",
        "https://user:" + "pw@good.example/", "http://good.example/", "https://good.example:444/", "https://[::1]/x",
    ],
)  # fmt: skip
def test_no_other_address_is_ever_fetched(started: Callable[..., LocalPlatform], url: str) -> None:
    platform = started(webhook_origins=("https://good.example",))
    reply = requests.post(f"{platform.url}/v1/webhooks", json={"url": url}, timeout=20)
    assert problem(reply) == (422, "address-not-allowed")


def test_rejected_cases_become_a_training_set(platform: LocalPlatform, tmp_path: Path) -> None:
    reasons = ["not_there", "wrong_kind", "lawful", "not_there"]
    for k, reason in enumerate(reasons, 1):
        act(platform, with_pictures(platform, k), "reject", reason=reason, note="seen on the spot")
    with_pictures(platform, 9)
    out = tmp_path / "set"
    done = export_rejected(platform.intake.database, platform.intake.pictures, ["car", "garbage"], out)
    assert (done.cases, done.pictures, done.skipped, done.missing) == (3, 6, 1, 0)
    assert read_names(out) == {0: "car", 1: "garbage"}
    lines = [json.loads(line) for line in (out / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["case_id"], line["class"], line["reason"], line["officer"]) for line in lines] == [
        ("case-1", "garbage", "not_there", "local"), ("case-2", "garbage", "wrong_kind", "local"),
        ("case-4", "garbage", "not_there", "local"),
    ]  # fmt: skip
    for line in lines:
        for name in line["pictures"]:
            assert name.startswith(f"images/{split_of(line['case_id'])}/rejected_")
            assert cv2.imread(str(out / name)) is not None
            assert (out / name.replace("images", "labels").replace(".jpg", ".txt")).read_text() == ""


def test_the_command_exports_from_the_folder(embedded: LocalPlatform, tmp_path: Path) -> None:
    act(embedded, with_pictures(embedded, 1), "reject", reason="not_there")
    folder = str(embedded.app.state.settings.data_dir)
    assert main(["platform", "export", "--rejected", str(tmp_path / "set"), "--data", folder, "--json"]) == 0
    assert len(list((tmp_path / "set").glob("images/*/rejected_*.jpg"))) == 2
    assert main(["platform", "export", "--rejected", str(tmp_path / "set"), "--data", folder]) == 2
    assert main(["platform", "export", "--rejected", str(tmp_path / "two"), "--data", str(tmp_path / "none")]) == 2


def test_thumbnails_are_made_in_a_process_with_limits(platform: LocalPlatform) -> None:
    good, fake = photo(1, 1600, 900), jpeg(1)
    for content in (good, fake):
        assert send_photo(platform, content).status_code == 201
    names = [hashlib.sha256(content).hexdigest() for content in (good, fake)]
    for _ in range(2):
        small = requests.get(f"{platform.url}/v1/blobs/{names[0]}/thumbnail", timeout=60)
        image = cv2.imdecode(np.frombuffer(small.content, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape[1] == 320
    assert problem(requests.get(f"{platform.url}/v1/blobs/{names[1]}/thumbnail", timeout=60)) == (404, "not-decodable")


def test_lists_filter_by_grid_time_confidence_and_box(platform: LocalPlatform) -> None:
    for k in range(6):
        made = made_of(f"case-{k}", [sighting("p1", float(k), LAT + 0.01 * k, LON)], "car-1")
        made = replace(made, confidence=0.5 + 0.05 * k, grid=f"33010600100100{k}", state=CaseState.OPEN)
        deliver(platform, made, k + 1)

    def ids(**query: object) -> str:
        reply = requests.get(f"{platform.url}/v1/cases", params=query, timeout=20)  # type: ignore[arg-type]
        assert reply.status_code == 200, reply.text
        assert reply.json()["total"] == len(reply.json()["cases"])
        return "".join(c["case_id"][-1] for c in reply.json()["cases"])

    assert ids(grid="330106001001002") == "2"
    assert ids(confidence=0.69) == "45"
    assert ids(box=f"{LON - 0.1},{LAT + 0.015},{LON + 0.1},{LAT + 0.035}") == "23"
    middle = requests.get(f"{platform.url}/v1/cases/case-3", timeout=20).json()["last_seen_utc"]
    assert ids(seen_after=middle) == "345"
    assert ids(seen_before=middle) == "0123"
    for bad in ({"box": "1,2,3"}, {"box": "3,2,1,4"}, {"seen_after": "noon"}, {"confidence": 2}, {"kind": "a\x00"}):
        reply = requests.get(f"{platform.url}/v1/cases", params=bad, timeout=20)
        assert problem(reply) == (422, "invalid-request")


def test_vehicle_tracks_as_told_or_from_what_they_saw(platform: LocalPlatform) -> None:
    deliver(platform, made_of("case-a", [sighting("p1", 0.0, LAT, LON)], "car-1"), 1)
    beat = {
        "epoch": "00000000aaaaaaaa", "max_seq": 0, "oldest_unacked": None, "loss": {}, "chain_head": "", "health": {},
        "backlog": {"events": 0, "blobs": 0, "bytes": 0},
        "track": [{"utc": platform.intake.now(), "lat_deg": LAT, "lon_deg": LON + k * 1e-4} for k in range(1)],
    }  # fmt: skip
    assert requests.post(f"{platform.url}/v1/devices/car-2/heartbeat", json=beat, timeout=20).status_code == 200
    found = requests.get(f"{platform.url}/v1/tracks", timeout=20).json()["tracks"]
    assert [(t["device"], t["told"], len(t["points"])) for t in found] == [("car-1", False, 1), ("car-2", True, 1)]


def test_grids_of_the_city_are_drawn(started: Callable[..., LocalPlatform], tmp_path: Path) -> None:
    ring = [[120.0, 30.0], [120.01, 30.0], [120.01, 30.01], [120.0, 30.01], [120.0, 30.0]]
    feature = {"type": "Feature", "properties": {"id": "330106001001001", "x": 1},
               "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip
    (tmp_path / "grids.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (tmp_path / "city.toml").write_text('version = 1\nname = "x"\ngrids = "grids.geojson"\n')
    platform = started(city=tmp_path / "city.toml")
    near = requests.get(f"{platform.url}/v1/map/grids?box=119.9,29.9,120.1,30.1", timeout=20).json()
    assert [f["properties"]["id"] for f in near["features"]] == ["330106001001001"]
    far = requests.get(f"{platform.url}/v1/map/grids?box=119.9,29.9,119.95,30.1", timeout=20).json()
    assert far["features"] == []
