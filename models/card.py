"""Writing a model card: what the detector is, what it was made of, how well it does where, and what it is bad at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.evaluate import Scores
from models.predictor import sha256_of
from models.recipe import Recipe

DEFAULT_THRESHOLD = 0.30
_MACHINE = ("resume", "threads")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says beyond the recipe.

    thresholds: confidence per class; pictures: number per "<source> <split>"; stages: as the checkpoint recorded them.
    """

    onnx: Path
    thresholds: Mapping[str, float]
    scores: Scores
    pictures: Mapping[str, int]
    stages: Sequence[Mapping[str, Any]]
    default_threshold: float = DEFAULT_THRESHOLD
    privacy_threshold: float = 0.10
    lowest_threshold: float = 0.15
    nms_iou: float = 0.6


def write_card(recipe: Recipe, facts: CardFacts, out: Path) -> None:
    """Write `out` (TOML) for the ONNX file beside it."""
    text = "\n".join([*_head(recipe, facts), *_thresholds(recipe, facts), *_licences(recipe, facts), *_metrics(facts)])
    out.write_text(text + "\n", encoding="utf-8")


def _head(recipe: Recipe, facts: CardFacts) -> list[str]:
    return [
        "# Written by `qiji model evaluate`; the recipe beside it says how the detector was made.",
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
        "limits = [",
        *(f"    {_toml(limit)}," for limit in recipe.limits),
        "]",
    ]


def _thresholds(recipe: Recipe, facts: CardFacts) -> list[str]:
    per_class = {name: max(facts.lowest_threshold, round(facts.thresholds[name], 2)) for name in recipe.classes}
    return [
        "",
        "# Per class: the confidence of the highest F1 on the validation pictures that label it, no lower than "
        f"{facts.lowest_threshold}.",
        "[thresholds]",
        f"confidence = {facts.default_threshold}",
        f"privacy = {facts.privacy_threshold}",
        f"nms_iou = {facts.nms_iou}",
        "",
        "[thresholds.class]",
        *(f"{name} = {value}" for name, value in per_class.items()),
        "",
        "[privacy]",
        f"person = {_toml(list(recipe.privacy_person))}",
        f"vehicle = {_toml(list(recipe.privacy_vehicle))}",
    ]


def _licences(recipe: Recipe, facts: CardFacts) -> list[str]:
    lines = ["", "[licence]", f"weights = {_toml(recipe.weights_licence)}"]
    for source in recipe.sources:
        train, val = (facts.pictures.get(f"{source.name} {split}", 0) for split in ("train", "val"))
        lines += [
            "",
            "[[data]]",
            f"name = {_toml(source.name)}",
            f"licence = {_toml(source.licence)}",
            f"images = {train}",
            f"images_val = {val}",
            f"classes = {_toml([*source.exhaustive, *source.partial])}",
            f"taught_by_coco_yolov5n = {_toml(list(source.pseudo))}",
            f"doubts = {_toml(source.doubts)}",
        ]
    lines += ["", "# In order; each stage starts from the one before. frozen_layers: first layers left as they were."]
    lines += ["[training]", f"command = {_toml(recipe.command)}"]
    for number, stage in enumerate(facts.stages, start=1):
        lines += [
            "",
            f"[training.stage_{number}]",
            *(f"{key} = {_toml(value)}" for key, value in sorted(stage.items()) if key not in _MACHINE),
        ]
    return lines


def _metrics(facts: CardFacts) -> list[str]:
    lines = ["", "# AP at IoU 0.5, AP over IoU 0.5..0.95, and true boxes, by the exported file on validation pictures."]
    for name, per_class in facts.scores.items():
        lines += ["", f"[metrics.{_toml(name)}]"]
        for label, score in per_class.items():
            lines.append(
                f"{label} = {{ ap50 = {score.ap50:.3f}, ap50_95 = {score.ap50_95:.3f}, boxes = {score.boxes} }}"
            )
    return lines


def _toml(value: Any) -> str:
    """A TOML value: texts, numbers, truths, lists of them and flat tables (JSON agrees on all but tables)."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
