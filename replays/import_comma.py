"""A segment of comma2k19 (Schafer et al., arXiv 1812.05752) becomes a drive: u-blox fixes, wheel speed, gyro, video.

Axes of the device are forward, right, down, so a left turn is a negative rate about the third. All clocks are the
device's boot time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gnss.types import Array, Fix, Motion
from perception.errors import DriveError
from replays.atomic import new_folder
from replays.drive import open_drive
from replays.drive_files import CameraEntry, write_camera_csv, write_drive_toml, write_fixes_csv, write_motion_csv
from replays.import_video import CAMERA, Imported
from replays.pictures import read_image

SIZE, FX = (1164, 874), 910.0
GNSS_LATENCY_S = 0.09
"""A live fix of the u-blox is this much older than its log entry (measured on the example segment: 80 to 100 ms)."""
_FIXES, _SPEED, _GYRO = "GNSS/live_gnss_ublox", "CAN/speed", "IMU/gyro"
_FRAMES = "global_pose/frame_times"


def is_comma(folder: Path) -> bool:
    """The folder looks like one segment of comma2k19."""
    return (folder / "GNSS").is_dir() and (folder / "global_pose").is_dir()


def import_comma(
    segment: Path, out: Path, *, vehicle: str, name: str | None = None, gnss_latency_s: float = GNSS_LATENCY_S
) -> Imported:
    """Make a drive folder `out`; raises DriveError when a file of the segment is missing or not what it should be.

    Without video.hevc the first frame (preview.png), where there is one, is the only picture.
    """
    frame_s = _array(segment, _FRAMES, 1)
    fix_s, fixes = _array(segment, _FIXES + "/t", 1), _array(segment, _FIXES + "/value", 6)
    if len(fix_s) != len(fixes):
        raise DriveError(f"{len(fix_s)} times for {len(fixes)} fixes", file=segment / _FIXES, remedy="get it again")
    zero_s = float(frame_s[0])
    with new_folder(out, "drive.toml", "drive") as part:
        file, stamps, told = _pictures(segment, part, frame_s, zero_s)
        write_camera_csv(part / f"{CAMERA}.csv", stamps)
        write_fixes_csv(part / "fixes.csv", _fixes(fix_s - zero_s - gnss_latency_s, fixes))
        write_motion_csv(part / "motion.csv", _motion(segment, zero_s))
        note = (
            f"comma2k19 segment. u-blox fixes, taken as {gnss_latency_s:g} s old; wheel speed and gyro. "
            f"{told} The mount of the camera is guessed."
        )
        entry = CameraEntry(CAMERA, file, *SIZE, FX)
        write_drive_toml(part / "drive.toml", name or segment.name, vehicle, note, entry, None)
        open_drive(part)
    return Imported(open_drive(out), note)


def _array(segment: Path, name: str, columns: int) -> NDArray[np.float64]:
    """An array of the segment, finite, (N,) or (N, columns); the original has no ending, copies have .npy."""
    file = next((f for f in (segment / name, segment / f"{name}.npy") if f.is_file()), None)
    if file is None:
        raise DriveError("is missing", file=segment / name, remedy="name a whole segment of comma2k19")
    try:
        array = np.asarray(np.load(file, allow_pickle=False), np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise DriveError(f"is no numpy array: {error}", file=file, remedy="get the segment again") from error
    if columns == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    wanted = 1 if columns == 1 else 2
    if array.ndim != wanted or not len(array) or (wanted == 2 and array.shape[1] < columns):
        problem = f"has shape {array.shape}, not (N,{'' if columns == 1 else f' {columns}'})"
        raise DriveError(problem, file=file, remedy="get the segment again")
    if not np.isfinite(array[..., :columns] if wanted == 2 else array).all():
        raise DriveError("holds numbers that are not finite", file=file, remedy="get the segment again")
    return array


def _pictures(segment: Path, part: Path, frame_s: Array, zero_s: float) -> tuple[str, list[int], str]:
    """The camera's file, its frames' stamps in ns, and what to say of it."""
    stamps = [round((t - zero_s) * 1e9) for t in frame_s.tolist()]
    video = segment / "video.hevc"
    if video.is_file():
        shutil.copyfile(video, part / f"{CAMERA}.hevc")
        return f"{CAMERA}.hevc", stamps, f"{len(stamps)} frames."
    preview = segment / "preview.png"
    if not preview.is_file():
        remedy = "copy video.hevc into it: a drive needs pictures"
        raise DriveError("has neither video.hevc nor preview.png", file=segment, remedy=remedy)
    (part / CAMERA).mkdir()
    cv2.imwrite(str(part / CAMERA / "000000.jpg"), read_image(preview), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return CAMERA, stamps[:1], f"There is no video: only the first of {len(stamps)} frames."


def _fixes(stamp_s: Array, rows: Array) -> list[Fix]:
    """Rows lat, lon, speed m/s, UTC ms, altitude m, bearing deg as fixes, in order of time."""
    fixes: list[Fix] = []
    for t, (lat, lon, speed, utc_ms, alt, bearing) in zip(stamp_s.tolist(), rows[:, :6].tolist(), strict=True):
        stamp_ns = round(t * 1e9)
        if not fixes or stamp_ns > fixes[-1].stamp_ns:
            utc_ns = round(utc_ms * 1000) * 1000
            fixes.append(Fix(stamp_ns, utc_ns, lat, lon, alt, None, speed, bearing % 360.0))
    return fixes


def _motion(segment: Path, zero_s: float) -> list[Motion]:
    """Wheel speed at its own times, with the gyro's mean rate since the sample before."""
    speed_s, speed = _array(segment, _SPEED + "/t", 1), _array(segment, _SPEED + "/value", 1)
    gyro_s, gyro = _array(segment, _GYRO + "/t", 1), _array(segment, _GYRO + "/value", 3)
    if len(speed_s) != len(speed) or len(gyro_s) != len(gyro):
        raise DriveError("times and values of CAN or IMU differ in length", file=segment, remedy="get it again")
    # The integral of the rate, so that a mean between any two times is one difference.
    turned = np.concatenate([[0.0], np.cumsum(np.diff(gyro_s) * (gyro[1:, 2] + gyro[:-1, 2]) / 2)])
    order = np.argsort(speed_s, kind="stable")
    times, values = speed_s[order], speed[order]
    span = np.diff(times, prepend=times[0] - float(np.median(np.diff(times))))
    swept = np.interp(times, gyro_s, turned) - np.interp(times - span, gyro_s, turned)
    rates = -np.degrees(swept / np.maximum(span, 1e-6))
    rows = zip(times.tolist(), values.tolist(), rates.tolist(), strict=True)
    return [Motion(round((t - zero_s) * 1e9), v, r) for t, v, r in rows]
