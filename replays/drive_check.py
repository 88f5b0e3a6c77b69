"""What is wrong with a drive although it can be replayed: lost data, gaps, jumps, clocks, calibration, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gnss.geodesy import distance_m
from gnss.types import Fix
from replays.drive import CameraMember, Drive
from replays.drive_picture import gaps_of, lanes_of

POSE_HOLD_S = 1.5
"""The pipeline holds a frame this long for a fix behind it; a frame further from the fixes has no pose."""
FASTEST_MPS = 70.0
"""No patrol car is this fast: two fixes this far apart are a jump."""
JUMP_M = 25.0
CLOCK_STEP_S = 0.5
CLOCK_DRIFT_PPM = 200.0
"""A good quartz drifts below 50 ppm; more is a clock that somebody sets while it runs."""
DROPPED_SHARE = 0.02
WITHOUT_POSE_SHARE = 0.05
"""The first and last second of a drive often lack a fix; more than this share of frames is a finding."""
STILL_FRAMES = 30
"""This many equal pictures one after the other: the camera is frozen."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a person should know: `code` for machines, `text` for people."""

    code: str
    text: str


def check_drive(drive: Drive, *, pixels: bool = False) -> list[Finding]:
    """All findings of a drive, [] when nothing is wrong. With `pixels` every picture is decoded; DriveError as ever."""
    found = [Finding("lost", notice) for notice in drive.notices if not notice.startswith("not read:")]
    found += _setup(drive) + _gaps(drive) + _fixes(drive) + _clock(drive.fixes) + _without_pose(drive)
    found += _detections(drive)
    if pixels:
        for name, member in drive.members.items():
            found += _pictures(name, member)
    return found


def _setup(drive: Drive) -> list[Finding]:
    guessed = [name for name, camera in drive.cameras.items() if camera.guessed]
    found = [Finding("no calibration", f"camera {name} has no calibration: every ellipse grows") for name in guessed]
    if drive.start_utc_ns is None:
        found.append(Finding("no utc", "nothing tells the UTC: the drive can be replayed alone only"))
    return found


def _gaps(drive: Drive) -> list[Finding]:
    """Gaps of each stream, the longest by its place. Detections have those of their camera."""
    found = []
    begin = min(int(lane.stamps_ns[0]) for lane in lanes_of(drive))
    for lane in lanes_of(drive):
        at = gaps_of(lane.stamps_ns)
        if len(at) and not lane.label.startswith("detections"):
            long_s = np.diff(lane.stamps_ns)[at] * 1e-9
            where_s = (int(lane.stamps_ns[at[long_s.argmax()]]) - begin) * 1e-9
            text = f"{lane.label}: {len(at)} gaps, {long_s.sum():.1f} s in all, the longest {long_s.max():.1f} s"
            found.append(Finding("gap", f"{text} at {where_s:.1f} s"))
    return found


def _fixes(drive: Drive) -> list[Finding]:
    found = []
    jumps = [
        (b.stamp_ns, away)
        for a, b in pairwise(drive.fixes)
        if (away := distance_m(a.lat_deg, a.lon_deg, b.lat_deg, b.lon_deg))
        > max(JUMP_M, FASTEST_MPS * (b.stamp_ns - a.stamp_ns) * 1e-9)
    ]
    if jumps:
        begin, worst = drive.fixes[0].stamp_ns, max(away for _, away in jumps)
        at_s = (jumps[0][0] - begin) * 1e-9
        found.append(Finding("jump", f"{len(jumps)} fixes jump, up to {worst:.0f} m, the first {at_s:.1f} s in"))
    dropped, kept = sum(drive.gnss.dropped.values()), len(drive.fixes)
    if dropped > DROPPED_SHARE * kept:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(drive.gnss.dropped.items()))
        found.append(
            Finding("dropped", f"{drive.gnss.file.name}: {dropped} of {dropped + kept} were no fix: {reasons}")
        )
    if all(fix.h_acc_m is None and fix.hdop is None for fix in drive.fixes):
        found.append(Finding("no accuracy", "the fixes tell neither an accuracy nor an HDOP: a guess is used"))
    return found


def _clock(fixes: tuple[Fix, ...]) -> list[Finding]:
    """Compare the fixes' UTC with their stamps: both must run alike."""
    pairs = np.array([(f.stamp_ns, f.utc_ns - f.stamp_ns) for f in fixes if f.utc_ns is not None], np.int64)
    if len(pairs) < 3:
        return []
    stamps_s, offset_s = (pairs[:, 0] - pairs[0, 0]) * 1e-9, (pairs[:, 1] - pairs[0, 1]) * 1e-9
    steps = np.flatnonzero(np.abs(np.diff(offset_s)) > CLOCK_STEP_S)
    if len(steps):
        at = int(steps[0])
        size = float(np.diff(offset_s)[at])
        text = f"UTC and stamps part by {size:+.1f} s at {stamps_s[at]:.1f} s, {len(steps)} such steps"
        return [Finding("clock step", text)]
    if stamps_s[-1] < 60.0:
        return []
    drift_ppm = 1e6 * float(np.polyfit(stamps_s, offset_s, 1)[0])
    if abs(drift_ppm) < CLOCK_DRIFT_PPM:
        return []
    return [Finding("clock drift", f"the stamps drift from UTC by {drift_ppm:+.0f} ppm")]


def _without_pose(drive: Drive) -> list[Finding]:
    """Frames too far from any fix to be placed."""
    fixes = np.array([fix.stamp_ns for fix in drive.fixes], np.int64)
    reach = int(POSE_HOLD_S * 1e9)
    found = []
    for name, member in drive.members.items():
        after = np.searchsorted(fixes, member.stamp_ns)
        ahead = fixes[np.minimum(after, len(fixes) - 1)] - member.stamp_ns
        behind = member.stamp_ns - fixes[np.maximum(after - 1, 0)]
        far = (np.where(after < len(fixes), ahead, reach + 1) > reach) | (
            np.where(after > 0, behind, reach + 1) > reach
        )
        if far.mean() > WITHOUT_POSE_SHARE:
            found.append(
                Finding("no pose", f"camera {name}: {far.sum()} of {len(far)} frames have no fix on both sides")
            )
    return found


def _detections(drive: Drive) -> list[Finding]:
    """Frames that nobody looked at, where others of the same camera were."""
    if drive.detections is None:
        return []
    found = []
    for name, member in drive.members.items():
        looked = len(drive.detections.places.get(name, {}))
        if looked < 0.9 * len(member.index):
            found.append(
                Finding("not looked at", f"camera {name}: {len(member.index) - looked} frames have no detections")
            )
    return found


def _pictures(name: str, member: CameraMember) -> list[Finding]:
    """Decode everything; a camera that froze shows the same picture again and again."""
    if member.pictures is None:
        return [Finding("no pictures", f"camera {name} has none")]
    longest = run = 0
    at_row, last = 0, None
    for row, image in member.pictures.read():
        same = last is not None and np.array_equal(image, last)
        run = run + 1 if same else 0
        if run > longest:
            longest, at_row = run, row - run
        last = image
    if longest < STILL_FRAMES:
        return []
    at_s = (int(member.stamp_ns[at_row]) - int(member.stamp_ns[0])) * 1e-9
    return [Finding("frozen", f"camera {name}: {longest + 1} equal pictures in a row, {at_s:.1f} s in")]
