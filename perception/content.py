"""What a case says in the city's words: the attributes of GB/T 47678.5-2026 表3 (a matter) and 表2 (its component).

The tables are known from one transcription (standards.md 1.6, confidence M). Fields that a must asks for and nobody
can fill are listed in `missing` and left None: nothing is made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gnss.atlas import Atlas
from gnss.ids import IdError, check_matter
from perception.codes import CodeDirectory
from perception.departments import Department, Departments, parse_departments
from perception.rulebook import RuleBook, rules_of
from perception.types import Case
from perception.whereabouts import Whereabouts, describe

STANDARD = "GB/T 47678.5-2026"
DATUM = "CGCS2000"
LENGTHS = {
    "SXDM": 11, "SXMC": 30, "ZGBMDM": 18, "ZGBMMC": 100, "SFWZ": 256, "SZDYWGBSM": 15, "GLBJBSM": 17, "GLBJMC": 30,
    "GLBJZT": 10,
}  # fmt: skip
"""Largest lengths of the tables, in characters."""

_MUST = ("SXDM", "SXMC", "ZGBMDM", "ZGBMMC", "SFWZ", "SZDYWGBSM")


@dataclass(frozen=True, slots=True)
class CaseContent:
    """`fields` by abbreviation; `missing` are musts that are None. `where` is the place in both languages."""

    fields: Mapping[str, str | None]
    missing: tuple[str, ...]
    where: Whereabouts
    datum: str = DATUM
    standard: str = STANDARD


class Desk:
    """Writes contents for one city: directory with the city's codes, departments, rules, atlas."""

    def __init__(self, atlas: Atlas, directory: CodeDirectory, book: RuleBook | None = None) -> None:
        """Raises CityError when the city's `codes` or `departments` cannot be read."""
        texts = atlas.texts
        self._atlas = atlas
        self.directory = directory.extended(texts["codes"], Path("codes")) if "codes" in texts else directory
        self._departments = (
            parse_departments(texts["departments"], Path("departments")) if "departments" in texts else Departments({})
        )
        self._book = rules_of(texts, Path("rules")) if book is None else book

    def content(self, case: Case) -> CaseContent:
        """The attributes of a case. Raises CityError when its matter kind and code are not in the directory."""
        entry = self.directory.lookup(case.matter_kind, case.code)
        grid = case.grid or self._atlas.grid_at(case.lat_deg, case.lon_deg)
        department = self._departments.suggest(grid, case.code)
        where = describe(self._atlas, case.lat_deg, case.lon_deg)
        fields: dict[str, str | None] = {
            "SXDM": self._matter(grid, case.code),
            "SXMC": entry.name,
            "ZGBMDM": None if department is None else department.code,
            "ZGBMMC": None if department is None else department.name,
            "SFWZ": where.zh[: LENGTHS["SFWZ"]],
            "SZDYWGBSM": grid,
            **self._component(case),
        }
        for name, value in fields.items():
            if value is not None and len(value) > LENGTHS[name]:
                fields[name] = value[: LENGTHS[name]]
        return CaseContent(fields, tuple(name for name in _MUST if fields[name] is None), where)

    def department(self, case: Case) -> Department | None:
        """The suggested department, None without a table or a row that fits."""
        return self._departments.suggest(case.grid, case.code)

    def _matter(self, grid: str | None, code: str) -> str | None:
        """事项代码: six digits of division and five of the matter."""
        text = (grid[:6] if grid else self._atlas.division or "") + code
        try:
            return check_matter(text).text
        except IdError:
            return None

    def _component(self, case: Case) -> dict[str, str | None]:
        match = case.component
        if match is None:
            return {}
        entry = self.directory.entries.get(("component", match.code))
        return {
            "GLBJBSM": match.id,
            "GLBJMC": None if entry is None else entry.name,
            "GLBJZT": self._book.states.get(case.class_name),
        }
