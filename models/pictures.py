"""Reading pictures and labels of a data set: what is broken is named by a typed reason, never guessed round.

A trainer's pictures come from anywhere. OpenCV opens nearly all of them, but it silently turns, converts or fills some:
then boxes no longer lie where they were drawn. So the odd ones are refused here, and counted by reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from perception.types import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
SMALLEST_SIDE_PX = 16
EDGE_TOLERANCE = 2e-3
"""Boxes may stick out by this share of the side: tools round, and a box is clipped anyway."""
_EXIF_ORIENTATION = 0x0112
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class Reason(StrEnum):
    """Why a picture or a label is no fair example."""

    EMPTY_FILE = "empty file"
    NO_PICTURE = "not a picture"
    CUT = "cut off"
    CMYK = "CMYK colours"
    DEEP = "16 bits a channel"
    TURNED = "turned by EXIF"
    TINY = "smaller than 16 px"
    NO_LABEL = "no label file"
    ORPHAN = "label without a picture"
    NO_BOX = "not a box"
    STRANGE_CLASS = "class id out of range"
    OUTSIDE = "outside the picture"
    NO_AREA = "no area"
    TWICE = "the same box twice"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something broken: which file, for labels the line, why, and what it says."""

    file: Path
    reason: Reason
    line: int | None = None
    detail: str = ""


class BadExample(Exception):
    """A picture or label that cannot be used; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.file}: {finding.reason.value} {finding.detail}".strip())
        self.finding = finding


@dataclass(frozen=True, slots=True)
class LabelBox:
    """One line of a label file: the data set's own class name and corners x1, y1, x2, y2 in px, clipped."""

    name: str
    xyxy: tuple[float, float, float, float]


def read_picture(path: Path) -> Image:
    """A picture as BGR uint8 (H, W, 3), its pixels as they are stored; raises BadExample."""
    if path.stat().st_size == 0:
        raise BadExample(Finding(path, Reason.EMPTY_FILE))
    with path.open("rb") as stream:
        if not stream.read(8).startswith(_SIGNATURES):  # asked first: trainers' libraries replace Pillow's own verdict
            raise BadExample(Finding(path, Reason.NO_PICTURE, detail="neither JPEG nor PNG"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF, decompression limits: the decoder below has the last word
            with Pillow.open(path) as opened:
                _refuse_odd(path, opened)
                opened.load()
    except UnidentifiedImageError as error:
        raise BadExample(Finding(path, Reason.NO_PICTURE)) from error
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise BadExample(Finding(path, Reason.CUT, detail=str(error))) from error
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise BadExample(Finding(path, Reason.NO_PICTURE, detail="OpenCV cannot read it"))
    return np.asarray(image, np.uint8)


def _refuse_odd(path: Path, opened: Pillow.Image) -> None:
    if opened.mode in ("CMYK", "YCCK"):
        raise BadExample(Finding(path, Reason.CMYK))
    if opened.mode.startswith("I") or opened.mode == "F" or "16" in str(opened.info.get("bits", "")):
        raise BadExample(Finding(path, Reason.DEEP, detail=opened.mode))
    if (turn := opened.getexif().get(_EXIF_ORIENTATION, 1)) not in (0, 1):
        raise BadExample(Finding(path, Reason.TURNED, detail=f"orientation {turn}"))
    if min(opened.size) < SMALLEST_SIDE_PX:
        raise BadExample(Finding(path, Reason.TINY, detail="{}x{}".format(*opened.size)))


def read_labels(label: Path, names: Mapping[int, str], width: int, height: int) -> tuple[list[LabelBox], list[Finding]]:
    """Boxes of a label file and what is wrong with the other lines; a missing file is one finding."""
    if not label.is_file():
        return [], [Finding(label, Reason.NO_LABEL, detail="a picture without objects has an empty one")]
    boxes: list[LabelBox] = []
    findings: list[Finding] = []
    seen: set[str] = set()
    for number, text in enumerate(label.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            if text.strip() in seen:
                raise BadExample(Finding(label, Reason.TWICE, number, text))
            boxes.append(_box(label, number, text, names, width, height))
            seen.add(text.strip())
        except BadExample as bad:
            findings.append(bad.finding)
    return boxes, findings


def _box(label: Path, number: int, text: str, names: Mapping[int, str], width: int, height: int) -> LabelBox:
    try:
        values = [float(value) for value in text.split()]
        index, cx, cy, w, h = values
    except ValueError as error:
        raise BadExample(Finding(label, Reason.NO_BOX, number, text)) from error
    if not np.isfinite(values).all():
        raise BadExample(Finding(label, Reason.NO_BOX, number, text))
    name = names.get(int(index)) if index == int(index) else None
    if name is None:
        raise BadExample(Finding(label, Reason.STRANGE_CLASS, number, text))
    if w <= 0 or h <= 0:
        raise BadExample(Finding(label, Reason.NO_AREA, number, text))
    x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    if min(x1, y1) < -EDGE_TOLERANCE or max(x2, y2) > 1 + EDGE_TOLERANCE:
        raise BadExample(Finding(label, Reason.OUTSIDE, number, text))
    clipped = (max(x1, 0.0) * width, max(y1, 0.0) * height, min(x2, 1.0) * width, min(y2, 1.0) * height)
    return LabelBox(name, clipped)
