"""`qiji run`: the car, live. The same session as a replay, behind a live source."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from gnss.atlas import Atlas
from gnss.clock import Clock, SystemClock
from gnss.nmea import NmeaReader
from gnss.receiver import SerialReceiver
from perception.camera import CameraModel
from perception.errors import SetupError
from replays.recorder import Recorder
from replays.run_folder import RunWriter
from uplink.store import SqliteStore
from vehicle.cameras import CameraThread
from vehicle.config import Config, Receiver
from vehicle.facts import live_facts
from vehicle.live import LiveSource
from vehicle.replay import STORE_FILE, Delivery
from vehicle.session import Session
from vehicle.setup import Equipment, equip
from vehicle.stages import Stages


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """`record`: write the drive that the pipeline saw; `out`: write a run folder at the end."""

    record: Path | None = None
    out: Path | None = None
    drain_s: float = 10.0


@dataclass(frozen=True, slots=True)
class LiveResult:
    """What a live run ended with."""

    cases: dict[str, str]
    counts: dict[str, int]
    unsent: int | None


def checked(config: Config) -> tuple[str, Receiver]:
    """The vehicle's name and receiver; raises SetupError naming the missing key."""
    if config.vehicle is None:
        raise SetupError("vehicle is missing", file=config.file, remedy='write vehicle = "qiji-01"')
    if config.receiver is None:
        raise SetupError("[receiver] is missing", file=config.file, remedy='write [receiver] port = "/dev/ttyUSB0"')
    if not config.cameras:
        raise SetupError("[[camera]] is missing", file=config.file, remedy="describe at least one camera")
    return config.vehicle, config.receiver


@contextmanager
def stopped_by_signals(source: LiveSource) -> Iterator[None]:
    """SIGTERM and SIGINT end the stream; everything behind it finishes."""

    def stop(number: int, frame: FrameType | None) -> None:
        source.stop()

    old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def connect_receiver(receiver: Receiver, source: LiveSource, clock: Clock, start_ns: int) -> NmeaReader:
    """Start the receiver's thread: bytes are stamped on arrival, parsed, and become fixes of the source."""
    reader = NmeaReader()

    def take(stamp_ns: int, data: bytes) -> None:
        for fix in reader.feed(data, stamp_ns - start_ns):
            source.take(fix)

    port = SerialReceiver(receiver.port, take, clock, receiver.baud)
    port.start()
    source.add_device(port)
    return reader


def run_live(config: Config, options: LiveOptions, clock: Clock | None = None) -> LiveResult:
    """Run until a signal or until every camera file has ended. Raises SetupError before anything starts."""
    vehicle, receiver = checked(config)
    clock = clock or SystemClock()
    kit = equip(config, detect=True)
    start_ns = clock.monotonic_ns()
    source = LiveSource(clock, start_ns)
    for row in config.cameras:
        source.add_camera(CameraThread(row, clock, start_ns, source.take_frame))
    connect_receiver(receiver, source, clock, start_ns)
    return drive(source, vehicle, config, kit, kit.atlas(None), options)


def drive(
    source: LiveSource, vehicle: str, config: Config, kit: Equipment, atlas: Atlas, options: LiveOptions
) -> LiveResult:
    """Feed a live source through the session until it ends, then deliver what can be delivered."""
    cameras: Mapping[str, CameraModel] = {row.camera.name: row.camera for row in config.cameras}
    states: dict[str, str] = {}
    with ExitStack() as stack:
        store = SqliteStore(config.data_dir / STORE_FILE, vehicle, SystemClock(), origin=kit.origin(atlas))
        stack.callback(store.close)
        delivery = Delivery(store, config.platform_url)
        stages = Stages()
        # The name only labels the run; cases take their time from GNSS.
        session = Session(kit.pipeline(vehicle, "live", cameras, atlas), store, kit.detector, kit.redactor(), stages)
        recorder = writer = None
        if options.record is not None:
            recorder = stack.enter_context(Recorder(options.record, "live", vehicle, cameras, "recorded by qiji run"))
            session.taps = (recorder.tap,)
        if options.out is not None:
            writer = stack.enter_context(RunWriter(options.out))
            writer.start_drive("live", vehicle)
            session.sinks = (writer.take,)
        with stopped_by_signals(source):
            session.run(source)
        unsent = delivery.finish(options.drain_s)
        counts = dict(sorted((session.counts + source.counts).items()))
        if recorder is not None:
            recorder.close()
        if writer is not None:
            states = {name: case.state.value for name, case in writer.cases.items()}
            facts = live_facts(vehicle, kit, atlas, config.city)
            writer.close(timings=stages.table(), data=counts, tracks=session.pipeline.tracks_begun, report=facts)
    return LiveResult(states, counts, unsent)
