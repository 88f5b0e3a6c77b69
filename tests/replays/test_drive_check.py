"""`drive check`, `drive trim` and the picture of `drive info`: what is wrong is said, what is cut is exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from gnss.types import Fix
from perception.errors import DriveError
from perception.types import Frame, Seen
from replays.drive import open_drive
from replays.drive_check import check_drive
from replays.drive_picture import GAP, draw_drive
from replays.recording.shelf import SingleFile
from replays.source import DriveSource
from replays.trim import Stretch, trim_drive
from tests.replays import ros_bags
from tests.replays.recordings import record

HEADER = "stamp_ns,utc_ns,lat_deg,lon_deg,alt_m,h_acc_m,speed_mps,course_deg,course_acc_deg,quality,satellites,hdop"
UTC_NS = 1_780_000_000_000_000_000
Change = Callable[[list[list[str]]], None]


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A calibrated drive without pictures: 100 s, 10 m/s northwards, 5 frames/s, all looked at."""
    folder = tmp_path / "long"
    folder.mkdir()
    head = 'version = 1\nname = "long"\nvehicle = "car-7"\n\n[[camera]]\nname = "front"\nwidth = 640\nheight = 360\n'
    (folder / "drive.toml").write_text(head + "fx = 500.0\nz_m = 1.5\n")
    frames = range(500)
    (folder / "front.csv").write_text("index,stamp_ns\n" + "".join(f"{n},{n * 200_000_000}\n" for n in frames))
    lines = [json.dumps({"camera": "front", "index": n, "boxes": []}) for n in frames]
    (folder / "detections.jsonl").write_text("\n".join(lines) + "\n")
    write_fixes(folder, lambda rows: None)
    return folder


def write_fixes(folder: Path, change: Change) -> None:
    """100 fixes at 1/s, changed."""
    rows = [
        [
            str(s * 10**9),
            str(UTC_NS + s * 10**9),
            repr(31 + s * 9e-5),
            "121.0",
            "4",
            "0.7",
            "10",
            "0",
            "1",
            "1",
            "12",
            "0.8",
        ]
        for s in range(100)
    ]
    change(rows)
    (folder / "fixes.csv").write_text("\n".join([HEADER, *(",".join(row) for row in rows)]) + "\n")


def set_cell(row: int, cell: int, value: str) -> Change:
    def change(rows: list[list[str]]) -> None:
        rows[row][cell] = value

    return change


def without(first: int, last: int) -> Change:
    def change(rows: list[list[str]]) -> None:
        del rows[first:last]

    return change


def unsaid(rows: list[list[str]]) -> None:
    for row in rows:
        row[5] = row[11] = ""


def no_utc(rows: list[list[str]]) -> None:
    for row in rows:
        row[1] = ""


def clock_step(rows: list[list[str]]) -> None:
    for row in rows[60:]:
        row[1] = str(int(row[1]) + 3_600_000_000_000)


def clock_drift(rows: list[list[str]]) -> None:
    for n, row in enumerate(rows):
        row[1] = str(int(row[1]) + n * 500_000)


def no_quality(rows: list[list[str]]) -> None:
    for row in rows[40:50]:
        row[9] = "0"


def test_a_good_drive_has_no_findings(long: Path) -> None:
    assert check_drive(open_drive(long)) == []


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (without(30, 40), "gap", "fixes: 1 gaps, 11.0 s in all, the longest 11.0 s at 29.0 s"),
        (without(20, 100), "no pose", "frames have no fix on both sides"),
        (set_cell(50, 2, "31.1"), "jump", "2 fixes jump, up to "),
        (unsaid, "no accuracy", "neither an accuracy nor an HDOP"),
        (no_utc, "no utc", "alone only"),
        (clock_step, "clock step", "UTC and stamps part by +3600.0 s at 59.0 s, 1 such steps"),
        (clock_drift, "clock drift", "by +500 ppm"),
        (no_quality, "dropped", "10 of 100 were no fix: 10 x quality 0"),
    ],
)
def test_findings_of_the_fixes(long: Path, change: Change, code: str, said: str) -> None:
    write_fixes(long, change)
    found = {finding.code: finding.text for finding in check_drive(open_drive(long))}
    assert said in found[code]


def test_a_guessed_camera_and_frames_nobody_looked_at(long: Path) -> None:
    text = (long / "drive.toml").read_text()
    (long / "drive.toml").write_text(text.replace("fx = 500.0\n", ""))
    lines = (long / "detections.jsonl").read_text().splitlines()
    (long / "detections.jsonl").write_text("\n".join(lines[:300]) + "\n")
    found = {finding.code: finding.text for finding in check_drive(open_drive(long))}
    assert set(found) == {"no calibration", "not looked at"}
    assert found["not looked at"] == "camera front: 200 frames have no detections"


