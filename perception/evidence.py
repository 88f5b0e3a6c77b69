"""Evidence pictures: the only place that encodes, and it takes nothing but redacted pixels. No EXIF is written."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from perception.types import Image, Redacted

QUALITY = 85
CLOSE_UP_PX = 960
CONTEXT_PX = 1280
_FRAME_BGR = (0, 64, 255)
_PAPER_BGR = (255, 255, 255)
Encoded = tuple[bytes, int, int]


def encode(redacted: Redacted, quality: int = QUALITY) -> bytes:
    """JPEG bytes of a redacted picture; raises TypeError on anything else, ValueError on a quality outside 1..100."""
    if type(redacted) is not Redacted:
        raise TypeError(f"only redacted pictures are encoded, got {type(redacted).__name__}")
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality {quality} is not in 1..100")
    done, buffer = cv2.imencode(".jpg", redacted.image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of shape {redacted.image.shape} cannot be encoded")
    return buffer.tobytes()


def close_up(
    redacted: Redacted, xyxy: tuple[float, float, float, float], margin: float = 0.25, quality: int = QUALITY
) -> Encoded:
    """The box with `margin` (share of its longer side) around it: (jpeg, width, height), at most 960 px.

    Raises ValueError when the box lies outside the picture.
    """
    x1, y1, x2, y2 = xyxy
    height, width = redacted.image.shape[:2]
    grow = margin * max(x2 - x1, y2 - y1)
    left, top = max(int(np.floor(x1 - grow)), 0), max(int(np.floor(y1 - grow)), 0)
    right, bottom = min(int(np.ceil(x2 + grow)), width), min(int(np.ceil(y2 + grow)), height)
    if right <= left or bottom <= top:
        raise ValueError(f"box {xyxy} lies outside the picture of {width} x {height}")
    return _finish(redacted, redacted.image[top:bottom, left:right], CLOSE_UP_PX, quality)


def context(
    redacted: Redacted, xyxy: tuple[float, float, float, float], label: str = "", quality: int = QUALITY
) -> Encoded:
    """The whole picture with the box drawn and named: (jpeg, width, height), at most 1280 px. `label` is ASCII."""
    image = redacted.image.copy()
    thick = max(round(max(image.shape[:2]) / 400), 2)
    corners = [round(float(v)) for v in xyxy]
    cv2.rectangle(image, (corners[0], corners[1]), (corners[2], corners[3]), _FRAME_BGR, thick)
    if label:
        _write(image, label, (corners[0], corners[1]), thick)
    return _finish(redacted, image, CONTEXT_PX, quality)


def _write(image: Image, label: str, corner: tuple[int, int], thick: int) -> None:
    """Text on a plate above the corner of a box, pushed back into the picture where it would leave it."""
    scale = 0.3 * thick
    (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, thick // 2 + 1)
    x = int(np.clip(corner[0], 0, max(image.shape[1] - width - 2 * thick, 0)))
    y = int(np.clip(corner[1], height + 3 * thick, image.shape[0]))
    cv2.rectangle(image, (x, y - height - 3 * thick), (x + width + 2 * thick, y), _FRAME_BGR, cv2.FILLED)
    place = (x + thick, y - round(1.5 * thick))
    cv2.putText(image, label, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _PAPER_BGR, thick // 2 + 1, cv2.LINE_AA)


def _finish(redacted: Redacted, image: Image, limit_px: int, quality: int) -> Encoded:
    height, width = image.shape[:2]
    ratio = limit_px / max(height, width)
    if ratio < 1:
        width, height = max(round(width * ratio), 1), max(round(height * ratio), 1)
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return encode(replace(redacted, image=np.ascontiguousarray(image)), quality), width, height
