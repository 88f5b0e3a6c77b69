"""Writing a model card: what the detector is, what it was made of, how well it does where, and what it is bad at."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.evaluate import ClassScore
from models.makeup import Makeup, render_validated
from models.predictor import sha256_of
from models.recipe import Recipe
from models.report import Evaluation

DEFAULT_THRESHOLD = 0.30
PRIVACY_THRESHOLD = 0.10
LOWEST_THRESHOLD = 0.15
NMS_IOU = 0.6
_MACHINE = ("resume", "threads")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says beyond the recipe.

    pictures: number per "<source> <split>"; stages: as the checkpoint recorded them; gate: what `promote` found.
    """

    onnx: Path
    result: Evaluation
    pictures: Mapping[str, int]
    stages: Sequence[Mapping[str, Any]]
    makeup: Mapping[str, Makeup]
    gate: Sequence[str] = ()


def write_card(recipe: Recipe, facts: CardFacts, out: Path) -> None:
    """Write `out` (TOML) for the ONNX file beside it."""
    parts = (_head, _thresholds, _calibration, _licences, _training, _makeup, _people, _metrics)
    text = "\n".join(line for part in parts for line in part(recipe, facts))
    out.write_text(text + "\n", encoding="utf-8")


def _head(recipe: Recipe, facts: CardFacts) -> list[str]:
    return [
        "# Written by `qiji model evaluate` or `promote`; the recipe beside it says how the detector was made.",
        "version = 1",
        f"name = {_toml(recipe.name)}",
        f"onnx = {_toml(facts.onnx.name)}",
        f"sha256 = {_toml(sha256_of(facts.onnx))}",
        'decoder = "yolo"',
        f"input_wh = {_toml(list(recipe.input_wh))}",
        'color = "rgb"',
        f"scale = {1 / 255!r}",
        'letterbox = "center"',
        "pad_value = 114",
        f"classes = {_toml(list(recipe.classes))}",
        "# No photo has validated these; they do not file cases unless a car's configuration says so.",
        f"render_validated = {_toml(render_validated(facts.makeup))}",
        "limits = [",
        *(f"    {_toml(limit)}," for limit in recipe.limits),
        "]",
    ]


def _thresholds(recipe: Recipe, facts: CardFacts) -> list[str]:
    points = facts.result.points
    per_class = {name: _threshold(points[name].confidence, facts, name) for name in recipe.classes}
    return [
        "",
        f"# Per class: the raw confidence of the highest F1 on the {facts.result.points_from} pictures that label it, "
        f"no lower than {LOWEST_THRESHOLD}.",
        "[thresholds]",
        f"confidence = {DEFAULT_THRESHOLD}",
        f"privacy = {min(PRIVACY_THRESHOLD, *per_class.values())}",
        f"nms_iou = {NMS_IOU}",
        "",
        "[thresholds.class]",
        *(f"{name} = {value}" for name, value in per_class.items()),
        "",
        "[privacy]",
        f"person = {_toml(list(recipe.privacy_person))}",
        f"vehicle = {_toml(list(recipe.privacy_vehicle))}",
    ]


def _threshold(confidence: float, facts: CardFacts, name: str) -> float:
    """A raw threshold that calibration keeps below the class's cap: above it, boxes could not be told apart."""
    fit = None if facts.result.calibration is None else facts.result.calibration.classes.get(name)
    highest = 1.0 if fit is None else fit.raw(fit.cap - 0.02)
    return math.floor(100 * min(confidence + 0.005, highest)) / 100


def _calibration(recipe: Recipe, facts: CardFacts) -> list[str]:
    fitted = facts.result.calibration
    if fitted is None:
        return ["", f"# Confidence is raw: {facts.result.why_raw}."]
    lines = [
        "",
        "# calibrated = sigmoid(scale * logit(raw) + offset), at most cap; prior_odds: true to false in the sample.",
        "# positives: true detections of the class's own; below 100 the fit is that of all such classes together.",
        "[calibration]",
        f"prior_odds = {fitted.prior_odds:.4f}",
        f"method = {_toml(f'Platt, on detections of raw confidence {fitted.floor} and above')}",
        f"fitted_on = {_toml(f'{fitted.pictures} pictures held out of training by scene, {fitted.held_out}')}",
        'thresholds = "raw"',
    ]
    for name in recipe.classes:
        if (fit := fitted.classes.get(name)) is not None:
            lines += [
                "",
                f"[calibration.class.{name}]",
                f"scale = {fit.scale:.4f}",
                f"offset = {fit.offset:.4f}",
                f"cap = {fit.cap}",
                f"positives = {fit.positives}",
                f"prior_odds = {fit.prior_odds:.4f}",
            ]
    return lines


