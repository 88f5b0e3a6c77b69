"""Small charts as PNG: panels with curves and points, and a matrix of counts. Pillow only, same input, same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
INK, GREY, LIGHT, PAPER = (25, 25, 30), (120, 120, 130), (225, 226, 230), (255, 255, 255)
BLUE, ORANGE, GREEN = (30, 95, 180), (215, 110, 20), (30, 130, 70)
PANEL_PX = 300
MARGIN_PX = 46
COLUMNS = 4
_HEAD_PX = 64


@dataclass(frozen=True, slots=True)
class Line:
    """A curve or a set of points (x, y in 0..1)."""

    x: Sequence[float]
    y: Sequence[float]
    colour: Colour = BLUE
    points: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: title, a second small line, its axes' names, and lines; diagonal draws y = x."""

    title: str
    note: str
    x_name: str
    y_name: str
    lines: tuple[Line, ...]
    diagonal: bool = False


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font."""
    return ImageFont.load_default(size)


def draw_panels(panels: Sequence[Panel], head: str, note: str, out: Path) -> None:
    """Write panels in rows of four under a headline with a smaller line below it."""
    columns = min(COLUMNS, max(len(panels), 1))
    rows = -(-len(panels) // columns)
    width = max(columns * PANEL_PX, 760)
    sheet = Image.new("RGB", (width, _HEAD_PX + rows * PANEL_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((16, 10), head, INK, font(20))
    draw.text((16, 38), note, GREY, font(13))
    for number, panel in enumerate(panels):
        _panel(draw, panel, (number % columns) * PANEL_PX, _HEAD_PX + (number // columns) * PANEL_PX)
    _save(sheet, out)


def _panel(draw: ImageDraw.ImageDraw, panel: Panel, left: int, top: int) -> None:
    x0, y0 = left + MARGIN_PX, top + MARGIN_PX
    side = PANEL_PX - MARGIN_PX - 40
    y1 = y0 + side
    draw.text((x0, top + 2), panel.title, INK, font(15))
    draw.text((x0, top + 22), panel.note, GREY, font(11))
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = x0 + tick * side, y1 - tick * side
        draw.line([(x, y0), (x, y1)], LIGHT)
        draw.line([(x0, y), (x0 + side, y)], LIGHT)
        draw.text((x, y1 + 3), f"{tick:g}", GREY, font(10), anchor="ma")
        draw.text((x0 - 4, y), f"{tick:g}", GREY, font(10), anchor="rm")
    draw.text((x0 + side / 2, y1 + 17), f"across: {panel.x_name}, up: {panel.y_name}", GREY, font(11), anchor="ma")
    if panel.diagonal:
        draw.line([(x0, y1), (x0 + side, y0)], GREY)
    for line in panel.lines:
        places = [(x0 + x * side, y1 - y * side) for x, y in zip(line.x, line.y, strict=True)]
        if line.points:
            for x, y in places:
                draw.ellipse([x - 4, y - 4, x + 4, y + 4], line.colour)
        elif len(places) > 1:
            draw.line(places, line.colour, 2)


def draw_matrix(
    names: Sequence[str], counts: npt.NDArray[np.int64], head: str, note: str, out: Path, *, cell_px: int = 44
) -> None:
    """Write a square matrix of counts, each row shaded by its share of the row; empty rows and columns are left out."""
    kept = [i for i in range(len(names)) if counts[i].any() or counts[:, i].any()]
    label_px = 150
    width, height = max(label_px + len(kept) * cell_px + 30, 760), _HEAD_PX + label_px + len(kept) * cell_px + 20
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((16, 10), head, INK, font(20))
    draw.text((16, 40), note, GREY, font(11))
    top = _HEAD_PX + label_px
    for place, i in enumerate(kept):
        _turned(sheet, names[i], label_px + place * cell_px + 8, top)
        draw.text((label_px - 6, top + (place + 0.5) * cell_px), names[i], INK, font(12), anchor="rm")
        total = max(int(counts[i].sum()), 1)
        for column, j in enumerate(kept):
            share = counts[i, j] / total
            x, y = label_px + column * cell_px, top + place * cell_px
            base = GREEN if i == j else ORANGE
            shade = tuple(round(255 - share * (255 - channel)) for channel in base)
            draw.rectangle([x, y, x + cell_px - 1, y + cell_px - 1], (shade[0], shade[1], shade[2]), LIGHT)
            if counts[i, j]:
                ink = PAPER if share > 0.55 else INK
                draw.text((x + cell_px / 2, y + cell_px / 2), str(int(counts[i, j])), ink, font(12), anchor="mm")
    draw.text((16, top - 16), "true", GREY, font(12))
    draw.text((label_px - 6, _HEAD_PX + 4), "detected", GREY, font(12), anchor="ra")
    _save(sheet, out)


def _turned(sheet: Image.Image, text: str, left: int, bottom: int) -> None:
    strip = Image.new("RGB", (150, 20), PAPER)
    ImageDraw.Draw(strip).text((0, 2), text, INK, font(12))
    sheet.paste(strip.rotate(90, expand=True), (left, bottom - 152))


def _save(sheet: Image.Image, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)
