"""The gate: a sure loss of a class with many boxes rejects, a small one warns; a lost case or dropped class rejects."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from models.commands import promote_model
from models.errors import TrainingSetupError
from models.evaluate import POOLED, Role, Scores, SetScores, score_of
from models.gate import NEW, OK, REJECTED, WARNED, DriveVerdict, Gate, judge_classes, judge_drives
from models.matching import IOUS, Tally
from models.measure import MeasureParams
from models.prepare import DataSet, prepare
from models.recipe import load_recipe
from perception.card import load_card
from tests.models.test_shipped_model import CARD, FOLDER
from tests.models.worlds import write_data_set
from tests.perception.cards import catalogue


def scores(*, found: Mapping[str, float], boxes: Mapping[str, int], seed: int = 0, rendered: bool = False) -> Scores:
    """A detector that finds a share of each class's boxes, one picture a box, and fires falsely now and then."""
    made = {}
    for name, share in found.items():
        count = boxes[name]
        rng = np.random.default_rng(seed)
        hit = rng.random(count) < share
        confidence = np.concatenate((rng.uniform(0.3, 0.9, hit.sum()), rng.uniform(0.05, 0.4, count // 4)))
        image = np.concatenate((np.flatnonzero(hit), rng.integers(0, count, count // 4)))
        true = np.concatenate((np.ones(hit.sum(), np.int8), np.zeros(count // 4, np.int8)))
        order = np.argsort(-confidence, kind="stable")
        verdict = np.tile(true[order], (len(IOUS), 1))
        sides = np.full(len(order), 40.0)
        rows = Tally(count, image[order], confidence[order], verdict, sides, np.arange(count), np.full(count, 40.0))
        made[name] = score_of(rows, 0)
    return {"renders" if rendered else POOLED: SetScores(Role.GIVEN, rendered, made)}


BOXES = {"car": 200, "bus": 20}
KNOWN = frozenset(BOXES)


@pytest.mark.parametrize(
    ("car", "bus", "verdicts"),
    [
        (0.8, 0.8, [OK, OK]),
        (0.95, 0.8, [OK, OK]),
        (0.5, 0.8, [REJECTED, OK]),
        (0.8, 0.2, [OK, WARNED]),
    ],
)
def test_a_sure_loss_rejects_only_where_there_are_boxes_to_say_so(car: float, bus: float, verdicts: list[str]) -> None:
    current = scores(found={"car": 0.8, "bus": 0.8}, boxes=BOXES)
    candidate = scores(found={"car": car, "bus": bus}, boxes=BOXES)
    rows = judge_classes(current, candidate, KNOWN, 400)
    assert [row.verdict for row in rows] == verdicts
    assert Gate(rows, (), ()).accepted is (REJECTED not in verdicts)


def test_the_same_detector_loses_nothing_and_a_near_one_is_not_blamed() -> None:
    current = scores(found={"car": 0.8}, boxes=BOXES)
    (same,) = judge_classes(current, current, KNOWN, 200)
    assert (same.low, same.high, same.sure_loss) == (0.0, 0.0, 0.0)
    (near,) = judge_classes(current, scores(found={"car": 0.78}, boxes=BOXES), KNOWN, 400)
    assert near.verdict == OK
    assert near.low < 0


def test_pairing_sees_what_two_single_intervals_cannot() -> None:
    """Both fail on the same pictures: the change is far surer than either figure."""
    current, candidate = (scores(found={"car": share}, boxes=BOXES) for share in (0.80, 0.70))
    (row,) = judge_classes(current, candidate, KNOWN, 400)
    again = scores(found={"car": 0.70}, boxes=BOXES, seed=9)  # fails on other pictures
    (unpaired,) = judge_classes(current, again, KNOWN, 400)
    assert row.high - row.low < 0.8 * (unpaired.high - unpaired.low)


def test_a_new_class_passes_and_renders_count_too() -> None:
    current = scores(found={"car": 0.8}, boxes=BOXES)
    both = {
        **scores(found={"car": 0.8, "bus": 0.4}, boxes=BOXES),
        **scores(found={"car": 0.2}, boxes=BOXES, rendered=True),
    }
    before = {**current, **scores(found={"car": 0.9}, boxes=BOXES, rendered=True)}
    rows = judge_classes(before, both, frozenset({"car"}), 200)
    assert [(row.name, row.pictures, row.verdict) for row in rows] == [
        ("car", POOLED, OK),
        ("bus", POOLED, NEW),
        ("car", "renders", REJECTED),
    ]
    tree = json.loads(json.dumps(Gate(rows, (), ()).as_dict()))
    assert tree["classes"][1]["current"] is None
    assert tree["accepted"] is False


def test_a_lost_case_or_a_dropped_class_rejects() -> None:
    rows = judge_drives({"a": {"garbage": 2, "parking": 1}}, {"a": {"garbage": 3}})
    assert rows == (DriveVerdict("a", "garbage", 2, 3), DriveVerdict("a", "parking", 1, 0))
    assert [row.verdict for row in rows] == [OK, REJECTED]
    assert not Gate((), rows, ()).accepted
    assert Gate((), rows[:1], ()).accepted
    assert not Gate((), (), ("bus",)).accepted
    assert Gate((), rows, ()).lines()[-1] == "REJECTED"


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A few rectangles as pictures of the shipped recipe's sources; the teacher says nothing."""
    data = write_data_set(tmp_path / "data")
    for path in [*data.glob("*/*/heaps_*"), *data.glob("*/*/streets_*")]:
        name = path.name.replace("heaps", "garbage_street_cn").replace("streets", "vehicles_vn_cctv")
        path.rename(path.with_name(name))
    recipe = load_recipe(FOLDER / "recipe.toml")
    prepare(recipe, [DataSet(data)], tmp_path / "prepared", lambda image, floor: [])
    return tmp_path / "prepared"


def test_the_shipped_model_may_replace_itself(tmp_path: Path, prepared: Path) -> None:
    seen: list[Path] = []

    def runner(card: Path) -> dict[str, dict[str, int]]:
        assert load_card(card, catalogue()).name == "qiji-street-n"
        seen.append(card)
        return {"street": {"exposed_garbage": 1}}

    out, few = tmp_path / "out", MeasureParams(replicates=50)
    onnx, recipe = FOLDER / "model.onnx", FOLDER / "recipe.toml"
    made = promote_model(recipe, onnx, [prepared], CARD, catalogue(), out, runner, few)
    assert made.gate.accepted
    assert seen[0] == CARD
    assert made.card == out / "model.toml"
    card = load_card(out / "model.toml", catalogue())
    assert card.sha256 == load_card(CARD, catalogue()).sha256
    gate = card.notes["training"]["gate"]
    assert gate[-1] == "accepted"
    assert "drive street, exposed_garbage: 1 found before, 1 now: ok" in gate
    assert "street_stall" in card.notes["render_validated"]
    assert {path.name for path in out.iterdir()} == {"model.onnx", "model.toml", "recipe.toml", "gate.json", "report"}


def test_a_candidate_that_loses_a_case_leaves_nothing_behind(tmp_path: Path, prepared: Path) -> None:
    def runner(card: Path) -> dict[str, dict[str, int]]:
        return {"street": {"exposed_garbage": 2 if card == CARD else 1}}

    onnx, recipe, out = FOLDER / "model.onnx", FOLDER / "recipe.toml", tmp_path / "out"
    made = promote_model(recipe, onnx, [prepared], CARD, catalogue(), out, runner, MeasureParams(replicates=20))
    assert not made.gate.accepted
    assert made.card is None
    assert not out.exists()


def test_a_candidate_for_other_classes_is_a_setup_mistake(tmp_path: Path, prepared: Path) -> None:
    recipe = Path(shutil.copy(FOLDER / "recipe.toml", tmp_path))
    text = recipe.read_text(encoding="utf-8").replace(
        '"pothole", "road_crack", "manhole_open"', '"pothole", "manhole_open"'
    )
    recipe.write_text(text.replace('"road_crack"', '"pothole"'), encoding="utf-8")
    header = json.loads((prepared / "header.json").read_text(encoding="utf-8"))
    header["classes"].remove("road_crack")
    (prepared / "header.json").write_text(json.dumps(header), encoding="utf-8")
    with pytest.raises(TrainingSetupError, match="made for classes"):
        promote_model(recipe, FOLDER / "model.onnx", [prepared], CARD, catalogue(), tmp_path / "out", None)
