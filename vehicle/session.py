"""One drive through the whole chain: source items in, cases in the store. Live and replay share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from gnss.types import Fix
from perception.detector import Detector
from perception.events import Event, EventOrder
from perception.pipeline import Pipeline
from perception.redaction import Redactor
from perception.store import CaseStore, tiles_around
from perception.types import CaseChange, Detections, Frame, Output, Seen, Tile
from replays.source import Item, RecordedFrame
from vehicle.stages import Stages

Sink = Callable[[Output], None]


def as_recorded(seen: Seen) -> Seen:
    """The frame with its numbers as detections.jsonl would hold them, so that a replay decides as the car did."""
    boxes = seen.detections
    look = None if boxes.appearance is None else np.round(boxes.appearance.astype(np.float64), 4).astype(np.float32)
    rounded = Detections(
        np.round(boxes.xyxy.astype(np.float64), 2).astype(np.float32),
        np.round(boxes.confidence.astype(np.float64), 4).astype(np.float32),
        boxes.class_id,
        boxes.class_names,
        look,
    )
    sharpness = None if seen.sharpness is None else round(seen.sharpness, 4)
    exposure = None if seen.exposure is None else round(seen.exposure, 4)
    return replace(seen, detections=rounded, sharpness=sharpness, exposure=exposure)


@dataclass(slots=True)
class Session:
    """Joins detector, redactor, order, pipeline and store. `sinks` see every output, `taps` every event in order."""

    pipeline: Pipeline
    store: CaseStore
    detector: Detector | None
    redactor: Redactor | None
    stages: Stages
    sinks: tuple[Sink, ...] = ()
    taps: tuple[Callable[[Event], None], ...] = ()
    order: EventOrder = field(default_factory=EventOrder)
    counts: Counter[str] = field(default_factory=Counter)
    _tiles: set[Tile] = field(default_factory=set)

    def run(self, source: Iterable[Item], progress: Callable[[int], None] | None = None) -> None:
        """Feed a whole source and finish; `progress` is told the number of frames done."""
        frames = 0
        iterator = iter(source)
        while True:
            with self.stages.measure("read"):
                item = next(iterator, None)
            if item is None:
                break
            self.feed(item)
            if progress is not None and isinstance(item, Frame | RecordedFrame | Seen):
                frames += 1
                progress(frames)
        self.finish()

    def feed(self, item: Item) -> None:
        """Take one item of the source."""
        if isinstance(item, Frame):
            self._look(item, self._detect(item))
        elif isinstance(item, RecordedFrame):
            self._look(item.frame, item.detections)
        elif isinstance(item, Fix):
            self._know(item)
            self._push(item)
        else:
            self._push(item)

    def finish(self) -> None:
        """The source ended: release what waits, close passes, store the last changes."""
        if self.redactor is not None:
            for seen in self.redactor.flush():
                self._push(seen)
        for event in self.order.flush():
            self._step(event)
        with self.stages.measure("associate"):
            outputs = self.pipeline.flush()
        self._deliver(outputs)
        self.counts["late events"] = self.order.late
        self.counts.update(self.pipeline.counts)

    def _detect(self, frame: Frame) -> Detections:
        if self.detector is None:
            raise RuntimeError("a source with undetected frames needs a detector")
        with self.stages.measure("detect"):
            return self.detector.detect(frame)

    def _look(self, frame: Frame, detections: Detections) -> None:
        if self.redactor is None:
            raise RuntimeError("frames with pixels need a redactor")
        with self.stages.measure("redact"):
            ready = self.redactor.push(frame, detections)
        for seen in ready:
            self._push(seen)

    def _know(self, fix: Fix) -> None:
        """Feed what the store knows of the tiles around the car, once per tile."""
        wanted = [t for t in tiles_around(fix.lat_deg, fix.lon_deg) if t not in self._tiles]
        if not wanted:
            return
        self._tiles = {t for t in tiles_around(fix.lat_deg, fix.lon_deg)}
        with self.stages.measure("known"):
            known = self.store.known(wanted, fix.stamp_ns)
        for event in known:
            self._push(event)

    def _push(self, event: Event) -> None:
        if isinstance(event, Seen):
            event = as_recorded(event)
        for ready in self.order.push(event):
            self._step(ready)

    def _step(self, event: Event) -> None:
        for tap in self.taps:
            tap(event)
        with self.stages.measure("pipeline"):
            outputs = self.pipeline.step(event)
        if outputs:
            self._deliver(outputs)

    def _deliver(self, outputs: list[Output]) -> None:
        """Store first: a change is reported only once it is durable."""
        changes = [o for o in outputs if isinstance(o, CaseChange)]
        if changes:
            with self.stages.measure("store"):
                self.store.commit(changes)
        for output in outputs:
            for sink in self.sinks:
                sink(output)
