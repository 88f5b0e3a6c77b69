"""How the tests talk to a platform: bodies, deliveries, actions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import requests

from perception.fuse import fuse
from perception.serial import triple
from perception.types import Case, CaseChange, CaseState, PassPosition
from tests.uplink.builders import UTC_NS, case, change
from uplink.casememory import case_memory
from uplink.payload import ChainLink, Origin, case_body
from uplink.platform.serve import LocalPlatform
from uplink.transport import content_digest

EPOCH = "00000000aaaaaaaa"
HOUR_NS = 3_600_000_000_000
SECONDS = 20


def photo(seed: int, width: int = 320, height: int = 240) -> bytes:
    """A real JPEG of coloured rectangles."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(60, 200, 3), np.uint8)
    for _ in range(6):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        colour = tuple(int(v) for v in rng.integers(0, 255, 3))
        cv2.rectangle(image, (x, y), (x + 60, y + 40), colour, -1)
    return bytes(cv2.imencode(".jpg", image)[1])


def sighting(name: str, hours: float, lat_deg: float, lon_deg: float, own_m2: float = 0.05) -> PassPosition:
    """Where one pass saw something; its GNSS error is 1 m."""
    own, common = (own_m2, 0.0, own_m2), (1.0, 0.0, 1.0)
    return PassPosition(name, UTC_NS + round(hours * HOUR_NS), lat_deg, lon_deg, own, common)


def made_of(name: str, passes: Sequence[PassPosition], vehicle: str, revision: int = 1, **fields: Any) -> Case:
    """An open case that consists of these passes."""
    fused = fuse(passes)
    base = case(1, CaseState.OPEN, revision, vehicle=vehicle, kind="exposed_garbage", class_name="garbage")
    times = [p.utc_ns for p in passes if p.utc_ns is not None]
    return replace(
        base, id=name, passes=tuple(passes), lat_deg=fused.lat_deg, lon_deg=fused.lon_deg, cov_m2=triple(fused.cov_m2),
        first_seen_utc_ns=min(times), last_seen_utc_ns=max(times), **fields,
    )  # fmt: skip


def body(made: CaseChange, seq: int, device: str, *, exact: bool = True) -> bytes:
    """A device's body; with the memory that makes it exact."""
    tree = json.loads(case_body(made, ChainLink(f"{device}:{EPOCH}:{seq}", device, EPOCH, seq, ""), Origin()))
    tree.pop("memory", None)
    if exact:
        tree["memory"] = case_memory(made.case)
    return json.dumps(tree).encode()


def deliver(
    platform: LocalPlatform, made: Case, seq: int, device: str = "car-1", *, base: int | None = None, exact: bool = True
) -> requests.Response:
    """Send a case as a change of this device."""
    step = change(made)
    if base is not None:
        step = replace(step, base_revision=base)
    return send(platform, body(step, seq, device, exact=exact), seq, device)


def send(platform: LocalPlatform, content: bytes, seq: int, device: str = "car-1", **more: Any) -> requests.Response:
    """PUT an event."""
    headers = {
        "Content-Type": "application/json",
        "Content-Digest": content_digest(hashlib.sha256(content).hexdigest()),
    }
    address = f"{platform.url}/v1/devices/{device}/events/{device}:{EPOCH}:{seq}"
    return requests.put(address, data=content, headers=headers, timeout=SECONDS, **more)


def send_photo(platform: LocalPlatform, content: bytes, device: str = "car-1") -> requests.Response:
    """PUT a picture."""
    name = hashlib.sha256(content).hexdigest()
    address = f"{platform.url}/v1/devices/{device}/blobs/{name}"
    return requests.put(address, data=content, headers={"Content-Type": "image/jpeg"}, timeout=SECONDS)


def act(platform: LocalPlatform, case_id: str, action: str, **fields: Any) -> requests.Response:
    """An officer's action."""
    address = f"{platform.url}/v1/cases/{case_id}/actions"
    return requests.post(address, json={"action": action, **fields}, timeout=SECONDS)


def shown(platform: LocalPlatform, case_id: str) -> dict[str, Any]:
    """The case page's data."""
    reply = requests.get(f"{platform.url}/v1/cases/{case_id}", timeout=SECONDS)
    assert reply.status_code == 200, reply.text
    tree: dict[str, Any] = reply.json()
    return tree


def problem(reply: requests.Response) -> tuple[int, str]:
    """Status and the end of the problem's type."""
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json()["status"] == reply.status_code
    return reply.status_code, reply.json()["type"].removeprefix("urn:qiji:problem:")
