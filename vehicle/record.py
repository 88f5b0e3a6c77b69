"""`qiji drive record`: cameras and receiver into a recording, looked at and redacted, without a case being made."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gnss.clock import Clock, SystemClock
from gnss.receiver_date import SOFTWARE_DATE
from perception.events import Event, EventOrder
from perception.redaction import Redactor
from replays.recording.head import Head, attached, quiet_places
from replays.recording.recorder import McapRecorder
from replays.recording.shelf import Limits, target_of
from replays.source import RecordedFrame
from vehicle.ahead import LookAhead
from vehicle.cameras import CameraThread
from vehicle.config import Config
from vehicle.live import LiveSource
from vehicle.receiver import LiveReceiver
from vehicle.run import LATENESS_S, LINGER_S, checked
from vehicle.session import as_recorded
from vehicle.setup import Equipment, equip
from vehicle.signals import Stopper
from vehicle.stages import Stages


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded: the file or folder (None: nothing ever came), and what was counted on the way."""

    path: Path | None
    counts: dict[str, int]


def record_live(
    config: Config,
    out: Path,
    limits: Limits,
    stopper: Stopper,
    seconds: float | None = None,
    clock: Clock | None = None,
) -> Recorded:
    """Record the car's devices into `out` until it is stopped, the files end, or `seconds` of the drive have passed.

    Raises SetupError before anything starts.
    """
    receiver = checked(config)
    target = target_of(out, limits)
    clock = clock or SystemClock()
    kit = equip(config, detect=True)
    start_ns = clock.monotonic_ns()
    source = LiveSource(clock, start_ns, linger_s=LINGER_S)
    with ExitStack() as stack:
        stack.callback(source.close)
        cameras = {row.camera.name: row.camera for row in config.cameras}
        antenna_m = (receiver.x_m, receiver.y_m, receiver.z_m)
        files = attached(config.city)
        head = Head(target.name, str(config.vehicle), cameras, "recorded by qiji drive record", antenna_m, files=files)
        recorder = stack.enter_context(McapRecorder(target, head, quiet=quiet_places(kit.atlas(config.city))))
        for row in config.cameras:
            source.add_camera(CameraThread(row, clock, start_ns, source.take_frame))
        reader = LiveReceiver(receiver, source, clock, start_ns, SOFTWARE_DATE)
        reader.tap = recorder.raw
        source.add_device(reader.stop, reader.check)
        stopper.attach(source.stop)
        tape = Tape(kit, recorder)
        tape.run(source, None if seconds is None else round(seconds * 1e9))
        path = recorder.close()
    counts = tape.counts + source.counts + recorder.counts
    return Recorded(path, dict(sorted(counts.items())))


@dataclass(slots=True)
class Tape:
    """Detector, redactor, order and recorder, joined as in a session whose pipeline nobody asked for."""

    kit: Equipment
    recorder: McapRecorder
    order: EventOrder = field(default_factory=lambda: EventOrder(LATENESS_S))
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, source: LiveSource, until_ns: int | None) -> None:
        """Take a whole source, or as much as begins before `until_ns`."""
        if self.kit.detector is None:
            raise RuntimeError("a recording with pictures needs a detector")
        redactor = self.kit.redactor()
        with LookAhead(source, self.kit.detector, Stages()) as items:
            for item in items:
                stamp_ns = item.frame.stamp_ns if isinstance(item, RecordedFrame) else item.stamp_ns
                if until_ns is not None and stamp_ns > until_ns:
                    source.stop()
                    break
                for seen in redactor.overdue(stamp_ns - int(self.order.lateness_s * 1e9)):
                    self._push(seen)
                if isinstance(item, RecordedFrame):
                    self.counts["frames"] += 1
                    for seen in redactor.push(item.frame, item.detections):
                        self._push(seen)
                else:
                    self._push(item)  # type: ignore[arg-type]
        self._finish(redactor)

    def _finish(self, redactor: Redactor) -> None:
        for seen in redactor.flush():
            self._push(seen)
        for event in self.order.flush():
            self.recorder.tap(event)
        self.counts["late events"] = self.order.late

    def _push(self, event: Event) -> None:
        for ready in self.order.push(as_recorded(event)):
            self.recorder.tap(ready)
