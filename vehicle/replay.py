"""`qiji replay`: recorded drives through the very code the car runs, into a store, a platform and a run folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from gnss.atlas import Atlas
from gnss.clock import SystemClock, stopwatch
from perception.errors import SetupError
from perception.types import LISTED_STATES, CalibrationUpdate, Case, CaseState, Output, TrackEnded
from replays.atomic import drop_folder, move_folder, part_folder
from replays.drive import Drive, open_drive
from replays.recording.head import Head, attached, quiet_places
from replays.recording.recorder import McapRecorder
from replays.recording.shelf import SingleFile
from replays.run_folder import RunWriter
from replays.source import DriveSource
from uplink.store import SqliteStore
from vehicle.config import Config
from vehicle.delivery import Delivery
from vehicle.facts import report_facts
from vehicle.folders import STORE_FILE, store_beside
from vehicle.session import Session
from vehicle.setup import Equipment, equip
from vehicle.shift import end_shift
from vehicle.stages import Stages

Progress = Callable[[str, int, int], None]
_SURE = 3.0
"""Sigmas from which an offset between the clocks of camera and receiver is told."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay. `store` None: a fresh memory beside the run folder; `platform` None: nothing is sent.

    `end_shift`: after the last drive, cases of the memory that are of one thing become one. `record`: what the pipeline
    saw becomes a recording: the file *.mcap of one drive, or a folder with one file per drive.
    """

    detections: Literal["recorded", "model"] | None = None
    known: Literal["store", "recorded"] = "store"
    store: Path | None = None
    platform: str | None = None
    truth: Path | None = None
    drain_s: float = 60.0
    end_shift: bool = False
    record: Path | None = None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay brought: the run folder, final cases, ledger counts, timings and what is still unsent.

    `run_s` are the seconds from the first item read to the finished run folder; `wall_s` also counts opening the drive
    and loading the model. `store` is the folder of the case memory.
    """

    out: Path
    cases: tuple[Case, ...]
    ends: Counter[str]
    data: Counter[str]
    timings: dict[str, dict[str, float]]
    frames: int
    wall_s: float
    run_s: float
    unsent: int | None
    notices: tuple[str, ...]
    store: Path

    @property
    def listed(self) -> list[Case]:
        """Cases that a desk would see: open, monitoring, resolved, reopened."""
        return [c for c in self.cases if c.state in LISTED_STATES]

    @property
    def candidates(self) -> list[Case]:
        """Held back until a second look."""
        return [c for c in self.cases if c.state is CaseState.CANDIDATE]


def open_drives(paths: Sequence[Path]) -> list[Drive]:
    """Open drives in order of UTC. Raises SetupError for a drive without UTC among several, or one named twice."""
    for path in paths:
        if [p.resolve() for p in paths].count(path.resolve()) > 1:
            raise SetupError("is named twice", file=path, remedy="name each drive once: it was driven once")
    drives = [open_drive(path) for path in paths]
    for drive in drives:
        if len(drives) > 1 and drive.start_utc_ns is None:
            raise SetupError(
                "has no UTC and cannot share a memory with other drives", file=drive.path, remedy="replay it alone"
            )
    return sorted(drives, key=lambda d: (d.start_utc_ns or 0, d.meta.name))


def replay(
    paths: Sequence[Path], config: Config, out: Path, options: ReplayOptions, progress: Progress | None = None
) -> ReplayResult:
    """Replay drives that share one memory into the run folder `out` and the given store, or a fresh one beside `out`.

    Raises SetupError before it writes anything, or when a broken drive shows only while it is read: then neither the
    run folder nor a fresh store is there afterwards.
    """
    elapsed = stopwatch()
    drives = open_drives(paths)
    sources = [DriveSource(d, options.detections, options.known) for d in drives]
    targets = _targets(drives, options.record)
    kit = equip(config, detect=any(s.mode == "model" for s in sources), throughput=True)
    run = _Run(drives, [kit.atlas(d.city) for d in drives], kit, options, Stages())
    own = store_beside(out) if options.store is None else None
    with ExitStack() as stack:
        writer = stack.enter_context(RunWriter(out))
        folder = options.store or part_folder(out.with_name(out.name + ".store"))
        if own is not None:
            stack.callback(drop_folder, folder)
        device = config.vehicle or drives[0].meta.vehicle
        running = stopwatch()
        with (
            closing(
                SqliteStore(folder / STORE_FILE, device, SystemClock(), origin=kit.origin(run.atlases[0]))
            ) as store,
            Delivery(store, options.platform, config.timeout_s) as delivery,
        ):
            for nth, source in enumerate(sources):
                run.feed(nth, source, store, writer, progress, targets[nth])
            if options.end_shift:
                run.end_shift(store, writer)
            unsent = None if options.platform is None else delivery.finish(options.drain_s)
        timings = run.stages.table()
        with run.stages.measure("report"):
            facts = report_facts(drives, run.atlases, kit, timings, options.truth or drives[-1].truth, run.notices)
            writer.close(timings=timings, data=dict(sorted(run.data.items())), tracks=run.tracks, report=facts)
        if own is not None:
            move_folder(folder, own)
    cases = tuple(writer.cases[name] for name in sorted(writer.cases))
    return ReplayResult(
        out, cases, run.ends, run.data, run.stages.table(), run.data["frames"], elapsed(), running(), unsent,
        tuple(run.notices), own or folder,
    )  # fmt: skip


