"""A dashcam video and an NMEA or GPX track become a drive, on declared guesses about camera and clock."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2

from gnss.nmea import NmeaReader
from gnss.types import Fix
from perception.errors import DriveError
from replays.atomic import new_folder
from replays.drive import Drive, open_drive
from replays.drive_files import CameraEntry, write_camera_csv, write_drive_toml, write_fixes_csv
from replays.drive_toml import utc_iso
from replays.gpx import read_gpx

CAMERA = "front"


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """An imported drive and what was guessed on the way, for people to read."""

    drive: Drive
    note: str


def import_video(
    video: Path,
    track: Path,
    out: Path,
    *,
    clock_offset_s: float = 0.0,
    video_start_utc_ns: int | None = None,
    name: str | None = None,
    vehicle: str = "dashcam",
) -> Imported:
    """Make a drive folder `out` of one video and one track (.gpx, else NMEA).

    The first frame is at `video_start_utc_ns`, or, when that is None, at the track's first fix; `clock_offset_s` is
    added (> 0: the video began later than that). Raises DriveError when a file cannot be used or the two do not
    overlap; then nothing is left behind.
    """
    gpx = track.suffix.lower() == ".gpx"
    first_ns = _first_utc_ns(track, gpx)
    start_ns = (first_ns if video_start_utc_ns is None else video_start_utc_ns) + round(clock_offset_s * 1e9)
    stamps, width, height = video_stamps(video)
    clock = "the track's first fix" if video_start_utc_ns is None else "the start that was given"
    note = (
        f"Imported from {video.name} and {track.name}. The first frame is taken at {clock} {clock_offset_s:+.3f} s. "
        "No calibration: the field of view is guessed as 70 degrees, the camera 1.4 m up and level."
    )
    with new_folder(out, "drive.toml", "drive") as part:
        file = CAMERA + video.suffix.lower()
        shutil.copyfile(video, part / file)
        write_camera_csv(part / f"{CAMERA}.csv", stamps)
        entry = CameraEntry(CAMERA, file, width, height)
        write_drive_toml(part / "drive.toml", name or video.stem, vehicle, note, entry, utc_iso(start_ns))
        if gpx:
            write_fixes_csv(part / "fixes.csv", read_gpx(track, start_ns))
        else:
            shutil.copyfile(track, part / "gnss.nmea")
        _refuse_apart(open_drive(part).fixes, stamps, video, track)
    return Imported(open_drive(out), note)


def _first_utc_ns(track: Path, gpx: bool) -> int:
    if gpx:
        fixes = read_gpx(track)
    else:
        try:
            data = track.read_bytes()
        except OSError as error:
            raise DriveError(
                f"cannot be read: {error.strerror}", file=track, remedy="name the NMEA or GPX file"
            ) from error
        reader = NmeaReader()
        fixes = reader.feed(data, 0) + reader.flush()
    first = next((fix.utc_ns for fix in fixes if fix.utc_ns is not None), None)
    if first is None:
        problem = f"holds no fix with date and time ({len(fixes)} without)"
        raise DriveError(problem, file=track, remedy="the track needs RMC or ZDA sentences, or GPX points with <time>")
    return first


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
