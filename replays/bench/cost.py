"""Experiment 9: milliseconds of tracking, localisation and memory per camera frame, beside the bare network's.

Both are measured in one process with one thread, in turns, because machines differ and drift: the ratio travels, the
milliseconds do not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gnss.clock import stopwatch
from gnss.types import Fix
from perception.card import load_card
from perception.detector import OnnxDetector
from perception.types import Seen
from replays.bench.figures import Figure, most
from replays.bench.memory import MemoryStore
from replays.bench.metrics import Estimate, bootstrap
from replays.bench.plan import Experiment, Results, Tables
from replays.bench.rig import Rig, Runner, build_pipeline
from replays.world.card import CARD
from replays.world.making import Maker
from replays.world.ride import Ride
from replays.world.scene import World, catalogue
from replays.world.sense import sense
from replays.world.streets import LAT0_DEG, LON0_DEG, START_UTC_NS

LENGTH_M, SPACING_M, ROWS_M = 150.0, 4.0, (5.9, 8.6)
CLASSES = ("garbage", "garbage_bin_overflow", "street_stall", "pole", "traffic_sign", "bin_damaged", "car")
_NETWORK_RUNS = 20


def network_ms(rig: Rig) -> list[float]:
    """Milliseconds of some bare `session.run` calls of the shipped model, one thread; none without a model."""
    if rig.model is None:
        return []
    detector = OnnxDetector(load_card(rig.model, rig.catalogue), 1)
    picture = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), dtype=np.uint8)
    blob = detector.preprocess(picture)
    took = []
    for _ in range(_NETWORK_RUNS + 2):
        read = stopwatch()
        detector.run(blob)
        took.append(1e3 * read())
    return took[2:]


def dense(seed: int) -> World:
    """Rows of things along both kerbs, far beyond where the ride ends: about 30 boxes in every frame."""
    rng = np.random.default_rng(seed)
    maker = Maker(float(rng.uniform(0.0, 360.0)), rng)
    for along in np.arange(2.0, LENGTH_M + 60.0, SPACING_M):
        for side in (1, -1):
            for right in ROWS_M:
                maker.add(str(rng.choice(CLASSES)), float(along + rng.uniform(-0.8, 0.8)), side * right)
    things = tuple(
        replace(t, kind=catalogue().classes[t.class_name].kind) if t.class_name != "car" else t for t in maker.things
    )
    return World("dense", seed, LAT0_DEG, LON0_DEG, START_UTC_NS, maker.heading_deg, LENGTH_M + 60.0, things)


def measure(rig: Rig, case: str, seed: int) -> Tables:
    """A dense street twice, so that the second pass meets what the first one remembered.

    Rows of the second pass: milliseconds of all events between two fixes, frames and boxes handled in them. The
    pipeline holds frames until a fix brackets them, so single events tell little; the last row is the end of the drive.
    """
    world = dense(seed)
    bare = network_ms(rig)
    store = MemoryStore()
    rows: list[list[float]] = []
    longest = 0.0
    for nth in range(2):
        ride = Ride(f"dense-{nth}", "car-1", nth * 86_400.0, end_m=LENGTH_M)
        drive = sense(world, ride, CARD, seed + nth)
        runner = Runner(build_pipeline(rig, drive, world.atlas()), store)
        rows, row, longest = [], [0.0, 0.0, 0.0], 0.0
        for event in drive.events:
            read = stopwatch()
            runner.feed(event)
            took = 1e3 * read()
            longest = max(longest, took)
            row[0] += took
            if isinstance(event, Seen):
                row[1], row[2] = row[1] + 1.0, row[2] + len(event.detections)
            if isinstance(event, Fix):
                rows.append(row)
                row = [0.0, 0.0, 0.0]
        read = stopwatch()
        runner.finish(drive)
        took = 1e3 * read()
        rows.append([row[0] + took, row[1], row[2]])
    bare += network_ms(rig)
    return {"seconds": np.array(rows), "longest": np.array([[longest, took]]), "network": np.array(bare)}


def conclude(results: Results, seed: int) -> list[Figure]:
    """Mean over the whole drive (closings of tracks and windows spread), median of its seconds, longest single step."""
    worlds = results.worlds("dense", "seconds", 3)
    if not worlds:
        return []
    rows = np.concatenate(worlds)
    note = f"{rows[:, 2].sum() / max(rows[:, 1].sum(), 1.0):.0f} boxes in view on average"
    mean = bootstrap(worlds, lambda r: float(r[:, 0].sum() / max(r[:, 1].sum(), 1.0)), seed)
    within = [w[w[:, 1] > 0] for w in worlds]
    median = bootstrap([w[:, 0] / w[:, 1] for w in within], lambda v: float(np.median(v)), seed)
    longest = results.worlds("dense", "longest", 2)
    step, end = (bootstrap([w[:, i] for w in longest], lambda v: float(np.max(v)), seed) for i in (0, 1))
    found = [
        Figure("cost", "per camera frame: mean of the drive", mean, "ms", most(2.0), note=note),
        Figure("cost", "per camera frame: median second", median, "ms"),
        Figure("cost", "longest single step while driving", step, "ms"),
        Figure("cost", "end of the drive (last window)", end, "ms"),
    ]
    bare = [w for w in results.worlds("dense", "network") if len(w)]
    if bare:
        alone = bootstrap(bare, lambda v: float(np.median(v)), seed)
        share = Estimate(mean.value / alone.value, mean.low / alone.high, mean.high / alone.low, mean.count)
        found.append(Figure("cost", "bare session.run of the shipped model, one thread", alone, "ms"))
        found.append(Figure("cost", "mean over bare session.run", share))
    return found


EXPERIMENT = Experiment("cost", "9 cost on one core", {"dense": (3, 1)}, measure, conclude)
