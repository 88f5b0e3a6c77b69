"""Contact sheets: many small pictures with their boxes on one page, one page per class, so that somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from models.charts import BLUE, GREY, INK, ORANGE, PAPER, font
from models.data_check import Sound

TILE_PX = (200, 150)
COLUMNS = 8
LARGEST = 48
_HEAD_PX = 34


def write_sheets(sound: Sequence[Sound], out: Path, seed: int = 0, largest: int = LARGEST) -> list[Path]:
    """One PNG per class and split into `out`: up to `largest` pictures drawn by `seed`; returns the files.

    The class's own boxes are orange, others blue. Pictures without any box get a sheet of their own.
    """
    names = sorted({box.name for one in sound for box in one.boxes})
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for split in sorted({one.split for one in sound}):
        for name in [*names, ""]:
            mine = [
                o for o in sound if o.split == split and ({b.name for b in o.boxes} >= {name} if name else not o.boxes)
            ]
            if mine:
                order = np.random.default_rng(seed).permutation(len(mine))[:largest]
                path = out / f"{split}-{name or 'nothing'}.png"
                _sheet(
                    [mine[i] for i in sorted(order)], name, f"{name or 'no box'}, {split}: {len(mine)} pictures", path
                )
                made.append(path)
    return made


def _sheet(chosen: Sequence[Sound], name: str, head: str, path: Path) -> None:
    rows = -(-len(chosen) // COLUMNS)
    width, height = TILE_PX
    sheet = Image.new("RGB", (COLUMNS * width, _HEAD_PX + rows * (height + 14)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((8, 6), f"{head}, {len(chosen)} shown", INK, font(18))
    for number, one in enumerate(chosen):
        left, top = (number % COLUMNS) * width, _HEAD_PX + (number // COLUMNS) * (height + 14)
        with Image.open(one.path) as opened:
            small = opened.convert("RGB")
            small.thumbnail((width - 4, height - 4))
        gain = small.width / one.wh[0]
        pen = ImageDraw.Draw(small)
        for box in one.boxes:
            pen.rectangle([round(v * gain) for v in box.xyxy], outline=ORANGE if box.name == name else BLUE, width=2)
        sheet.paste(small, (left + 2, top + 2))
        draw.text((left + 2, top + height - 2), one.path.stem[-30:], GREY, font(10))
    sheet.save(path, optimize=True)
