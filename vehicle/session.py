"""One drive through the whole chain: source items in, cases in the store. Live and replay share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np

from gnss.types import Fix
from perception.detector import Detector
from perception.events import Event, EventOrder
from perception.pipeline import Pipeline
from perception.redaction import Redactor
from perception.serial import anchor_from_dict, anchor_to_dict
from perception.store import CaseStore, tiles_around
from perception.types import (
    Anchor,
    AnchorUpdate,
    CalibrationUpdate,
    CaseChange,
    Detections,
    Frame,
    KnownObjects,
    Output,
    Seen,
    Tile,
)
from replays.source import Item, RecordedFrame
from vehicle.ahead import LookAhead
from vehicle.stages import Stages

Sink = Callable[[Output], None]
UNPROTECTED = "frames without pictures: their detections are not this model's, so nobody knows what to redact"
_ACCURACIES = ("h_acc_m", "v_acc_m", "speed_acc_mps", "course_acc_deg", "heading_acc_deg", "hdop")


def as_recorded(event: Event) -> Event:
    """The event with its numbers as a recording would give them back, so that a replay decides as the car did."""
    if isinstance(event, Seen):
        return _seen_as_recorded(event)
    if isinstance(event, Fix):
        # An accuracy of zero is a receiver's way to say nothing.
        unsaid: dict[str, None] = {name: None for name in _ACCURACIES if getattr(event, name) == 0.0}
        return replace(event, **unsaid) if unsaid else event  # type: ignore[arg-type]
    if isinstance(event, KnownObjects) and event.anchors:
        # Cases come from a store, which keeps them as the same rounded text that a recording holds.
        return replace(event, anchors=tuple(_anchor_as_recorded(a) for a in event.anchors))
    return event


def _anchor_as_recorded(anchor: Anchor) -> Anchor:
    return anchor_from_dict(anchor_to_dict(anchor))


def _seen_as_recorded(seen: Seen) -> Seen:
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
    """Joins detector, redactor, order, pipeline and store. `sinks` see every output, `taps` every event in order.

    `asks_store`: feed what the store knows of the tiles around the car; false when the source brings it. `at_once`: how
    many frames the detector looks at side by side.
    `frames` and `last_ns` tell how far the pipeline is.
    """

    pipeline: Pipeline
    store: CaseStore
    detector: Detector | None
    redactor: Redactor | None
    stages: Stages
    sinks: tuple[Sink, ...] = ()
    taps: tuple[Callable[[Event], None], ...] = ()
    order: EventOrder = field(default_factory=EventOrder)
    asks_store: bool = True
    at_once: int = 1
    counts: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    last_ns: int = 0
    _tiles: set[Tile] = field(default_factory=set)
    _started: bool = False
    _bare: set[tuple[str, int]] = field(default_factory=set)

    def run(self, source: Iterable[Item], progress: Callable[[], None] | None = None) -> None:
        """Feed a whole source and finish; `progress` is called after every item.

        With a detector, source and network work ahead in threads of their own; the order of events is the same.
        """
        with ExitStack() as stack:
            items: Iterable[Item] = source
            if self.detector is not None:
                items = stack.enter_context(LookAhead(source, self.detector, self.stages, self.at_once))
            for item in items:
                self.feed(item)
                if progress is not None:
                    progress()
        self.finish()

    def feed(self, item: Item) -> None:
        """Take one item of the source."""
        self._hurry(item.frame.stamp_ns if isinstance(item, RecordedFrame) else item.stamp_ns)
        if isinstance(item, RecordedFrame):
            self._look(item)
        elif isinstance(item, Frame):
            raise RuntimeError("a source with undetected frames needs a detector")
        else:
            if isinstance(item, Fix) and self.asks_store:
                self._start(item)
                self._know(item)
            self._push(item)
        self.frames += isinstance(item, RecordedFrame | Seen)

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

    def _hurry(self, stamp_ns: int) -> None:
        """A slow or silent camera must not keep its last frames so long that they come too late for the order."""
        if self.redactor is not None:
            for seen in self.redactor.overdue(stamp_ns - int(self.order.lateness_s * 1e9)):
                self._push(seen)

    def _look(self, item: RecordedFrame) -> None:
        if self.redactor is None:
            raise RuntimeError("frames with pixels need a redactor")
        if item.model != self.redactor.card.sha256:
            # Boxes of nobody knows whom may lack the people and vehicles that must be filled: no picture then.
            self._bare.add((item.frame.camera, item.frame.index))
            self.counts[UNPROTECTED] += 1
        with self.stages.measure("redact"):
            ready = self.redactor.push(item.frame, item.detections)
        for seen in ready:
            self._push(seen)

    def _start(self, fix: Fix) -> None:
        """Begin with the calibration that this vehicle's last drive ended with."""
        if self._started:
            return
        self._started = True
        for event in self.store.calibration(self.pipeline.vehicle, fix.stamp_ns):
            if event.camera in self.pipeline.cameras:
                self._push(event)

    def _know(self, fix: Fix) -> None:
        """Feed what the store knows of the tiles around the car, once per tile."""
        around = tiles_around(fix.lat_deg, fix.lon_deg)
        wanted = [tile for tile in around if tile not in self._tiles]
        if not wanted:
            return
        with self.stages.measure("known"):
            known = self.store.known(wanted, fix.stamp_ns)
        late = self.order.late
        for event in known:
            self._push(event)
        if self.order.late == late:  # else the next fix asks again
            self._tiles = set(around)

    def _push(self, event: Event) -> None:
        if isinstance(event, Seen) and (event.camera, event.index) in self._bare:
            self._bare.discard((event.camera, event.index))
            event = replace(event, picture=None)
        for ready in self.order.push(as_recorded(event)):
            self._step(ready)

    def _step(self, event: Event) -> None:
        self.last_ns = event.stamp_ns
        for tap in self.taps:
            tap(event)
        with self.stages.measure("pipeline"):
            outputs = self.pipeline.step(event)
        if outputs:
            self._deliver(outputs)

    def _deliver(self, outputs: list[Output]) -> None:
        """Store first: a change is reported only once it is durable."""
        changes = [o for o in outputs if isinstance(o, CaseChange)]
        anchors = [o for o in outputs if isinstance(o, AnchorUpdate)]
        mounts = [o for o in outputs if isinstance(o, CalibrationUpdate)]
        if changes or anchors or mounts:
            with self.stages.measure("store"):
                self.store.commit(changes, anchors, {self.pipeline.vehicle: mounts} if mounts else None)
        for output in outputs:
            for sink in self.sinks:
                sink(output)
