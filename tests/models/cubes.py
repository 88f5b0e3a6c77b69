"""A street of painted boxes: data sets and a drive with pixels, seen through one plain camera."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pyproj import Geod

WIDTH, HEIGHT, FOCAL = 512, 320, 400.0
CAMERA_X_M, CAMERA_Z_M, PITCH_DEG = 1.5, 1.5, 4.0
FPS, SPEED_MPS = 10, 6.0
LAT_DEG, LON_DEG = 30.0, 120.0
START_S = 1_790_000_000
PAINT = {"car": (200, 60, 40), "person": (60, 170, 60), "garbage": (40, 40, 190), "bulky_waste": (40, 210, 230)}
SIZE_M = {
    "car": (4.5, 1.8, 1.5), "person": (0.5, 0.5, 1.7), "garbage": (1.2, 1.0, 0.5), "bulky_waste": (2.0, 1.0, 1.1),
}  # fmt: skip
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Cube:
    """A painted box on the ground: its centre ahead of the car and to its right."""

    name: str
    ahead_m: float
    right_m: float


def pixels(ahead: float, right: float, up: float) -> tuple[float, float]:
    """Image place of a point given ahead, to the right and up of the car's reference point on the ground."""
    pitch = np.radians(PITCH_DEG)
    forward, down = ahead - CAMERA_X_M, CAMERA_Z_M - up
    depth = forward * np.cos(pitch) + down * np.sin(pitch)
    below = down * np.cos(pitch) - forward * np.sin(pitch)
    return float((WIDTH - 1) / 2 + FOCAL * right / depth), float((HEIGHT - 1) / 2 + FOCAL * below / depth)


