"""The trainer's commands as plain functions; the command line hands its arguments here.

torch and ultralytics are loaded inside, when a command needs them; without the extra the error names it.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.card import write_card
from models.data_check import DataCheck, check_data
from models.errors import TrainingSetupError
from models.measure import MeasureParams, Tell, measure
from models.prepare import DataSet, Prepared, PrepareParams, prepare
from models.recipe import load_recipe
from models.report import Evaluation, write_report
from models.sheets import write_sheets
from perception.card import ModelCard, load_card
from perception.catalogue import Catalogue
from perception.errors import ModelError

if TYPE_CHECKING:
    from models.train import TrainParams

LOG = logging.getLogger(__name__)
TRAIN_EXTRA = ("torch", "ultralytics", "onnx")


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


def prepare_data(
    recipe: Path,
    out: Path,
    weights: Path | None,
    photos: Sequence[Path],
    renders: Path | None,
    params: PrepareParams | None = None,
) -> Prepared:
    """`qiji model prepare`: write one index of photos and renders to `out`.

    photos: data sets whose file names start with their source; renders: data set of source "renders"; weights: those of
    the COCO teacher, needed where a source wants one. Raises TrainingSetupError when no set is given or something in
    them is wrong.
    """
    plan = load_recipe(recipe)
    sets = [DataSet(folder) for folder in photos]
    sets += [] if renders is None else [DataSet(renders, only="renders")]
    if not sets:
        raise TrainingSetupError("no data set given", remedy="give --photos, --renders or both")
    teacher = None
    if weights is not None:
        require_train_extra()
        from models.teacher import Teacher

        teacher = Teacher(weights, plan.teacher_long_side)
    return prepare(plan, sets, out, teacher, params or PrepareParams())


def check_data_sets(
    recipe: Path, roots: Sequence[Path], catalogue: Catalogue, sheets: Path | None, tell: Tell | None = None
) -> DataCheck:
    """`qiji model data check`: what is broken, leaking or unknown in data sets; writes contact sheets when asked."""
    plan = load_recipe(recipe)
    names = {name: name for name in catalogue.classes}
    found = check_data(roots, {**names, **plan.aliases}, tell)
    if sheets is not None:
        write_sheets(found.sound, sheets)
    return found


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
    recipe: Path,
    onnx: Path,
    prepared: Sequence[Path],
    card: Path | None = None,
    out: Path | None = None,
    params: MeasureParams | None = None,
    tell: Tell | None = None,
) -> Evaluation:
    """`qiji model evaluate`: all figures on the validation pictures; writes the card and the report folder when asked.

    Needs no torch. Raises TrainingSetupError when a file is missing or there is nothing to validate on.
    """
    plan = load_recipe(recipe)
    result, facts = measure(plan, onnx, prepared, params or MeasureParams(), tell)
    if out is not None:
        write_report(result, out)
    if card is not None:
        write_card(plan, facts, card)
    return result


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
