"""A video and a track (NMEA, GPX, CSV, or a GoPro's own) become a drive, on declared guesses about camera and clock."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from gnss.nmea import NmeaReader, stamped_by_utc
from gnss.types import Fix
from perception.camera import CameraModel
from perception.errors import DriveError
from replays.atomic import new_folder
from replays.csv_track import read_csv_track
from replays.drive import Drive, open_drive
from replays.drive_files import CameraEntry, write_camera_csv, write_drive_toml, write_fixes_csv
from replays.drive_toml import utc_iso
from replays.gpmf import gopro_fixes
from replays.gpx import read_gpx
from replays.import_rtklib import read_rtklib
from replays.offset import FoundOffset, find_offset
from replays.pictures import FilePictures
from replays.video_motion import SeenMotion, seen_motion

CAMERA = "front"
SEARCH_HZ, SEARCH_S = 10.0, 600.0
"""The clock offset is searched with this many pictures per second of the first ten minutes."""


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """An imported drive and what was guessed on the way, for people to read."""

    drive: Drive
    note: str


def import_video(
    video: Path,
    track: Path | None,
    out: Path,
    *,
    clock_offset_s: float = 0.0,
    video_start_utc_ns: int | None = None,
    search: bool = False,
    name: str | None = None,
    vehicle: str = "dashcam",
) -> Imported:
    """Make a drive folder `out` of one video and one track (.gpx, .csv, .pos, else NMEA; None: a GoPro's own).

    The first frame is at `video_start_utc_ns`, or, when that is None, at the track's first fix; `clock_offset_s` is
    added (> 0: the video began later than that). `search`: the offset from the track's first fix is looked for in how
    both turned and moved, and replaces the two when it is sure. Raises DriveError when a file cannot be used or the two
    do not overlap; then nothing is left behind.
    """
    stamps, width, height = video_stamps(video)
    fixes = _within(video) if track is None else read_track(track)
    zero_ns, told = 0, "the telemetry's own clock"
    if track is not None:
        zero_ns = _zero_ns(fixes, track, video_start_utc_ns) + round(clock_offset_s * 1e9)
        clock = "the track's first fix" if video_start_utc_ns is None else "the start that was given"
        told = f"{clock} {clock_offset_s:+.3f} s"
        if search:
            found = find_offset(_seen(video, stamps, width), fixes)
            zero_ns = fixes[0].stamp_ns + round(found.offset_s * 1e9) if found.sure else zero_ns
            told = _told(found, told)
    beside = "" if track is None else f" and {track.name}"
    note = (
        f"Imported from {video.name}{beside}. The first frame is taken at {told}. "
        "No calibration: the field of view is guessed as 70 degrees, the camera 1.4 m up and level."
    )
    start_utc = next((f.utc_ns - f.stamp_ns + zero_ns for f in fixes if f.utc_ns is not None), None)
    start = None if start_utc is None else utc_iso(start_utc)
    with new_folder(out, "drive.toml", "drive") as part:
        entry = CameraEntry(CAMERA, CAMERA + video.suffix.lower(), width, height)
        shutil.copyfile(video, part / entry.file)
        write_camera_csv(part / f"{CAMERA}.csv", stamps)
        write_drive_toml(part / "drive.toml", name or video.stem, vehicle, note, entry, start)
        _write_track(part, track, [replace(f, stamp_ns=f.stamp_ns - zero_ns) for f in fixes])
        _refuse_apart(open_drive(part).fixes, stamps, video, track or video)
    return Imported(open_drive(out), note)


def _write_track(part: Path, track: Path | None, fixes: list[Fix]) -> None:
    """NMEA is kept as it is: its own UTC and start_utc give the stamps."""
    if track is None or track.suffix.lower() in _READERS:
        write_fixes_csv(part / "fixes.csv", fixes)
    else:
        shutil.copyfile(track, part / "gnss.nmea")


_READERS: Mapping[str, Callable[[Path], list[Fix]]] = {".gpx": read_gpx, ".csv": read_csv_track, ".pos": read_rtklib}


def read_track(track: Path) -> list[Fix]:
    """Fixes of a GPX, CSV, RTKLIB (.pos) or NMEA file in order from stamp 0; DriveError when none."""
    read = _READERS.get(track.suffix.lower())
    if read is not None:
        return read(track)
    try:
        data = track.read_bytes()
    except OSError as error:
        raise DriveError(
            f"cannot be read: {error.strerror}", file=track, remedy="name the NMEA, GPX, CSV or RTKLIB file"
        ) from error
    reader = NmeaReader()
    found = reader.feed(data, 0) + reader.flush()
    first_ns = next((fix.utc_ns for fix in found if fix.utc_ns is not None), None)
    if first_ns is None:
        problem = f"holds no fix with date and time ({len(found)} without)"
        remedy = "the track needs RMC or ZDA sentences, or GPX points with <time>"
        raise DriveError(problem, file=track, remedy=remedy)
    return [moved for fix in found if (moved := stamped_by_utc(fix, first_ns)) is not None]


def _within(video: Path) -> list[Fix]:
    fixes = gopro_fixes(video)
    if not fixes:
        remedy = "give --track with an NMEA, GPX or CSV file"
        raise DriveError("a video needs a track, and there is no GPS telemetry in it", file=video, remedy=remedy)
    return fixes


def _zero_ns(fixes: list[Fix], track: Path, start_utc_ns: int | None) -> int:
    """Stamp, on the track's clock, of the moment that counts as the video's begin."""
    if start_utc_ns is None:
        return fixes[0].stamp_ns
    first = next((fix for fix in fixes if fix.utc_ns is not None), None)
    if first is None or first.utc_ns is None:
        remedy = "leave the start out and give the offset from the track's first row"
        raise DriveError("has no UTC to compare the video's start with", file=track, remedy=remedy)
    return start_utc_ns - first.utc_ns + first.stamp_ns


def _seen(video: Path, stamps: list[int], width: int) -> SeenMotion:
    """How the camera turned, from about SEARCH_HZ pictures per second of at most SEARCH_S."""
    period_s = (stamps[-1] - stamps[0]) / max(len(stamps) - 1, 1) * 1e-9
    every = max(round(1 / SEARCH_HZ / period_s), 1) if period_s > 0 else 1
    wanted = np.array([n % every == 0 and stamp <= SEARCH_S * 1e9 for n, stamp in enumerate(stamps)], np.bool_)
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    try:
        size = (width, int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    finally:
        capture.release()
    pictures = FilePictures(video, size, len(stamps), None)
    focal_share = CameraModel.guess(CAMERA, *size).fx / width
    return seen_motion(((stamps[row] * 1e-9, image) for row, image in pictures.read(wanted)), focal_share)


def _told(found: FoundOffset, otherwise: str) -> str:
    if found.sure:
        return (
            f"the track's first fix {found.offset_s:+.1f} s (sigma at most {found.sigma_s:.1f} s), found: {found.why}"
        )
    return f"{otherwise}: an offset was searched and NOT FOUND ({found.why})"


def video_stamps(video: Path) -> tuple[list[int], int, int]:
    """Stamps of all frames in ns from the first, by the container's own times, and width and height in px.

    A container whose times do not rise (some dashcams) is spaced by its frame rate instead.
    """
    if not video.is_file():
        raise DriveError("does not exist", file=video, remedy="name the video file")
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise DriveError("is no video that can be opened", file=video, remedy="convert it to H.264 in MP4")
        width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        millis: list[float] = []
        while capture.grab():
            millis.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)))
    finally:
        capture.release()
    if not millis:
        raise DriveError("holds no frame that can be read", file=video, remedy="copy it again from the recorder")
    stamps = [round((m - millis[0]) * 1e6) for m in millis]
    if any(b <= a for a, b in pairwise(stamps)):
        if rate <= 0:
            raise DriveError("has neither rising frame times nor a frame rate", file=video, remedy="convert it to MP4")
        stamps = [round(n * 1e9 / rate) for n in range(len(millis))]
    return stamps, width, height


def _refuse_apart(fixes: tuple[Fix, ...], stamps: list[int], video: Path, track: Path) -> None:
    if any(stamps[0] <= fix.stamp_ns <= stamps[-1] for fix in fixes):
        return
    before = (fixes[0].stamp_ns - stamps[-1]) / 1e9
    after = (stamps[0] - fixes[-1].stamp_ns) / 1e9
    where = f"begins {before:.1f} s after its end" if before > 0 else f"ends {after:.1f} s before its start"
    if before <= 0 and after <= 0:
        where = "has a gap there"
    remedy = "correct clock_offset_s (> 0: the video began later) or give the video's start"
    raise DriveError(f"no fix falls into {video.name}: the track {where}", file=track, remedy=remedy)
