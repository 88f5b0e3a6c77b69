"""Parameters as data: every `...Params` record keeps its defaults beside its code; a TOML table overrides by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from perception.errors import SetupError

T = TypeVar("T")


def override(params: T, table: Mapping[str, Any], file: Path, where: str = "params") -> T:
    """A copy of `params` with the values of `table`; raises SetupError naming an unknown key or a wrong type."""
    known = {f.name: getattr(params, f.name) for f in fields(params)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for key, value in table.items():
        place = f"[{where}] {key}"
        line = _line_of(file, key)
        if key not in known:
            raise SetupError(f"{place} does not exist", file=file, line=line, remedy=f"use one of {sorted(known)}")
        default = known[key]
        if is_dataclass(default) or isinstance(default, dict):
            if not isinstance(value, Mapping):
                raise SetupError(f"{place} must be a table", file=file, line=line, remedy=f"write [{where}.{key}]")
            if isinstance(default, dict):
                changes[key] = _override_rows(default, value, file, f"{where}.{key}")
            else:
                changes[key] = override(default, value, file, f"{where}.{key}")
        elif isinstance(default, bool) or isinstance(value, bool) or not isinstance(value, int | float):
            if type(value) is not type(default):
                remedy = f"give a {type(default).__name__} like {default!r}"
                raise SetupError(f"{place} is {value!r}", file=file, line=line, remedy=remedy)
            changes[key] = value
        elif not isinstance(default, int | float) or not math.isfinite(value):
            raise SetupError(f"{place} is {value!r}", file=file, line=line, remedy=f"give a value like {default!r}")
        elif isinstance(default, int) and not isinstance(value, int):
            raise SetupError(f"{place} is {value!r}", file=file, line=line, remedy="give a whole number")
        else:
            changes[key] = type(default)(value)
    return replace(params, **changes)  # type: ignore[type-var]


def _override_rows(rows: dict[Any, Any], table: Mapping[str, Any], file: Path, where: str) -> dict[Any, Any]:
    """A table of records, named by the members of an enumeration in lower case."""
    known = {key.name.lower(): key for key in rows}
    changed = dict(rows)
    for name, value in table.items():
        if name not in known or not isinstance(value, Mapping):
            remedy = f"write [{where}.NAME] with one of {sorted(known)}"
            raise SetupError(f"[{where}] {name} is no table of it", file=file, line=_line_of(file, name), remedy=remedy)
        changed[known[name]] = override(rows[known[name]], value, file, f"{where}.{name}")
    return changed


def _line_of(file: Path, key: str) -> int | None:
    """Line (from 1) of a key that is assigned, or heads a table, once in the file: tomllib keeps no places."""
    texts = [text.split("=")[0].strip() for text in file.read_text(encoding="utf-8").splitlines()]
    lines = [n for n, text in enumerate(texts, 1) if text == key or text.strip("[]").split(".")[-1] == key]
    return lines[0] if len(lines) == 1 else None


def as_table(params: object) -> dict[str, Any]:
    """Nested plain dict of a params record, for `qiji config show`."""
    if isinstance(params, dict):
        return {key.name.lower(): as_table(value) for key, value in params.items()}
    table: dict[str, Any] = {}
    for field in fields(params):  # type: ignore[arg-type]
        value = getattr(params, field.name)
        table[field.name] = as_table(value) if is_dataclass(value) or isinstance(value, dict) else value
    return table
