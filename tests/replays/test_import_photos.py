"""Photos to a drive: guesses are declared, equal positions and missing times do not break it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gnss.geodesy import distance_m, wrap_deg
from perception.errors import DriveError
from perception.types import Frame
from replays.drive_info import drive_info
from replays.import_photos import headings, import_photos, smooth_track
from replays.source import DriveSource

LAT, LON = 31.2, 121.4


def take(
    folder: Path,
    name: str,
    north_m: float,
    *,
    time: str | None = None,
    offset: str | None = None,
    eq35: float | None = 28.0,
    dop: float | None = None,
    size: tuple[int, int] = (64, 48),
    orientation: int = 1,
) -> None:
    """Write one geotagged photo `north_m` of the start."""
    folder.mkdir(exist_ok=True)
    lat = LAT + north_m / 110_880.0
    exif = Image.Exif()
    exif[0x0112] = orientation
    gps = exif.get_ifd(0x8825)
    gps.update({1: "N", 2: (float(int(lat)), 0.0, (lat - int(lat)) * 3600), 3: "E", 4: (121.0, 24.0, 0.0)})
    if dop is not None:
        gps[11] = dop
    shot = exif.get_ifd(0x8769)
    if eq35 is not None:
        shot[0xA405] = int(eq35)
    if time is not None:
        shot[0x9003] = time
    if offset is not None:
        shot[0x9011] = offset
    Image.fromarray(np.full((size[1], size[0], 3), 99, np.uint8)).save(folder / name, exif=exif)


def test_photos_without_time_walk_in_order_of_names(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(1, 12):
        take(photos, f"{number}.jpg", 7.0 * number, dop=3.0)
    imported = import_photos(photos, tmp_path / "drive")
    drive = imported.drive
    camera = drive.cameras["front"]
    assert (camera.guessed, camera.z_m) == (True, 1.4)
    assert camera.fx == pytest.approx(64 * 28 / 36, abs=0.01)
    steps = np.diff(drive.members["front"].stamp_ns) / 1e9
    assert steps == pytest.approx([5.0] * 10, abs=0.02)
    assert all(f.heading_deg is not None and abs(wrap_deg(f.heading_deg)) < 0.5 for f in drive.fixes)
    assert {f.h_acc_m for f in drive.fixes} == {3.0}
    assert drive.start_utc_ns is None
    assert "walking pace (1.4 m/s)" in imported.note
    assert "no UTC" in imported.note
    assert drive.meta.note == imported.note
    assert sum(isinstance(item, Frame) for item in DriveSource(drive)) == 11


def test_photos_with_utc_keep_their_times_and_order(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    take(photos, "b.jpg", 0.0, time="2026:04:01 10:00:00", offset="+08:00")
    take(photos, "a.jpg", 9.0, time="2026:04:01 10:00:04", offset="+08:00")
    take(photos, "c.jpg", 9.0, time="2026:04:01 10:00:04", offset="+08:00")
    imported = import_photos(photos, tmp_path / "drive")
    assert imported.drive.members["front"].stamp_ns.tolist() == [0, 4_000_000_000, 4_001_000_000]
    assert drive_info(imported.drive)["start_utc"] == "2026-04-01T02:00:00Z"
    assert imported.drive.fixes[0].lat_deg == pytest.approx(LAT, abs=2e-5)
    assert "walking pace" not in imported.note


def test_local_times_make_no_utc(tmp_path: Path) -> None:
    take(tmp_path / "p", "a.jpg", 0.0, time="2026:04:01 10:00:00")
    imported = import_photos(tmp_path / "p", tmp_path / "drive")
    assert imported.drive.start_utc_ns is None
    assert imported.drive.fixes[0].utc_ns is None
    assert imported.drive.fixes[0].heading_deg is None
    assert imported.drive.fixes[0].h_acc_m == 5.0


def test_repeated_positions_are_stale_and_said_to_be_wide(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number, north_m in enumerate([0.0, 6.0, 12.0, 18.0, 18.0, 18.0]):
        take(photos, f"{number}.jpg", north_m)
    imported = import_photos(photos, tmp_path / "drive")
    drive = imported.drive
    assert "2 photos repeat the position" in imported.note
    accuracies = [f.h_acc_m or 0.0 for f in drive.fixes]
    assert accuracies[:4] == [5.0] * 4
    assert accuracies[4:] == pytest.approx([np.hypot(5, 6), np.hypot(5, 12)], abs=0.01)
    assert np.all(np.diff(drive.members["front"].stamp_ns) >= 500_000_000)
    assert np.all(np.diff([f.lat_deg for f in drive.fixes]) > 0)


def test_all_photos_at_one_place(tmp_path: Path) -> None:
    for number in range(4):
        take(tmp_path / "p", f"{number}.jpg", 0.0)
    drive = import_photos(tmp_path / "p", tmp_path / "drive").drive
    assert drive.members["front"].stamp_ns.tolist() == [0, 500_000_000, 1_000_000_000, 1_500_000_000]
    assert {f.heading_deg for f in drive.fixes} == {None}


def test_a_turned_photo_is_turned_in_its_pixels(tmp_path: Path) -> None:
    take(tmp_path / "p", "a.jpg", 0.0, orientation=6)
    drive = import_photos(tmp_path / "p", tmp_path / "drive").drive
    assert (drive.cameras["front"].width, drive.cameras["front"].height) == (48, 64)
    image = cv2.imread(
        str(tmp_path / "drive" / "front" / "000000.jpg"), cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_COLOR
    )
    assert image is not None
    assert image.shape == (64, 48, 3)


def test_photos_that_cannot_be_used_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    take(photos, "1.jpg", 0.0)
    take(photos, "2.jpg", 5.0, size=(80, 60))
    with pytest.raises(DriveError, match=r"2\.jpg: is 80x60 and 1\.jpg is 64x48"):
        import_photos(photos, tmp_path / "drive")
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(photos / "2.jpg")
    with pytest.raises(DriveError, match=r"2\.jpg: has no GPS position"):
        import_photos(photos, tmp_path / "drive")
    (photos / "2.jpg").write_bytes(b"\xff\xd8 torn")
    with pytest.raises(DriveError, match=r"2\.jpg: is no photo"):
        import_photos(photos, tmp_path / "drive")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DriveError, match=r"holds no \.jpg"):
        import_photos(tmp_path / "empty", tmp_path / "drive")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "photos"]


def test_smoothing_equals_the_dense_solution_and_is_bounded() -> None:
    rng = np.random.default_rng(3)
    raw = np.cumsum(rng.normal(0, 3, (12, 2)), axis=0)
    sigmas = np.full(12, 40.0)
    second = np.diff(np.eye(12), n=2, axis=0)
    weights = np.eye(12) / 12.0**2
    dense = np.linalg.solve(weights + second.T @ second, weights @ raw)
    assert smooth_track(raw, sigmas) == pytest.approx(dense, abs=1e-9)
    jump = np.array([[0.0, 0], [0, 5], [60, 10], [0, 15], [0, 20]])
    moved = np.hypot(*(smooth_track(jump, np.full(5, 5.0)) - jump).T)
    assert moved.max() <= 5.0 + 1e-9


def test_headings_follow_a_corner() -> None:
    corner = np.array([[0.0, 0], [0, 10], [0, 20], [10, 20], [20, 20]])
    assert headings(corner) == pytest.approx([0, 0, 45, 90, 90])


def test_lund_street(shared: Path, tmp_path: Path) -> None:
    photos = shared / "drives" / "opensfm-lund-street"
    if not photos.is_dir():
        pytest.skip(f"{photos} is absent: real photos are not checked")
    imported = import_photos(photos, tmp_path / "drive")
    drive = imported.drive
    assert drive.cameras["front"].fx == pytest.approx(995.56, abs=0.01)
    assert len(drive.fixes) == 29
    assert "29 of them carry no capture time" in imported.note
    assert 170 < drive_info(drive)["distance_m"] < 200
    for before, after in pairwise(drive.fixes):
        walked = distance_m(before.lat_deg, before.lon_deg, after.lat_deg, after.lon_deg)
        assert walked / ((after.stamp_ns - before.stamp_ns) / 1e9) < 1.41
        assert abs(wrap_deg((after.heading_deg or 0) - (before.heading_deg or 0))) < 15
    assert sum(isinstance(item, Frame) for item in DriveSource(drive)) == 29
