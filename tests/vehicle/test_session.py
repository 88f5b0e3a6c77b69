"""The session: events as a recording holds them, slow cameras, a source that must be looked at, known objects."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gnss.types import Fix, Motion
from perception.card import ModelCard, load_card
from perception.events import Event
from perception.pipeline import Pipeline
from perception.redaction import Redactor
from perception.types import (
    Anchor,
    AnchorUpdate,
    CalibrationUpdate,
    CaseChange,
    Detections,
    Frame,
    KnownObjects,
    Seen,
    Tile,
)
from replays.source import Item, RecordedFrame
from tests.builders import CATALOGUE, CLASS_NAMES, make_case, make_fix, make_setup
from tests.vehicle.drives import SMALL
from vehicle.ahead import FRAMES_AHEAD, LookAhead
from vehicle.session import Session, as_recorded
from vehicle.stages import Stages


class Memory:
    """A store that knows one case and remembers what it was asked and given."""

    def __init__(self) -> None:
        self.asked: list[tuple[Tile, ...]] = []
        self.given: list[CaseChange] = []
        self.mounts: dict[str, dict[str, CalibrationUpdate]] = {}

    def known(self, tiles: Iterable[Tile], stamp_ns: int) -> list[KnownObjects]:
        """One event per tile."""
        self.asked.append(tuple(tiles))
        return [KnownObjects(stamp_ns, tile, (make_case(),)) for tile in self.asked[-1]]

    def commit(
        self,
        changes: Sequence[CaseChange],
        anchors: Sequence[AnchorUpdate] = (),
        calibrations: Mapping[str, Sequence[CalibrationUpdate]] | None = None,
    ) -> None:
        """Keep them."""
        self.given.extend(changes)
        for vehicle, rows in (calibrations or {}).items():
            self.mounts.setdefault(vehicle, {}).update({row.camera: row for row in rows})

    def calibration(self, vehicle: str, stamp_ns: int) -> list[CalibrationUpdate]:
        """What was kept."""
        return [replace(row, stamp_ns=stamp_ns) for row in self.mounts.get(vehicle, {}).values()]


class Nothing:
    """A detector that finds nothing; `after` raises from that frame on."""

    def __init__(self, card: ModelCard, after: int = 1000) -> None:
        self.card = card
        self.after = after

    def detect(self, frame: Frame) -> Detections:
        """No boxes."""
        if frame.index >= self.after:
            raise ArithmeticError("the network broke")
        return Detections.empty(CLASS_NAMES)


@pytest.fixture
def model(card: Path) -> ModelCard:
    """The card, read."""
    return load_card(card, CATALOGUE)


def make_session(model: ModelCard, taps: list[Event], memory: Memory | None = None, after: int = 1000) -> Session:
    """A session over a fresh pipeline that notes every event in order."""
    pipeline = Pipeline(make_setup(camera=SMALL))
    store = memory or Memory()
    return Session(pipeline, store, Nothing(model, after), Redactor(model), Stages(), taps=(taps.append,))


def frame(index: int, stamp_ns: int) -> Frame:
    """A black picture."""
    return Frame(stamp_ns, SMALL.name, index, np.zeros((SMALL.height, SMALL.width, 3), np.uint8))


def fixes(seconds: int) -> list[Fix]:
    """One fix per second along a street."""
    return [make_fix(0.0, 8.0 * s, s * 10**9) for s in range(seconds)]


def test_a_drive_starts_with_the_calibration_that_the_last_one_ended_with(model: ModelCard) -> None:
    memory, taps = Memory(), list[Event]()
    memory.mounts["car-1"] = {
        name: CalibrationUpdate(7, name, 0.4, 0.1, -0.2, 0.1, 0.01, 0.02) for name in (SMALL.name, "sold")
    }
    session = make_session(model, taps, memory)
    session.run([*fixes(2), frame(0, 10**9), *(f for f in fixes(4)[2:])])
    started = [e for e in taps if isinstance(e, CalibrationUpdate)]
    assert started == [CalibrationUpdate(0, SMALL.name, 0.4, 0.1, -0.2, 0.1, 0.01, 0.02)]
    kept = memory.mounts["car-1"][SMALL.name]
    assert kept.stamp_ns == 10**9
    assert kept.yaw_deg == pytest.approx(0.4, abs=0.01)
    assert kept.yaw_sigma_deg > 0.1  # nothing was seen since, and a night lies between


def test_numbers_are_those_of_a_recording() -> None:
    xyxy = np.array([[1.23456, 2.0, 30.019, 40.0]], np.float32)
    look = np.array([[0.123456]], np.float32)
    boxes = Detections(xyxy, np.array([0.299961], np.float32), np.zeros(1, np.int32), ("car",), look)
    seen = as_recorded(Seen(0, "front", 0, 10, 10, boxes, 1.000049, 0.33333333))
    assert isinstance(seen, Seen)
    assert seen.detections.appearance is not None
    assert seen.detections.xyxy[0, 0] == np.float32(1.23)
    assert seen.detections.confidence[0] == np.float32(0.3)
    assert seen.detections.appearance[0, 0] == np.float32(0.1235)
    assert (seen.sharpness, seen.exposure) == (1.0, 0.3333)
    twice = as_recorded(seen)
    assert isinstance(twice, Seen)
    np.testing.assert_array_equal(twice.detections.xyxy, seen.detections.xyxy)


def test_an_accuracy_of_zero_is_none_and_anchors_are_rounded() -> None:
    fix = as_recorded(Fix(0, None, 30.0, 120.0, h_acc_m=0.0, hdop=0.0, speed_mps=0.0, v_acc_m=1.0))
    assert isinstance(fix, Fix)
    assert (fix.h_acc_m, fix.hdop, fix.speed_mps, fix.v_acc_m) == (None, None, 0.0, 1.0)
    anchor = Anchor("a", "pole", 30.123456789123, 120.0, (0.01234567, 0.0, 0.02))
    known = as_recorded(KnownObjects(0, (1, 2), (), (anchor,)))
    assert isinstance(known, KnownObjects)
    assert known.anchors[0].lat_deg == 30.12345679
    assert as_recorded(known) == known


@pytest.mark.parametrize("period_s", [0.1, 0.5, 5.0])
def test_no_frame_comes_too_late_however_slow_the_camera(model: ModelCard, period_s: float) -> None:
    taps: list[Event] = []
    session = make_session(model, taps)
    items: list[Fix | Motion | Frame] = [*fixes(22), *(Motion(k * 100_000_000, 8.0, 0.0) for k in range(220))]
    items += [frame(n, int(n * period_s * 1e9)) for n in range(int(20 / period_s))]
    in_order: list[Item] = [*sorted(items, key=lambda item: item.stamp_ns)]
    session.run(in_order)
    assert session.counts["late events"] == 0
    assert [t.index for t in taps if isinstance(t, Seen)] == list(range(int(20 / period_s)))
    assert [t.stamp_ns for t in taps] == sorted(t.stamp_ns for t in taps)
    assert session.counts["frames"] == session.frames == int(20 / period_s)


def test_a_gap_of_a_minute_loses_no_frame(model: ModelCard) -> None:
    taps: list[Event] = []
    session = make_session(model, taps)
    stamps = [*range(0, 2_000_000_000, 100_000_000), *range(62_000_000_000, 64_000_000_000, 100_000_000)]
    items: list[Fix | Frame] = [*fixes(66), *(frame(n, stamp) for n, stamp in enumerate(stamps))]
    in_order: list[Item] = [*sorted(items, key=lambda item: item.stamp_ns)]
    session.run(in_order)
    assert session.counts["late events"] == 0
    assert [t.index for t in taps if isinstance(t, Seen)] == list(range(40))


def test_the_store_is_asked_once_per_tile_and_may_be_left_alone(model: ModelCard) -> None:
    for asks in (True, False):
        memory, taps = Memory(), list[Event]()
        session = make_session(model, taps, memory)
        session.asks_store = asks
        session.run(fixes(20))
        assert len(memory.asked) == asks
        assert sum(isinstance(t, KnownObjects) for t in taps) == 9 * asks


def test_undetected_frames_need_a_detector(model: ModelCard) -> None:
    session = make_session(model, [])
    session.detector = None
    with pytest.raises(RuntimeError, match="needs a detector"):
        session.run([frame(0, 0)])


def test_what_the_network_raises_reaches_the_caller_and_the_thread_ends(model: ModelCard) -> None:
    session = make_session(model, [], after=5)
    with pytest.raises(ArithmeticError, match="the network broke"):
        session.run([frame(n, n * 10**8) for n in range(50)])
    assert "look ahead" not in {t.name for t in threading.enumerate()}


class Endless:
    """A live source that waits for a device until it is stopped."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def stop(self) -> None:
        """End it."""
        self.stopped.set()

    def __iter__(self) -> Iterator[Item]:
        yield Motion(0, 1.0, 0.0)
        self.stopped.wait()


def test_a_consumer_that_fails_stops_a_waiting_source(model: ModelCard) -> None:
    source = Endless()

    def consume() -> None:
        with LookAhead(source, Nothing(model), Stages()) as items:
            for _ in items:
                raise ArithmeticError

    with pytest.raises(ArithmeticError):
        consume()
    assert source.stopped.is_set()
    assert "look ahead" not in {t.name for t in threading.enumerate()}


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_looking_ahead_is_bounded_and_keeps_the_order(model: ModelCard, at_once: int) -> None:
    looked: list[int] = []

    class Counting(Nothing):
        def detect(self, frame: Frame) -> Detections:
            looked.append(frame.index)
            return super().detect(frame)

    with LookAhead([frame(n, n) for n in range(100)], Counting(model), Stages(), at_once) as items:
        for done, item in enumerate(items):
            assert isinstance(item, RecordedFrame)
            assert item.frame.index == done
            assert len(looked) <= done + FRAMES_AHEAD + at_once + 1
    assert sorted(looked) == list(range(100))
