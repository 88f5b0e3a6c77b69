"""From the raw output of a network family to boxes in input px: one pure function and one table entry per family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception.boxes import Boxes

YOLOX_STRIDES = (8, 16, 32)


class Decoded(NamedTuple):
    """`xyxy` float32 (N, 4) in input px, `confidence` (N,), `class_id` int32 (N,): the best class of each box."""

    xyxy: Boxes
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Decoder:
    """A network family. `decode(output, input_wh, floor)` keeps boxes with confidence above `floor`.

    `class_count` reads the number of classes off the shape of the output, or None where the shape does not tell it;
    `suppress` says whether the boxes still need non-maximum suppression.
    """

    decode: Callable[[NDArray[np.float32], tuple[int, int], float], Decoded]
    class_count: Callable[[tuple[int, ...]], int | None]
    layout: str
    suppress: bool = True


def decode_yolo(output: NDArray[np.float32], input_wh: tuple[int, int], floor: float) -> Decoded:
    """Ultralytics head (v5u, v8, 11): (1, 4 + classes, N), x and y of the centre, width, height, class confidences."""
    del input_wh  # this head writes pixels
    rows = output[0]
    best = rows[4:].max(axis=0)
    chosen = np.flatnonzero(best > floor)
    centre, half = rows[:2, chosen].T, rows[2:4, chosen].T / 2
    xyxy = np.concatenate((centre - half, centre + half), axis=1)
    class_id = rows[4:, chosen].argmax(axis=0)
    return Decoded(xyxy.astype(np.float32), best[chosen].astype(np.float32), class_id.astype(np.int32))


def decode_yolox(output: NDArray[np.float32], input_wh: tuple[int, int], floor: float) -> Decoded:
    """YOLOX head: (1, N, 5 + classes) raw offsets per grid cell of strides 8, 16, 32; confidence = objectness x class.

    xy = (offset + cell) * stride, wh = exp(size) * stride (Ge et al. 2021, demo_postprocess of the authors' code).
    """
    rows = output[0]
    candidates = np.flatnonzero(rows[:, 4] > floor)  # a class confidence never exceeds 1
    scores = rows[candidates, 5:] * rows[candidates, 4:5]
    best = scores.max(axis=1, initial=0.0)
    keep = best > floor
    chosen, best = candidates[keep], best[keep]
    cells, strides = _grid(input_wh)
    centre = (rows[chosen, :2] + cells[chosen]) * strides[chosen]
    half = np.exp(rows[chosen, 2:4]) * strides[chosen] / 2
    xyxy = np.concatenate((centre - half, centre + half), axis=1)
    class_id = scores[keep].argmax(axis=1)
    return Decoded(xyxy.astype(np.float32), best.astype(np.float32), class_id.astype(np.int32))


def decode_yolo_end2end(output: NDArray[np.float32], input_wh: tuple[int, int], floor: float) -> Decoded:
    """Head without suppression (v10, 26): (1, N, 6), x1, y1, x2, y2, confidence, class."""
    del input_wh
    rows = output[0]
    rows = rows[rows[:, 4] > floor]
    return Decoded(rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32), rows[:, 5].astype(np.int32))


@lru_cache(maxsize=8)
def _grid(input_wh: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cell (N, 2) and stride (N, 1) of every prediction, strides ascending, row by row."""
    cells, strides = [], []
    for stride in YOLOX_STRIDES:
        across, down = input_wh[0] // stride, input_wh[1] // stride
        x, y = np.meshgrid(np.arange(across), np.arange(down))
        cells.append(np.stack((x, y), axis=-1).reshape(-1, 2))
        strides.append(np.full((across * down, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


DECODERS: Mapping[str, Decoder] = {
    "yolo": Decoder(decode_yolo, lambda shape: shape[1] - 4, "(1, 4 + classes, N)"),
    "yolox": Decoder(decode_yolox, lambda shape: shape[2] - 5, "(1, N, 5 + classes)"),
    "yolo_end2end": Decoder(decode_yolo_end2end, lambda shape: None, "(1, N, 6)", suppress=False),
}
