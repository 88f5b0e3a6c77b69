"""Training windows: scaled crops, mosaics and colour changes of pictures, all drawn from (seed, epoch, position).

The runtime letterboxes 1280x720 to 640x360, so a window shows things at the size they have there: renders near scale 1,
phone photos reduced. A mosaic takes all its pictures from one source, so that one mask of known classes holds for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.dataset import Picture
from models.errors import TrainingSetupError
from models.recipe import Recipe, Source

Array = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
PAD_VALUE = 114
KEEP_VISIBLE = 0.4
MIN_SIDE_PX = 4.0
OBJECT_CENTRED = 0.5
MOSAIC_SHRINK = 0.7


@dataclass(frozen=True, slots=True)
class Window:
    """image uint8 (H, W, 3) BGR; boxes, ignore float32 (N, 5): class, x1, y1, x2, y2 px; background (classes,)."""

    image: Image
    boxes: Array
    ignore: Array
    background: Array


class WindowSet:
    """All pictures of a split, kept in memory, giving windows of `height` x `width` pixels (multiples of 32)."""

    def __init__(self, pictures: list[Picture], recipe: Recipe, height: int, width: int, seed: int) -> None:
        if not pictures:
            raise TrainingSetupError("no training pictures", file=recipe.path, remedy="prepare one of its sources")
        self._pictures = pictures
        self._images = [_read(picture) for picture in pictures]
        self._sources: list[Source] = [recipe.source(picture.source) for picture in pictures]
        self._background = {
            s.name: np.asarray(s.background_weights(recipe.classes), np.float32) for s in recipe.sources
        }
        self._same: dict[str, list[int]] = {}
        for index, picture in enumerate(pictures):
            self._same.setdefault(picture.source, []).append(index)
        self._repeat = {source.name: source.repeat for source in recipe.sources}
        self._size = (height, width)
        self._seed = seed

    def order(self, epoch: int) -> list[int]:
        """Picture indices of one epoch, shuffled; a source with N pictures gives round(N * repeat) of them, in turn."""
        indices: list[int] = []
        for name, members in self._same.items():
            count = round(len(members) * self._repeat[name])
            turn = np.random.default_rng((self._seed, len(name))).permutation(members)
            indices += [int(turn[(epoch * count + k) % len(members)]) for k in range(count)]
        np.random.default_rng((self._seed, epoch)).shuffle(indices)
        return indices

    def counts(self) -> dict[str, int]:
        """Number of pictures per source."""
        return {name: len(members) for name, members in sorted(self._same.items())}

    def window(self, epoch: int, position: int, index: int) -> Window:
        """The window shown at `position` of `epoch`, made from picture `index`."""
        rng = np.random.default_rng((self._seed, epoch, position))
        source = self._sources[index]
        height, width = self._size
        canvas = np.full((height, width, 3), PAD_VALUE, np.uint8)
        if rng.random() < source.mosaic:
            middle_x, middle_y = (int(side * rng.uniform(0.35, 0.65)) for side in (width, height))
            regions = [
                (0, 0, middle_x, middle_y),
                (middle_x, 0, width, middle_y),
                (0, middle_y, middle_x, height),
                (middle_x, middle_y, width, height),
            ]
            chosen = [index, *rng.choice(self._same[source.name], 3)]
            parts = [self._paste(canvas, r, int(i), MOSAIC_SHRINK, rng) for r, i in zip(regions, chosen, strict=True)]
        else:
            parts = [self._paste(canvas, (0, 0, width, height), index, 1.0, rng)]
        boxes = np.concatenate([part[0] for part in parts])
        ignore = np.concatenate([part[1] for part in parts])
        image = _colour(canvas, rng)
        if rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
            for rows in (boxes, ignore):
                rows[:, [1, 3]] = width - rows[:, [3, 1]]
        return Window(image, boxes, ignore, self._background[source.name])

    def _paste(
        self, canvas: Image, region: tuple[int, int, int, int], index: int, shrink: float, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        left, top, right, bottom = region
        picture, source = self._pictures[index], self._sources[index]
        low, high = source.scale
        scale = shrink * float(np.exp(rng.uniform(np.log(low), np.log(high))))
        focus = _focus(picture, rng) if rng.random() < OBJECT_CENTRED else None
        x0 = _offset(picture.width * scale, right - left, None if focus is None else focus[0] * scale, rng)
        y0 = _offset(picture.height * scale, bottom - top, None if focus is None else focus[1] * scale, rng)
        matrix = np.array([[scale, 0, x0], [0, scale, y0]], np.float64)
        flags = cv2.INTER_AREA if scale < 0.6 else cv2.INTER_LINEAR
        source_image = self._images[index]
        if scale < 0.6:
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            source_image = np.asarray(cv2.resize(source_image, size, interpolation=flags), np.uint8)
            matrix[0, 0] = matrix[1, 1] = 1.0
        value = (PAD_VALUE, PAD_VALUE, PAD_VALUE)
        warped = cv2.warpAffine(source_image, matrix, (right - left, bottom - top), borderValue=value)
        canvas[top:bottom, left:right] = warped
        shift = np.array([0, x0 + left, y0 + top, x0 + left, y0 + top], np.float32)
        gain = np.array([1, scale, scale, scale, scale], np.float32)
        boxes, lost = clip_boxes(picture.boxes * gain + shift, region)
        hidden, more = clip_boxes(picture.ignore * gain + shift, region)
        return boxes, np.concatenate((lost, hidden, more))


def clip_boxes(rows: Array, region: tuple[int, int, int, int]) -> tuple[Array, Array]:
    """Clip rows (class, x1, y1, x2, y2) to a region; returns (kept, to ignore).

    A box that is mostly outside or too small to recognise is not a fair example, yet something is there: it is ignored.
    """
    left, top, right, bottom = region
    clipped = rows.copy()
    clipped[:, [1, 3]] = clipped[:, [1, 3]].clip(left, right)
    clipped[:, [2, 4]] = clipped[:, [2, 4]].clip(top, bottom)
    sides = clipped[:, 3:] - clipped[:, 1:3]
    whole = np.prod(np.maximum(rows[:, 3:] - rows[:, 1:3], 1e-6), axis=1)
    inside = (sides > 0.5).all(axis=1)
    fair = (np.prod(sides, axis=1) >= KEEP_VISIBLE * whole) & (sides >= MIN_SIDE_PX).all(axis=1)
    return clipped[inside & fair], clipped[inside & ~fair]


def _focus(picture: Picture, rng: np.random.Generator) -> tuple[float, float] | None:
    boxes = picture.boxes
    if not len(boxes):
        return None
    wanted = rng.choice(np.unique(boxes[:, 0]))
    row = rng.choice(boxes[boxes[:, 0] == wanted])
    return float(row[1] + row[3]) / 2, float(row[2] + row[4]) / 2


def _offset(size: float, room: int, centre: float | None, rng: np.random.Generator) -> float:
    """Shift of a picture of `size` px in `room` px: anywhere if it fits, else a crop, one that shows `centre`."""
    low, high = min(0.0, room - size), max(0.0, room - size)
    if centre is not None and size > room:
        low, high = max(low, 0.15 * room - centre), min(high, 0.85 * room - centre)
        if low > high:
            low = high = min(max(room / 2 - centre, room - size), 0.0)
    return float(rng.uniform(low, high))


def _colour(image: Image, rng: np.random.Generator) -> Image:
    hue, saturation, value = rng.uniform(-1, 1, 3) * (0.015, 0.5, 0.4) + 1
    ramp = np.arange(256, dtype=np.float64)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    tables = ((ramp * hue) % 180, np.clip(ramp * saturation, 0, 255), np.clip(ramp * value, 0, 255))
    planes = [cv2.LUT(np.ascontiguousarray(hsv[..., i]), table.astype(np.uint8)) for i, table in enumerate(tables)]
    changed = cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2BGR)
    if rng.random() < 0.15:
        changed = cv2.GaussianBlur(changed, (0, 0), float(rng.uniform(0.5, 1.2)))
    if rng.random() < 0.15:
        noise = rng.normal(0, rng.uniform(2, 8), changed.shape)
        changed = np.clip(changed + noise, 0, 255).astype(np.uint8)
    return np.asarray(changed, np.uint8)


def _read(picture: Picture) -> Image:
    image = cv2.imread(str(picture.path))
    if image is None:
        raise TrainingSetupError("not a readable picture", file=picture.path, remedy="prepare the data again")
    return np.asarray(image, np.uint8)
