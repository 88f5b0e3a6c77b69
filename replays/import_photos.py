"""A folder of geotagged photos becomes a drive; what photos do not say is guessed and written into its note."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from scipy.linalg import solveh_banded

from gnss.geodesy import LocalFrame
from gnss.types import Array, Fix
from perception.errors import DriveError
from replays.atomic import new_folder
from replays.drive import open_drive
from replays.drive_files import CameraEntry, write_camera_csv, write_drive_toml, write_fixes_csv
from replays.drive_toml import utc_iso
from replays.exif import PhotoFacts, read_photo
from replays.import_video import CAMERA, Imported

WALK_MPS = 1.4
"""Pace of a walking person, for photos without time."""
DEFAULT_H_ACC_M = 5.0
HEADING_SIGMA_DEG = 10.0
"""1 sigma of the camera's direction when it is taken from the direction of the track."""

_SMALLEST_STEP_S = 0.5
_WHITE_SHARE = 0.3
"""Share of a phone fix's error that changes from photo to photo; no smoothing removes the rest, it wanders slowly."""
_BEND_M = 1.0
"""1 sigma of the second difference of a walked track between photos."""
_BASELINE_M = 5.0


def import_photos(folder: Path, out: Path, *, name: str | None = None, vehicle: str = "photographer") -> Imported:
    """Make a drive folder `out` of the JPEGs of `folder`, all of one size; see `accuracies` and `smooth_track`.

    Photos that all carry a time keep it and its order; else they are taken in the order of their names and spaced at
    WALK_MPS along the track. Raises DriveError naming the photo that cannot be used; then nothing is left behind.
    """
    photos = _read_all(folder)
    timed = all(photo.time_ns is not None for photo in photos)
    if timed:
        photos = sorted(photos, key=lambda photo: photo.time_ns or 0)
    frame = LocalFrame(photos[0].lat_deg, photos[0].lon_deg)
    raw = np.array([frame.to_enu(p.lat_deg, p.lon_deg) for p in photos], np.float64).reshape(-1, 2)
    sigmas = accuracies(photos, raw)
    places = smooth_track(raw, sigmas)
    stamps = _stamps(photos, places, timed)
    utc_start = photos[0].time_ns if timed and all(p.time_is_utc for p in photos) else None
    fixes = _fixes(frame, places, sigmas, photos, stamps, utc_start)
    entry, note = _camera(photos), _note(folder, photos, timed, utc_start is not None)
    with new_folder(out, "drive.toml", "drive") as part:
        (part / CAMERA).mkdir()
        for number, photo in enumerate(photos):
            _copy(photo, part / CAMERA / f"{number:06d}.jpg")
        write_camera_csv(part / f"{CAMERA}.csv", stamps)
        write_fixes_csv(part / "fixes.csv", fixes)
        start = None if utc_start is None else utc_iso(utc_start)
        write_drive_toml(part / "drive.toml", name or folder.name, vehicle, note, entry, start)
        open_drive(part)
    return Imported(open_drive(out), note)