def _licences(recipe: Recipe, facts: CardFacts) -> list[str]:
    lines = ["", "[licence]", f"weights = {_toml(recipe.weights_licence)}"]
    for source in recipe.sources:
        train, held, val = (facts.pictures.get(f"{source.name} {s}", 0) for s in ("train", "calibration", "val"))
        lines += [
            "",
            "[[data]]",
            f"name = {_toml(source.name)}",
            f"licence = {_toml(source.licence)}",
            f"use = {_toml('reports only: never learnt from' if source.report_only else 'training and validation')}",
            f"images = {0 if source.report_only else train}",
            f"images_calibration = {held}",
            f"images_val = {train + val if source.report_only else val}",
            f"classes = {_toml([*source.exhaustive, *source.partial])}",
            f"taught_by_coco_yolov5n = {_toml(list(source.pseudo))}",
            f"rendered = {_toml(source.rendered)}",
            f"doubts = {_toml(source.doubts)}",
        ]
    return lines


def _training(recipe: Recipe, facts: CardFacts) -> list[str]:
    lines = ["", "# In order; each stage starts from the one before. frozen_layers: first layers left as they were."]
    lines += ["[training]", f"command = {_toml(recipe.command)}"]
    if facts.gate:
        lines += ["gate = [", *(f"    {_toml(line)}," for line in facts.gate), "]"]
    for number, stage in enumerate(facts.stages, start=1):
        lines += [
            "",
            f"[training.stage_{number}]",
            *(f"{key} = {_toml(value)}" for key, value in sorted(stage.items()) if key not in _MACHINE),
        ]
    return lines


def _makeup(recipe: Recipe, facts: CardFacts) -> list[str]:
    del recipe
    lines = ["", "# What each class was learnt from (boxes) and what its figures rest on.", "[training.classes]"]
    return lines + [f"{name} = {_toml(row.as_dict())}" for name, row in facts.makeup.items()]


def _people(recipe: Recipe, facts: CardFacts) -> list[str]:
    if not facts.result.people:
        return []
    told = ", ".join(recipe.privacy_person)
    lines = ["", f"# Share of people ({told}) found at IoU 0.5, by height in the input.", "[training.people]"]
    for row in facts.result.people:
        value = {"confidence": row.confidence, "recall": row.recall, "low": row.low, "high": row.high}
        lines.append(f"{_toml(f'{row.against}, {row.height}')} = {_toml({**value, 'people': row.people})}")
    return lines


def _metrics(recipe: Recipe, facts: CardFacts) -> list[str]:
    del recipe
    lines = [
        "",
        f"# Measured on {facts.result.engine.told}, with validation pictures.",
        "# ap50: AP at IoU 0.5 with its 95 % interval over pictures; strict: without excusing what only a teacher saw;",
        "# ap50_95: mean over IoU 0.5..0.95; small, medium, large: AP50 under 32 px, to 96 px and above, in the input.",
    ]
    for name, one in facts.result.scores.items():
        lines += ["", f"[metrics.{_toml(name)}]"]
        lines += [f"{label} = {_toml(_figures(score))}" for label, score in one.classes.items()]
    return lines


def _figures(score: ClassScore) -> dict[str, Any]:
    sizes = {name: ap for name, (ap, _) in score.sizes.items()}
    numbers = {"ap50": score.ap50, "low": score.low, "high": score.high, "strict": score.strict_ap50}
    return {**numbers, "ap50_95": score.ap50_95, "boxes": score.boxes, "pictures": score.pictures, **sizes}


def _toml(value: Any) -> str:
    """A TOML value: texts, numbers, truths, lists and flat tables (as JSON writes most); NaN is left out."""
    if isinstance(value, Mapping):
        known = {k: v for k, v in value.items() if not (isinstance(v, float) and math.isnan(v))}
        rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in known.items()}
        return "{ " + ", ".join(f"{_key(str(k))} = {_toml(v)}" for k, v in rounded.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else _toml(name)
