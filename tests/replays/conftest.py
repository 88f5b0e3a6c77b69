"""A tiny drive on disk: 12 frames of 160x120 at 10 frames/s, fixes at 1 Hz, motion at 10 Hz."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from gnss.types import Pose, PoseState
from perception.catalogue import load_catalogue
from perception.types import (
    Case,
    CaseChange,
    CaseState,
    ChangeKind,
    Detections,
    Landmark,
    LandmarkClosed,
    PassClosed,
    PassRecord,
    Picture,
    TrackEnded,
    Verdict,
    View,
)
from replays.report import ReportFacts
from replays.run_folder import RunWriter

MODELS = Path(__file__).parents[2] / "models"
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


LAT0, LON0 = 31.2, 121.4
M_LAT, M_LON = 1 / 110_880.0, 1 / 95_350.0


def make_case(
    name: str,
    kind: str = "illegal_parking",
    state: str = "open",
    east_m: float = 5.0,
    north_m: float = 30.0,
    **fields: Any,
) -> Case:
    """A case at `east_m`, `north_m` of the origin of the fake run."""
    kinds = load_catalogue(MODELS).kinds
    values: dict[str, Any] = {
        "id": name,
        "revision": 1,
        "kind": kind,
        "matter_kind": kinds[kind].matter_kind,
        "code": kinds[kind].code,
        "class_name": "car",
        "state": CaseState(state),
        "existence": 0.97,
        "confidence": 0.83,
        "lat_deg": LAT0 + north_m * M_LAT,
        "lon_deg": LON0 + east_m * M_LON,
        "cov_m2": (0.2, 0.1, 0.5),
        "error_budget": (("gnss", 0.4), ("own", 0.3)),
        "passes": (),
        "vehicle": "car-7",
        "first_seen_utc_ns": START_UTC_NS,
        "last_seen_utc_ns": START_UTC_NS + 4 * 10**9,
        "first_clear_look_utc_ns": None,
        "last_clear_look_utc_ns": None,
        "reason": "static 6.2 s in zone Z1 (no_parking, no stopping)",
        "zone": "Z1",
        "grid": "310115001000001",
    }
    return Case(**{**values, **fields})


def make_change(case: Case, pictures: tuple[Picture, ...] = (), change: str = "opened") -> CaseChange:
    """The change that made `case`."""
    utc_ns = START_UTC_NS + 5 * 10**9
    return CaseChange(case.id, 0, ChangeKind(change), case, 5 * 10**9, utc_ns, "p1", case.reason, pictures)


def make_pass(points: list[tuple[float, float]]) -> PassClosed:
    """A pass with one view per second at (east m, north m)."""
    views = []
    for n, (east_m, north_m) in enumerate(points):
        lat, lon = LAT0 + north_m * M_LAT, LON0 + east_m * M_LON
        pose = Pose(
            n * 10**9,
            START_UTC_NS + n * 10**9,
            lat,
            lon,
            4.0,
            0.0,
            8.0,
            PoseState.GOOD,
            np.eye(2) * 0.2,
            np.eye(3) * 0.01,
        )
        views.append(View(n * 10**9, "front", n, 1280, 720, pose, Detections.empty(), 100.0))
    end = (len(points) - 1) * 10**9
    record = PassRecord(
        "p1", "car-7", "tiny", 0, end, START_UTC_NS, START_UTC_NS + end, (), tuple(views), np.eye(2) * 0.2
    )
    return PassClosed(record, 0.1, -0.2)


def make_landmark(name: str, track: int, east_m: float, north_m: float, verdict: str = "static") -> LandmarkClosed:
    """A landmark at (east m, north m)."""
    lat, lon = LAT0 + north_m * M_LAT, LON0 + east_m * M_LON
    landmark = Landmark(
        name, "p1", track, "front", "car", 0.8, lat, lon, np.eye(2) * 0.1, Verdict(verdict), 0.0, 0.0, (4.5, 1.8, 1.5),
        0, 10**9, START_UTC_NS, START_UTC_NS + 10**9, 9, 6.0, False,
    )  # fmt: skip
    return LandmarkClosed(landmark, np.eye(2) * 0.2)


def make_picture(role: str, grey: int) -> Picture:
    """A small real JPEG, redacted in the sense that nothing is in it."""
    good, data = cv2.imencode(".jpg", np.full((90, 160, 3), grey, np.uint8))
    assert good
    jpeg = data.tobytes()
    return Picture(hashlib.sha256(jpeg).hexdigest(), role, 10**9, START_UTC_NS + 10**9, "front", 160, 90, jpeg)


def write_run(
    out: Path, cases: Sequence[Case], ends: Sequence[TrackEnded] = (), report: ReportFacts | None = None
) -> Path:
    """A run folder with these cases, each with two pictures, and one pass of 60 m."""
    with RunWriter(out) as writer:
        writer.start_drive("tiny", "car-7")
        writer.take(make_pass([(0.0, n * 8.0) for n in range(9)]))
        for number, case in enumerate(cases):
            pictures = (make_picture("close_up", 40 + number), make_picture("context", 140 + number))
            writer.take(make_change(case, pictures))
        for ended in ends:
            writer.take(ended)
        return writer.close(timings={"detect_ms": 20.0, "step_ms": 1.5}, data={"frames": 12}, report=report)


class Fakes(NamedTuple):
    """Builders of a fake run."""

    case: Callable[..., Case]
    change: Callable[..., CaseChange]
    drive_pass: Callable[..., PassClosed]
    landmark: Callable[..., LandmarkClosed]
    picture: Callable[..., Picture]
    run: Callable[..., Path]


@pytest.fixture
def fakes() -> Fakes:
    """Builders of cases, changes, passes, landmarks, pictures and whole runs."""
    return Fakes(make_case, make_change, make_pass, make_landmark, make_picture, write_run)
