"""The model card: one TOML beside (or pointing to) an ONNX file; strictly read, then checked against that file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from perception.boxes import PLACEMENTS
from perception.catalogue import Catalogue
from perception.decode import DECODERS
from perception.errors import ModelError
from perception.network import check_network

_REQUIRED = frozenset(
    "version name onnx sha256 decoder input_wh color scale letterbox pad_value classes thresholds licence".split()
)
_NOTES = frozenset({"licence", "data", "metrics", "training", "limits"})
_KNOWN = _REQUIRED | _NOTES | {"aliases", "privacy"}
_NARROW_M = 1.0


@dataclass(frozen=True, slots=True)
class PrivacyClasses:
    """Catalogue classes to redact: people, wide vehicles (plates low on the body) and narrow ones (two-wheelers)."""

    person: frozenset[str] = frozenset()
    wide: frozenset[str] = frozenset()
    narrow: frozenset[str] = frozenset()

    @property
    def complete(self) -> bool:
        """People and vehicles are both offered: only then may a picture be written."""
        return bool(self.person) and bool(self.wide)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """All that is needed to run a detector and to say what it is.

    `classes` are the network's own names in output order; `class_ids[i]` is the place of own class i in
    `class_names` (catalogue names), -1 where it is dropped. `scale` multiplies pixels of 0..255. Thresholds are
    confidences: `confidence` for cases (`class_confidence` overrides it per catalogue class), `privacy` for redaction.
    """

    file: Path
    name: str
    onnx: Path
    sha256: str
    decoder: str
    input_wh: tuple[int, int]
    color: str
    scale: float
    letterbox: str
    pad_value: int
    classes: tuple[str, ...]
    class_names: tuple[str, ...]
    class_ids: tuple[int, ...]
    confidence: float
    privacy: float
    nms_iou: float
    class_confidence: Mapping[str, float]
    privacy_classes: PrivacyClasses
    notes: Mapping[str, Any]

    def thresholds(self) -> dict[str, float]:
        """Case threshold of every catalogue class that this model names."""
        return {name: self.class_confidence.get(name, self.confidence) for name in self.class_names}


def load_card(file: Path, catalogue: Catalogue) -> ModelCard:
    """Read a model card, check its keys and its class names against the catalogue, then its ONNX file against it.

    `onnx` may be absolute or relative to the card. Raises ModelError naming file, key and remedy.
    """
    card = _Reader(file, _read(file)).card(catalogue)
    check_network(card)
    return card


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"the model card cannot be read ({error.strerror})"
        raise ModelError(problem, file=file, remedy="give the path of a model card") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"the model card is not TOML ({error})", file=file, remedy="mend that line") from error


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one card's table; every failure names the file, the key and the remedy."""

    file: Path
    table: Mapping[str, Any]

    def fail(self, problem: str, remedy: str) -> NoReturn:
        raise ModelError(problem, file=self.file, remedy=remedy)

    def card(self, catalogue: Catalogue) -> ModelCard:
        self.check_keys()
        classes = self.names(self.table["classes"], "classes")
        if not classes or len(set(classes)) != len(classes):
            self.fail("`classes` is empty or names a class twice", "list each class once, in output order")
        class_names, class_ids = self.map_classes(classes, catalogue)
        confidence, privacy, nms_iou, per_class = self.thresholds(class_names)
        return ModelCard(
            file=self.file,
            name=self.text("name"),
            onnx=self.file.parent / self.text("onnx"),
            sha256=self.text("sha256").lower(),
            decoder=self.choice("decoder", tuple(DECODERS)),
            input_wh=self.input_wh(),
            color=self.choice("color", ("rgb", "bgr")),
            scale=self.number(self.table, "scale", 1e-6, 1e3),
            letterbox=self.choice("letterbox", PLACEMENTS),
            pad_value=int(self.number(self.table, "pad_value", 0, 255)),
            classes=classes,
            class_names=class_names,
            class_ids=class_ids,
            confidence=confidence,
            privacy=privacy,
            nms_iou=nms_iou,
            class_confidence=per_class,
            privacy_classes=self.privacy(class_names, catalogue),
            notes={key: self.table[key] for key in sorted(_NOTES & set(self.table))},
        )

    def check_keys(self) -> None:
        if unknown := sorted(set(self.table) - _KNOWN):
            self.fail(f"unknown key {unknown[0]!r}", f"use one of {sorted(_KNOWN)}")
        if missing := sorted(_REQUIRED - set(self.table)):
            self.fail(f"key {missing[0]!r} is missing", "add it; models/cards holds a complete card")
        if self.table["version"] != 1:
            self.fail(f"`version` is {self.table['version']!r}", "this software reads version = 1")
        if not str(self.section(self.table, "licence").get("weights", "")):
            self.fail("[licence] lacks `weights`", "state the licence of the weights")

    def section(self, table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = table.get(key, {})
        if not isinstance(value, dict):
            self.fail(f"`{key}` is not a table", f"write it as [{key}] and lines of key = value")
        return value

    def text(self, key: str) -> str:
        value = self.table[key]
        if not isinstance(value, str) or not value:
            self.fail(f"`{key}` is {value!r}", "give a text")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        if (value := self.text(key)) not in allowed:
            self.fail(f"`{key}` is {value!r}", f"use one of {list(allowed)}")
        return value

    def number(self, table: Mapping[str, Any], key: str, low: float, high: float) -> float:
        value = table.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fail(f"`{key}` is {value!r}", f"give a number in {low}..{high}")
        return float(value)

    def names(self, value: object, key: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            self.fail(f"`{key}` is not a list of names", 'write it as ["a", "b"]')
        return tuple(value)

    def input_wh(self) -> tuple[int, int]:
        size = self.table["input_wh"]
        if not isinstance(size, list) or len(size) != 2 or not all(type(v) is int and v > 0 for v in size):
            self.fail(f"`input_wh` is {size!r}", "give [width, height] in pixels")
        return size[0], size[1]

    def thresholds(self, class_names: tuple[str, ...]) -> tuple[float, float, float, dict[str, float]]:
        table = self.section(self.table, "thresholds")
        if unknown := sorted(set(table) - {"confidence", "privacy", "nms_iou", "class"}):
            self.fail(f"[thresholds] has unknown key {unknown[0]!r}", "use confidence, privacy, nms_iou and class")
        confidence, privacy, nms_iou = (self.number(table, key, 0, 1) for key in ("confidence", "privacy", "nms_iou"))
        rows = self.section(table, "class")
        if strange := sorted(set(rows) - set(class_names)):
            self.fail(f"[thresholds.class] names {strange[0]!r}", f"use one of {sorted(class_names)}")
        per_class = {name: self.number(rows, name, 0, 1) for name in rows}
        lowest = min([confidence, *per_class.values()])
        if privacy > lowest:
            self.fail(
                f"thresholds.privacy is {privacy}, above {lowest}", "make it the lowest: redaction wants more boxes"
            )
        return confidence, privacy, nms_iou, per_class

    def map_classes(self, classes: tuple[str, ...], catalogue: Catalogue) -> tuple[tuple[str, ...], tuple[int, ...]]:
        aliases = self.section(self.table, "aliases")
        if strange := sorted(set(aliases) - set(classes)):
            self.fail(f"[aliases] names {strange[0]!r}, which is not in `classes`", "remove it or mend its name")
        targets = [str(aliases.get(own, own)) for own in classes]
        for own, target in zip(classes, targets, strict=True):
            if target and target not in catalogue.classes:
                self.fail(
                    f"class {own!r} has no catalogue class {target!r}",
                    f'add it to models/classes.toml, or set [aliases] "{own}" to a catalogue name ("" drops it)',
                )
        names = tuple(dict.fromkeys(target for target in targets if target))
        return names, tuple(names.index(target) if target else -1 for target in targets)

    def privacy(self, class_names: tuple[str, ...], catalogue: Catalogue) -> PrivacyClasses:
        table = self.section(self.table, "privacy")
        if unknown := sorted(set(table) - {"person", "vehicle"}):
            self.fail(f"[privacy] has unknown key {unknown[0]!r}", "use person and vehicle")
        person, vehicle = (self.names(table.get(key, []), f"privacy.{key}") for key in ("person", "vehicle"))
        if strange := sorted(set(person + vehicle) - set(class_names)):
            self.fail(f"[privacy] names {strange[0]!r}", f"name classes of this model: {sorted(class_names)}")
        narrow = frozenset(name for name in vehicle if catalogue.classes[name].size_m[1] < _NARROW_M)
        return PrivacyClasses(frozenset(person), frozenset(vehicle) - narrow, narrow)
