"""The recorder: what it writes reads back as the very events it was given, and a guessed camera stays guessed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gnss.types import Fix, FixQuality, Motion
from perception.camera import CameraModel
from perception.errors import DriveError
from perception.events import Event, order_key
from perception.types import CalibrationUpdate, Detections, KnownObjects, Seen, Shed
from replays.drive import open_drive
from replays.recorder import Recorder
from replays.source import DriveSource

CAMERA = CameraModel(
    "front", 160, 120, 120.0, 121.0, 79.5, 59.5, (0.01, -0.02, 0.0, 0.001), "pinhole", 1.5, 0.1, 1.4, -2.0, 3.0
)
FIXES = (
    Fix(0, 1_780_000_000_000_000_000, 30.1 + 1e-13, 40.1 / 3, 4.1, 0.7, 1 / 3, 9.9, 1.0, FixQuality(5), 12, 0.8),
    Fix(10**9, 1_780_000_001_000_000_000, 30.2, 120.2, heading_deg=12.3, heading_acc_deg=0.1, v_acc_m=2.0),
    Fix(10**9, None, 30.2, 120.2, speed_acc_mps=0.05),
)  # fmt: skip
MOTIONS = (Motion(5, 1 / 7, -1e-9), Motion(6, None, 2.5), Motion(7, -0.5, None, 0.1))


def seen(index: int, boxes: int, camera: str = "front") -> Seen:
    """A frame with boxes whose numbers are already rounded as a recording rounds."""
    xyxy = np.array([[1.25, 2.5, 30.01, 40.99]] * boxes, np.float32).reshape(-1, 4)
    look = np.array([[0.1234, 0.5]] * boxes, np.float32).reshape(-1, 2)
    found = Detections(xyxy, np.full(boxes, 0.4321, np.float32), np.zeros(boxes, np.int32), ("car",), look)
    return Seen(100 * index, camera, index, 160, 120, found, 12.3456, 0.5)


def record(out: Path, events: list[Event], cameras: tuple[CameraModel, ...] = (CAMERA,)) -> Path:
    """Record events in their order."""
    with Recorder(out, out.name, "car-1", {c.name: c for c in cameras}, "a note") as recorder:
        for event in sorted(events, key=order_key):
            recorder.tap(event)
        return recorder.close()


def test_every_event_reads_back_exactly(tmp_path: Path) -> None:
    others: list[Event] = [
        KnownObjects(0, (1, 2)),
        CalibrationUpdate(0, "front", 0.1, 0.2, 0.3, 0.4),
        Shed(150, "front", 2, "too old"),
    ]
    events = [*FIXES, *MOTIONS, seen(1, 2), seen(3, 0), *others]
    drive = open_drive(record(tmp_path / "drive", events))
    back = list(DriveSource(drive, "recorded", "recorded"))
    assert [type(e) for e in back] == [type(e) for e in sorted(events, key=order_key)]
    assert [e for e in back if isinstance(e, Fix)] == list(FIXES)
    assert [e for e in back if isinstance(e, Motion)] == list(MOTIONS)
    assert [e for e in back if isinstance(e, KnownObjects | Shed | CalibrationUpdate)] == others
    one, none = (e for e in back if isinstance(e, Seen))
    assert (one.stamp_ns, one.index, one.sharpness, one.exposure) == (100, 1, 12.3456, 0.5)
    for name in ("xyxy", "confidence", "appearance"):
        np.testing.assert_array_equal(getattr(one.detections, name), getattr(seen(1, 2).detections, name))
    assert one.detections.names() == ["car", "car"]
    assert len(none.detections) == 0


@pytest.mark.parametrize(
    "camera",
    [
        CAMERA,
        CameraModel.guess("front", 160, 120, None),
        replace(CameraModel.guess("front", 160, 120, 133.0), guessed=True),
        replace(CAMERA, model="fisheye", dist=(0.1, 0.0, 0.0, 0.001)),
    ],
    ids=["calibrated", "guessed", "mount guessed", "fisheye"],
)
def test_a_camera_reads_back_as_it_was(tmp_path: Path, camera: CameraModel) -> None:
    drive = open_drive(record(tmp_path / "drive", [FIXES[0], seen(1, 1)], (camera,)))
    assert drive.cameras == {"front": camera}
    assert (drive.meta.name, drive.meta.vehicle, drive.meta.note) == ("drive", "car-1", "a note")


def test_a_camera_without_a_frame_is_left_out(tmp_path: Path) -> None:
    drive = open_drive(record(tmp_path / "drive", [FIXES[0], seen(1, 1)], (CAMERA, replace(CAMERA, name="rear"))))
    assert set(drive.cameras) == {"front"}
    assert not (tmp_path / "drive" / "rear.csv").exists()


def test_the_city_and_the_antenna_come_along(tmp_path: Path) -> None:
    (tmp_path / "city").mkdir()
    (tmp_path / "city" / "city.toml").write_text(
        'version = 1\nname = "x"\nzones = "z.geojson"\ngrids = "gone.geojson"\n'
    )
    (tmp_path / "city" / "z.geojson").write_text("{}")
    (tmp_path / "city" / "private.txt").write_text("not named")
    city = tmp_path / "city" / "city.toml"
    out = tmp_path / "drive"
    with Recorder(out, "d", "car-1", {"front": CAMERA}, city=city, antenna_m=(0.5, -0.25, 1.75)) as recorder:
        recorder.tap(FIXES[0])
        recorder.tap(seen(1, 1))
        recorder.close()
    drive = open_drive(out)
    assert drive.meta.antenna_m == (0.5, -0.25, 1.75)
    assert drive.city == out / "city.toml"
    assert (out / "z.geojson").read_text() == "{}"
    assert not (out / "private.txt").exists()


def test_nothing_stays_without_close(tmp_path: Path) -> None:
    with Recorder(tmp_path / "drive", "d", "car-1", {"front": CAMERA}) as recorder:
        recorder.tap(FIXES[0])
    assert list(tmp_path.iterdir()) == []


def test_an_older_recording_is_replaced_and_other_folders_are_not(tmp_path: Path) -> None:
    for index in (1, 2):
        record(tmp_path / "drive", [FIXES[0], seen(index, 1)])
    assert open_drive(tmp_path / "drive").members["front"].index.tolist() == [2]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("dear")
    with pytest.raises(DriveError, match="is no drive"):
        Recorder(tmp_path / "own", "d", "car-1", {"front": CAMERA})
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []
