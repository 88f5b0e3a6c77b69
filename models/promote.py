"""From a candidate to a detector in use: measure, pass the gate, then file, card and recipe in one folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.card import write_card
from models.errors import TrainingSetupError
from models.evaluate import evaluate
from models.gate import Gate, Runner, judge_classes, judge_drives
from models.matching import look_at
from models.measure import MeasureParams, Tell, measure, validation_pictures
from models.predictor import Predictor
from models.recipe import Recipe
from models.report import Evaluation, write_report
from perception.card import ModelCard, load_card
from perception.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Promotion:
    """What `promote` decided; card: the new card, None when rejected."""

    gate: Gate
    result: Evaluation
    card: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.gate.as_dict(), "card": None if self.card is None else str(self.card)}


def promote(
    recipe: Recipe, onnx: Path, prepared: Sequence[Path], current: Path, catalogue: Catalogue, out: Path,
    runner: Runner | None, params: MeasureParams, tell: Tell | None = None,
) -> Promotion:  # fmt: skip
    """Measure `onnx`, judge it against the card `current`, and when accepted write the folder `out`.

    The folder gets model.onnx, model.toml, recipe.toml, gate.json and the report; the card comes last, so that a cut
    leaves the old card with its file or the new. Without a runner no drive is replayed, and the card says so. Raises
    TrainingSetupError or ModelError when something is missing or does not fit; then, and when rejected, `out` is as it
    was.
    """
    now = load_card(current, catalogue)
    result, facts = measure(recipe, onnx, prepared, params, tell)
    classes = _judge_against(now, recipe, prepared, result, params, tell)
    dropped = tuple(sorted(set(now.class_names) - set(recipe.classes)))
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / "model.toml"
        shutil.copyfile(onnx, staged.with_name("model.onnx"))
        facts = replace(facts, onnx=staged.with_name("model.onnx"))
        write_card(recipe, facts, staged)
        load_card(staged, catalogue)  # a card that the runtime refuses is refused here
        drives = () if runner is None or dropped else judge_drives(runner(current), runner(staged))
        gate = Gate(classes, drives, dropped)
        if not gate.accepted:
            return Promotion(gate, result, None)
        told = [f"against {now.name} {now.sha256[:16]}", *gate.lines()]
        told += ["no drive was replayed"] if runner is None else []
        write_card(recipe, replace(facts, gate=told), staged)
        _install(staged.parent, recipe, out)
    (out / "gate.json").write_text(json.dumps(gate.as_dict(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_report(result, out / "report")
    return Promotion(gate, result, out / "model.toml")


def _judge_against(
    now: ModelCard, recipe: Recipe, prepared: Sequence[Path], result: Evaluation, params: MeasureParams,
    tell: Tell | None,
) -> tuple[Any, ...]:  # fmt: skip
    if now.decoder != "yolo":
        problem = f"the current detector's decoder is {now.decoder!r}; only 'yolo' can be set against a candidate"
        raise TrainingSetupError(problem, file=now.file, remedy="give --current a card of that family")
    names = [now.class_names[i] if i >= 0 else "" for i in now.class_ids]
    before = Predictor(now.onnx, params.threads, classes=recipe.classes, own_names=names)
    told = None if tell is None else (lambda done, total: tell("current detector", done, total))
    looks = look_at(before, validation_pictures(recipe, prepared), told)
    scores = evaluate(looks, recipe, replicates=0)
    return judge_classes(scores, result.scores, frozenset(now.class_names), params.replicates, params.seed)


def _install(staged: Path, recipe: Recipe, out: Path) -> None:
    """Copy into `out`, each file whole or not at all, the card last."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(recipe.path, staged / "recipe.toml")
    for name in ("recipe.toml", "model.onnx", "model.toml"):
        partial = out / f"{name}.partial"
        shutil.copyfile(staged / name, partial)
        os.replace(partial, out / name)
