"""Opening a drive: what it holds, and every broken member as a DriveError with file, line and remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.errors import DriveError
from replays.drive import open_drive

Boxes = Callable[[Path, dict[int, list[tuple[str, float]]]], None]


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def complaint(folder: Path) -> DriveError:
    with pytest.raises(DriveError) as caught:
        open_drive(folder)
    assert "Remedy: " in str(caught.value)
    return caught.value


def test_a_good_drive_is_read_whole(tiny: Path) -> None:
    drive = open_drive(tiny)
    assert (drive.meta.name, drive.meta.vehicle) == ("tiny", "car-7")
    assert drive.start_utc_ns == 1_775_000_000_000_000_000
    assert drive.members["front"].stamp_ns.tolist() == [n * 100_000_000 for n in range(12)]
    assert len(drive.fixes) == 2
    assert drive.fixes[1].lat_deg == 31.0001
    assert drive.motion is not None
    assert [m.yaw_rate_dps for m in drive.motion] == [None] * 12
    assert drive.has_pixels
    assert not drive.has_detections
    assert (drive.city, drive.truth) == (None, None)


def test_calibration_and_its_absence(tiny: Path) -> None:
    camera = open_drive(tiny).cameras["front"]
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.z_m, camera.guessed) == (
        120,
        120,
        79.5,
        59.5,
        1.5,
        False,
    )
    replace(tiny / "drive.toml", "fx = 120.0\nz_m = 1.5\n", "")
    camera = open_drive(tiny).cameras["front"]
    assert camera.guessed
    assert camera.z_m == 1.4
    assert math.degrees(2 * math.atan(80 / camera.fx)) == pytest.approx(70)


@pytest.mark.parametrize(
    "lens",
    [
        "dist = [0.1]",
        "dist = [0.1, 0.0, 0.0]",
        "dist = [0.1, nan, 0.0, 0.0]",
        "dist = [0, 0, 0, 0, true]",
        'dist = "none"',
        'model = "fisheye"\ndist = [0.1, 0.0, 0.0, 0.0, 0.0]',
    ],
)
def test_a_distortion_that_opencv_would_not_take(tiny: Path, lens: str) -> None:
    replace(tiny / "drive.toml", "fx = 120.0", "fx = 120.0\n" + lens)
    error = complaint(tiny)
    assert error.file == tiny / "drive.toml"
    assert error.line == 12 + lens.count("\n")
    assert "'front': dist is" in str(error)
    assert "numbers, dist = [k1, k2, " in error.remedy


@pytest.mark.parametrize("count", [0, 4, 5, 8])
def test_a_distortion_that_opencv_takes(tiny: Path, count: int) -> None:
    replace(tiny / "drive.toml", "fx = 120.0", f"fx = 120.0\ndist = {[0.001] * count}")
    camera = open_drive(tiny).cameras["front"]
    assert camera.ground_point(np.array([[80.0, 100.0]])).shape == (1, 2)


def test_start_utc_is_found_from_the_fixes(tiny: Path) -> None:
    replace(tiny / "drive.toml", 'start_utc = "2026-03-31T23:33:20Z"\n', "")
    assert open_drive(tiny).start_utc_ns == 1_775_000_000_000_000_000


def test_missing_camera_file(tiny: Path) -> None:
    (tiny / "front.mp4").unlink()
    error = complaint(tiny)
    assert error.file == tiny / "front.mp4"
    assert "missing" in str(error)


def test_missing_camera_file_is_fine_with_recorded_detections(tiny: Path, write_boxes: Boxes) -> None:
    (tiny / "front.mp4").unlink()
    write_boxes(tiny, {0: [("car", 0.5)]})
    drive = open_drive(tiny)
    assert not drive.has_pixels
    assert drive.has_detections


@pytest.mark.parametrize(
    ("member", "old", "new", "line"),
    [
        ("front.csv", "3,300000000", "3,100000000", 5),
        ("front.csv", "3,300000000", "3,200000000", 5),
        ("front.csv", "3,300000000", "2,300000000", 5),
        ("fixes.csv", "\n1000000000,", "\n-5,", 3),
        ("motion.csv", "500000000,", "400000,", 7),
    ],
)
def test_stamps_going_back(tiny: Path, member: str, old: str, new: str, line: int) -> None:
    replace(tiny / member, old, new)
    error = complaint(tiny)
    assert (error.file, error.line) == (tiny / member, line)


@pytest.mark.parametrize(
    ("member", "old", "new", "line", "word"),
    [
        ("front.csv", "stamp_ns", "time", 1, "'stamp_ns' is missing"),
        ("fixes.csv", "hdop", "hdop,colour", 1, "'colour' is not known"),
        ("fixes.csv", "31.0,121.0", "north,121.0", 2, "'north'"),
        ("fixes.csv", "31.0,121.0", "91.0,121.0", 2, "not on the earth"),
        ("fixes.csv", "1,12,0.8", "9,12,0.8", 2, "quality 9"),
        ("fixes.csv", "4.0,0.7", "4.0,nan", 2, "'nan'"),
        ("motion.csv", "0,11.1,", "0,11.1", 2, "2 fields under a header of 3"),
        ("front.csv", "0,0", ",0", 2, "'index' is empty"),
    ],
)
def test_wrong_columns_and_values(tiny: Path, member: str, old: str, new: str, line: int, word: str) -> None:
    file = tiny / member
    file.write_text(file.read_text().replace(old, new, 1))
    error = complaint(tiny)
    assert (error.file, error.line) == (file, line)
    assert word in str(error)


def test_truncated_video_by_its_size(tiny: Path) -> None:
    video = tiny / "front.mp4"
    video.write_bytes(video.read_bytes()[:-200])
    error = complaint(tiny)
    assert error.file == video
    assert "truncated" in str(error)


def test_video_with_fewer_frames_than_rows(tiny: Path) -> None:
    with (tiny / "front.csv").open("a") as stream:
        stream.write("12,1200000000\n13,1300000000\n")
    assert "12 frames can be read, the camera's CSV has 14 rows" in str(complaint(tiny))


def test_video_with_more_frames_than_rows(tiny: Path) -> None:
    replace(tiny / "front.csv", "11,1100000000\n", "")
    assert "12 frames, the camera's CSV only 11 rows" in str(complaint(tiny))


def test_video_of_another_size(tiny: Path) -> None:
    replace(tiny / "drive.toml", "width = 160", "width = 320")
    assert "160x120, drive.toml says 320x120" in str(complaint(tiny))


def test_a_drive_without_any_fix(tiny: Path) -> None:
    fixes = tiny / "fixes.csv"
    fixes.write_text(fixes.read_text().splitlines()[0] + "\n")
    assert "no usable fix" in str(complaint(tiny))
    fixes.write_text(fixes.read_text() + "0,,,,,,,,,0,,\n")
    error = complaint(tiny)
    assert (error.file, "1 x quality 0" in str(error)) == (fixes, True)
    fixes.unlink()
    assert complaint(tiny).file == tiny


def test_raw_nmea_needs_a_clock(tiny: Path) -> None:
    (tiny / "fixes.csv").unlink()
    (tiny / "gnss.nmea").write_bytes(b"$GPGGA,")
    replace(tiny / "drive.toml", 'start_utc = "2026-03-31T23:33:20Z"\n', "")
    assert "start_utc" in str(complaint(tiny))


@pytest.mark.parametrize(
    ("old", "new", "line", "word"),
    [
        ("version = 1", "version = 2", None, "version is 2"),
        ("version = 1", "version = ", None, "not TOML"),
        ('vehicle = "car-7"\n', "", None, "'vehicle'"),
        ("z_m = 1.5", "hight = 1.5", 12, "'hight' is not known"),
        ("fx = 120.0", 'fx = "120"', 11, "'fx' holds '120'"),
        ("fx = 120.0", "fx = -1.0", 11, "positive"),
        ("width = 160", "width = 16.5", 9, "'width' is 16.5"),
        ("20Z", "20", 4, "no zone"),
        ("[[camera]]", '[gnss]\ndatum = "GCJ-02"\n[[camera]]', 7, "datum 'GCJ-02'"),
        ("z_m = 1.5", 'z_m = 1.5\n[[camera]]\nname = "front"\nwidth = 1\nheight = 1', 14, "twice"),
        ("z_m = 1.5", 'model = "mirror"', 12, "'mirror'"),
    ],
)
def test_bad_drive_toml(tiny: Path, old: str, new: str, line: int | None, word: str) -> None:
    replace(tiny / "drive.toml", old, new)
    error = complaint(tiny)
    assert (error.file, error.line) == (tiny / "drive.toml", line)
    assert word in str(error)


def test_folder_of_pictures(tiny: Path) -> None:
    replace(tiny / "drive.toml", 'file = "front.mp4"\n', "")
    (tiny / "front.mp4").unlink()
    (tiny / "front").mkdir()
    for number in range(12):
        cv2.imwrite(str(tiny / "front" / f"{number:06d}.jpg"), np.zeros((120, 160, 3), np.uint8))
    assert open_drive(tiny).has_pixels
    (tiny / "front" / "000007.jpg").unlink()
    assert complaint(tiny).file == tiny / "front" / "000007.jpg"


def test_not_a_drive(tmp_path: Path) -> None:
    assert "does not exist" in str(complaint(tmp_path / "nowhere"))
    assert complaint(tmp_path).file == tmp_path / "drive.toml"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("{", "not JSON"),
        ('{"camera":"front","index":0}', "needs"),
        ('{"camera":"rear","index":0,"boxes":[]}', "not in drive.toml"),
        ('{"camera":"front","index":99,"boxes":[]}', "not in its CSV"),
        ('{"camera":"front","index":1,"boxes":[]}', "twice"),
        ('{"camera":"front","index":0,"boxes":[{"class":"car","confidence":1.5,"xyxy":[0,0,1,1]}]}', "not in 0..1"),
        ('{"camera":"front","index":0,"boxes":[{"class":"car","confidence":1,"xyxy":[2,0,1,1]}]}', "x1 <= x2"),
    ],
)
def test_bad_detections(tiny: Path, line: str, word: str) -> None:
    (tiny / "detections.jsonl").write_text('{"camera":"front","index":1,"boxes":[]}\n' + line + "\n")
    error = complaint(tiny)
    assert (error.file, error.line) == (tiny / "detections.jsonl", 2)
    assert word in str(error)
