"""Cost of a large case memory: one drive with 1,000,000 known cases in the store and with 1,000, interleaved: printed.

    python -m tests.benchmarks.memory [--cases N] [--length M] [--profile] [--rss]

Cases lie evenly over 30 x 30 km. "near" are the thousand cases nearest to the street: the same neighbourhood in a small
file; "spread" are a thousand over the whole city: an almost empty street. `--rss` drives 25 km through the city and
prints what the process holds.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import math
import os
import pstats
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gnss.clock import ManualClock, stopwatch
from perception.events import Event
from perception.pipeline import Pipeline
from perception.serial import canonical_json, case_to_dict
from perception.store import tile_of
from perception.types import Case, CaseState, Seen
from tests.benchmarks.pipeline_step import CITY, street
from tests.builders import FRAME, UTC0_NS, World, make_case, make_fix, make_seen, make_setup
from uplink.store import SqliteStore
from vehicle.session import Session
from vehicle.stages import Stages

HALF_M = 15_000.0
NEAR = 1000
CLASSES = ("garbage", "pothole", "street_stall", "car")
STATES = (CaseState.OPEN, CaseState.CANDIDATE, *[CaseState.RESOLVED] * 6, CaseState.WITHDRAWN, CaseState.MONITORING)
"""Most of what a city remembers is over."""


def places(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(count, 2) degrees, even over the square, in no order."""
    rng = np.random.default_rng(7)
    enu = rng.uniform(-HALF_M, HALF_M, (count, 2))
    return np.column_stack(FRAME.to_geo(enu[:, 0], enu[:, 1]))


def template(class_name: str, state: CaseState) -> tuple[str, Case]:
    """The stored text of a case of three passes; LAT, LON and NAME stand for what differs."""
    case = make_case(class_name, state=state, utc_ns=UTC0_NS - 40 * 86_400_000_000_000, own_m=0.3)
    passes = tuple(replace(p, pass_id=f"{k:012x}") for k, p in enumerate(case.passes * 3))
    case = replace(case, id="NAME", passes=passes)
    text = canonical_json(case_to_dict(case))
    lat, lon = json.dumps(round(case.lat_deg, 8)), json.dumps(round(case.lon_deg, 8))
    return text.replace(lat, "LAT").replace(lon, "LON"), case


