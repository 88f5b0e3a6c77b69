"""Boxes of nothing: single flashes and short phantoms, drawn as solids of random classes at random places ahead."""

from __future__ import annotations

import numpy as np

from gnss.types import Array
from replays.world.card import NoiseCard
from replays.world.detector import CLASS_NAMES, CLUTTER, Found, shifted, unsureness
from replays.world.lens import Eyes, boxes_of
from replays.world.scene import Thing, catalogue
from replays.world.shapes import Indices, solids

_SIZE_SPREAD = 0.35
_NEAREST_M, _FARTHEST_M = 5.0, 40.0
_BEARING_DEG = 38.0
_POOL = 64


def clutter(eyes: Eyes, floor_m: Array, true_boxes: int, card: NoiseCard, rng: np.random.Generator) -> Found:
    """Clutter for a camera's frames that makes the card's share of all boxes; `floor_m` (F,): the road's height.

    Of the boxes, `phantom_share` belong to phantoms that stand on the road for a geometric number of frames.
    """
    frames = len(eyes.position)
    wanted = true_boxes * card.clutter / max(1.0 - card.clutter, 1e-9)
    phantoms = rng.poisson(card.phantom_share * wanted / card.phantom_frames)
    lengths = np.concatenate(
        [
            rng.geometric(1.0 / card.phantom_frames, phantoms),
            np.ones(rng.poisson((1 - card.phantom_share) * wanted), int),
        ]
    )
    if not len(lengths):
        return _nothing()
    begin = np.minimum(rng.integers(0, frames, len(lengths)), np.maximum(frames - lengths, 0)).astype(np.intp)
    models = _models(rng)
    which = rng.integers(0, _POOL, len(lengths))
    places = _places(eyes, floor_m, begin, rng)
    event = np.repeat(np.arange(len(lengths)), lengths)
    frame = begin[event] + np.arange(len(event)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    keep = frame < frames
    event, frame = event[keep], frame[keep]
    boxes = np.full((len(event), 4), np.nan)
    for group in solids(models):
        row = np.searchsorted(group.numbers, which[event])
        mine = np.flatnonzero(group.numbers[np.minimum(row, len(group.numbers) - 1)] == which[event])
        _, boxes[mine] = boxes_of(eyes, frame[mine], places[event[mine]], group.points, group.lines, row[mine])
    good = ~np.isnan(boxes[:, 0])
    boxes, frame, event = boxes[good], frame[good], event[good]
    limit = np.array([eyes.camera.width, eyes.camera.height], dtype=np.float64)
    ids = np.array([CLASS_NAMES.index(m.class_name) for m in models], dtype=np.intp)
    noisy = shifted(boxes, rng.standard_normal(boxes.shape), limit, card)
    confidence = unsureness(len(boxes), rng)
    return Found(frame, np.full(len(frame), -1, np.intp), noisy, ids[which[event]], confidence)


def _nothing() -> Found:
    none = np.zeros(0, np.intp)
    return Found(none, none, np.zeros((0, 4)), none, np.zeros(0))


def _models(rng: np.random.Generator) -> list[Thing]:
    """Solids that clutter is taken for: class by weight, sizes around the class's."""
    names, weights = list(CLUTTER), np.array(list(CLUTTER.values()))
    drawn = rng.choice(len(names), _POOL, p=weights / weights.sum())
    made = []
    for number, name in enumerate(names[i] for i in drawn):
        length, width, height = catalogue().classes[name].size_m
        a, b, c = (float(v) for v in np.exp(_SIZE_SPREAD * rng.standard_normal(3)))
        heading = float(rng.uniform(0.0, 180.0))
        made.append(Thing(f"clutter-{number}", name, None, 0.0, 0.0, heading, (a * length, b * width, c * height)))
    return made


def _places(eyes: Eyes, floor_m: Array, begin: Indices, rng: np.random.Generator) -> Array:
    """Feet (E, 3) on the road somewhere ahead of the camera of each event's first frame; near ones are likelier."""
    count = len(begin)
    distance = _NEAREST_M * (_FARTHEST_M / _NEAREST_M) ** rng.random(count)
    ahead = eyes.turn[begin, :2, 2]
    bearing = np.arctan2(ahead[:, 1], ahead[:, 0]) + np.radians(rng.uniform(-_BEARING_DEG, _BEARING_DEG, count))
    place: Array = eyes.position[begin].copy()
    place[:, 0] += distance * np.cos(bearing)
    place[:, 1] += distance * np.sin(bearing)
    place[:, 2] = floor_m[begin]
    return place
