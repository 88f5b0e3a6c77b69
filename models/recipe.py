"""The recipe of a detector: its classes, its sources and what the labels of each source can be trusted for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import TrainingSetupError

DOUBTFUL_BACKGROUND = 0.3
"""Weight of empty areas for a partly labelled class, or one that is hardly ever there: mostly, not surely, empty."""


@dataclass(frozen=True, slots=True)
class Source:
    """One data set in the recipe.

    exhaustive: every visible instance is labelled; partial: labelled with known misses; pseudo: labelled by the
    teacher; absent: not labelled, but hardly ever there by the look of the pictures. Every other class is unknown.
    `scale` is (low, high) picture scale while training, `mosaic` the chance of a 2 x 2 mosaic of pictures of the same
    source, `repeat` how often a picture is shown per epoch (0.5: every second epoch). `report_only`: nobody may learn
    from it (no licence): it neither trains, teaches, calibrates, gates nor picks a threshold. `scene`: a regular
    expression on the picture's upstream path; what it finds alike is one scene, kept together in a split.
    """

    name: str
    exhaustive: tuple[str, ...]
    partial: tuple[str, ...]
    pseudo: tuple[str, ...]
    absent: tuple[str, ...]
    repeat: float
    scale: tuple[float, float]
    mosaic: float
    licence: str
    doubts: str
    rendered: bool = False
    report_only: bool = False
    scene: str | None = None

    @property
    def listed(self) -> tuple[str, ...]:
        """Classes that the source's own labels cover, wholly or in part: it is scored on these."""
        return (*self.exhaustive, *self.partial)

    def background_weights(self, classes: tuple[str, ...]) -> tuple[float, ...]:
        """Weight (0..1) of an empty area as a negative example, per class: 1 known, 0 unknown."""
        known, doubtful = {*self.exhaustive, *self.pseudo}, {*self.partial, *self.absent}
        return tuple(1.0 if c in known else DOUBTFUL_BACKGROUND if c in doubtful else 0.0 for c in classes)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A detector's recipe as read from recipe.toml."""

    path: Path
    name: str
    architecture: str
    input_wh: tuple[int, int]
    classes: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    weights_licence: str
    teacher_positive: float
    teacher_ignore: float
    teacher_long_side: int
    privacy_person: tuple[str, ...]
    privacy_vehicle: tuple[str, ...]
    command: str
    limits: tuple[str, ...]
    sources: tuple[Source, ...]
    aliases: Mapping[str, str]

    @property
    def trained(self) -> tuple[Source, ...]:
        """Sources that may be learnt from."""
        return tuple(source for source in self.sources if not source.report_only)

    def own_name(self, label: str) -> str | None:
        """The class that a data set's label means, through [aliases]; None when this detector does not know it."""
        name = self.aliases.get(label, label)
        return name if name in self.classes else None

    def source(self, name: str) -> Source:
        """The source called `name`; raises TrainingSetupError when the recipe has none."""
        for source in self.sources:
            if source.name == name:
                return source
        known = ", ".join(s.name for s in self.sources)
        problem = f"no [[source]] named {name!r} (there are: {known})"
        raise TrainingSetupError(problem, file=self.path, remedy="add one, or rename the source")

    def group_of(self, name: str) -> tuple[str, ...]:
        """Classes that an unsure teacher box of class `name` may really be (itself included)."""
        for group in self.groups:
            if name in group:
                return group
        return (name,)


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        TrainingSetupError: the file is missing, is no TOML, lacks a key, or names a class that is not in `classes`.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingSetupError("no such recipe", file=path, remedy="give the path of a recipe.toml") from error
    except tomllib.TOMLDecodeError as error:
        raise TrainingSetupError(f"not valid TOML: {error}", file=path, remedy="mend that line") from error
    try:
        recipe = _recipe(path, raw)
    except KeyError as error:
        problem = f"key {error.args[0]!r} is missing"
        raise TrainingSetupError(problem, file=path, remedy="see models/qiji-street-n/recipe.toml") from error
    _check(recipe)
    return recipe


def _recipe(path: Path, raw: Mapping[str, Any]) -> Recipe:
    teacher = raw["teacher"]
    width, height = raw["input_wh"]
    return Recipe(
        path=path,
        name=str(raw["name"]),
        architecture=str(raw["architecture"]),
        input_wh=(int(width), int(height)),
        classes=tuple(raw["classes"]),
        groups=tuple(tuple(group) for group in raw["groups"]),
        weights_licence=str(raw["weights_licence"]),
        teacher_positive=float(teacher["positive"]),
        teacher_ignore=float(teacher["ignore"]),
        teacher_long_side=int(teacher["long_side"]),
        privacy_person=tuple(raw["privacy"]["person"]),
        privacy_vehicle=tuple(raw["privacy"]["vehicle"]),
        command=str(raw["command"]),
        limits=tuple(raw["limits"]),
        sources=tuple(_source(entry) for entry in raw["source"]),
        aliases={str(k): str(v) for k, v in raw.get("aliases", {}).items()},
    )


def _source(entry: Mapping[str, Any]) -> Source:
    low, high = entry["scale"]
    return Source(
        name=str(entry["name"]),
        exhaustive=tuple(entry["exhaustive"]),
        partial=tuple(entry["partial"]),
        pseudo=tuple(entry["pseudo"]),
        absent=tuple(entry["absent"]),
        repeat=float(entry["repeat"]),
        scale=(float(low), float(high)),
        mosaic=float(entry["mosaic"]),
        licence=str(entry["licence"]),
        doubts=str(entry["doubts"]),
        rendered=bool(entry.get("rendered", False)),
        report_only=bool(entry.get("report_only", False)),
        scene=entry.get("scene"),
    )


def _check(recipe: Recipe) -> None:
    if len(set(recipe.classes)) != len(recipe.classes):
        raise TrainingSetupError("a name occurs twice in `classes`", file=recipe.path, remedy="name every class once")
    for side in recipe.input_wh:
        if side % 32:
            problem = f"input_wh is {list(recipe.input_wh)}"
            raise TrainingSetupError(problem, file=recipe.path, remedy="use multiples of 32")
    for foreign, own in recipe.aliases.items():
        if foreign in recipe.classes:
            problem = f"[aliases] renames {foreign!r}, which is a class of its own"
            raise TrainingSetupError(problem, file=recipe.path, remedy=f"remove it; it would become {own!r}")
    for source in recipe.sources:
        _check_scene(recipe, source)
        for name in (*source.exhaustive, *source.partial, *source.pseudo, *source.absent):
            if name not in recipe.classes:
                problem = f"source {source.name!r} names class {name!r}, which is not in `classes`"
                raise TrainingSetupError(problem, file=recipe.path, remedy="add the class, or mend the name")


def _check_scene(recipe: Recipe, source: Source) -> None:
    try:
        re.compile(source.scene or "")
    except (re.error, TypeError) as error:
        problem = f"scene = {source.scene!r} of source {source.name!r} is no regular expression ({error})"
        raise TrainingSetupError(problem, file=recipe.path, remedy="mend it, or leave it out") from error
