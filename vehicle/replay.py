"""`qiji replay`: recorded drives through the very code the car runs, into a store, a platform and a run folder."""

from __future__ import annotations

import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from gnss.atlas import Atlas
from gnss.clock import SystemClock, stopwatch
from perception.errors import SetupError
from perception.events import EventOrder
from perception.types import LISTED_STATES, Case, CaseState, Output, TrackEnded
from replays.drive import Drive, open_drive
from replays.run_folder import RunWriter
from replays.source import DriveSource
from uplink.sender import Sender
from uplink.store import SqliteStore
from uplink.transport import HttpTransport
from vehicle.config import Config
from vehicle.facts import report_facts
from vehicle.session import Session
from vehicle.setup import Equipment, equip
from vehicle.stages import Stages

STORE_FILE = "cases.sqlite"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay. `store` None: a fresh memory beside the run folder; `platform` None: nothing is sent."""

    detections: Literal["recorded", "model"] | None = None
    known: Literal["store", "recorded"] = "store"
    store: Path | None = None
    platform: str | None = None
    truth: Path | None = None
    drain_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay brought: the run folder, final cases, ledger counts, timings and what is still unsent."""

    out: Path
    cases: tuple[Case, ...]
    ends: Counter[str]
    data: Counter[str]
    timings: dict[str, dict[str, float]]
    frames: int
    wall_s: float
    unsent: int | None
    notices: tuple[str, ...]

    @property
    def listed(self) -> list[Case]:
        """Cases that a desk would see: open, monitoring, resolved, reopened."""
        return [c for c in self.cases if c.state in LISTED_STATES]

    @property
    def candidates(self) -> list[Case]:
        """Held back until a second look."""
        return [c for c in self.cases if c.state is CaseState.CANDIDATE]


def open_drives(paths: Sequence[Path]) -> list[Drive]:
    """Open drives in order of UTC. Raises SetupError for a drive without UTC among several, or without any fix."""
    drives = [open_drive(path) for path in paths]
    for drive in drives:
        if not drive.fixes:
            raise SetupError(
                "has no fix, so nothing can be placed",
                file=drive.path,
                remedy="add gnss.nmea or fixes.csv to the drive",
            )
        if len(drives) > 1 and drive.start_utc_ns is None:
            raise SetupError(
                "has no UTC and cannot share a memory with other drives", file=drive.path, remedy="replay it alone"
            )
    return sorted(drives, key=lambda d: (d.start_utc_ns or 0, d.meta.name))


def fresh_store(out: Path) -> Path:
    """The folder of a replay's own memory, emptied; refuses to empty what is not a store."""
    folder = out.with_name(out.name + ".store")
    if folder.exists():
        if not (folder / STORE_FILE).exists() and any(folder.iterdir()):
            raise SetupError("is in the way and is no store", file=folder, remedy="move it or choose another --out")
        shutil.rmtree(folder)
    return folder


class Delivery:
    """The sender's thread beside a replay; nothing happens when there is no platform."""

    def __init__(self, store: SqliteStore, platform: str | None) -> None:
        self._store = store
        self._stop = threading.Event()
        self._sender: Sender | None = None
        if platform is not None:
            # Jitter spreads a fleet's retries over time; it needs no secret and no repeatability.
            rng = random.Random()  # noqa: S311
            self._sender = Sender(store, HttpTransport(platform), SystemClock(), rng)
            self._thread = threading.Thread(target=self._sender.run, args=(self._stop,), name="sender", daemon=True)
            self._thread.start()

    def finish(self, drain_s: float) -> int | None:
        """Stop the thread, deliver what is left; returns how much could not be delivered (None: not asked to)."""
        if self._sender is None:
            return None
        self._stop.set()
        self._thread.join()
        self._sender.drain(drain_s)
        backlog = self._store.outbox.backlog()
        return int(backlog.events + backlog.blobs)


def replay(
    paths: Sequence[Path], config: Config, out: Path, options: ReplayOptions, progress: Progress | None = None
) -> ReplayResult:
    """Replay drives that share one memory, write the run folder `out`. Raises SetupError before it writes anything."""
    elapsed = stopwatch()
    drives = open_drives(paths)
    sources = [DriveSource(d, options.detections, options.known) for d in drives]
    kit = equip(config, detect=any(s.mode == "model" for s in sources))
    atlases = [kit.atlas(d.city) for d in drives]
    device = config.vehicle or drives[0].meta.vehicle
    notices = list(_notices(drives, kit))
    stages = Stages()
    data: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    with ExitStack() as stack:
        writer = stack.enter_context(RunWriter(out))
        folder = options.store or fresh_store(out)
        store = SqliteStore(folder / STORE_FILE, device, SystemClock(), origin=kit.origin(atlases[0]))
        stack.callback(store.close)
        delivery = Delivery(store, options.platform)
        tracks = 0
        for drive, source, atlas in zip(drives, sources, atlases, strict=True):
            session = _session(drive, atlas, kit, store, stages, writer)
            session.sinks += (partial(_count, ends),)
            tell = None if progress is None else partial(_tell, progress, drive.meta.name, source.totals.frames)
            session.run(source, tell)
            tracks += session.pipeline.tracks_begun
            data.update(session.counts)
        unsent = delivery.finish(options.drain_s)
        cases = tuple(writer.cases[name] for name in sorted(writer.cases))
        timings = stages.table()
        facts = report_facts(drives, atlases, kit, timings, options.truth or drives[-1].truth, notices)
        writer.close(timings=timings, data=dict(sorted(data.items())), tracks=tracks, report=facts)
    return ReplayResult(out, cases, ends, data, timings, data["frames"], elapsed(), unsent, tuple(notices))


def _count(ends: Counter[str], output: Output) -> None:
    if isinstance(output, TrackEnded):
        ends[output.end.value] += 1


def _tell(progress: Progress, name: str, total: int, done: int) -> None:
    progress(name, done, total)


def _session(
    drive: Drive, atlas: Atlas, kit: Equipment, store: SqliteStore, stages: Stages, writer: RunWriter
) -> Session:
    vehicle = drive.meta.vehicle
    writer.start_drive(drive.meta.name, vehicle)
    pipeline = kit.pipeline(vehicle, drive.meta.name, drive.cameras, atlas, drive.meta.antenna_m)
    order = EventOrder(lateness_s(drive))
    return Session(pipeline, store, kit.detector, kit.redactor(), stages, (writer.take,), order=order)


def lateness_s(drive: Drive) -> float:
    """How late an event may come: the redactor holds three frames, and photos may be seconds apart."""
    longest_ns = max(int(np.diff(m.stamp_ns).max(initial=0)) for m in drive.members.values())
    return max(1.0, 4e-9 * longest_ns)


def _notices(drives: Sequence[Drive], kit: Equipment) -> list[str]:
    """What a person should be told before the run."""
    said = []
    for drive in drives:
        guessed = [name for name, camera in drive.cameras.items() if camera.guessed]
        if guessed:
            said.append(
                f"{drive.meta.name}: camera {', '.join(guessed)} has no calibration; guesses with wide sigmas are used"
            )
        if drive.start_utc_ns is None:
            said.append(f"{drive.meta.name}: no UTC; it is replayed alone")
    notice = kit.redactor().notice
    return said + ([notice] if notice else [])
