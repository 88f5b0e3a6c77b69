"""Appearance of a box: a small colour histogram, cheap enough for every box of every frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.boxes import Boxes
from perception.types import Image

HUE_BINS, GREY_BINS = 16, 8
SIZE = HUE_BINS + GREY_BINS
_SAMPLES = 16
_INNER = (0.2, 0.8)
_COLOURED = 48  # least saturation and least value (0..255) at which a hue means something


def appearance(image: Image, xyxy: Boxes) -> NDArray[np.float32]:
    """Histogram of the inner part of each box, float32 (N, 24), each row sums to 1; `image` BGR uint8 (H, W, 3).

    16 bins of hue for coloured pixels, 8 bins of brightness for grey ones: most cars are white, grey or black. The
    inner 60 % of the box is sampled on a 16 x 16 grid, so a large box costs no more than a small one.
    """
    count = len(xyxy)
    if count == 0:
        return np.zeros((0, SIZE), np.float32)
    height, width = image.shape[:2]
    steps = np.linspace(*_INNER, _SAMPLES, dtype=np.float32)
    across = xyxy[:, :1] + (xyxy[:, 2:3] - xyxy[:, :1]) * steps
    down = xyxy[:, 1:2] + (xyxy[:, 3:4] - xyxy[:, 1:2]) * steps
    columns = np.clip(across, 0, width - 1).astype(np.intp)
    rows = np.clip(down, 0, height - 1).astype(np.intp)
    pixels = image[rows[:, :, None], columns[:, None, :]].reshape(count, -1, 3)
    hue, saturation, value = np.moveaxis(cv2.cvtColor(pixels, cv2.COLOR_BGR2HSV).astype(np.intp), -1, 0)
    grey = (saturation < _COLOURED) | (value < _COLOURED)
    bins = np.where(grey, HUE_BINS + value * GREY_BINS // 256, hue * HUE_BINS // 180)
    bins += np.arange(count)[:, None] * SIZE
    histogram = np.bincount(bins.ravel(), minlength=count * SIZE).reshape(count, SIZE)
    return (histogram / _SAMPLES**2).astype(np.float32)
