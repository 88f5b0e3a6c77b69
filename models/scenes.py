"""Which pictures show the same scene: perceptual hashes, their distance, and groups of look-alikes.

The hash is the sign of the low frequencies of a small grey picture against their median (Zauner 2010, pHash): it
survives compression, resizing and mild colour changes, and costs a millisecond. A calibration or validation picture
whose scene is also trained on measures memory, not skill.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from perception.types import Image

SIDE_PX = 32
LOW = 8
BITS = LOW * LOW - 1
SAME_SCENE = 14
"""Bits of 63 up to which two pictures of one source are held to show one scene; generous: a split may lose pictures."""
SAME_PICTURE = 6
"""Bits up to which two pictures are copies of each other."""

Bits = npt.NDArray[np.bool_]


def perceptual_hash(image: Image) -> Bits:
    """(63,) bits of a BGR picture; a flat picture has only zeros."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = np.asarray(cv2.dct(small), np.float32)[:LOW, :LOW].ravel()[1:]
    return np.asarray(low > np.median(low) + 1e-3, np.bool_)


def distances(a: Bits, b: Bits) -> npt.NDArray[np.int64]:
    """Differing bits of every pair, (N, 63) and (M, 63) -> (N, M)."""
    signed = (2.0 * a.astype(np.float32) - 1, 2.0 * b.astype(np.float32) - 1)
    return np.rint((BITS - signed[0] @ signed[1].T) / 2).astype(np.int64)


def scenes(hashes: Bits, keys: Sequence[str]) -> list[int]:
    """Scene number per picture, (N, 63) and N keys: look-alikes and pictures of one non-empty key share a scene.

    Where keys tell the scenes, only copies are joined besides: empty roads all look alike.
    """
    limit = SAME_PICTURE if all(keys) else SAME_SCENE
    parent = list(range(len(keys)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, key in enumerate(keys):
        if key:
            parent[root(i)] = root(first.setdefault(key, i))
    for i, row in enumerate(distances(hashes, hashes)):
        for j in np.flatnonzero(row[:i] <= limit):
            parent[root(i)] = root(int(j))
    return [root(i) for i in range(len(keys))]


def held_out(scene: Sequence[int], share: float, seed: int) -> set[int]:
    """Indices of about `share` of the pictures, whole scenes only, scenes drawn in an order fixed by `seed`."""
    members: dict[int, list[int]] = {}
    for index, name in enumerate(scene):
        members.setdefault(name, []).append(index)
    wanted, chosen = share * len(scene), set[int]()
    groups = list(members.values())
    for turn in np.random.default_rng(seed).permutation(len(groups)):
        if len(chosen) + len(groups[turn]) / 2 <= wanted:
            chosen.update(groups[turn])
    return chosen


def scene_key(pattern: str | None, text: str) -> str:
    """What the regular expression `pattern` (its first group, if any) finds in a name or upstream path, or ""."""
    found = re.search(pattern, text) if pattern else None
    if found is None:
        return ""
    return found.group(1) if found.groups() else found.group(0)


def upstream_paths(root: Path) -> dict[str, str]:
    """File name -> upstream path of `root`/manifest.csv; empty when there is none."""
    import csv

    path = root / "manifest.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["file"]: row.get("upstream_path", "") for row in csv.DictReader(stream) if row.get("file")}
