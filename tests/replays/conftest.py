"""A tiny drive on disk: 12 frames of 160x120 at 10 frames/s, fixes at 1 Hz, motion at 10 Hz."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

FRAMES = 12
SIZE = (160, 120)
START_UTC_NS = 1_775_000_000_000_000_000
DRIVE_TOML = """version = 1
name = "tiny"
vehicle = "car-7"
start_utc = "2026-03-31T23:33:20Z"

[[camera]]
name = "front"
file = "front.mp4"
width = 160
height = 120
fx = 120.0
z_m = 1.5
"""
FIX_HEADER = "stamp_ns,utc_ns,lat_deg,lon_deg,alt_m,h_acc_m,speed_mps,course_deg,course_acc_deg,quality,satellites,hdop"


def picture(number: int) -> np.ndarray:
    """A grey picture whose brightness tells its number."""
    return np.full((SIZE[1], SIZE[0], 3), 10 * number, np.uint8)


def write_video(file: Path, frames: int) -> None:
    """A video of `frames` pictures at 10 frames/s."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, SIZE)
    for number in range(frames):
        writer.write(picture(number))
    writer.release()


def write_tiny_drive(folder: Path) -> Path:
    """Write the drive with everything but detections."""
    folder.mkdir(parents=True)
    (folder / "drive.toml").write_text(DRIVE_TOML)
    write_video(folder / "front.mp4", FRAMES)
    rows = "".join(f"{n},{n * 100_000_000}\n" for n in range(FRAMES))
    (folder / "front.csv").write_text("index,stamp_ns\n" + rows)
    fixes = [
        f"{s * 10**9},{START_UTC_NS + s * 10**9},{31.0 + s * 1e-4},121.0,4.0,0.7,11.1,0.0,1.0,1,12,0.8" for s in (0, 1)
    ]
    (folder / "fixes.csv").write_text("\n".join([FIX_HEADER, *fixes]) + "\n")
    motion = "".join(f"{n * 100_000_000},11.1,\n" for n in range(FRAMES))
    (folder / "motion.csv").write_text("stamp_ns,speed_mps,yaw_rate_dps\n" + motion)
    return folder


@pytest.fixture(scope="session")
def tiny_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny drive, written once; do not change it."""
    return write_tiny_drive(tmp_path_factory.mktemp("drives") / "tiny")


@pytest.fixture
def tiny(tiny_original: Path, tmp_path: Path) -> Path:
    """A copy of the tiny drive to change."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for file in tiny_original.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def write_boxes() -> Callable[[Path, dict[int, list[tuple[str, float]]]], None]:
    """Writes detections.jsonl from {index: [(class, confidence), ...]}."""

    def write(folder: Path, frames: dict[int, list[tuple[str, float]]]) -> None:
        lines = [
            json.dumps(
                {
                    "camera": "front",
                    "index": index,
                    "boxes": [{"class": c, "confidence": p, "xyxy": [1, 2, 30, 40]} for c, p in boxes],
                }
            )
            for index, boxes in frames.items()
        ]
        (folder / "detections.jsonl").write_text("\n".join(lines) + "\n")

    return write
