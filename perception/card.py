"""The model card: one TOML beside (or pointing to) an ONNX file; strictly read, then checked against that file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perception.backends import BACKENDS
from perception.boxes import PLACEMENTS
from perception.calibration import Calibration, Platt
from perception.card_table import CardTable, read_table
from perception.catalogue import Catalogue
from perception.composition import Composition, read_compositions
from perception.decode import DECODERS
from perception.network import check_network

_REQUIRED = frozenset(
    "version name onnx sha256 decoder input_wh color scale letterbox pad_value classes thresholds licence".split()
)
_NOTES = frozenset({"licence", "data", "metrics", "training", "limits", "render_validated"})
_KNOWN = _REQUIRED | _NOTES | {"aliases", "privacy", "mean", "std", "outputs", "backends", "calibration", "composition"}
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
    `class_names` (catalogue names), -1 where it is dropped. Pixels of 0..255 are multiplied by `scale`; then `mean` is
    taken off and the rest divided by `std`, per colour in the order of `color`. `outputs` names the network's outputs
    where their own names do not tell; `backends` are tried in this order, empty: see `backends.AUTO`. `compositions`
    are rules that find a thing from its parts, in use where `composes`.
    Thresholds are confidences: `confidence` for cases (`class_confidence` overrides it per catalogue class), raw unless
    `thresholds_are_calibrated`; `privacy`, always raw, is for redaction.
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
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    outputs: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    calibration: Calibration | None = None
    thresholds_are_calibrated: bool = False
    compositions: tuple[Composition, ...] = ()
    composes: bool = False

    def composing(self) -> ModelCard:
        """The card with its compositions switched on: it then offers what they make, too."""
        made = [row for row in self.compositions if row.target not in self.class_names]
        names = (*self.class_names, *(row.target for row in made))
        limits = {**self.class_confidence, **{row.target: row.confidence for row in made}}
        return replace(self, class_names=names, class_confidence=limits, composes=bool(self.compositions))

    def thresholds(self) -> dict[str, float]:
        """Case threshold of every catalogue class that this model names, as its detections' confidence has it."""
        return {name: self._threshold(name) for name in self.class_names}

    def _threshold(self, name: str) -> float:
        value = self.class_confidence.get(name, self.confidence)
        if self.calibration is None or self.thresholds_are_calibrated or not self.calibration.calibrates(name):
            return value
        return self.calibration.by_class[name](value)

    def confidence_is(self, class_name: str) -> str:
        """What the confidence of this class's detections is: `calibrated` or `raw`."""
        known = self.calibration is not None and self.calibration.calibrates(class_name)
        return "calibrated" if known else "raw"

    def prior_odds(self) -> dict[str, float]:
        """Prior odds behind each calibrated class's confidence; raw classes are absent."""
        if self.calibration is None:
            return {}
        found = {name: self.calibration.odds_before(name) for name in self.class_names}
        return {name: odds for name, odds in found.items() if odds is not None}


def load_card(file: Path, catalogue: Catalogue) -> ModelCard:
    """Read a model card, check its keys and its class names against the catalogue, then its ONNX file against it.

    `onnx` may be absolute or relative to the card. Raises ModelError naming file, key and remedy.
    """
    card = _Reader(file, read_table(file)).card(catalogue)
    check_network(card)
    return card


