"""Average precision worked out by hand, and detections on what nobody labelled counted neither way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from models.confusion import NOTHING, confusion
from models.dataset import read_index
from models.errors import TrainingSetupError
from models.evaluate import POOLED, Role, Scores, evaluate
from models.figures import average_precision, interval95, picture_draws, weighted_ap
from models.matching import Look, look_at, match, tally
from models.operating import best_points, point_at
from models.people import people_recall, read_hand_boxes
from models.prepare import DataSet, prepare
from models.recipe import Recipe, load_recipe
from models.report import Engine, Evaluation, report_text, write_report
from perception.decode import Decoded
from perception.types import Image
from tests.models.worlds import COLOURS, RECIPE, write_data_set, write_recipe

Boxes = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("hits", "count", "expected"),
    [
        ([True, True], 2, 1.0),
        ([True], 2, 51 / 101),  # recalls 0 .. 0.50 at precision 1
        ([False, True], 1, 0.5),
        ([True, False, True], 2, (51 + 50 * 2 / 3) / 101),
        ([False, False], 3, 0.0),
        ([], 3, 0.0),
    ],
)
def test_average_precision_by_hand(hits: list[bool], count: int, expected: float) -> None:
    assert average_precision(np.array(hits, bool), count) == pytest.approx(expected)


def test_a_replicate_is_the_ap_of_the_pictures_it_drew() -> None:
    rng = np.random.default_rng(4)
    image, hit, true_image = rng.integers(0, 9, 60), rng.random(60) < 0.5, rng.integers(0, 9, 70)
    draws = picture_draws(9, 50, 1)
    got = weighted_ap(hit, draws[:, image], draws[:, true_image].sum(axis=1))
    for row, expected in zip(draws.astype(int), got, strict=True):
        copies = np.concatenate([np.repeat(h, row[i]) for i, h in zip(image, hit, strict=True)])
        assert average_precision(copies.astype(bool), int(row[true_image].sum())) == pytest.approx(expected, abs=2e-2)
    assert np.array_equal(draws, picture_draws(9, 50, 1))
    assert (draws.sum(axis=1) == 9).all()


def test_an_interval_leaves_out_what_cannot_be_said() -> None:
    assert interval95(np.array([np.nan, *np.linspace(0, 1, 101)])) == pytest.approx((0.025, 0.975))
    assert np.isnan(interval95(np.array([np.nan]))).all()


def test_a_truth_is_found_once_and_the_unknown_is_excused() -> None:
    truth = boxes((0, 0, 10, 10))
    found = boxes((0, 0, 10, 10), (0, 0.7, 10, 10), (50, 50, 60, 60), (80, 80, 90, 90))
    verdict, hit = match(found, truth, boxes((50, 50, 60, 61)))
    assert verdict[0].tolist() == [1, 0, -1, 0]
    assert hit.tolist() == [0, -1, -1, -1]
    verdict, _ = match(found[1:2], truth, boxes())
    assert verdict[:, 0].tolist() == [1] * 9 + [0]  # IoU 0.93


def see(image: Image) -> Decoded:
    """A perfect detector of the coloured rectangles, that also fires on an empty corner with low confidence."""
    corners, confidence, classes = [], [], []
    for number, name in enumerate(("car", "person", "garbage")):
        channel = int(np.argmax(COLOURS[name]))
        ys, xs = np.nonzero((image[..., channel] > 200) & (np.delete(image, channel, axis=2).max(axis=2) < 50))
        if len(xs):
            corners.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            confidence.append(0.9)
            classes.append(number)
    corners.append((90, 58, 95, 63))
    confidence.append(0.05)
    classes.append(0)
    return Decoded(boxes(*corners), np.array(confidence, np.float32), np.array(classes, np.int32))


def looked(folder: Path, text: str = RECIPE, teacher: bool = False) -> tuple[list[Look], Recipe]:
    """Everything the detector above sees in the tiny set; the teacher takes the empty corner for a car."""
    recipe = load_recipe(write_recipe(folder, text))

    def teach(image: Image, floor: float) -> list[tuple[str, float, np.ndarray[tuple[int], np.dtype[np.float32]]]]:
        del image, floor
        return [("car", 0.9, np.array([90, 58, 95, 63], np.float32))]

    prepare(recipe, [DataSet(write_data_set(folder / "data"))], folder / "out", teach if teacher else None)
    return look_at(see, read_index(folder / "out", "val", recipe.classes)), recipe


def test_sets_are_scored_on_the_classes_they_label(tmp_path: Path) -> None:
    looks, recipe = looked(tmp_path)
    scores = evaluate(looks, recipe, 50)
    assert {name: sorted(one.classes) for name, one in scores.items()} == {
        POOLED: ["car", "garbage", "person"],
        "heaps": ["garbage"],
        "streets": ["car", "person"],
    }
    car = scores["streets"].classes["car"]
    assert car.ap50 == car.ap50_95 == car.strict_ap50 == car.low == car.high == pytest.approx(1.0)
    assert (car.boxes, car.pictures) == (2, 2)
    assert len(car.tally.hits()[1]) == 4  # two true ones, two in the empty corner
    assert car.sizes["small"] == pytest.approx((1.0, 2))
    assert car.sizes["large"][1] == 0
    points = best_points(scores, (*recipe.classes, "pothole"), 0.3)
    assert points["car"].confidence == pytest.approx(0.9)
    assert (points["car"].precision, points["car"].recall) == (1.0, 1.0)
    assert points["pothole"].confidence == 0.3
    assert point_at(scores, "car", 0.01).precision == 0.5


def test_teacher_labels_are_scored_apart_and_excuse_only_partial_sources(tmp_path: Path) -> None:
    partial = RECIPE.replace(
        'exhaustive = ["car", "person"]\npartial = []', 'exhaustive = ["person"]\npartial = ["car"]'
    )
    text = partial.replace("pseudo = []", 'pseudo = ["car"]')
    (tmp_path / "a").mkdir()
    looks, recipe = looked(tmp_path / "a", text, teacher=True)
    scores = evaluate(looks, recipe, 50)
    agreed = scores["heaps (agreement with the teacher)"]
    assert agreed.role is Role.AGREEMENT
    assert agreed.classes["car"].ap50 == pytest.approx(1.0)
    car = scores["streets"].classes["car"]
    assert len(car.tally.hits()[1]) == 2  # the corner is a teacher's car there: excused, not false
    assert (car.tally.verdict[0] == -1).sum() == 2
    (tmp_path / "b").mkdir()
    looks, recipe = looked(tmp_path / "b", RECIPE.replace("pseudo = []", 'pseudo = ["car"]'), teacher=True)
    assert (tally(looks, recipe, "car").verdict[0] == 0).sum() == 2  # exhaustive: no excuse


def test_what_has_no_licence_is_told_apart_and_decides_nothing(tmp_path: Path) -> None:
    text = RECIPE.replace('name = "heaps"', 'name = "heaps"\nreport_only = true')
    looks, recipe = looked(tmp_path, text)
    scores = evaluate(looks, recipe, 0)
    assert sorted(scores[POOLED].classes) == ["car", "person"]
    assert scores["heaps (report only)"].role is Role.REPORT
    assert best_points(scores, recipe.classes, 0.3)["garbage"].confidence == 0.3
    assert confusion(looks, recipe, dict.fromkeys(recipe.classes, 0.5)).as_dict()["garbage"] == {"garbage": 2}


def test_confusion_counts_every_true_and_false_box_once(tmp_path: Path) -> None:
    looks, recipe = looked(tmp_path)
    renamed = [Look(k.picture, k.found._replace(class_id=1 - k.found.class_id.clip(0, 1))) for k in looks]
    table = confusion(renamed, recipe, dict.fromkeys(recipe.classes, 0.5)).as_dict()
    assert table["car"] == {"person": 2}
    assert table["person"] == {"car": 2}
    assert confusion(looks, recipe, dict.fromkeys(recipe.classes, 0.01)).as_dict()[NOTHING] == {"car": 2}
    blind = confusion(looks, recipe, dict.fromkeys(recipe.classes, 0.99)).as_dict()
    assert blind["garbage"] == {NOTHING: 2}


def test_people_are_counted_against_hand_made_boxes(tmp_path: Path) -> None:
    looks, recipe = looked(tmp_path)
    file = tmp_path / "people.jsonl"
    entries = [
        {
            "image": k.picture.path.name,
            "boxes": [*k.picture.given[k.picture.given[:, 0] == 1, 1:].tolist(), [0, 0, 9, 9]],
        }
        for k in looks
        if k.picture.source == "streets"
    ]
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    rows = {row.height: row for row in people_recall(looks, recipe, 0.1, read_hand_boxes(file), 50)}
    assert (rows["all"].recall, rows["all"].people, rows["all"].pictures) == (0.5, 4, 2)
    assert rows["under 20 px"].recall == 0.0
    file.write_text('{"image": 3}\n', encoding="utf-8")
    with pytest.raises(TrainingSetupError, match=r"people.jsonl:1.*Remedy"):
        read_hand_boxes(file)


def test_the_report_is_figures_and_pictures(tmp_path: Path) -> None:
    looks, recipe = looked(tmp_path)
    scores: Scores = evaluate(looks, recipe, 50)
    points = best_points(scores, recipe.classes, 0.3)
    engine = Engine("tiny (model.onnx)", "ab" * 32, 1_200_000, (96, 64))
    table = confusion(looks, recipe, dict.fromkeys(recipe.classes, 0.5))
    result = Evaluation(engine, scores, points, "val", {"photos": table}, [], None, "it is a test", 50)
    for name in ("a", "b"):
        write_report(result, tmp_path / name)
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "report.json", "report.txt", "pr-photos.png", "confusion-photos.png",
    }  # fmt: skip
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    tree = json.loads((tmp_path / "a" / "report.json").read_text(encoding="utf-8"))
    assert tree["sets"]["streets"]["classes"]["car"]["ap50"] == pytest.approx(1.0)
    assert tree["sets"]["streets"]["classes"]["car"]["sizes"]["large"]["ap50"] is None
    assert tree["engine"]["input_wh"] == [96, 64]
    assert "input 96x64, 1.2 MB" in report_text(result)
    with Pillow.open(tmp_path / "a" / "pr-photos.png") as chart:
        assert chart.width >= 3 * 300
        assert len(chart.convert("RGB").getcolors(1 << 20) or []) > 20
