"""The code directory of GB/T 47678.5-2026 as data: which matter and component codes exist, and how they are called.

A city may add codes of its own (`codes` in city.toml, the same columns); it cannot change those of the standard.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from perception.catalogue import Catalogue
from perception.errors import CityError

_COLUMNS = ("matter_kind", "code", "name", "category_code", "category_name", "source", "confidence")
MATTER_KINDS = ("matter", "component")
CONFIDENCES = ("H", "M+", "M", "M-", "L")


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

    def extended(self, text: str, file: Path) -> CodeDirectory:
        """This directory with a city's own codes (CSV text of `file`); raises CityError with the line.

        A code of the standard stays what it is: one that comes again is refused, also under another name.
        """
        added: dict[tuple[str, str], CodeEntry] = {}
        for line, entry in _entries(text.splitlines(), file):
            key = entry.matter_kind, entry.code
            if key in self.entries:
                said = f"{entry.matter_kind} {entry.code} is {self.entries[key].name} in the directory"
                raise CityError(said, file=file, line=line, remedy="give the city's own matter a free code")
            if key in added:
                raise CityError(f"{key[0]} {key[1]} stands twice", file=file, line=line, remedy="remove one")
            added[key] = entry
        return CodeDirectory(self.file, {**self.entries, **added})


def load_codes(file: Path) -> CodeDirectory:
    """Read the directory (CSV, UTF-8); raises CityError naming file, line and remedy."""
    entries: dict[tuple[str, str], CodeEntry] = {}
    for line, entry in _entries(_lines(file), file):
        key = entry.matter_kind, entry.code
        if key in entries:
            raise CityError(f"{entry.matter_kind} {entry.code} stands twice", file=file, line=line, remedy="remove one")
        entries[key] = entry
    return CodeDirectory(file, entries)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CityError(f"cannot be read ({error})", file=file, remedy="restore the code directory") from error


def _table(lines: list[str], columns: tuple[str, ...], file: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows with their lines, each with as many cells as there are columns."""
    try:
        rows = list(csv.reader(lines))
    except csv.Error as error:
        raise CityError(f"is no CSV ({error})", file=file, remedy="export it again") from error
    if not rows or tuple(rows[0]) != columns:
        raise CityError("the header is wrong", file=file, line=1, remedy=f"it must be {','.join(columns)}")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(columns):
            raise CityError(f"{len(row)} columns", file=file, line=line, remedy=f"give {len(columns)}")
        yield line, row


def _entries(lines: list[str], file: Path) -> Iterator[tuple[int, CodeEntry]]:
    for line, row in _table(lines, _COLUMNS, file):
        entry = CodeEntry(*row)
        if entry.matter_kind not in MATTER_KINDS or not (len(entry.code) == 5 and entry.code.isdigit()):
            problem = f"{entry.matter_kind!r}, {entry.code!r} is no matter kind with a code of five digits"
            raise CityError(problem, file=file, line=line, remedy=f"use one of {list(MATTER_KINDS)} and five digits")
        if not entry.name or entry.category_code != entry.code[:2] or entry.confidence not in CONFIDENCES:
            problem = f"{entry.code} has no name, another category, or confidence {entry.confidence!r}"
            raise CityError(problem, file=file, line=line, remedy="the category is the code's first two digits")
        yield line, entry


# -- older generations

_GENERATIONS = {
    "cjt214": "code_a_cjt214_era",
    "cjt214-beijing": "code_a_variant",
    "2013": "code_b_deployed_2013_era",
}
"""The Beijing list gives some numbers another meaning, so it is a generation of its own."""

_CROSSWALK = (
    "class", "code_a_cjt214_era", "code_a_variant", "code_b_deployed_2013_era", "code_2026", "name_2026", "note",
    "confidence",
)  # fmt: skip
_NONE = ("", "unknown", "not_in_list")


@dataclass(frozen=True, slots=True)
class Crossing:
    """An older code and what it is today. `title` is the class as the table calls it; `code` is None: no successor."""

    title: str
    code: str | None
    name: str
    note: str
    confidence: str


@dataclass(frozen=True, slots=True)
class CrossWalk:
    """Older matter codes (`大类-小类`, two digits each) by generation (see `_GENERATIONS`): looked up, not computed."""

    file: Path
    rows: Mapping[tuple[str, str], Crossing]

    def lookup(self, generation: str, old: str) -> Crossing:
        """The row of an older code; raises CityError when the table has none: a shift of numbers proves nothing."""
        found = self.rows.get((generation, old))
        if found is None:
            known = sorted({name for name, _ in self.rows})
            said = f"the cross-walk has no code {old!r} of generation {generation!r} (it knows {', '.join(known)})"
            raise CityError(said, file=self.file, remedy="add the row with its source, or file under the 2026 code")
        return found


def load_crosswalk(file: Path, directory: CodeDirectory) -> CrossWalk:
    """Read the cross-walk; each successor must be a matter of the directory. Raises CityError with the line."""
    rows: dict[tuple[str, str], Crossing] = {}
    for line, cells in _table(_lines(file), _CROSSWALK, file):
        row = dict(zip(_CROSSWALK, cells, strict=True))
        code = None if row["code_2026"] in _NONE else row["code_2026"]
        if code is not None and directory.lookup("matter", code).name != row["name_2026"]:
            raise CityError(f"{code} is not {row['name_2026']!r}", file=file, line=line, remedy="mend the row")
        crossing = Crossing(row["class"], code, row["name_2026"], row["note"], row["confidence"])
        for generation, column in _GENERATIONS.items():
            old = row[column]
            if old in _NONE:
                continue
            if (generation, old) in rows:
                said = f"{generation} {old} stands twice"
                raise CityError(said, file=file, line=line, remedy="an older code has one successor")
            rows[generation, old] = crossing
    return CrossWalk(file, rows)