class _Reader(CardTable):
    """Reads one card's table; every failure names the file, the key and the remedy."""

    __slots__ = ()

    def card(self, catalogue: Catalogue) -> ModelCard:
        self.check_keys()
        classes = self.names(self.table["classes"], "classes")
        if not classes or len(set(classes)) != len(classes):
            self.fail("`classes` is empty or names a class twice", "list each class once, in output order")
        class_names, class_ids = self.map_classes(classes, catalogue)
        confidence, privacy, nms_iou, per_class = self.thresholds(class_names)
        calibration, calibrated = self.calibration(class_names)
        card = ModelCard(
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
            mean=self.three("mean", -1e6),
            std=self.three("std", 0.0),
            outputs=self.names(self.table.get("outputs", []), "outputs"),
            backends=self.backends(),
            calibration=calibration,
            thresholds_are_calibrated=calibrated,
            compositions=read_compositions(self, classes, catalogue.classes),
        )
        self.check_thresholds(card)
        return card

    def check_keys(self) -> None:
        if unknown := sorted(set(self.table) - _KNOWN):
            self.fail(f"unknown key {unknown[0]!r}", f"use one of {sorted(_KNOWN)}")
        if missing := sorted(_REQUIRED - set(self.table)):
            self.fail(f"key {missing[0]!r} is missing", "add it; models/cards holds a complete card")
        if self.table["version"] != 1:
            self.fail(f"`version` is {self.table['version']!r}", "this software reads version = 1")
        if not str(self.section(self.table, "licence").get("weights", "")):
            self.fail("[licence] lacks `weights`", "state the licence of the weights")

    def input_wh(self) -> tuple[int, int]:
        size = self.table["input_wh"]
        if not isinstance(size, list) or len(size) != 2 or not all(type(v) is int and v > 0 for v in size):
            self.fail(f"`input_wh` is {size!r}", "give [width, height] in pixels")
        return size[0], size[1]

    def thresholds(self, class_names: tuple[str, ...]) -> tuple[float, float, float, dict[str, float]]:
        table = self.section(self.table, "thresholds")
        self.only(table, {"confidence", "privacy", "nms_iou", "class"}, "[thresholds]")
        confidence, privacy, nms_iou = (self.number(table, key, 0, 1) for key in ("confidence", "privacy", "nms_iou"))
        rows = self.section(table, "class")
        if strange := sorted(set(rows) - set(class_names)):
            self.fail(f"[thresholds.class] names {strange[0]!r}", f"use one of {sorted(class_names)}")
        per_class = {name: self.number(rows, name, 0, 1) for name in rows}
        return confidence, privacy, nms_iou, per_class

    def check_thresholds(self, card: ModelCard) -> None:
        """Redaction wants more boxes than cases do, and a cap must not hide which boxes reach a threshold."""
        raw = []
        for name, value in card.thresholds().items():
            row = None if card.calibration is None else card.calibration.by_class.get(name)
            if row is not None and not value < row.cap:
                problem = f"the threshold of {name!r} is {value:.3f} after calibration, but its `cap` is {row.cap}"
                self.fail(problem, "lower the threshold below the cap")
            raw.append(value if row is None else row.raw(value))
        lowest = min(raw, default=card.confidence)
        if card.privacy > lowest + 1e-9:
            problem = f"thresholds.privacy is {card.privacy}, above {lowest:.6g}"
            self.fail(problem, "make it the lowest: redaction wants more boxes")

    def backends(self) -> tuple[str, ...]:
        names = self.names(self.table.get("backends", []), "backends")
        if strange := [name for name in names if name not in BACKENDS]:
            self.fail(f"`backends` names {strange[0]!r}", f"use some of {sorted(BACKENDS)}")
        return names

    def calibration(self, class_names: tuple[str, ...]) -> tuple[Calibration | None, bool]:
        """[calibration] prior_odds, thresholds = "raw" or "calibrated"; [calibration.class.NAME] scale, offset, cap."""
        if "calibration" not in self.table:
            return None, False
        table = self.section(self.table, "calibration")
        self.only(table, {"prior_odds", "thresholds", "class", "method", "fitted_on"}, "[calibration]")
        prior = self.number(table, "prior_odds", 1e-6, 1e6)
        kind = table.get("thresholds", "raw")
        if kind not in ("raw", "calibrated"):
            self.fail(f"calibration.thresholds is {kind!r}", 'say whether [thresholds] are "raw" or "calibrated"')
        rows = self.section(table, "class")
        if strange := sorted(set(rows) - set(class_names)):
            self.fail(f"[calibration.class] names {strange[0]!r}", f"use some of {sorted(class_names)}")
        by_class, odds = {}, {}
        for name in rows:
            row = self.section(rows, name)
            self.only(row, {"scale", "offset", "cap", "prior_odds", "positives"}, f"[calibration.class.{name}]")
            cap = self.number(row, "cap", 1e-3, 1) if "cap" in row else 1.0
            by_class[name] = Platt(self.number(row, "scale", 1e-3, 1e3), self.number(row, "offset", -50, 50), cap)
            if "prior_odds" in row:
                odds[name] = self.number(row, "prior_odds", 1e-6, 1e6)
        return Calibration(prior, by_class, odds), kind == "calibrated"

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
        self.only(table, {"person", "vehicle"}, "[privacy]")
        person, vehicle = (self.names(table.get(key, []), f"privacy.{key}") for key in ("person", "vehicle"))
        if strange := sorted(set(person + vehicle) - set(class_names)):
            self.fail(f"[privacy] names {strange[0]!r}", f"name classes of this model: {sorted(class_names)}")
        narrow = frozenset(name for name in vehicle if catalogue.classes[name].size_m[1] < _NARROW_M)
        return PrivacyClasses(frozenset(person), frozenset(vehicle) - narrow, narrow)
