"""The trainer's commands as plain functions; the command line hands its arguments here.

torch and ultralytics are loaded inside, when a command needs them; without the extra the error names it.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.card import write_card
from models.data_check import DataCheck, check_data
from models.dataset import read_indices
from models.errors import TrainingSetupError
from models.gate import Runner
from models.measure import MeasureParams, Tell, measure
from models.precision import PRECISIONS, to_half, to_int8
from models.prepare import CALIBRATION, DataSet, Prepared, PrepareParams, prepare
from models.promote import Promotion, promote
from models.recipe import load_recipe
from models.report import Evaluation, write_report
from models.sheets import write_sheets
from models.twins import Twins, compare_engines
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


def export_model(recipe: Path, source: Path, out: Path, precision: str = "fp32", prepared: Sequence[Path] = ()) -> str:
    """`qiji model export`: writes the ONNX file and returns its sha256.

    source: a checkpoint, or an fp32 file exported before. For int8 the value ranges come from the calibration split of
    `prepared`, from its train split where nothing was held out.
    """
    require_train_extra()
    plan = load_recipe(recipe)
    if precision not in PRECISIONS:
        raise TrainingSetupError(f"precision {precision!r}", remedy=f"use one of {', '.join(PRECISIONS)}")
    from models.export import export_onnx

    if precision == "fp32":
        return export_onnx(plan, source, out)
    with tempfile.TemporaryDirectory() as folder:
        whole = source if source.suffix == ".onnx" else Path(folder) / "fp32.onnx"
        if whole is not source:
            export_onnx(plan, source, whole)
        if precision == "fp16":
            return to_half(whole, out)
        licensed = {s.name for s in plan.trained}
        held, train = (read_indices(prepared, split, plan.classes) for split in (CALIBRATION, "train"))
        return to_int8(whole, out, [picture for picture in held or train if picture.source in licensed])


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


def compare_model(
    recipe: Path, engine: Path, reference: Path, prepared: Sequence[Path], threads: int = 2, tell: Tell | None = None
) -> Twins:
    """`qiji model check --against`: an engine beside its checkpoint (needs the extra) or another ONNX file."""
    if reference.suffix != ".onnx":
        require_train_extra()
    return compare_engines(load_recipe(recipe), engine, reference, prepared, threads, tell)


def promote_model(
    recipe: Path, onnx: Path, prepared: Sequence[Path], current: Path, catalogue: Catalogue, out: Path,
    runner: Runner | None, params: MeasureParams | None = None, tell: Tell | None = None,
) -> Promotion:  # fmt: skip
    """`qiji model promote`: gate a candidate against the current card; writes the folder `out` when accepted."""
    plan = load_recipe(recipe)
    return promote(plan, onnx, prepared, current, catalogue, out, runner, params or MeasureParams(), tell)


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
