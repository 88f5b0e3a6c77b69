"""One simulated drive through the car's own pipeline: events in, outputs and the poses they were made from out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gnss.atlas import Atlas
from gnss.types import Array, Fix, Pose
from perception.catalogue import Catalogue
from perception.events import Event
from perception.pipeline import Pipeline, PipelineParams, PipelineSetup
from perception.store import CaseStore, tiles_around
from perception.types import (
    AnchorUpdate,
    CalibrationUpdate,
    CaseChange,
    Landmark,
    LandmarkClosed,
    Observation,
    Output,
    PassClosed,
    PassRecord,
    Tile,
    TrackEnded,
)
from replays.world.scene import World
from replays.world.sense import SimulatedDrive

Sink = Callable[[Output], None]


@dataclass(frozen=True, slots=True)
class Rig:
    """What every pipeline of a run is built from; handed in by the command, which knows the models' folder.

    `model` is the card of the network that costs are compared with; None: not compared. `carries`: a car's next drive
    starts with the calibration that its last one ended with, as the car's own session does.
    """

    catalogue: Catalogue
    thresholds: Mapping[str, float]
    params: PipelineParams = field(default_factory=PipelineParams)
    model: Path | None = None
    carries: bool = True


def build_pipeline(rig: Rig, drive: SimulatedDrive, atlas: Atlas) -> Pipeline:
    """The one place where the benchmark makes a pipeline."""
    setup = PipelineSetup(
        drive.vehicle, drive.name, drive.cameras, rig.catalogue, atlas, dict(rig.thresholds), rig.params
    )
    return Pipeline(setup)


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A closed landmark, the pass-common covariance (2, 2) of its ellipse, the pose at its last look, and its boxes."""

    landmark: Landmark
    common_m2: Array
    pose: Pose | None
    boxes: tuple[Observation, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Passed:
    """All that came out of one drive, in order."""

    drive: SimulatedDrive
    placed: tuple[Placed, ...]
    ended: tuple[TrackEnded, ...]
    changes: tuple[CaseChange, ...]
    records: tuple[PassRecord, ...]
    calibration: tuple[CalibrationUpdate, ...]


@dataclass(slots=True)
class Runner:
    """Feeds one drive; like the car's session it asks the store for the tiles around every fix, once per tile."""

    pipeline: Pipeline
    store: CaseStore
    asked: set[Tile] = field(default_factory=set)
    placed: list[Placed] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    def feed(self, event: Event) -> None:
        """Take one event of the drive."""
        if isinstance(event, Fix):
            around = tiles_around(event.lat_deg, event.lon_deg)
            for known in self.store.known([t for t in around if t not in self.asked], event.stamp_ns):
                self.take(self.pipeline.step(known))
            self.asked = set(around)
        self.take(self.pipeline.step(event))

    def take(self, outputs: list[Output]) -> None:
        """Store first, as the car does; a landmark's pose is asked for while it is the one it was made from."""
        changes = [o for o in outputs if isinstance(o, CaseChange)]
        self.store.commit(changes, [o for o in outputs if isinstance(o, AnchorUpdate)])
        for output in outputs:
            if isinstance(output, LandmarkClosed):
                pose = self.pipeline.pose_at(output.landmark.last_stamp_ns)
                self.placed.append(Placed(output.landmark, output.common_m2, pose, output.observations))
        self.outputs += outputs

    def finish(self, drive: SimulatedDrive) -> Passed:
        """The drive ended."""
        self.take(self.pipeline.flush())
        ended = tuple(o for o in self.outputs if isinstance(o, TrackEnded))
        changes = tuple(o for o in self.outputs if isinstance(o, CaseChange))
        records = tuple(o.record for o in self.outputs if isinstance(o, PassClosed))
        learned = {o.camera: o for o in self.outputs if isinstance(o, CalibrationUpdate)}
        return Passed(drive, tuple(self.placed), ended, changes, records, tuple(learned.values()))


def travel(rig: Rig, world: World, drive: SimulatedDrive, store: CaseStore, events: Iterable[Event] = ()) -> Passed:
    """One drive through a fresh pipeline into `store`; `events` come before the drive's own (starting calibration)."""
    runner = Runner(build_pipeline(rig, drive, world.atlas()), store)
    for event in (*events, *drive.events):
        runner.feed(event)
    return runner.finish(drive)