def fill(store: SqliteStore, spots: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    """Put one case at each place, in one transaction."""
    texts = [template(CLASSES[i % 4], STATES[(i // 4) % len(STATES)]) for i in range(4 * len(STATES))]

    def rows() -> Iterator[tuple[str, int, str, str, int, int, str]]:
        for i, (lat, lon) in enumerate(np.round(spots, 8).tolist()):
            text, case = texts[i % len(texts)]
            name = f"{i:016x}"
            body = text.replace("LAT", repr(lat)).replace("LON", repr(lon)).replace("NAME", name)
            yield name, case.revision, case.state.value, case.kind, *tile_of(lat, lon), body

    with store._database.transaction() as tx:
        tx.executemany(
            """INSERT INTO case_state (case_uid, rev, state, kind, tile_row, tile_col, body)
               VALUES (?, ?, ?, ?, ?, ?, ?)""",
            rows(),
        )


@dataclass(slots=True)
class Runner:
    """One session over one store; `took` are seconds of each event, `frames` tells which of them are frames."""

    name: str
    store: SqliteStore
    session: Session
    took: list[float]

    def feed(self, event: Event) -> None:
        """Take one event and its time."""
        read = stopwatch()
        self.session.feed(event)
        self.took.append(read())


def runner(name: str, folder: Path, spots: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Runner:
    """A session over a store with a case at each of `spots`."""
    store = SqliteStore(folder / name / "cases.sqlite", "car-1", ManualClock(1, UTC0_NS))
    read = stopwatch()
    fill(store, spots)
    size = store.path.stat().st_size / 1e6
    print(f"{name}: {len(spots)} cases, {size:.0f} MB, filled in {read():.0f} s", flush=True)
    return Runner(name, store, Session(Pipeline(make_setup(CITY)), store, None, None, Stages()), [])


def compare(count: int, length_m: float, rounds: int) -> None:
    """Drive once through all stores, event by event in turn; print cost per frame and the ratios."""
    events = replace_length(street(12.0), length_m).events()
    spots = places(count)
    order = np.argsort(np.hypot(*np.array(FRAME.to_enu(spots[:, 0], spots[:, 1] - 0.0)) - [[0.0], [length_m / 2]]))
    frames = sum(isinstance(e, Seen) for e in events)
    with tempfile.TemporaryDirectory() as folder:
        made = [
            runner("spread", Path(folder), spots[:NEAR]),
            runner("near", Path(folder), spots[order[:NEAR]]),
            runner("all", Path(folder), spots),
        ]
        for number in range(rounds):
            for event in events:
                for one in made:
                    one.feed(event)
            for one in made:
                read = stopwatch()
                one.session.finish()
                one.took.append(read())
                print(line(one, frames), flush=True)
            means = [1e3 * sum(one.took) / frames for one in made]
            print(f"round {number + 1}: all / near {means[2] / means[1]:.2f}, all / spread {means[2] / means[0]:.2f}")
            for one in made:
                one.took.clear()
                one.session = Session(Pipeline(make_setup(CITY)), one.store, None, None, Stages())
        for one in made:
            one.store.close()


def replace_length(world: World, length_m: float) -> World:
    """The same street, `length_m` long, its things repeated."""
    step = world.length_m + 30.0
    times = math.ceil(length_m / step)
    things = [
        replace(t, name=f"{t.name}/{k}", north_m=t.north_m + k * step) for k in range(times) for t in world.things
    ]
    return World(things, seed=world.seed, length_m=length_m)


def line(one: Runner, frames: int) -> str:
    """Milliseconds per frame, whole and by stage."""
    stages = {name: 1e3 * s.total_s / frames for name, s in one.session.stages.by_name.items()}
    parts = ", ".join(f"{name} {value:.2f}" for name, value in stages.items())
    total = 1e3 * sum(one.took) / frames
    held = len(one.session.pipeline.cases)
    return f"  {one.name:>7}: {total:6.2f} ms/frame ({parts}), longest event {1e3 * max(one.took):.0f} ms, holds {held}"


def resident_mb() -> float:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def through_the_city(count: int, length_m: float = 25_000.0) -> None:
    """Fixes and empty frames along a straight way; prints memory and cases held every 2.5 km."""
    with tempfile.TemporaryDirectory() as folder:
        one = runner("city", Path(folder), places(count))
        print(f"before the drive: {resident_mb():.0f} MB")
        for second in range(int(length_m / 12.5)):
            north = -length_m / 2 + 12.5 * second
            stamp = second * 1_000_000_000
            one.feed(make_fix(3.0, north, stamp, utc_ns=UTC0_NS + stamp))
            for half in (0, 1):
                one.feed(make_seen([], 2 * second + half, stamp + half * 500_000_000))
            if second % 200 == 199:
                held = len(one.session.pipeline.cases)
                print(f"{12.5 * (second + 1) / 1000:5.1f} km: {resident_mb():6.0f} MB, {held} cases held", flush=True)
        print(line(one, 2 * int(length_m / 12.5)))
        one.store.close()


def main() -> None:
    """Print the table, a profile of the drive with all cases, or memory along a drive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--length", type=float, default=1500.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--rss", action="store_true")
    arguments = parser.parse_args()
    if arguments.rss:
        through_the_city(arguments.cases)
    elif arguments.profile:
        with tempfile.TemporaryDirectory() as folder:
            one = runner("all", Path(folder), places(arguments.cases))
            profile = cProfile.Profile()
            events = replace_length(street(12.0), arguments.length).events()
            profile.enable()
            for event in events:
                one.feed(event)
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)
            one.store.close()
    else:
        compare(arguments.cases, arguments.length, arguments.rounds)


if __name__ == "__main__":
    main()
