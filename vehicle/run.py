"""`qiji run`: the car, live. The same session as a replay, behind a live source."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gnss.clock import Clock, SystemClock
from gnss.receiver_date import SOFTWARE_DATE
from perception.errors import SetupError
from perception.events import EventOrder
from replays.recording.head import Head, attached, quiet_places
from replays.recording.recorder import McapRecorder
from replays.recording.shelf import Limits, target_of
from replays.run_folder import RunWriter
from uplink.store import SqliteStore
from vehicle.cameras import CameraThread
from vehicle.citywatch import CityWatch
from vehicle.config import Config, Receiver
from vehicle.delivery import Delivery
from vehicle.facts import live_facts
from vehicle.folders import STORE_FILE
from vehicle.live import LiveSource
from vehicle.receiver import LiveReceiver
from vehicle.session import Session
from vehicle.setup import Equipment, equip, usable_atlas
from vehicle.signals import Stopper
from vehicle.stages import Stages
from vehicle.status import Status

LATENESS_S = 2.5
"""How late an event may come, live: an epoch may be complete only when the next one begins (1 s), and a frame waits for
the detector (up to `max_age_s`), is looked at, and is held by the redactor for three more."""

LINGER_S = 1.5
"""When the last camera has ended, the fix behind its last frame comes within an epoch of 1 s."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """`record`: a new file *.mcap, or a folder of numbered recordings within `limits`, of what the pipeline saw.

    `out`: write a run folder at the end; `say`: status lines.
    """

    record: Path | None = None
    out: Path | None = None
    drain_s: float = 10.0
    say: Callable[[str], None] | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class LiveResult:
    """What a live run ended with: states and kinds by case id, counters, and what still waits in the outbox."""

    cases: dict[str, str]
    kinds: dict[str, str]
    counts: dict[str, int]
    unsent: int


def checked(config: Config) -> Receiver:
    """The receiver of a car that can drive; raises SetupError naming the missing key."""
    if config.vehicle is None:
        raise SetupError("vehicle is missing", file=config.file, remedy='write vehicle = "qiji-01"')
    if config.receiver is None:
        raise SetupError("[receiver] is missing", file=config.file, remedy='write [receiver] port = "/dev/ttyUSB0"')
    if not config.cameras:
        raise SetupError("[[camera]] is missing", file=config.file, remedy="describe at least one camera")
    return config.receiver


def run_live(config: Config, options: LiveOptions, stopper: Stopper, clock: Clock | None = None) -> LiveResult:
    """Run until it is stopped or every camera file has ended. Raises SetupError before anything starts."""
    receiver = checked(config)
    if options.record is not None:
        target_of(options.record, options.limits)
    clock = clock or SystemClock()
    kit = equip(config, detect=True)
    start_ns = clock.monotonic_ns()
    source = LiveSource(clock, start_ns, linger_s=LINGER_S)
    with ExitStack() as stack:
        stack.callback(source.close)
        for row in config.cameras:
            source.add_camera(CameraThread(row, clock, start_ns, source.take_frame))
        reader = LiveReceiver(receiver, source, clock, start_ns, SOFTWARE_DATE)
        source.add_device(reader.stop, reader.check)
        return drive(source, config, kit, options, stopper, reader)


def drive(
    source: LiveSource,
    config: Config,
    kit: Equipment,
    options: LiveOptions,
    stopper: Stopper,
    reader: LiveReceiver | None = None,
) -> LiveResult:
    """Feed a live source through the session until it ends, then deliver what can be delivered.

    `config` is checked; a new version of its `city` is taken up while driving. `reader`: the receiver whose raw bytes
    are recorded too.
    """
    vehicle, receiver = str(config.vehicle), config.receiver or Receiver("")
    target = None if options.record is None else target_of(options.record, options.limits)
    name = "live" if target is None else target.name
    cameras = {row.camera.name: row.camera for row in config.cameras}
    antenna_m = (receiver.x_m, receiver.y_m, receiver.z_m)
    atlas = kit.atlas(config.city)
    with ExitStack() as stack:
        store = SqliteStore(config.data_dir / STORE_FILE, vehicle, SystemClock(), origin=kit.origin(atlas))
        stack.callback(store.close)
        delivery = stack.enter_context(Delivery(store, config.platform_url, config.timeout_s))
        stages = Stages()
        pipeline = kit.pipeline(vehicle, name, cameras, atlas, antenna_m)
        session = Session(
            pipeline, store, kit.eyes(cameras, live=True), kit.redactor(), stages, order=EventOrder(LATENESS_S)
        )
        status = Status(SystemClock(), session, lambda: delivery.unsent, options.say or _silent)
        session.sinks = (status.take,)
        recorder = writer = None
        if target is not None:
            head = Head(name, vehicle, cameras, "recorded by qiji run", antenna_m, files=attached(config.city))
            recorder = stack.enter_context(McapRecorder(target, head, quiet=quiet_places(atlas)))
            session.taps, session.sinks = (recorder.tap,), (*session.sinks, recorder.take)
            if reader is not None:
                reader.tap = recorder.raw
        if options.out is not None:
            writer = stack.enter_context(RunWriter(options.out))
            writer.start_drive(name, vehicle)
            session.sinks = (*session.sinks, writer.take)
        if config.city is not None:
            watch = CityWatch(config.city, atlas, source, open_file=lambda file: usable_atlas(file, kit.catalogue))
            source.add_device(watch.stop, watch.check)
            watch.start()
        stopper.attach(source.stop)
        session.run(source, status.tick if options.say else None)
        unsent = delivery.finish(options.drain_s)
        if recorder is not None:
            recorder.close()
            session.counts.update(recorder.counts)
        counts = dict(sorted((session.counts + source.counts).items()))
        if writer is not None:
            facts = live_facts(vehicle, kit, atlas, config.city)
            writer.close(timings=stages.table(), data=counts, tracks=pipeline.tracks_begun, report=facts)
    states = {name: state.value for name, state in status.states.items()}
    return LiveResult(states, status.kinds, counts, unsent)


def _silent(line: str) -> None:
    """Nobody watches."""
