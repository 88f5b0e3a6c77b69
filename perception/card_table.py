"""Reading a model card's TOML strictly: every failure names the file, the key and the remedy."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from perception.errors import ModelError


def read_table(file: Path) -> dict[str, Any]:
    """The TOML of a card; raises ModelError when there is none."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"the model card cannot be read ({error.strerror})"
        raise ModelError(problem, file=file, remedy="give the path of a model card") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"the model card is not TOML ({error})", file=file, remedy="mend that line") from error


@dataclass(frozen=True, slots=True)
class CardTable:
    """One card's table, and typed looks into it; all of them raise ModelError."""

    file: Path
    table: Mapping[str, Any]

    def fail(self, problem: str, remedy: str) -> NoReturn:
        """Refuse the card."""
        raise ModelError(problem, file=self.file, remedy=remedy)

    def section(self, table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """A sub-table, empty when it is absent."""
        value = table.get(key, {})
        if not isinstance(value, dict):
            self.fail(f"`{key}` is not a table", f"write it as [{key}] and lines of key = value")
        return value

    def only(self, table: Mapping[str, Any], allowed: set[str], where: str) -> None:
        """Refuse keys that this software does not know."""
        if unknown := sorted(set(table) - allowed):
            self.fail(f"{where} has unknown key {unknown[0]!r}", f"use {', '.join(sorted(allowed))}")

    def text(self, key: str) -> str:
        """A text that is not empty."""
        value = self.table[key]
        if not isinstance(value, str) or not value:
            self.fail(f"`{key}` is {value!r}", "give a text")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of some texts."""
        if (value := self.text(key)) not in allowed:
            self.fail(f"`{key}` is {value!r}", f"use one of {list(allowed)}")
        return value

    def number(self, table: Mapping[str, Any], key: str, low: float, high: float) -> float:
        """A finite number within bounds."""
        value = table.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fail(f"`{key}` is {value!r}", f"give a number in {low}..{high}")
        return float(value)

    def names(self, value: object, key: str) -> tuple[str, ...]:
        """A list of texts."""
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            self.fail(f"`{key}` is not a list of names", 'write it as ["a", "b"]')
        return tuple(value)

    def three(self, key: str, low: float) -> tuple[float, float, float] | None:
        """Three finite numbers above `low`, one per colour in the network's order; None when the key is absent."""
        if key not in self.table:
            return None
        value = self.table[key]
        good = isinstance(value, list) and len(value) == 3
        if not good or not all(type(v) in (int, float) and math.isfinite(v) and v > low for v in value):
            self.fail(f"`{key}` is {value!r}", f"give three numbers above {low}, one per colour")
        return float(value[0]), float(value[1]), float(value[2])
