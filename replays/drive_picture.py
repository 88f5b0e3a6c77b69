"""A drive as one picture: the track on the ground with its gaps, and below it what every stream brought, over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from gnss.geodesy import LocalFrame
from perception.errors import DriveError
from replays.drive import Drive
from replays.drive_info import GAP_FACTOR
from replays.members import Stamps

WIDTH_PX, MAP_PX, ROW_PX, MARGIN_PX, LABEL_PX = 1200, 700, 34, 30, 170
FINER = 2
"""Drawn this much larger and shrunk, which smooths lines and text."""
INK, FAINT, PAPER, GAP, FIRST, LAST = "#20262b", "#c9d0d6", "#ffffff", "#d6362a", "#2166ac", "#e08214"


@dataclass(frozen=True, slots=True)
class Lane:
    """One stream of the drive: its stamps (N,) in ns and a word on them."""

    label: str
    stamps_ns: Stamps


def gaps_of(stamps_ns: Stamps) -> NDArray[np.intp]:
    """Positions i where the time from stamp i to i+1 is a gap: longer than GAP_FACTOR median periods."""
    periods = np.diff(stamps_ns)
    return np.flatnonzero(periods > GAP_FACTOR * np.median(periods)) if len(periods) else np.zeros(0, np.intp)


def lanes_of(drive: Drive) -> list[Lane]:
    """Cameras, fixes, motion and detections with their stamps."""
    lanes = [Lane(f"camera {name}", member.stamp_ns) for name, member in drive.members.items()]
    lanes.append(Lane("fixes", np.array([fix.stamp_ns for fix in drive.fixes], np.int64)))
    if drive.motion is not None and len(drive.motion):
        lanes.append(Lane("motion", drive.motion.stamp_ns))
    if drive.detections is not None:
        for name, member in drive.members.items():
            looked = np.array(sorted(drive.detections.places.get(name, {})), np.int64)
            lanes.append(Lane(f"detections {name}", member.stamp_ns[np.isin(member.index, looked)]))
    return [lane for lane in lanes if len(lane.stamps_ns)]


def draw_drive(drive: Drive, file: Path) -> None:
    """Write the picture as PNG; raises DriveError when it cannot be written."""
    lanes = lanes_of(drive)
    height = MAP_PX + ROW_PX * len(lanes) + 3 * MARGIN_PX
    image = PillowImage.new("RGB", (WIDTH_PX * FINER, height * FINER), PAPER)
    canvas = ImageDraw.Draw(image)
    _draw_track(canvas, drive)
    _draw_lanes(canvas, lanes, MAP_PX + MARGIN_PX)
    small = image.resize((WIDTH_PX, height), PillowImage.Resampling.LANCZOS)
    try:
        small.save(file, format="PNG")
    except OSError as error:
        remedy = "name a file in a folder that you may write to"
        raise DriveError(f"cannot be written ({error.strerror})", file=file, remedy=remedy) from error


def _font(px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(px * FINER)


def _text(canvas: ImageDraw.ImageDraw, x: float, y: float, text: str, px: int = 13, fill: str = INK) -> None:
    canvas.text((x * FINER, y * FINER), text, fill=fill, font=_font(px))


def _draw_track(canvas: ImageDraw.ImageDraw, drive: Drive) -> None:
    """The fixes as a line from blue (first) to orange (last); where fixes are missing, the straight way in red."""
    fixes = drive.fixes
    ground = LocalFrame(fixes[0].lat_deg, fixes[0].lon_deg)
    places = np.array([ground.to_enu(fix.lat_deg, fix.lon_deg) for fix in fixes])
    low, high = places.min(axis=0), places.max(axis=0)
    room = np.array([WIDTH_PX - 5 * MARGIN_PX, MAP_PX - 3 * MARGIN_PX], float)
    metres_per_px = float(max(((high - low) / room).max(), 0.02))
    middle = (low + high) / 2
    centre = np.array([WIDTH_PX / 2, MAP_PX / 2 + MARGIN_PX / 2])
    points = (places - middle) / metres_per_px * (1, -1) + centre
    stamps = np.array([fix.stamp_ns for fix in fixes], np.int64)
    missing = set(gaps_of(stamps).tolist())
    share = (stamps - stamps[0]) / max(int(stamps[-1] - stamps[0]), 1)
    for n in range(len(points) - 1):
        ends = [(float(x) * FINER, float(y) * FINER) for x, y in points[n : n + 2]]
        colour = GAP if n in missing else _blend(float(share[n]))
        canvas.line(ends, fill=colour, width=(2 if n in missing else 4) * FINER)
    for point, colour, word in ((points[0], FIRST, "first"), (points[-1], LAST, "last")):
        x, y = float(point[0]), float(point[1])
        box = [(x - 6) * FINER, (y - 6) * FINER, (x + 6) * FINER, (y + 6) * FINER]
        canvas.ellipse(box, fill=colour, outline=PAPER, width=FINER)
        _text(canvas, x + 9, y - 8, word)
    told = f"{drive.meta.name}: {len(fixes)} fixes, {len(missing)} gaps (red), north is up"
    _text(canvas, MARGIN_PX, 10, told, 16)
    _draw_scale(canvas, metres_per_px)


def _blend(share: float) -> str:
    first, last = (tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in (FIRST, LAST))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(first, last, strict=True))


def _draw_scale(canvas: ImageDraw.ImageDraw, metres_per_px: float) -> None:
    """A bar of a round length, about 150 px."""
    wanted = 150 * metres_per_px
    power = 10.0 ** math.floor(math.log10(wanted))
    length_m = next(step * power for step in (5, 2, 1) if step * power <= wanted)
    width, y = length_m / metres_per_px, MAP_PX - MARGIN_PX / 2
    canvas.line([(MARGIN_PX * FINER, y * FINER), ((MARGIN_PX + width) * FINER, y * FINER)], fill=INK, width=3 * FINER)
    _text(canvas, MARGIN_PX + width + 8, y - 9, f"{length_m:g} m")


def _draw_lanes(canvas: ImageDraw.ImageDraw, lanes: list[Lane], top: int) -> None:
    """One bar per stream over the time of the drive; gaps are red, and before and after it is nothing."""
    begin = min(int(lane.stamps_ns[0]) for lane in lanes)
    end = max(max(int(lane.stamps_ns[-1]) for lane in lanes), begin + 1)
    left, width = MARGIN_PX + LABEL_PX, WIDTH_PX - 2 * MARGIN_PX - LABEL_PX

    def across(stamp_ns: int) -> float:
        return left + width * (stamp_ns - begin) / (end - begin)

    def bar(y: float, first_ns: int, last_ns: int, colour: str) -> None:
        right = max(across(last_ns), across(first_ns) + 1)
        canvas.rectangle([across(first_ns) * FINER, y * FINER, right * FINER, (y + ROW_PX * 0.45) * FINER], fill=colour)

    for nth, lane in enumerate(lanes):
        y, stamps = top + nth * ROW_PX, lane.stamps_ns
        canvas.line(
            [(left * FINER, (y + 7) * FINER), ((left + width) * FINER, (y + 7) * FINER)], fill=FAINT, width=FINER
        )
        bar(y, int(stamps[0]), int(stamps[-1]), FIRST)
        missing = gaps_of(stamps)
        for n in missing.tolist():
            bar(y, int(stamps[n]), int(stamps[n + 1]), GAP)
        _text(canvas, MARGIN_PX, y - 2, lane.label)
        period_s = float(np.median(np.diff(stamps))) * 1e-9 if len(stamps) > 1 else 0.0
        rate = f", {1 / period_s:.1f}/s" if period_s > 0 else ""
        _text(canvas, left, y + ROW_PX * 0.45, f"{len(stamps)}{rate}, {len(missing)} gaps", 10)
    _text(canvas, left, top + len(lanes) * ROW_PX + 6, f"0 s to {(end - begin) * 1e-9:.1f} s", 13)
