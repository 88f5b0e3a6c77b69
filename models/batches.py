"""Batches of training windows as tensors, made one ahead in a second thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from models.windows import Window, WindowSet


def batches(windows: WindowSet, size: int, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
    """All windows of an epoch, `size` at a time; the last batch may be smaller."""
    order = list(enumerate(windows.order(epoch)))
    chunks = [order[i : i + size] for i in range(0, len(order), size)]
    with ThreadPoolExecutor(max_workers=1) as pool:

        def make(chunk: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
            return collate([windows.window(epoch, position, index) for position, index in chunk])

        ahead = pool.submit(make, chunks[0])
        for following in [*chunks[1:], None]:
            ready = ahead.result()
            if following is not None:
                ahead = pool.submit(make, following)
            yield ready


def collate(windows: list[Window]) -> dict[str, torch.Tensor]:
    """Stack windows: img float (B, 3, H, W) RGB 0..1, boxes as ultralytics wants them, background, ignore (px)."""
    height, width = windows[0].image.shape[:2]
    pixels = np.stack([w.image for w in windows])[..., ::-1].transpose(0, 3, 1, 2)
    image = torch.from_numpy(np.ascontiguousarray(pixels)).float().div_(255)
    rows = np.concatenate([np.insert(w.boxes, 0, i, axis=1) for i, w in enumerate(windows)])
    ignore = np.concatenate([np.insert(w.ignore, 0, i, axis=1) for i, w in enumerate(windows)])
    corners = rows[:, 2:] / np.array([width, height, width, height], np.float32)
    centre_size = np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), axis=1)
    return {
        "img": image.contiguous(memory_format=torch.channels_last),
        "batch_idx": torch.from_numpy(rows[:, 0].astype(np.float32)),
        "cls": torch.from_numpy(rows[:, 1:2].astype(np.float32)),
        "bboxes": torch.from_numpy(centre_size.astype(np.float32)),
        "background": torch.from_numpy(np.stack([w.background for w in windows])),
        "ignore": torch.from_numpy(ignore.astype(np.float32)),
    }
