"""Several rides through one world into one case memory, in order of time: what most experiments begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gnss.types import Array
from perception.remerge import remerge
from perception.serial import matrix2
from perception.types import ACTIVE_STATES, LISTED_STATES, CalibrationUpdate, Case, CaseState
from replays.bench.link import Feeds, Linked, link
from replays.bench.memory import MemoryStore
from replays.bench.rig import Passed, Rig, travel
from replays.world.card import NoiseCard
from replays.world.ride import Ride
from replays.world.scene import Thing, World
from replays.world.sense import SimulatedDrive, sense
from replays.world.write import visible


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """One ride with what came out of it."""

    ride: Ride
    passed: Passed
    linked: tuple[Linked, ...]

    @property
    def drive(self) -> SimulatedDrive:
        """What the sensors said."""
        return self.passed.drive


@dataclass(slots=True)
class Fleet:
    """A world, its memory and what fed it; `visits` are kept in order."""

    rig: Rig
    world: World
    card: NoiseCard
    seed: int
    store: MemoryStore = field(default_factory=MemoryStore)
    feeds: Feeds = field(default_factory=Feeds)
    seen: set[str] = field(default_factory=set)
    driven: int = 0
    calibration: dict[str, tuple[CalibrationUpdate, ...]] = field(default_factory=dict)

    def go(self, ride: Ride) -> Visit:
        """Drive one ride; rides must come in order of their start."""
        drive = sense(
            self.world, ride, self.card, int(np.random.SeedSequence((self.seed, self.driven)).generate_state(1)[0])
        )
        self.driven += 1
        begun = drive.events[0].stamp_ns
        start = [replace(update, stamp_ns=begun) for update in self.calibration.get(ride.vehicle, ())]
        passed = travel(self.rig, self.world, drive, self.store, start if self.rig.carries else ())
        self.calibration[ride.vehicle] = passed.calibration
        visit = Visit(ride, passed, tuple(link(self.world, passed)))
        self.feeds.add(passed, visit.linked)
        self.seen |= visible(drive)
        return visit

    def tour(self, rides: Sequence[Ride]) -> Iterator[Visit]:
        """Drive all rides in order of their start."""
        for ride in sorted(rides, key=lambda r: (r.start_s, r.vehicle, r.name)):
            yield self.go(ride)

    def end_shift(self) -> None:
        """The batch re-merge over all that the shift left in the memory."""
        self.store.commit(remerge(self.store.cases(), self.store.anchors(), self.rig.catalogue).changes)

    def cases(self, states: frozenset[CaseState] = ACTIVE_STATES) -> list[Case]:
        """Cases of the memory in these states."""
        return [case for case in self.store.cases() if case.state in states]

    def fed(self, states: frozenset[CaseState] = LISTED_STATES) -> dict[str, dict[str, int]]:
        """Case id -> thing id -> landmarks, of the cases in these states."""
        cases = {case.id: case for case in self.store.cases()}
        return {name: dict(counts) for name, counts in self.feeds.of(cases, states).items()}

    def problems(self, at_s: float, wanted: Callable[[Thing], bool] = lambda thing: True) -> list[Thing]:
        """Things that are a problem, stand there at `at_s`, and were seen in some pass."""
        return [
            t for t in self.world.things if t.kind is not None and t.id in self.seen and t.exists(at_s) and wanted(t)
        ]

    def error(self, case: Case, thing: Thing) -> tuple[Array, Array]:
        """Error (2,) east/north in metres of a case's place, and its covariance (2, 2)."""
        east, north = self.world.frame.to_enu(case.lat_deg, case.lon_deg)
        return np.array([east, north]) - (thing.east_m, thing.north_m), matrix2(case.cov_m2)