def _read_all(folder: Path) -> list[PhotoFacts]:
    if not folder.is_dir():
        raise DriveError("is not a folder", file=folder, remedy="name a folder of geotagged JPEG photos")
    files = [file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg")]
    if not files:
        raise DriveError("holds no .jpg photo", file=folder, remedy="name a folder of geotagged JPEG photos")
    photos = [read_photo(file) for file in sorted(files, key=_natural)]
    first = photos[0]
    for photo in photos:
        if _upright(photo) != _upright(first):
            sizes = "{}x{} and {} is {}x{}".format(*_upright(photo), first.file.name, *_upright(first))
            remedy = "a drive's camera has one size: import such photos into a drive of their own"
            raise DriveError(f"is {sizes}", file=photo.file, remedy=remedy)
    return photos


def _natural(file: Path) -> list[tuple[int, str]]:
    """Order of names in which 2.jpg comes before 10.jpg."""
    parts = re.split(r"(\d+)", file.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _upright(photo: PhotoFacts) -> tuple[int, int]:
    return (photo.height, photo.width) if photo.sideways else (photo.width, photo.height)


def _copy(photo: PhotoFacts, target: Path) -> None:
    """Copy the photo's bytes; one that its EXIF turns is turned in its pixels, calibration belongs to stored pixels."""
    if not photo.turned:
        shutil.copyfile(photo.file, target)
        return
    image = cv2.imdecode(np.frombuffer(photo.file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None or not cv2.imwrite(str(target), image, [cv2.IMWRITE_JPEG_QUALITY, 95]):
        raise DriveError("cannot be decoded", file=photo.file, remedy="restore it or remove it from the folder")


def _camera(photos: Sequence[PhotoFacts]) -> CameraEntry:
    """fx from the 35 mm equivalent: the long side of a 35 mm frame is 36 mm. Different focal lengths: the median."""
    width, height = _upright(photos[0])
    focal = [photo.focal_35mm for photo in photos if photo.focal_35mm is not None]
    fx = max(width, height) * float(np.median(focal)) / 36.0 if focal else None
    return CameraEntry(CAMERA, CAMERA, width, height, fx)


def _stamps(photos: Sequence[PhotoFacts], places: Array, timed: bool) -> list[int]:
    """Stamps in ns from the first photo, rising by at least half a second without times, a millisecond with them."""
    stamps = [0]
    for number in range(1, len(photos)):
        if timed:
            at = (photos[number].time_ns or 0) - (photos[0].time_ns or 0)
            stamps.append(max(at, stamps[-1] + 1_000_000))
        else:
            step_m = float(np.hypot(*(places[number] - places[number - 1])))
            stamps.append(stamps[-1] + round(max(step_m / WALK_MPS, _SMALLEST_STEP_S) * 1e9))
    return stamps


def accuracies(photos: Sequence[PhotoFacts], raw_m: Array) -> Array:
    """1 sigma (N,) m of each position: what the photo says, wider for one that repeats the position before exactly.

    A repeat is a stale fix: the photographer walked on unseen, by about a usual step for each repeat.
    """
    steps = np.hypot(*np.diff(raw_m, axis=0).T) if len(raw_m) > 1 else np.zeros(0)
    usual = float(np.median(steps[steps > 0])) if np.any(steps > 0) else 0.0
    sigmas, repeats = [], 0
    for number, photo in enumerate(photos):
        repeats = repeats + 1 if number and steps[number - 1] == 0 else 0
        sigmas.append(math.hypot(photo.h_acc_m or DEFAULT_H_ACC_M, repeats * usual))
    return np.array(sigmas)


def smooth_track(raw_m: Array, sigmas_m: Array) -> Array:
    """East/north (N, 2) m smoothed against jumps from photo to photo; no point moves by more than its own sigma.

    Least squares on the points, weighted by the white share of `sigmas_m` (N,), and on second differences
    (Whittaker 1923).
    """
    count = len(raw_m)
    if count < 3:
        return raw_m.copy()
    weights = 1.0 / (_WHITE_SHARE * sigmas_m) ** 2
    bands = np.zeros((3, count))
    bands[2] = weights
    second_difference = (1.0, -2.0, 1.0)
    for i, a in enumerate(second_difference):
        for j, b in list(enumerate(second_difference))[i:]:
            # Row 2 - d of the banded form holds the d-th diagonal above the main one, ending in its last column.
            bands[2 - (j - i), j : count - 2 + j] += a * b / _BEND_M**2
    smooth = np.asarray(solveh_banded(bands, weights[:, None] * raw_m), np.float64)
    shift = smooth - raw_m
    length = np.maximum(np.hypot(shift[:, 0], shift[:, 1]), 1e-12)
    limited: Array = raw_m + shift * np.minimum(1.0, sigmas_m / length)[:, None]
    return limited


def headings(places_m: Array) -> list[float | None]:
    """Direction of the track at each of (N, 2) east/north points, in degrees clockwise from north.

    Taken over at least _BASELINE_M to both sides where the track has it; None when it spans less than that.
    """
    found: list[float | None] = []
    for number, here in enumerate(places_m):
        away = np.hypot(places_m[:, 0] - here[0], places_m[:, 1] - here[1])
        before = next((i for i in range(number, -1, -1) if away[i] >= _BASELINE_M), 0)
        after = next((i for i in range(number, len(places_m)) if away[i] >= _BASELINE_M), len(places_m) - 1)
        east, north = places_m[after] - places_m[before]
        found.append(math.degrees(math.atan2(east, north)) % 360.0 if math.hypot(east, north) >= _BASELINE_M else None)
    return found


def _fixes(
    frame: LocalFrame,
    places: Array,
    sigmas: Array,
    photos: Sequence[PhotoFacts],
    stamps: Sequence[int],
    utc_start: int | None,
) -> list[Fix]:
    fixes = []
    for number, (heading, photo) in enumerate(zip(headings(places), photos, strict=True)):
        lat, lon = frame.to_geo(float(places[number, 0]), float(places[number, 1]))
        utc_ns = None if utc_start is None else utc_start + stamps[number]
        fix = Fix(stamps[number], utc_ns, float(lat), float(lon), photo.alt_m, float(sigmas[number]))
        if heading is not None:
            fix = replace(fix, heading_deg=heading, heading_acc_deg=HEADING_SIGMA_DEG)
        fixes.append(fix)
    return fixes


def _note(folder: Path, photos: Sequence[PhotoFacts], timed: bool, utc: bool) -> str:
    said = [f"Imported from {len(photos)} photos of {folder.name}."]
    if not timed:
        bare = sum(photo.time_ns is None for photo in photos)
        said.append(
            f"{bare} of them carry no capture time: all are spaced at walking pace ({WALK_MPS} m/s) along the track in "
            "the order of their names."
        )
    if not utc:
        said.append("There is no UTC: this drive is replayed alone and cannot join a shared case memory.")
    said.append("The heading is the direction of the track, the camera is guessed as 1.4 m up, level, looking ahead.")
    if all(photo.focal_35mm is None for photo in photos):
        said.append("No focal length: the field of view is guessed as 70 degrees.")
    stale = sum((a.lat_deg, a.lon_deg) == (b.lat_deg, b.lon_deg) for a, b in pairwise(photos))
    if stale:
        said.append(f"{stale} photos repeat the position before them: taken as stale, with a wider accuracy.")
    if any(photo.h_acc_m is None for photo in photos):
        said.append(f"Positions without accuracy count as {DEFAULT_H_ACC_M} m (1 sigma).")
    return " ".join(said)