def test_a_frozen_camera_shows_in_its_pixels(tmp_path: Path) -> None:
    bag = ros_bags.street(topics=["/fix"])
    for n in range(60):
        index = n if n < 10 else 10
        bag.add("/cam/image_raw", n * 10**8, ros_bags.raw(index, ros_bags.START_NS + n * 10**8, "bgr8"))
    drive = open_drive(bag.write(tmp_path / "bag"))
    assert "frozen" not in {f.code for f in check_drive(drive)}
    frozen = next(f.text for f in check_drive(drive, pixels=True) if f.code == "frozen")
    assert frozen == "camera cam: 50 equal pictures in a row, 1.0 s in"


def test_a_torn_recording_is_a_finding_and_trim_makes_it_whole(tmp_path: Path) -> None:
    file = record(SingleFile(tmp_path / "a.mcap"), 20.0)
    file.write_bytes(file.read_bytes()[:30_000])
    torn = open_drive(file)
    assert [f.code for f in check_drive(torn)] == ["lost"]
    whole = trim_drive(file, tmp_path / "whole.mcap", Stretch())
    assert check_drive(whole) == []
    for one, other in zip(DriveSource(torn, "recorded"), DriveSource(whole, "recorded"), strict=True):
        assert type(one) is type(other)
        if not isinstance(one, Seen):
            assert one == other


def test_trimming_a_recording_copies_its_messages(tmp_path: Path) -> None:
    file = record(SingleFile(tmp_path / "a.mcap"), 20.0)
    drive = trim_drive(file, tmp_path / "cut.mcap", Stretch(5.0, 8.0))
    kept = [e for e in DriveSource(open_drive(file), "recorded") if isinstance(e, Seen) and 50 <= e.index <= 80]
    back = [e for e in DriveSource(drive, "recorded") if isinstance(e, Seen)]
    assert [(e.index, e.stamp_ns) for e in back] == [(e.index, e.stamp_ns) for e in kept]
    for one, other in zip(back, kept, strict=True):
        assert one.picture is not None
        assert other.picture is not None
        np.testing.assert_array_equal(one.picture().image, other.picture().image)
    assert [f.stamp_ns // 10**9 for f in drive.fixes] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert drive.meta.name == "monday"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mcap", "cut.mcap"]


def test_trimming_a_folder(tiny: Path, tmp_path: Path) -> None:
    drive = trim_drive(tiny, tmp_path / "cut", Stretch(0.3, 0.7))
    assert drive.members["front"].index.tolist() == [3, 4, 5, 6, 7]
    frames = [e for e in DriveSource(drive, "model") if isinstance(e, Frame)]
    assert [round(float(f.image.mean()) / 10) for f in frames] == [3, 4, 5, 6, 7]
    assert drive.fixes == open_drive(tiny).fixes
    assert drive.cameras == open_drive(tiny).cameras


def test_trimming_a_bag(tmp_path: Path) -> None:
    file = ros_bags.street(60).write(tmp_path / "bag")
    drive = trim_drive(file, tmp_path / "cut.mcap", Stretch(1.95, 3.05))
    assert len(drive.members["camera_front"].index) == 11
    assert drive.cameras["camera_front"].fx == 50.0
    assert [f for f in drive.fixes if isinstance(f, Fix)]


@pytest.mark.parametrize(
    ("out", "stretch", "said"),
    [
        ("a.mcap", Stretch(), "exists"),
        ("folder", Stretch(), "no name for a recording"),
        ("b.mcap", Stretch(5.0, 5.0), "no stretch"),
        ("b.mcap", Stretch(-1.0), "no stretch"),
        ("b.mcap", Stretch(100.0), "holds no frame"),
    ],
)
def test_what_cannot_be_trimmed_leaves_nothing(tmp_path: Path, out: str, stretch: Stretch, said: str) -> None:
    file = record(SingleFile(tmp_path / "a.mcap"), 3.0)
    before = file.read_bytes()
    with pytest.raises(DriveError, match=said) as error:
        trim_drive(file, tmp_path / out, stretch)
    assert error.value.remedy
    assert [p.name for p in tmp_path.iterdir()] == ["a.mcap"]
    assert file.read_bytes() == before


def test_a_folder_stretch_without_frames(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(DriveError, match=r"no frame from 7 s to inf s"):
        trim_drive(tiny, tmp_path / "cut", Stretch(7.0))
    assert not (tmp_path / "cut").exists()


def red_pixels(file: Path) -> int:
    """How many pixels have the colour of gaps."""
    red = [int(GAP[i : i + 2], 16) for i in (1, 3, 5)]
    with PillowImage.open(file) as image:
        return int((np.asarray(image.convert("RGB")) == red).all(axis=2).sum())


def test_the_picture_shows_the_gaps_in_red(long: Path, tmp_path: Path) -> None:
    draw_drive(open_drive(long), tmp_path / "whole.png")
    write_fixes(long, without(30, 60))
    draw_drive(open_drive(long), tmp_path / "gap.png")
    assert red_pixels(tmp_path / "whole.png") == 0
    assert red_pixels(tmp_path / "gap.png") > 2000


def test_a_picture_that_cannot_be_written(long: Path, tmp_path: Path) -> None:
    with pytest.raises(DriveError, match="cannot be written"):
        draw_drive(open_drive(long), tmp_path / "gone" / "a.png")
