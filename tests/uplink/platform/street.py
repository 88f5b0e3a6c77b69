"""A street of cases with pictures for the console: three vehicles, several kinds and states, grids, a track."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import requests

from perception.types import Case, CaseState, ComponentMatch, Picture
from tests.uplink.builders import UTC_NS
from tests.uplink.platform.talk import EPOCH, act, deliver, made_of, send_photo, sighting
from uplink.platform.serve import LocalPlatform

LAT, LON = 30.25, 120.15
METRE_DEG = 1 / 111_195
KINDS = [
    ("exposed_garbage", "06010", "garbage"),
    ("illegal_parking", "09009", "car"),
    ("street_vending", "09001", "street_stall"),
    ("manhole_damage", "01023", "manhole_open"),
    ("road_damage", "06013", "pothole"),
    ("bin_overflow", "06042", "garbage_bin_overflow"),
]


def scene(seed: int, *, close: bool) -> bytes:
    """A drawn street picture: road, kerb, house fronts and a thing; no camera ever saw it."""
    rng = np.random.default_rng(seed)
    image = np.zeros((480, 640, 3), np.uint8)
    image[:200] = (205, 190, 170)
    image[200:] = (95, 95, 98)
    for k in range(5):
        shade = int(rng.integers(110, 190))
        left = k * 140 - 30
        cv2.rectangle(image, (left, int(rng.integers(30, 90))), (left + 125, 205), (shade, shade - 8, shade - 18), -1)
    cv2.rectangle(image, (0, 200), (640, 236), (150, 150, 150), -1)
    for x in range(0, 640, 120):
        cv2.line(image, (x, 400), (x + 60, 400), (225, 225, 225), 6)
    size = 130 if close else 45
    centre = (320, 300) if close else (int(rng.integers(180, 460)), 270)
    colour = tuple(int(v) for v in rng.integers(40, 220, 3))
    for _ in range(14):
        shift = rng.integers(-size // 2, size // 2, 2)
        at = (int(centre[0] + shift[0]), int(centre[1] + shift[1] // 2))
        cv2.circle(image, at, int(rng.integers(size // 8, size // 3)), colour, -1)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1])


def street_case(number: int) -> tuple[Case, list[bytes]]:
    """A case of the street and its pictures."""
    rng = np.random.default_rng(number)
    kind, code, class_name = KINDS[number % len(KINDS)]
    car = f"car-{number % 3 + 1}"
    north, east = 25.0 * number, 6.0 * (-1) ** number
    passes = []
    for k in range(1 + number % 4):
        off = rng.normal(0.0, 0.5, 2)
        lat, lon = LAT + (north + off[1]) * METRE_DEG, LON + (east + off[0]) * METRE_DEG / np.cos(np.radians(LAT))
        passes.append(sighting(f"{car}/2026-11-2{k}/w{number}", 26.0 * k + 0.1 * number, float(lat), float(lon)))
    files = [scene(number * 2, close=True), scene(number * 2 + 1, close=False)]
    pictures = tuple(
        Picture(hashlib.sha256(f).hexdigest(), role, 0, UTC_NS, "front", 640, 480)
        for f, role in zip(files, ("close_up", "context"), strict=True)
    )
    match = ComponentMatch("33010600101000123", "0101", 0.87, "33010600101000124", 0.09)
    state = (CaseState.OPEN, CaseState.OPEN, CaseState.MONITORING, CaseState.RESOLVED, CaseState.REOPENED)[number % 5]
    made = made_of(f"case-{number:03d}", passes, car)
    made = replace(
        made, kind=kind, code=code, class_name=class_name, state=state, evidence=pictures,
        confidence=0.55 + 0.02 * (number % 20), component=match if kind == "manhole_damage" else None,
        grid=f"3301060010010{number // 8:02d}", zone="no_parking-7" if kind == "illegal_parking" else None,
        error_budget=(("gnss_m", 0.62), ("own_m", 0.21), ("site_m", 0.08)),
        reason=f"{class_name}: seen in {len(passes)} passes, 95 % within 1.9 m of grid {number // 8:02d}",
    )  # fmt: skip
    return made, files


def build(platform: LocalPlatform, count: int = 24) -> None:
    """Deliver the street."""
    for number in range(count):
        made, files = street_case(number)
        assert deliver(platform, made, number + 1, made.vehicle).status_code == 201
        for content in files:
            assert send_photo(platform, content, made.vehicle).status_code == 201
    act(platform, "case-005", "accept")
    act(platform, "case-005", "assign", assignee="环卫二队")
    now = platform.intake.clock.utc_ns()
    points = [
        {"utc": _utc(now - (60 - k) * 10**9), "lat_deg": LAT + 10.0 * k * METRE_DEG, "lon_deg": LON} for k in range(60)
    ]
    beat = {
        "epoch": EPOCH, "max_seq": 0, "oldest_unacked": None, "loss": {}, "chain_head": "", "health": {},
        "backlog": {"events": 0, "blobs": 0, "bytes": 0}, "track": points,
    }  # fmt: skip
    assert requests.post(f"{platform.url}/v1/devices/car-1/heartbeat", json=beat, timeout=20).status_code == 200


def _utc(ns: int) -> str:
    from perception.serial import utc_text

    return utc_text(ns) or ""


def city(folder: Path) -> Path:
    """A city.toml with three unit grids along the street."""
    features = []
    for k in range(3):
        south, north = LAT + 200.0 * k * METRE_DEG, LAT + 200.0 * (k + 1) * METRE_DEG
        ring = [[LON - 8e-4, south], [LON + 8e-4, south], [LON + 8e-4, north], [LON - 8e-4, north], [LON - 8e-4, south]]
        features.append({
            "type": "Feature", "properties": {"id": f"3301060010010{k:02d}", "name": f"网格 {k + 1}"},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        })  # fmt: skip
    (folder / "grids.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    (folder / "city.toml").write_text('version = 1\nname = "sample"\ngrids = "grids.geojson"\n')
    return folder / "city.toml"
