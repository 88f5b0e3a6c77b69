from __future__ import annotations

from dataclasses import replace

import numpy as np

from gnss.types import Fix, Motion
from perception.pipeline import Pipeline
from perception.types import Detections, Output, Seen, TrackEnd, TrackEnded
from perception.unplaced import Unplaced
from tests.builders import World, make_setup

S = 1_000_000_000


def seen(index: int, boxes: list[tuple[float, float, float, float, str, float]], camera: str = "front") -> Seen:
    names = ("pole", "stall")
    found = Detections(
        np.array([b[:4] for b in boxes], np.float32).reshape(-1, 4),
        np.array([b[5] for b in boxes], np.float32),
        np.array([names.index(b[4]) for b in boxes], np.int32),
        names,
    )
    return Seen(index * S // 10, camera, index, 640, 480, found)


def test_boxes_are_followed_and_end_in_the_ledger_once() -> None:
    held = Unplaced({"pole": 0.3, "stall": 0.5})
    for k in range(10):
        stall = (300.0, 100.0, 400.0, 220.0, "stall", 0.4 if k % 2 else 0.9)
        pole = (100.0 + 3.0 * k, 50.0, 130.0 + 3.0 * k, 200.0, "pole", 0.8)
        lone = [(500.0, 10.0, 520.0, 30.0, "pole", 0.9)] if k == 4 else []
        assert held.see(seen(k, [stall, pole, *lone]), "no fix yet") == []
    ended = held.end("until the end of the drive")
    assert [(e.track_id, e.class_name, e.reason) for e in ended] == [
        (-1, "pole", "no position: until the end of the drive; 10 boxes"),
        (-2, "stall", "no position: until the end of the drive; 5 boxes"),
    ]
    assert {e.end for e in ended} == {TrackEnd.QUARANTINED}
    assert (held.begun, held.frames) == (2, 10)
    assert held.end("again") == []


def test_memory_is_bounded_what_is_gone_ends() -> None:
    held = Unplaced({})
    ended = []
    for k in range(400):
        box = (100.0, 50.0, 130.0, 200.0, "pole", 0.8)
        ended += held.see(seen(k, [box] if k % 40 < 10 else []), "position sigma above 15 m")
    assert len(ended) == 10
    assert ended[0].reason == "no position: position sigma above 15 m; 10 boxes"
    assert sum(len(chains) for chains in held._chains.values()) <= 1


def test_cameras_are_apart() -> None:
    held = Unplaced({})
    box = [(100.0, 50.0, 130.0, 200.0, "pole", 0.8)]
    for k in range(4):
        held.see(seen(k, box), "x")
        held.see(seen(k, box, "rear"), "x")
    assert sorted((e.camera, e.track_id) for e in held.end("x")) == [("front", -1), ("rear", -2)]


def test_frames_of_a_gap_wait_and_are_placed_by_the_fix_that_ends_it() -> None:
    """Without wheels a position is lost after some seconds; a fix later tells where the car was shortly before it."""

    def drive(none_hold_s: float) -> tuple[Pipeline, list[Output]]:
        setup = make_setup()
        pipeline = Pipeline(replace(setup, params=replace(setup.params, none_hold_s=none_hold_s)))
        outputs: list[Output] = []
        for event in World([], length_m=150.0).events():
            if isinstance(event, Motion) or (isinstance(event, Fix) and 5 * S < event.stamp_ns < 18 * S):
                continue
            outputs += pipeline.step(event)
        return pipeline, outputs + pipeline.flush()

    impatient, patient = drive(0.0)[0], drive(60.0)[0]
    assert patient.counts["frames"] > impatient.counts["frames"] + 15
    assert impatient.counts["frames without a pose"] > 15
    total = {p.counts["frames"] + p.counts["frames without a pose"] for p in (impatient, patient)}
    assert len(total) == 1
    ended = [o for o in drive(60.0)[1] if isinstance(o, TrackEnded)]
    assert len(ended) == patient.tracks_begun
