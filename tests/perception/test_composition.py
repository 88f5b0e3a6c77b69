"""A stall from its parts: the rule as a card states it, what it refuses, and how the detector uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception.card import load_card
from perception.composition import Composition
from perception.decode import Decoded
from perception.detector import OnnxDetector
from perception.errors import ModelError
from perception.types import Frame
from tests.perception.cards import Array, catalogue, write_card

NAMES = ("person", "umbrella", "table", "banana")
RULE = Composition(
    "street_stall", {"umbrella": 1.0, "table": 0.5}, ("person", "banana"), ids={n: i for i, n in enumerate(NAMES)}
)


def parts(*rows: tuple[str, float, float, float, float, float]) -> Decoded:
    table = np.array([row[1:] for row in rows], np.float32).reshape(-1, 5)
    ids = np.array([NAMES.index(row[0]) for row in rows], np.int32)
    return Decoded(table[:, :4], table[:, 4], ids)


PARASOL = ("umbrella", 100, 50, 220, 90, 0.6)
VENDOR = ("person", 150, 80, 180, 180, 0.8)


def test_a_parasol_and_its_vendor_are_a_stall() -> None:
    boxes, confidence = RULE.find(parts(PARASOL, VENDOR), 1280)
    np.testing.assert_allclose(boxes, [[100, 50, 220, 180]])
    np.testing.assert_allclose(confidence, [0.6 * 0.8], rtol=1e-6)


def test_a_second_neighbour_makes_it_surer() -> None:
    _, confidence = RULE.find(parts(PARASOL, VENDOR, ("banana", 130, 120, 150, 130, 0.5)), 1280)
    np.testing.assert_allclose(confidence, [0.6 * (1 - 0.2 * 0.5)], rtol=1e-6)


@pytest.mark.parametrize(
    "rows",
    [
        (PARASOL,),  # alone
        (VENDOR, ("banana", 150, 80, 160, 90, 0.9)),  # no core
        (("umbrella", 140, 60, 200, 80, 0.9), VENDOR),  # carried: narrower than the person is tall
        (PARASOL, ("person", 400, 80, 430, 180, 0.9)),  # somewhere else
        (PARASOL, ("umbrella", 150, 60, 260, 100, 0.9)),  # two of one class
        (PARASOL, (*VENDOR[:5], 0.1)),  # hardly seen
        (("table", 10, 50, 600, 350, 0.9), VENDOR),  # a table that fills the picture
    ],
)
def test_what_is_no_stall(rows: tuple[tuple[str, float, float, float, float, float], ...]) -> None:
    boxes, confidence = RULE.find(parts(*rows), 640)
    assert boxes.shape == (0, 4)
    assert confidence.shape == (0,)


def test_a_table_under_a_parasol_is_one_stall() -> None:
    things = parts(PARASOL, VENDOR, ("table", 120, 120, 200, 170, 0.5), ("banana", 130, 110, 150, 125, 0.6))
    boxes, _ = RULE.find(things, 1280)
    assert len(boxes) == 1


def output(*rows: tuple[str, float, float, float, float, float]) -> Array:
    """The answer (1, 8, 8) of a four-class head to any picture; rows are corners in input px."""
    found = np.zeros((1, 8, 8), np.float32)
    for i, (name, x1, y1, x2, y2, confidence) in enumerate(rows):
        found[0, :4, i] = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
        found[0, 4 + NAMES.index(name), i] = confidence
    return found


CHANGES = {
    "classes": '["person", "umbrella", "table", "banana"]',
    "aliases": '{umbrella = "", table = "", banana = ""}',
    "privacy": '{person = ["person"]}',
    "composition": '{street_stall = {core = {umbrella = 1.0, table = 0.5}, beside = ["person", "banana"]}}',
}
SCENE = output(("umbrella", 20, 4, 40, 8, 0.6), ("person", 26, 6, 30, 20, 0.8))
FRAME = Frame(1, "front", 0, np.zeros((64, 128, 3), np.uint8))


def test_the_detector_composes_only_when_told(tmp_path: Path) -> None:
    card = load_card(write_card(tmp_path, SCENE, changes=CHANGES), catalogue())
    assert card.class_names == ("person",)
    assert OnnxDetector(card, threads=1).detect(FRAME).names() == ["person"]
    using = card.composing()
    assert using.class_names == ("person", "street_stall")
    assert using.thresholds() == {"person": 0.25, "street_stall": 0.3}
    found = OnnxDetector(using, threads=1).detect(FRAME)
    assert found.names() == ["person", "street_stall"]
    np.testing.assert_allclose(found.xyxy[1], [40, 8, 80, 40], atol=1e-4)


def test_widths_and_heights_compare_in_the_frame_not_in_a_stretched_input(tmp_path: Path) -> None:
    """In a square frame stretched to 64 x 32, the parasol is twice as wide as it is there."""
    card = load_card(
        write_card(tmp_path, SCENE, changes={**CHANGES, "letterbox": '"stretch"'}), catalogue()
    ).composing()
    square = Frame(1, "front", 0, np.zeros((64, 64, 3), np.uint8))
    assert OnnxDetector(card, threads=1).detect(square).names() == ["person"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ('{stall = {core = {umbrella = 1}, beside = ["person"]}}', "[composition.stall] is no catalogue class"),
        ('{street_stall = {core = {sofa = 1}, beside = ["person"]}}', "names 'sofa'"),
        ('{street_stall = {core = {umbrella = 1}}}', "lacks `core` or `beside`"),
        ('{street_stall = {core = {umbrella = 1}, beside = ["umbrella"]}}', "a part is in both"),
        ('{street_stall = {core = {umbrella = -1}, beside = ["person"]}}', "`umbrella` is -1"),
        ('{street_stall = {core = {umbrella = 1}, beside = ["person"], most = 2}}', "unknown key 'most'"),
        ('{street_stall = {core = {umbrella = 1}, beside = ["person"], least = 1}}', "`least` is 1"),
        ('{street_stall = 3}', "`street_stall` is not a table"),
    ],
)  # fmt: skip
def test_each_mistake_in_a_rule_is_named(tmp_path: Path, rule: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_card(write_card(tmp_path, SCENE, changes={**CHANGES, "composition": rule}), catalogue())
    assert words in str(caught.value)
    assert "Remedy: " in str(caught.value)