@dataclass(slots=True)
class _Run:
    """What all drives of one replay share and add to."""

    drives: Sequence[Drive]
    atlases: Sequence[Atlas]
    kit: Equipment
    options: ReplayOptions
    stages: Stages
    data: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    tracks: int = 0
    clocks: dict[str, CalibrationUpdate] = field(default_factory=dict)

    @property
    def notices(self) -> list[str]:
        """What a person should be told."""
        late = (_late(name, update) for name, update in sorted(self.clocks.items()))
        return [*_notices(self.drives, self.kit), *(text for text in late if text)]

    def feed(
        self,
        nth: int,
        source: DriveSource,
        store: SqliteStore,
        writer: RunWriter,
        progress: Progress | None,
        target: SingleFile | None,
    ) -> None:
        """One drive through a session of its own; recorded when there is a target."""
        drive, kit = self.drives[nth], self.kit
        name, vehicle = drive.meta.name, drive.meta.vehicle
        label = name if [d.meta.name for d in self.drives].count(name) == 1 else f"{name} ({nth + 1})"
        writer.start_drive(label, vehicle)
        session = Session(
            kit.pipeline(vehicle, name, drive.cameras, self.atlases[nth], drive.meta.antenna_m),
            store, kit.eyes(drive.cameras) if source.mode == "model" else None, kit.redactor(), self.stages,
            (writer.take, partial(self._hear, label)), asks_store=self.options.known == "store", at_once=kit.at_once,
        )  # fmt: skip
        total = source.totals.frames
        with ExitStack() as stack:
            recorder = None
            if target is not None:
                recorder = stack.enter_context(
                    McapRecorder(target, _head(drive), quiet=quiet_places(self.atlases[nth]), strict=True)
                )
                session.taps, session.sinks = (recorder.tap,), (*session.sinks, recorder.take)
            session.run(source, None if progress is None else lambda: progress(label, session.frames, total))
            if recorder is not None:
                recorder.close()
        self.tracks += session.pipeline.tracks_begun
        self.data.update(session.counts)

    def _hear(self, label: str, output: Output) -> None:
        if isinstance(output, TrackEnded):
            self.ends[output.end.value] += 1
        elif isinstance(output, CalibrationUpdate):
            self.clocks[f"{label}, camera {output.camera}"] = output

    def end_shift(self, store: SqliteStore, writer: RunWriter) -> None:
        """The batch re-merge over the whole memory; the run folder tells of it too."""
        with self.stages.measure("end of shift"):
            found = end_shift(store, self.kit.catalogue)
        for change in found.changes:
            writer.take(change)


def _targets(drives: Sequence[Drive], record: Path | None) -> list[SingleFile | None]:
    """Where each drive's recording goes; raises SetupError before anything is written."""
    if record is None:
        return [None] * len(drives)
    if record.suffix.lower() == ".mcap":
        if len(drives) > 1:
            raise SetupError("is one file for several drives", file=record, remedy="name a folder")
        files = [record]
    else:
        names = [re.sub(r"[^\w.-]", "_", d.meta.name) for d in drives]
        files = [record / (f"{n}.mcap" if names.count(n) == 1 else f"{n}-{k}.mcap") for k, n in enumerate(names, 1)]
    for file in files:
        if any(drive.path.resolve() == file.resolve() for drive in drives):
            raise SetupError("is replayed and cannot be recorded into", file=file, remedy="name another file")
    return [SingleFile(file, whole=True).check() for file in files]


def _head(drive: Drive) -> Head:
    files = attached(drive.city, drive.truth)
    meta = drive.meta
    return Head(meta.name, meta.vehicle, drive.cameras, meta.note, meta.antenna_m, drive.start_utc_ns, files)


def _late(name: str, update: CalibrationUpdate) -> str:
    """What the drive told of a camera's clock; nothing while that may as well be right."""
    if update.late_s is None or update.late_sigma_s is None or abs(update.late_s) < _SURE * update.late_sigma_s:
        return ""
    order = "later" if update.late_s > 0 else "earlier"
    away, sigma = 1e3 * abs(update.late_s), 1e3 * update.late_sigma_s
    return f"{name}: stamps are {away:.0f} ms {order} than the pictures (sigma {sigma:.0f} ms), by wheels and turns"


def _notices(drives: Sequence[Drive], kit: Equipment) -> list[str]:
    """What a person should be told before the run."""
    said = []
    for drive in drives:
        said += [f"{drive.meta.name}: {notice}" for notice in drive.notices]
        guessed = [name for name, camera in drive.cameras.items() if camera.guessed]
        if guessed:
            said.append(
                f"{drive.meta.name}: camera {', '.join(guessed)} has no calibration; guesses with wide sigmas are used"
            )
        if drive.start_utc_ns is None:
            said.append(f"{drive.meta.name}: no UTC; it is replayed alone")
    notice = kit.redactor().notice
    return said + ([notice] if notice else [])
