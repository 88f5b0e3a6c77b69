"""Boxes held over neighbouring frames: where an object is at a frame in which the detector may have missed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.boxes import Boxes, iou

LEAST_OVERLAP = 0.1
MARGIN_PER_FRAME = 0.2  # of the box's size, for each frame that a box is carried without a later sight of it


@dataclass(frozen=True, slots=True)
class Look:
    """The boxes (N, 4) of one group of classes in one frame."""

    stamp_ns: int
    xyxy: Boxes


@dataclass(slots=True)
class _Chain:
    """One object: places in the sequence of looks, ascending, and the box at each."""

    places: list[int]
    boxes: list[Boxes]

    def at(self, stamps: Sequence[int], stamp_ns: int, one: int, other: int) -> Boxes:
        """The box on the line through sights `one` and `other` (places in this chain), (4,)."""
        start, end = stamps[self.places[one]], stamps[self.places[other]]
        share = (stamp_ns - start) / (end - start)
        return np.asarray(self.boxes[one] + (self.boxes[other] - self.boxes[one]) * share, np.float32)


def held_boxes(looks: Sequence[Look], at: int) -> tuple[Boxes, NDArray[np.float32]]:
    """Boxes (M, 4) to cover in look `at`, and the px (M,) by which to grow each zone made from them.

    Its own boxes; for an object seen before and after, also the box between; for one seen on one side only, its
    nearest box and that box carried on by its motion, both grown with the distance in frames.
    """
    stamps = [look.stamp_ns for look in looks]
    boxes: list[Boxes] = [np.asarray(box, np.float32) for box in looks[at].xyxy]
    margins = [0.0] * len(boxes)
    for chain in _chains(looks):
        before = [i for i, place in enumerate(chain.places) if place < at]
        after = [i for i, place in enumerate(chain.places) if place > at]
        if before and after:
            boxes.append(chain.at(stamps, stamps[at], before[-1], after[0]))
            margins.append(0.0)
        elif at not in chain.places:
            nearest, next_one = (before[-1], before[-1] - 1) if before else (after[0], after[0] + 1)
            gap = abs(chain.places[nearest] - at)
            found = [chain.boxes[nearest]]
            if 0 <= next_one < len(chain.places):
                found.append(chain.at(stamps, stamps[at], next_one, nearest))
            for box in found:
                boxes.append(box)
                margins.append(MARGIN_PER_FRAME * gap * _size(chain.boxes[nearest]))
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(margins, np.float32)


def _chains(looks: Sequence[Look]) -> list[_Chain]:
    """Link the boxes of successive looks by overlap with where each object is expected, best overlap first."""
    stamps = [look.stamp_ns for look in looks]
    chains: list[_Chain] = []
    for place, look in enumerate(looks):
        expected = [_expected(chain, stamps, look.stamp_ns) for chain in chains]
        free_chains, free_boxes = set(range(len(chains))), set(range(len(look.xyxy)))
        overlap = iou(np.array(expected, np.float32).reshape(-1, 4), look.xyxy)
        for flat in np.argsort(-overlap, axis=None, kind="stable"):
            i, j = divmod(int(flat), len(look.xyxy))
            if overlap[i, j] < LEAST_OVERLAP:
                break
            if i in free_chains and j in free_boxes:
                free_chains.remove(i)
                free_boxes.remove(j)
                chains[i].places.append(place)
                chains[i].boxes.append(look.xyxy[j])
        chains.extend(_Chain([place], [look.xyxy[j]]) for j in sorted(free_boxes))
    return chains


def _expected(chain: _Chain, stamps: Sequence[int], stamp_ns: int) -> Boxes:
    if len(chain.places) < 2:
        return chain.boxes[-1]
    last = len(chain.places) - 1
    return chain.at(stamps, stamp_ns, last - 1, last)


def _size(box: Boxes) -> float:
    return float(np.sqrt(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)))
