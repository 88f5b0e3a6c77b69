"""Files in parts: any cut is resumed, the newest request takes over, and only the announced bytes are taken."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import requests

from gnss.clock import SystemClock
from tests.uplink.platform.talk import photo, problem, send_photo
from uplink.platform.serve import LocalPlatform

CLIP = b"\x00\x00\x00\x18ftypmp42" + np.random.default_rng(3).bytes(900_000)


def begin(platform: LocalPlatform, content: bytes = CLIP, mime: str = "video/mp4", **fields: Any) -> requests.Response:
    order = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "mime": mime, **fields}
    return requests.post(f"{platform.url}/v1/devices/car-1/uploads", json=order, timeout=20)


def append(platform: LocalPlatform, place: str, offset: int, content: bytes) -> requests.Response:
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return requests.patch(platform.url + place, data=content, headers=headers, timeout=20)


def offset_of(platform: LocalPlatform, place: str) -> int:
    return int(requests.head(platform.url + place, timeout=20).headers["Upload-Offset"])


def test_a_clip_in_parts_of_any_size(platform: LocalPlatform) -> None:
    rng = np.random.default_rng(1)
    place = begin(platform).headers["Location"]
    reply = None
    while (offset := 0 if reply is None else int(reply.headers["Upload-Offset"])) < len(CLIP):
        reply = append(platform, place, offset, CLIP[offset : offset + int(rng.integers(1, 400_000))])
        assert reply.status_code in (200, 204)
    assert reply is not None
    assert reply.json()["sha256"] == hashlib.sha256(CLIP).hexdigest()
    got = requests.get(f"{platform.url}/v1/blobs/{hashlib.sha256(CLIP).hexdigest()}", timeout=20)
    assert (got.content, got.headers["Content-Type"]) == (CLIP, "video/mp4")
    assert problem(append(platform, place, len(CLIP), b""))[0] == 404


def test_it_goes_on_where_it_stopped_and_the_newest_request_takes_over(platform: LocalPlatform) -> None:
    first = begin(platform)
    place = first.headers["Location"]
    assert append(platform, place, 0, CLIP[:300_000]).status_code == 204
    again = begin(platform)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.headers["Location"], again.headers["Upload-Offset"]) == (place, "300000")
    assert problem(append(platform, place, 0, CLIP[:10])) == (409, "offset-mismatch")
    assert offset_of(platform, place) == 300_000

    def two_at_once() -> Any:
        yield CLIP[300_000:400_000]
        # Another request comes while this one is half way: not before the platform has begun with this one.
        while platform.intake.database.value("SELECT holder FROM upload") < 2:
            SystemClock().sleep(0.01)
        assert append(platform, place, 300_000, CLIP[300_000:350_000]).status_code == 204
        yield CLIP[400_000:800_000]

    assert problem(append(platform, place, 300_000, two_at_once())) == (409, "offset-mismatch")
    at = offset_of(platform, place)
    assert append(platform, place, at, CLIP[at:]).status_code == 200


def test_wrong_bytes_are_refused_and_forgotten(platform: LocalPlatform) -> None:
    place = begin(platform).headers["Location"]
    assert problem(append(platform, place, 0, CLIP[:-1] + b"x")) == (422, "digest-mismatch")
    assert requests.head(platform.url + place, timeout=20).status_code == 404
    text = b"not a film at all, not at all"
    place = begin(platform, text).headers["Location"]
    assert problem(append(platform, place, 0, text)) == (422, "not-an-mp4")
    place = begin(platform).headers["Location"]
    assert problem(append(platform, place, 0, CLIP + b"more")) == (413, "too-large")
    assert problem(append(platform, "/v1/devices/car-2" + place[17:], 0, b"x")) == (404, "no-such-upload")
    assert problem(begin(platform, size=10**9)) == (422, "invalid-body")
    assert problem(begin(platform, mime="image/jpeg", size=5 * 1024 * 1024)) == (413, "too-large")
    growing = list((platform.app.state.settings.data_dir / "blobs").glob("*/*.growing"))
    assert len(growing) == 1


def test_unfinished_uploads_of_a_device_are_bounded(platform: LocalPlatform) -> None:
    places = [begin(platform, CLIP + bytes([k])).headers["Location"] for k in range(12)]
    alive = [requests.head(platform.url + place, timeout=20).status_code for place in places]
    assert alive.count(200) == 8
    assert alive[-1] == 200


def test_a_picture_may_come_in_parts_too(platform: LocalPlatform) -> None:
    content = photo(1)
    place = begin(platform, content, "image/jpeg").headers["Location"]
    append(platform, place, 0, content[:50])
    assert append(platform, place, 50, content[50:]).json()["size"] == len(content)
    assert send_photo(platform, content).status_code == 200