def paint(
    cubes: Sequence[Cube], rng: np.random.Generator
) -> tuple[Image, list[tuple[str, float, float, float, float]]]:
    """A noisy picture of sky, houses and road with the cubes, far ones first, and their boxes within the picture."""
    horizon = pixels(1e5, 0, 0)[1]
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    image[: round(horizon)] = (190, 170, 150)
    for left in range(0, WIDTH, 64):
        top = round(horizon) - int(rng.integers(20, 60))
        image[top : round(horizon) + 4, left : left + 60] = rng.integers(110, 160, 3)
    shade = cv2.resize(rng.uniform(-40, 40, (4, 6)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    image = np.clip(image + shade[..., None], 0, 255).astype(np.uint8)
    rows = []
    for cube in sorted(cubes, key=lambda c: -c.ahead_m):
        long, wide, high = SIZE_M[cube.name]
        if cube.ahead_m - long / 2 <= CAMERA_X_M + 1.5:
            continue
        corners = [
            pixels(cube.ahead_m + a * long / 2, cube.right_m + r * wide / 2, u * high)
            for a in (-1, 1)
            for r in (-1, 1)
            for u in (0, 1)
        ]
        x1, y1 = (max(min(c[i] for c in corners), 0.0) for i in (0, 1))
        x2, y2 = (min(max(c[i] for c in corners), side) for i, side in ((0, WIDTH), (1, HEIGHT)))
        if x2 - x1 < 4 or y2 - y1 < 3:
            continue
        hull = cv2.convexHull(np.array(corners, np.float32)).astype(np.int32)
        cv2.fillConvexPoly(image, hull, PAINT[cube.name])
        front = np.array([corners[i] for i in (0, 1, 3, 2)], np.int32)
        cv2.fillConvexPoly(image, front, tuple(int(0.8 * channel) for channel in PAINT[cube.name]))
        rows.append((cube.name, x1, y1, x2, y2))
    noisy = image.astype(np.int16) + rng.integers(-12, 13, image.shape, dtype=np.int16)
    return np.clip(noisy, 0, 255).astype(np.uint8), rows


def write_cube_set(folder: Path, train: int, val: int, seed: int = 5) -> None:
    """A data set of the source `yard`; its own name for the new class is "mattress"."""
    rng = np.random.default_rng(seed)
    names = ["car", "person", "heap", "mattress"]
    own = {"garbage": "heap", "bulky_waste": "mattress"}
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count):
            cubes = [
                Cube(
                    str(rng.choice([*PAINT, "bulky_waste"])),
                    float(rng.uniform(6, 35)),
                    float(side * rng.uniform(2.5, 6)),
                )
                for side in rng.choice([-1, 1], int(rng.integers(2, 6)))
            ]
            image, rows = paint(_apart(cubes), rng)
            lines = [
                f"{names.index(own.get(n, n))} {(a + c) / 2 / WIDTH:.6f} {(b + d) / 2 / HEIGHT:.6f} "
                f"{(c - a) / WIDTH:.6f} {(d - b) / HEIGHT:.6f}\n"
                for n, a, b, c, d in rows
            ]
            cv2.imwrite(str(folder / "images" / split / f"yard_{split}_{number:04d}.jpg"), image)
            (folder / "labels" / split / f"yard_{split}_{number:04d}.txt").write_text("".join(lines), encoding="utf-8")
    listed = "".join(f"  {i}: {name}\n" for i, name in enumerate(names))
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames:\n{listed}", encoding="utf-8")


def _apart(cubes: Sequence[Cube]) -> list[Cube]:
    """Those that do not hide each other."""
    kept: list[Cube] = []
    for cube in cubes:
        if all(abs(cube.right_m / cube.ahead_m - other.right_m / other.ahead_m) > 0.2 for other in kept):
            kept.append(cube)
    return kept


def write_cube_drive(folder: Path, thing: Cube, kind: str, seconds: float = 9.0) -> None:
    """A drive folder: straight east past one thing, whose place is in truth.geojson with its case kind."""
    rng = np.random.default_rng(7)
    (folder / "front").mkdir(parents=True)
    geod, frames = Geod(ellps="WGS84"), round(seconds * FPS)
    stamps, fixes, motion = ["index,stamp_ns"], [_FIXES], ["stamp_ns,speed_mps,yaw_rate_dps"]
    for index in range(frames):
        stamp = (index + 10) * 100_000_000
        moved = Cube(thing.name, thing.ahead_m - SPEED_MPS * index / FPS, thing.right_m)
        cv2.imwrite(str(folder / "front" / f"{index:06d}.jpg"), paint([moved], rng)[0])
        stamps.append(f"{index},{stamp}")
    for step in range(-10, frames + 20):
        stamp, metres = (step + 10) * 100_000_000, SPEED_MPS * step / FPS
        if step % 2 == 0:
            lon, lat, _ = geod.fwd(LON_DEG, LAT_DEG, 90.0, metres)
            utc = START_S * 10**9 + stamp
            fixes.append(f"{stamp},{utc},{lat:.9f},{lon:.9f},5.0,0.3,{SPEED_MPS},90.0,0.5,4,20,0.6")
        motion.append(f"{stamp},{SPEED_MPS},0.0")
    lon, lat, _ = geod.fwd(LON_DEG, LAT_DEG, 90.0, thing.ahead_m)
    lon, lat, _ = geod.fwd(lon, lat, 180.0, thing.right_m)
    truth = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [lon, lat]},
                "properties": {"id": "thing-1", "class": thing.name, "kind": kind, "static": True},
            }
        ],
    }
    for name, rows in (("front.csv", stamps), ("fixes.csv", fixes), ("motion.csv", motion)):
        (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "truth.geojson").write_text(json.dumps(truth), encoding="utf-8")
    (folder / "drive.toml").write_text(_DRIVE.format(name=folder.name), encoding="utf-8")


_FIXES = "stamp_ns,utc_ns,lat_deg,lon_deg,alt_m,h_acc_m,speed_mps,course_deg,course_acc_deg,quality,satellites,hdop"
_DRIVE = f"""version = 1
name = "{{name}}"
vehicle = "test-car"
[[camera]]
name = "front"
file = "front"
stamps = "front.csv"
width = {WIDTH}
height = {HEIGHT}
fx = {FOCAL}
fy = {FOCAL}
cx = {(WIDTH - 1) / 2}
cy = {(HEIGHT - 1) / 2}
dist = [0.0, 0.0, 0.0, 0.0, 0.0]
x_m = {CAMERA_X_M}
y_m = 0.0
z_m = {CAMERA_Z_M}
yaw_deg = 0.0
pitch_deg = {PITCH_DEG}
roll_deg = 0.0
"""
