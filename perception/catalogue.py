"""The catalogue: detector classes and case kinds as data (models/classes.toml, models/kinds.toml), strictly read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception.errors import CityError

ROLES = ("problem", "vehicle", "anchor", "healthy", "person", "context")
_CLASS_KEYS = {
    "title", "title_zh", "role", "kind", "healthy", "size_m", "size_rel_sigma", "yaw", "identity", "survival_h",
    "on_ground",
}  # fmt: skip
_KIND_KEYS = {"title", "title_zh", "family", "matter_kind", "code", "urgent"}


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """One catalogue class; see the head of models/classes.toml for the meaning of the fields."""

    name: str
    title: str
    title_zh: str
    role: str
    kind: str | None
    healthy: str | None
    size_m: tuple[float, float, float]
    size_rel_sigma: float
    yaw: str
    identity: str
    survival_h: float
    on_ground: bool = True

    @property
    def flat(self) -> bool:
        """A mark on the road: it has no height."""
        return self.size_m[2] == 0.0


@dataclass(frozen=True, slots=True)
class CaseKind:
    """One case kind with its GB/T 47678.5-2026 matter kind and code, which travel together."""

    name: str
    title: str
    title_zh: str
    family: str
    matter_kind: str
    code: str
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All classes and kinds by name."""

    classes: Mapping[str, ObjectClass]
    kinds: Mapping[str, CaseKind]

    def identity_of(self, class_name: str) -> str:
        """Name of the thing a class is a state of: association runs over this, not over class names."""
        return self.classes[class_name].healthy or class_name


def _refuse_unknown(table: Mapping[str, Any], allowed: set[str], file: Path, where: str) -> None:
    unknown = sorted(set(table) - allowed)
    if unknown:
        raise CityError(f"[{where}] has unknown key {unknown[0]!r}", file=file, remedy=f"use one of {sorted(allowed)}")


def _read(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CityError(f"cannot be read: {error}", file=file, remedy="restore it or mend the TOML") from error
    if table.get("version") != 1:
        raise CityError(f"version is {table.get('version')!r}", file=file, remedy="this software reads version = 1")
    return table


def _object_class(name: str, table: Mapping[str, Any], file: Path) -> ObjectClass:
    where = f"class.{name}"
    _refuse_unknown(table, _CLASS_KEYS, file, where)
    try:
        size = tuple(float(v) for v in table["size_m"])
        row = ObjectClass(
            name, table["title"], table.get("title_zh", table["title"]), table["role"], table.get("kind"),
            table.get("healthy"), (size[0], size[1], size[2]), float(table["size_rel_sigma"]), table["yaw"],
            table["identity"], float(table["survival_h"]), bool(table.get("on_ground", True)),
        )  # fmt: skip
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CityError(f"[{where}] is incomplete: {error!r}", file=file, remedy="see the head of the file") from error
    if (
        row.role not in ROLES
        or row.yaw not in ("road", "round")
        or row.identity not in ("fixed", "transient", "recurrent")
    ):
        raise CityError(
            f"[{where}] has a role, yaw or identity that does not exist", file=file, remedy="see the head of the file"
        )
    return row


def load_catalogue(folder: Path) -> Catalogue:
    """Read `classes.toml` and `kinds.toml` of `folder`; raises CityError naming file, table and remedy."""
    class_file, kind_file = folder / "classes.toml", folder / "kinds.toml"
    kinds: dict[str, CaseKind] = {}
    for name, table in _read(kind_file).get("kind", {}).items():
        _refuse_unknown(table, _KIND_KEYS, kind_file, f"kind.{name}")
        try:
            kinds[name] = CaseKind(
                name,
                table["title"],
                table["title_zh"],
                table["family"],
                table["matter_kind"],
                table["code"],
                bool(table.get("urgent", False)),
            )
        except KeyError as error:
            raise CityError(f"[kind.{name}] lacks {error}", file=kind_file, remedy="add the key") from error
    classes = {
        name: _object_class(name, table, class_file) for name, table in _read(class_file).get("class", {}).items()
    }
    for row in classes.values():
        if row.kind is not None and row.kind not in kinds:
            raise CityError(
                f"[class.{row.name}] names kind {row.kind!r}", file=class_file, remedy=f"add it to {kind_file}"
            )
        if row.healthy is not None and row.healthy not in classes:
            raise CityError(
                f"[class.{row.name}] names healthy class {row.healthy!r}", file=class_file, remedy="add that class"
            )
    return Catalogue(classes, kinds)
