"""A drive as one stream of events in order of their stamps, decoded ahead of the consumer by one thread per camera."""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gnss.types import Fix, Motion
from perception.errors import DriveError
from perception.events import Reload, order_key
from perception.types import (
    CalibrationUpdate,
    Detections,
    Frame,
    Image,
    KnownObjects,
    PictureOnDemand,
    Redacted,
    Seen,
    Shed,
)
from replays.detections import DetectionReader, Recorded
from replays.drive import CameraMember, Drive
from replays.events import read_events

DECODE_AHEAD = 4
"""Frames held decoded per camera: enough to overlap with inference, 11 MB at 1280x720."""

_FRAME_RANK = 5
Key = tuple[int, int, str, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFrame:
    """A frame with its detections: it passes the redactor, never the detector. `model`: sha256 of who found them."""

    frame: Frame
    detections: Detections
    sharpness: float | None = None
    exposure: float | None = None
    model: str | None = None


Item = Frame | RecordedFrame | Seen | Fix | Motion | KnownObjects | Shed | CalibrationUpdate | Reload
Keyed = tuple[Key, Item]


@dataclass(frozen=True, slots=True)
class Totals:
    """How much a source will yield, for a progress bar."""

    frames: int
    fixes: int
    motions: int


class DriveSource:
    """Yields `Frame` (model) or `RecordedFrame` / `Seen` (recorded, with / without pixels), `Fix`, `Motion` and events.

    Order is (stamp_ns, kind, camera, index) as in perception.events. A frame without a recorded line was not looked at
    and is left out of a recorded replay. `known="recorded"` adds the KnownObjects of events.jsonl. May be iterated
    again. Without `detections`: the model when the drive has pixels, else what was recorded.
    Raises DriveError when the drive lacks what is asked for, and while iterating when a picture is missing or broken.
    """

    def __init__(
        self,
        drive: Drive,
        detections: Literal["recorded", "model"] | None = None,
        known: Literal["store", "recorded"] = "store",
    ) -> None:
        self.drive = drive
        self.mode = detections or ("model" if drive.has_pixels else "recorded")
        self.known = known
        if self.mode == "model" and not drive.has_pixels:
            bare = ", ".join(name for name, member in drive.members.items() if member.pictures is None)
            raise DriveError(
                f"camera {bare} has no pictures for a model", file=drive.path, remedy="use --detections recorded"
            )
        if self.mode == "recorded" and drive.detections is None:
            remedy = "use --detections model, or record them with `qiji drive detect`"
            raise DriveError("does not exist", file=drive.path / "detections.jsonl", remedy=remedy)
        if known == "recorded" and drive.events is None:
            raise DriveError("does not exist", file=drive.path / "events.jsonl", remedy="use --known store")

    @property
    def totals(self) -> Totals:
        """Counts of what an iteration yields (frames of any form, fixes, motion samples)."""
        frames = sum(int(self._wanted(member).sum()) for member in self.drive.members.values())
        return Totals(frames, len(self.drive.fixes), 0 if self.drive.motion is None else len(self.drive.motion))

    def __iter__(self) -> Iterator[Item]:
        with ExitStack() as stack:
            streams: list[Iterator[Keyed]] = [self._plain(iter(self.drive.fixes))]
            if self.drive.motion is not None:
                streams.append(self._plain(iter(self.drive.motion)))
            if self.drive.events is not None:
                streams.append(self._events())
            for member in self.drive.members.values():
                streams.append(self._frames(member, stack))
            for _, item in heapq.merge(*streams, key=lambda keyed: keyed[0]):
                yield item

    def _plain(self, items: Iterator[Fix] | Iterator[Motion]) -> Iterator[Keyed]:
        for item in items:
            yield order_key(item), item

    def _events(self) -> Iterator[Keyed]:
        if self.drive.events is None:
            return
        for event in sorted(read_events(self.drive.events), key=order_key):
            if not isinstance(event, KnownObjects) or self.known == "recorded":
                yield order_key(event), event

    def _wanted(self, member: CameraMember) -> NDArray[np.bool_]:
        if self.mode == "model" or self.drive.detections is None:
            return np.ones(len(member.index), np.bool_)
        places = self.drive.detections.places.get(member.model.name, {})
        return np.isin(member.index, np.fromiter(places, np.int64, len(places)))

    def _frames(self, member: CameraMember, stack: ExitStack) -> Iterator[Keyed]:
        name, wanted = member.model.name, self._wanted(member)
        reader: DetectionReader | None = None
        if self.mode == "recorded" and self.drive.detections is not None:
            reader = stack.enter_context(self.drive.detections.reader())
        pictures: Iterator[tuple[int, Image | None]]
        if member.pictures is None:
            pictures = ((int(row), None) for row in np.flatnonzero(wanted))
        else:
            ahead = DecodeAhead(member, wanted)
            stack.callback(ahead.close)
            pictures = _with_gaps(iter(ahead), wanted, member.pictures.present)
        for row, image in pictures:
            stamp_ns, index = int(member.stamp_ns[row]), int(member.index[row])
            recorded = None if reader is None else reader.read(name, index)
            yield (stamp_ns, _FRAME_RANK, name, index, 0), _item(member, stamp_ns, index, image, recorded)


def _with_gaps(
    pictures: Iterator[tuple[int, Image | None]], wanted: NDArray[np.bool_], present: NDArray[np.bool_] | None
) -> Iterator[tuple[int, Image | None]]:
    """All wanted rows, those without a picture too."""
    if present is None:
        yield from pictures
        return
    for row in np.flatnonzero(wanted):
        yield next(pictures) if present[row] else (int(row), None)


def _item(member: CameraMember, stamp_ns: int, index: int, image: Image | None, recorded: Recorded | None) -> Item:
    camera = member.model
    if image is None:
        if recorded is None:
            raise ValueError("a frame needs pixels or recorded detections")
        width, height = camera.width, camera.height
        return Seen(
            stamp_ns, camera.name, index, width, height, recorded.detections, recorded.sharpness, recorded.exposure
        )
    if recorded is not None and member.pictures is not None and member.pictures.redacted:
        # The recorder wrote what the redactor gave: it goes on as it is, with the quality measured then.
        zones = recorded.zones
        picture = PictureOnDemand(partial(Redacted, image, len(zones), zones), lambda: zones)
        found, height, width = recorded.detections, *image.shape[:2]
        return Seen(
            stamp_ns, camera.name, index, width, height, found, recorded.sharpness, recorded.exposure, picture
        )  # fmt: skip
    frame = Frame(stamp_ns, camera.name, index, image)
    return (
        frame
        if recorded is None
        else RecordedFrame(frame, recorded.detections, recorded.sharpness, recorded.exposure, recorded.model)
    )


class DecodeAhead:
    """Decodes the wanted rows of one camera in a thread, at most DECODE_AHEAD ahead; errors reach the consumer."""

    def __init__(self, member: CameraMember, wanted: NDArray[np.bool_]) -> None:
        if member.pictures is None:
            raise ValueError(f"camera {member.model.name} has no pictures")
        self._pictures = member.pictures
        self._wanted = wanted
        self._queue: queue.Queue[tuple[int, Image] | BaseException | None] = queue.Queue(maxsize=DECODE_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._decode, name=f"decode-{member.model.name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[int, Image | None]]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stop the thread and wait for it; what was decoded ahead is dropped."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.01)

    def _decode(self) -> None:
        last: BaseException | None = None
        try:
            for item in self._pictures.read(self._wanted):
                if not self._put(item):
                    return
        except BaseException as error:  # handed over whole: the consumer raises it
            last = error
        self._put(last)

    def _put(self, item: tuple[int, Image] | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
