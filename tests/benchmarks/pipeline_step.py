"""Milliseconds of `Pipeline.step` per frame without pixels: `python -m tests.benchmarks.pipeline_step [--profile]`."""

from __future__ import annotations

import argparse
import cProfile
import pstats

import numpy as np

from gnss.clock import stopwatch
from perception.events import Event
from perception.pipeline import Pipeline
from perception.types import Seen
from tests.builders import Thing, World, make_atlas, make_setup, make_zone

CITY = make_atlas([make_zone("no_stopping", (3.5, 8.0), (0.0, 400.0), dwell_s=0.0)])


def street(spacing_m: float) -> World:
    """300 m of street with a thing on each side every `spacing_m`."""
    classes = ("car", "pole", "garbage", "car", "motorcycle")
    things = [
        Thing(f"{side}{i}", classes[i % len(classes)], side * (5.0 + i % 3), 15.0 + i * spacing_m)
        for i in range(int(330 / spacing_m))
        for side in (-1, 1)
    ]
    return World(things, seed=1, length_m=300.0)


def measure(events: list[Event]) -> tuple[float, float, float, float]:
    """(boxes per frame, mean ms per frame, 95 % and greatest ms of one step) over one drive."""
    pipeline, took = Pipeline(make_setup(CITY)), list[float]()
    for event in events:
        read = stopwatch()
        pipeline.step(event)
        took.append(read())
    read = stopwatch()
    pipeline.flush()
    end = read()
    boxes = [len(e.detections) for e in events if isinstance(e, Seen)]
    total = 1e3 * (sum(took) + end)
    return float(np.mean(boxes)), total / len(boxes), 1e3 * float(np.quantile(took, 0.95)), 1e3 * max(*took, end)


def main() -> None:
    """Print a table, or a profile of the densest street."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    if parser.parse_args().profile:
        profile, events = cProfile.Profile(), street(3.0).events()
        profile.runcall(measure, events)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    for spacing_m in (12.0, 6.0, 3.0):
        boxes, mean, high, most = measure(street(spacing_m).events())
        print(f"{boxes:5.1f} boxes/frame: {mean:6.2f} ms/frame mean, step p95 {high:6.2f} ms, longest {most:7.1f} ms")


if __name__ == "__main__":
    main()
