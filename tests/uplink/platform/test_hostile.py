"""Bad requests, byte by byte over the socket: no reply of 5xx, nothing kept, the platform answers afterwards.

The list is that of reliability.md section 6 (HTTP to receiver) and the JPEG files of the same section.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import struct
import zlib
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from tests.uplink.builders import jpeg, opened
from tests.uplink.platform.talk import EPOCH, body, photo, problem, send, send_photo
from uplink.platform import guard
from uplink.platform.jpegs import MAX_PIXELS, header_size
from uplink.platform.serve import LocalPlatform
from uplink.transport import content_digest

EVENT = f"/v1/devices/car-1/events/car-1:{EPOCH}:1"
JSON = "Content-Type: application/json\r\n"


def raw(platform: LocalPlatform, content: bytes, *, end: bool = True, wait_s: float = 10.0) -> bytes:
    """Send bytes on a socket of its own, end the sending side, and read until the platform ends too."""
    host, port = urlsplit(platform.url).hostname, urlsplit(platform.url).port
    with closing(socket.create_connection((host or "", port or 0), timeout=wait_s)) as link:
        try:
            link.sendall(content)
            if end:
                link.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := link.recv(65536):
                received += chunk
                if not end and b"\r\n\r\n" in received:
                    break
        except OSError:
            return b""
        return received


def put_head(more: str = "", path: str = EVENT, kind: str = JSON) -> bytes:
    return f"PUT {path} HTTP/1.1\r\nHost: localhost\r\n{kind}{more}\r\n".encode()


def chunked(*chunks: bytes, last: bool = True) -> bytes:
    text = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks)
    return text + (b"0\r\n\r\n" if last else b"")


GOOD = body(opened(1), 1, "car-1")
DIGEST = f"Content-Digest: {content_digest(hashlib.sha256(GOOD).hexdigest())}\r\n"
LENGTH = f"Content-Length: {len(GOOD)}\r\n"
BOMB = zlib.compress(b" " * 50_000_000)
HOSTILE = {
    "no length": put_head(DIGEST) + GOOD,
    "negative length": put_head(DIGEST + "Content-Length: -1\r\n") + GOOD,
    "length in words": put_head(DIGEST + "Content-Length: many\r\n") + GOOD,
    "length too short": put_head(DIGEST + "Content-Length: 10\r\n") + GOOD,
    "length too long": put_head(DIGEST + f"Content-Length: {len(GOOD) + 100}\r\n") + GOOD,
    "two lengths": put_head(DIGEST + LENGTH + "Content-Length: 3\r\n") + GOOD,
    "huge length": put_head(DIGEST + f"Content-Length: {10**18}\r\n") + GOOD,
    "length and chunks": put_head(DIGEST + LENGTH + "Transfer-Encoding: chunked\r\n") + chunked(GOOD),
    "chunks without end": put_head(DIGEST + "Transfer-Encoding: chunked\r\n") + chunked(GOOD, last=False),
    "chunk of a lying size": put_head(DIGEST + "Transfer-Encoding: chunked\r\n") + b"ffffffffffffffff\r\nx",
    "long chunks": put_head(DIGEST + "Transfer-Encoding: chunked\r\n") + chunked(*[b"x" * 8192] * 20),
    "strange coding": put_head(DIGEST + LENGTH + "Transfer-Encoding: gzip, chunked\r\n") + chunked(GOOD),
    "gzip bomb": put_head(f"Content-Encoding: deflate\r\nContent-Length: {len(BOMB)}\r\n") + BOMB,
    "ten thousand headers": put_head("".join(f"X-{k}: {k}\r\n" for k in range(10_000)) + LENGTH) + GOOD,
    "two hundred headers": put_head("".join(f"X-{k}: {k}\r\n" for k in range(200)) + LENGTH) + GOOD,
    "a header of a megabyte": put_head(f"X-Long: {'x' * 1_000_000}\r\n" + LENGTH) + GOOD,
    "an address of a megabyte": put_head(LENGTH, path="/v1/cases/" + "x" * 1_000_000) + GOOD,
    "NUL in a header": put_head("X-A: a\x00b\r\n" + LENGTH) + GOOD,
    "bytes that are no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no host": b"GET /v1/cases HTTP/1.1\r\n\r\n",
    "other names in ids": put_head(DIGEST + LENGTH, path="/v1/devices/%2e%2e/events/x") + GOOD,
    "backslash in ids": put_head(DIGEST + LENGTH, path="/v1/devices/a%5c..%5cb/events/x") + GOOD,
    "NUL in ids": put_head(DIGEST + LENGTH, path="/v1/devices/car%001/events/x") + GOOD,
    "absolute name": put_head(DIGEST + LENGTH, path="/v1/devices/%2fetc%2fpasswd/events/x") + GOOD,
    "bad percent": put_head(DIGEST + LENGTH, path="/v1/devices/%zz/events/%ff%fe") + GOOD,
    "picture of an absolute name": put_head(LENGTH, path="/v1/devices/car-1/blobs/%2f%2e%2e%2fx", kind="Content-Type: "
                                            "image/jpeg\r\n") + GOOD,
    "multipart of 10^5 parts": put_head(f"Content-Length: {600_000}\r\n", kind="Content-Type: multipart/form-data; "
                                        "boundary=x\r\n") + b"--x\r\n\r\n" * 85_714,
    "a thousand ranges": ("GET /v1/blobs/" + "0" * 64 + " HTTP/1.1\r\nHost: localhost\r\nRange: bytes=" + ",".join(
        f"{k}-{k}" for k in range(1000)) + "\r\n\r\n").encode(),
    "deep JSON": put_head(f"Content-Digest: {content_digest(hashlib.sha256(b'[' * 60_000).hexdigest())}\r\n"
                          "Content-Length: 60000\r\n") + b"[" * 60_000,
    "digest of other bytes": put_head(f"Content-Digest: {content_digest('0' * 64)}\r\n" + LENGTH) + GOOD,
    "surrogates in a query": b"GET /v1/cases?kind=%ED%A0%80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_requests_end_well(embedded: LocalPlatform, name: str) -> None:
    received = raw(embedded, HOSTILE[name])
    status = re.match(rb"HTTP/1.1 (\d{3})", received)
    assert status is None or 400 <= int(status[1]) < 500 or (name == "surrogates in a query" and status[1] == b"200")
    assert b"Traceback" not in received
    assert embedded.intake.database.value("SELECT count(*) FROM event") == 0
    assert requests.get(f"{embedded.url}/readyz", timeout=10).status_code == 200


def test_a_thousand_ranges_of_a_picture_that_is_there(embedded: LocalPlatform) -> None:
    content = photo(1)
    send_photo(embedded, content)
    ranges = "bytes=" + ",".join(f"{k}-{k + 1}" for k in range(0, 3000, 3))
    address = f"{embedded.url}/v1/blobs/{hashlib.sha256(content).hexdigest()}"
    reply = requests.get(address, headers={"Range": ranges}, timeout=20)
    assert reply.status_code in (200, 206, 400, 416)


def test_a_body_that_stops_coming_is_given_up(embedded: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STALL_S", 0.3)
    received = raw(embedded, put_head(DIGEST + LENGTH) + GOOD[:100], end=False)
    assert received.startswith(b"HTTP/1.1 408")
    monkeypatch.setattr(guard, "STALL_S", 5.0)
    monkeypatch.setattr(guard, "BODY_S", 0.3)
    assert raw(embedded, put_head(DIGEST + LENGTH) + GOOD[:100], end=False).startswith(b"HTTP/1.1 408")


def test_asking_to_continue_is_answered(embedded: LocalPlatform) -> None:
    received = raw(embedded, put_head(DIGEST + LENGTH + "Expect: 100-continue\r\n"), end=False)
    assert received.startswith((b"HTTP/1.1 100", b"HTTP/1.1 4"))


@pytest.mark.parametrize(
    "field",
    [
        '"existence": NaN', '"existence": Infinity', '"existence": 1e999', '"revision": ' + "9" * 5000,
        '"revision": true', '"revision": "1"', '"reason": "\\ud800"', '"reason": "a\\u0000b"', '"kind": "a\\u0000b"',
        '"first_seen_utc": "0001-01-01T00:00:00.000Z"', '"first_seen_utc": "9999-12-31T23:59:59.999Z"',
        '"first_seen_utc": "2026-13-45T10:00:00.000Z"', '"schema": "case.v9"', '"unknown": 1',
        '"error_budget_m": {"gnss_m": 1e300}', '"memory": {}', '"memory": [1]',
    ],
)  # fmt: skip
def test_hostile_json_is_refused_by_name(platform: LocalPlatform, field: str) -> None:
    text = GOOD.decode()
    name = field.split('"')[1]
    tree = {k: v for k, v in json.loads(text).items() if k != name}
    content = (json.dumps(tree)[:-1] + f", {field}}}").encode()
    status, kind = problem(send(platform, content, 1))
    assert (status, kind) in {(422, "invalid-body"), (400, "invalid-json")}
    assert platform.intake.database.value("SELECT count(*) FROM event") == 0


def test_memories_that_are_no_covariances_are_refused(platform: LocalPlatform) -> None:
    tree = json.loads(GOOD)
    for wrong in ([-1.0, 0.0, 1.0], [1.0, 5.0, 1.0], [1.0, 0.0], [1e300, 0.0, 1.0]):
        tree["memory"]["cov_m2"] = wrong
        assert problem(send(platform, json.dumps(tree).encode(), 1)) == (422, "invalid-body")
    tree["memory"]["cov_m2"] = [0.0, 0.0, 0.0]
    for sight in tree["memory"]["passes"]:
        sight["cov_own_m2"] = sight["cov_common_m2"] = [0.0, 0.0, 0.0]
    assert send(platform, json.dumps(tree).encode(), 1).status_code == 201


def picture(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(str(options.pop("mode", "RGB")), (64, 48)).save(out, kind, **options)
    return out.getvalue()


def huge(width: int, height: int) -> bytes:
    """A small file that says it is a large picture."""
    made = bytearray(picture("JPEG"))
    at = made.index(b"\xff\xc0")
    made[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(made)


PICTURES = {
    "nothing": b"", "start only": b"\xff\xd8\xff", "PNG": picture("PNG"), "GIF": picture("GIF"),
    "TIFF": picture("TIFF"), "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "CMYK": picture("JPEG", mode="CMYK"),
    "65535 x 65535": huge(65535, 65535), "no rows": huge(100, 0), "zip behind": picture("JPEG") + b"PK\x03\x04",
    "cut": picture("JPEG")[:-40], "FITS": b"SIMPLE  =                    T" + b" " * 2850,
    "marks only": b"\xff\xd8\xff\xd9", "text between marks": b"\xff\xd8\xff\xe0" + b"x" * 500 + b"\xff\xd9",
    "arithmetic": picture("JPEG").replace(b"\xff\xc0", b"\xff\xc9"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_only_jpegs_of_a_decodable_size_are_taken(embedded: LocalPlatform, name: str) -> None:
    reply = send_photo(embedded, PICTURES[name])
    expected = "picture-too-large" if name in ("65535 x 65535", "no rows") else "not-a-jpeg"
    assert problem(reply) == (422, expected)
    folder: Path = embedded.app.state.settings.data_dir
    assert list((folder / "blobs").glob("*/*")) == []


def test_the_header_tells_the_size_of_every_usual_kind() -> None:
    for options in ({}, {"progressive": True}, {"mode": "L"}, {"exif": b"Exif\x00\x00" + b"x" * 60_000}):
        assert header_size(picture("JPEG", **options)) == (64, 48)
    assert header_size(jpeg(1)) == (320, 240)
    assert MAX_PIXELS == 25_000_000
    for cut in range(0, 400, 7):
        header_size(picture("JPEG")[:cut])
