"""The trainer's commands as plain functions; the command line hands its arguments here.

torch and ultralytics are loaded inside, when a command needs them; without the extra the error names it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.card import DEFAULT_THRESHOLD, CardFacts, write_card
from models.dataset import read_indices
from models.errors import TrainingSetupError
from models.evaluate import Scores, best_thresholds, evaluate
from models.predictor import Predictor
from models.prepare import DataSet, Prepared, prepare
from models.recipe import load_recipe
from perception.card import ModelCard, load_card
from perception.catalogue import Catalogue
from perception.errors import ModelError

if TYPE_CHECKING:
    from models.train import TrainParams

LOG = logging.getLogger(__name__)
TRAIN_EXTRA = ("torch", "ultralytics", "onnx")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of `evaluate_model`: scores per set and class, the chosen thresholds, and the card if one was written."""

    scores: Scores
    thresholds: dict[str, float]
    card: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sets = {
            name: {c: {"ap50": s.ap50, "ap50_95": s.ap50_95, "boxes": s.boxes} for c, s in per_class.items()}
            for name, per_class in self.scores.items()
        }
        return {"sets": sets, "thresholds": self.thresholds, "card": None if self.card is None else str(self.card)}


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One card of `list_models`: problem is empty, or says why the detector cannot be used."""

    card: Path
    name: str
    classes: tuple[str, ...]
    licence: str
    problem: str


def list_models(folder: Path, catalogue: Catalogue) -> list[ModelSummary]:
    """`qiji model list`: every model.toml below `folder` and every card in `folder`/cards, in order of path."""
    files = sorted({*folder.glob("*/model.toml"), *folder.glob("cards/*.toml")})
    return [_summary(file, catalogue) for file in files]


def check_model(card: Path, catalogue: Catalogue) -> ModelCard:
    """`qiji model check`: the card, checked against the catalogue and its ONNX file; raises ModelError."""
    return load_card(card, catalogue)


def prepare_data(recipe: Path, out: Path, weights: Path | None, photos: Path | None, renders: Path | None) -> Prepared:
    """`qiji model prepare`: write one index of photos and renders to `out`.

    photos: data set whose file names start with their source; renders: data set of source "renders"; weights: those of
    the COCO teacher, needed for photos. Raises TrainingSetupError when neither is given or something in them is wrong.
    """
    plan = load_recipe(recipe)
    sets = [] if photos is None else [DataSet(photos)]
    sets += [] if renders is None else [DataSet(renders, only="renders")]
    if not sets:
        raise TrainingSetupError("no data set given", remedy="give --photos, --renders or both")
    teacher = None
    if weights is not None:
        require_train_extra()
        from models.teacher import Teacher

        teacher = Teacher(weights, plan.teacher_long_side)
    return prepare(plan, sets, out, teacher)


def train_model(recipe: Path, params: TrainParams) -> Path:
    """`qiji model train`: returns the checkpoint."""
    require_train_extra()
    from models.train import train

    return train(load_recipe(recipe), params)


def export_model(recipe: Path, checkpoint: Path, out: Path) -> str:
    """`qiji model export`: writes the ONNX file and returns its sha256."""
    require_train_extra()
    from models.export import export_onnx

    return export_onnx(load_recipe(recipe), checkpoint, out)


def evaluate_model(
    recipe: Path, onnx: Path, prepared: Sequence[Path], card: Path | None, threads: int = 2
) -> Evaluation:
    """`qiji model evaluate`: AP per class and source on the validation pictures; writes the card when asked.

    Needs no torch. Raises TrainingSetupError when a file is missing or there is nothing to validate on.
    """
    plan = load_recipe(recipe)
    pictures = read_indices(prepared, "val", plan.classes)
    if not pictures:
        raise TrainingSetupError("no validation pictures in the prepared folders", remedy="prepare at least one source")
    predictor = Predictor(onnx, threads)
    scores = evaluate(predictor, pictures, plan)
    thresholds = best_thresholds(scores, plan.classes, DEFAULT_THRESHOLD)
    if card is not None:
        facts = CardFacts(onnx, thresholds, scores, _picture_counts(prepared), predictor.stages)
        write_card(plan, facts, card)
    return Evaluation(scores, thresholds, card)


def require_train_extra() -> None:
    """Raises TrainingSetupError when torch, ultralytics or onnx is not installed."""
    missing = [name for name in TRAIN_EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingSetupError(f"{', '.join(missing)} not installed", remedy="pip install 'qiji[train]'")


def _summary(file: Path, catalogue: Catalogue) -> ModelSummary:
    try:
        card = load_card(file, catalogue)
    except ModelError as error:
        return ModelSummary(file, file.parent.name, (), "", str(error))
    return ModelSummary(file, card.name, card.class_names, str(card.notes["licence"]["weights"]), "")


def _picture_counts(prepared: Sequence[Path]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for folder in prepared:
        for key, value in json.loads((folder / "header.json").read_text(encoding="utf-8"))["pictures"].items():
            counts[key] = counts.get(key, 0) + int(value)
    return counts
