"""Measuring an exported detector on prepared pictures: scores, operating points, confusion, people, calibration."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.calibrate import Calibration, calibrate
from models.card import DEFAULT_THRESHOLD, LOWEST_THRESHOLD, PRIVACY_THRESHOLD, CardFacts
from models.confusion import Confusion, confusion
from models.dataset import Picture, held_out_digest, read_indices
from models.errors import TrainingSetupError
from models.evaluate import Scores, evaluate
from models.figures import REPLICATES
from models.makeup import Makeup, makeup, render_validated
from models.matching import Look, look_at
from models.operating import OperatingPoint, best_points, point_at
from models.people import people_recall, read_hand_boxes
from models.predictor import Predictor, sha256_of
from models.prepare import CALIBRATION
from models.recipe import Recipe
from models.report import Engine, Evaluation

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class MeasureParams:
    """replicates: redraws of the pictures for intervals; hand: file of hand-made boxes of people (models.people)."""

    replicates: int = REPLICATES
    seed: int = 0
    threads: int = 2
    hand: Path | None = None


def measure(
    recipe: Recipe, onnx: Path, prepared: Sequence[Path], params: MeasureParams, tell: Tell | None = None
) -> tuple[Evaluation, CardFacts]:
    """All figures of an ONNX file on the validation pictures, and the facts of its card.

    Where the network was trained without the calibration pictures (its file says so), they give the operating points
    and the calibration; else the validation pictures give the points, and confidence stays raw. Raises
    TrainingSetupError when a file is missing, made for other classes, or there is nothing to validate on.
    """
    pictures = validation_pictures(recipe, prepared)
    predictor = open_predictor(recipe, onnx, params.threads)
    looks = look_at(predictor, pictures, _told(tell, "validation pictures"))
    scores = evaluate(looks, recipe, params.replicates, params.seed)
    trained = read_indices(prepared, "train", recipe.classes)
    rows = makeup(recipe, trained, scores)
    points, origin, fitted, why = _decide(recipe, predictor, prepared, rows, scores, tell)
    thresholds = {name: point.confidence for name, point in points.items()}
    hand = None if params.hand is None else read_hand_boxes(params.hand)
    people = people_recall(looks, recipe, PRIVACY_THRESHOLD, hand, params.replicates)
    engine = Engine(f"{recipe.name} ({onnx.name})", sha256_of(onnx), onnx.stat().st_size, predictor.input_wh)
    result = Evaluation(
        engine, scores, points, origin, _confusions(looks, recipe, thresholds), people, fitted, why, params.replicates
    )
    return result, CardFacts(onnx, result, picture_counts(prepared), predictor.stages, rows)


def open_predictor(recipe: Recipe, onnx: Path, threads: int) -> Predictor:
    """The ONNX file of this recipe; raises TrainingSetupError when it was made for other classes or another size."""
    predictor = Predictor(onnx, threads)
    if predictor.names and predictor.names != recipe.classes:
        problem = f"made for classes {list(predictor.names)}, the recipe has {list(recipe.classes)}"
        raise TrainingSetupError(problem, file=onnx, remedy="give the recipe it was made with")
    if predictor.input_wh != recipe.input_wh:
        problem = f"takes {predictor.input_wh}, the recipe says {recipe.input_wh}"
        raise TrainingSetupError(problem, file=onnx, remedy="give the recipe it was made with")
    return predictor


def picture_counts(prepared: Sequence[Path]) -> dict[str, int]:
    """Number of pictures per "<source> <split>" of prepared folders."""
    counts: dict[str, int] = {}
    for folder in prepared:
        for key, value in json.loads((folder / "header.json").read_text(encoding="utf-8"))["pictures"].items():
            counts[key] = counts.get(key, 0) + int(value)
    return counts


def validation_pictures(recipe: Recipe, prepared: Sequence[Path]) -> list[Picture]:
    """Validation pictures, and of sources that nothing is learnt from the training pictures too.

    Raises TrainingSetupError when there is no validation picture.
    """
    pictures = read_indices(prepared, "val", recipe.classes)
    if not pictures:
        raise TrainingSetupError("no validation pictures in the prepared folders", remedy="prepare at least one source")
    only = {source.name for source in recipe.sources if source.report_only}
    unseen = [p for p in read_indices(prepared, "train", recipe.classes) if p.source in only] if only else []
    return [*pictures, *unseen]


def _decide(
    recipe: Recipe,
    predictor: Predictor,
    prepared: Sequence[Path],
    rows: dict[str, Makeup],
    scores: Scores,
    tell: Tell | None,
) -> tuple[dict[str, OperatingPoint], str, Calibration | None, str]:
    """(operating points, the split they come from, calibration or None, why there is none)."""
    by_validation = _lifted(scores, best_points(scores, recipe.classes, DEFAULT_THRESHOLD))
    held = read_indices(prepared, CALIBRATION, recipe.classes)
    digest = held_out_digest(held)
    if not held:
        return by_validation, "val", None, "no pictures were held out to calibrate on"
    if not predictor.stages or any(stage.get("held_out") != digest for stage in predictor.stages):
        return by_validation, "val", None, "it was not trained without the pictures that are held out to calibrate on"
    looks = look_at(predictor, held, _told(tell, "calibration pictures"))
    own = evaluate(looks, recipe, replicates=0)
    fitted = calibrate(own, recipe.classes, set(render_validated(rows)), len(held), digest)
    chosen = best_points(own, recipe.classes, DEFAULT_THRESHOLD)
    return _lifted(scores, chosen), CALIBRATION, fitted, ""


def _lifted(scores: Scores, points: dict[str, OperatingPoint]) -> dict[str, OperatingPoint]:
    """The same points, none below the lowest threshold, told with the precision and recall of `scores`."""
    return {name: point_at(scores, name, max(LOWEST_THRESHOLD, point.confidence)) for name, point in points.items()}


def _confusions(looks: Sequence[Look], recipe: Recipe, thresholds: dict[str, float]) -> dict[str, Confusion]:
    parts = {"photos": False, "renders": True}
    made = {}
    for name, rendered in parts.items():
        sources = {s.name for s in recipe.trained if s.rendered is rendered}
        chosen = [look for look in looks if look.picture.source in sources]
        if chosen:
            made[name] = confusion(chosen, recipe, thresholds)
    return made


def _told(tell: Tell | None, name: str) -> Callable[[int, int], None] | None:
    return None if tell is None else lambda done, total: tell(name, done, total)
