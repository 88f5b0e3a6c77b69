"""A network that answers nonsense to some frames: those are shed and counted, the run goes on, nothing is concluded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception.card import ModelCard, load_card
from perception.network import NetworkFault
from perception.pipeline import Pipeline
from perception.redaction import Redactor
from perception.types import CalibrationUpdate, Detections, Frame, KnownObjects, Seen, Shed
from replays.source import Item
from tests.builders import CATALOGUE, CLASS_NAMES, make_fix, make_setup
from tests.vehicle.drives import SMALL
from vehicle.session import Session
from vehicle.stages import Stages

REASON = "the network's answer is not finite"


class Store:
    """A memory that knows nothing."""

    def known(self, tiles: object, stamp_ns: int) -> list[KnownObjects]:
        """Nothing."""
        del tiles, stamp_ns
        return []

    def commit(self, changes: object, anchors: object = (), calibrations: object = None) -> None:
        """Forget it."""

    def calibration(self, vehicle: str, stamp_ns: int) -> list[CalibrationUpdate]:
        """Nothing."""
        del vehicle, stamp_ns
        return []


class Fitful:
    """A detector whose network fails on every third frame."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def detect(self, frame: Frame) -> Detections:
        """No boxes, or a fault."""
        if frame.index % 3 == 0:
            raise NetworkFault(REASON)
        return Detections.empty(CLASS_NAMES)


@pytest.mark.parametrize("at_once", [1, 3])
def test_frames_without_an_answer_are_shed_and_counted(card: Path, at_once: int) -> None:
    model = load_card(card, CATALOGUE)
    events: list[object] = []
    session = Session(
        Pipeline(make_setup(camera=SMALL)), Store(), Fitful(model), Redactor(model), Stages(), taps=(events.append,),
        at_once=at_once,
    )  # fmt: skip
    image = np.zeros((SMALL.height, SMALL.width, 3), np.uint8)
    frames = [Frame(n * 10**8, SMALL.name, n, image) for n in range(30)]
    items: list[Item] = []
    for second in range(3):
        items += [make_fix(0.0, 8.0 * second, second * 10**9), *frames[10 * second : 10 * second + 10]]
    session.run(items)
    assert [e.index for e in events if isinstance(e, Shed)] == list(range(0, 30, 3))
    assert [e.index for e in events if isinstance(e, Seen)] == [n for n in range(30) if n % 3]
    assert session.counts[f"shed: {REASON}"] == 10
    assert session.frames == 20
