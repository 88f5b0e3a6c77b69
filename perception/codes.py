"""The code directory of GB/T 47678.5-2026 as data: which matter and component codes exist, and how they are called."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perception.catalogue import Catalogue
from perception.errors import CityError

_COLUMNS = ("matter_kind", "code", "name", "category_code", "category_name", "source", "confidence")
MATTER_KINDS = ("matter", "component")


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """One code. `matter_kind` is matter (管理事项) or component (管理部件): a code alone is not unique.

    `source` says where it was read, `confidence` how sure that is (H, M, L, with + or -).
    """

    matter_kind: str
    code: str
    name: str
    category_code: str
    category_name: str
    source: str
    confidence: str


@dataclass(frozen=True, slots=True)
class CodeDirectory:
    """All codes by (matter kind, code)."""

    file: Path
    entries: Mapping[tuple[str, str], CodeEntry]

    def lookup(self, matter_kind: str, code: str) -> CodeEntry:
        """The entry; raises CityError when the directory has none."""
        entry = self.entries.get((matter_kind, code))
        if entry is None:
            raise CityError(f"there is no {matter_kind} code {code!r}", file=self.file, remedy="use a code it lists")
        return entry

    def check(self, catalogue: Catalogue) -> None:
        """Raise CityError naming the first case kind whose matter kind and code are not in the directory."""
        for kind in catalogue.kinds.values():
            if (kind.matter_kind, kind.code) not in self.entries:
                problem = f"kind {kind.name!r} has {kind.matter_kind} code {kind.code!r}, which does not exist"
                raise CityError(problem, file=self.file, remedy=f"mend [kind.{kind.name}] in kinds.toml")


def load_codes(file: Path) -> CodeDirectory:
    """Read the directory (CSV, UTF-8); raises CityError naming file, line and remedy."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise CityError(f"cannot be read ({error})", file=file, remedy="restore the code directory") from error
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise CityError("the header is wrong", file=file, line=1, remedy=f"it must be {','.join(_COLUMNS)}")
    entries: dict[tuple[str, str], CodeEntry] = {}
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(_COLUMNS):
            raise CityError(f"{len(row)} columns", file=file, line=line, remedy=f"give {len(_COLUMNS)}")
        entry = CodeEntry(*row)
        if entry.matter_kind not in MATTER_KINDS or not (len(entry.code) == 5 and entry.code.isdigit()):
            problem = f"{entry.matter_kind!r}, {entry.code!r} is no matter kind with a code of five digits"
            raise CityError(problem, file=file, line=line, remedy=f"use one of {list(MATTER_KINDS)} and five digits")
        if (entry.matter_kind, entry.code) in entries:
            raise CityError(f"{entry.matter_kind} {entry.code} stands twice", file=file, line=line, remedy="remove one")
        entries[entry.matter_kind, entry.code] = entry
    return CodeDirectory(file, entries)
