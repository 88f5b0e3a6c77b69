"""Which department is asked first: a city's table of grids and matters (`departments` in city.toml)."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gnss.ids import IdError, check_organisation
from perception.errors import CityError

_COLUMNS = ("grid", "code", "department_code", "department_name")
MOST_NAME = 100
_PREFIXES = (15, 12, 9, 6, 0)
_CODES = (5, 2, 0)


@dataclass(frozen=True, slots=True)
class Department:
    """主管部门: its 统一社会信用代码 and its name."""

    code: str
    name: str


@dataclass(frozen=True, slots=True)
class Departments:
    """Rows by (beginning of the grid's id, beginning of the matter's code); the most exact row wins, grid first."""

    rows: Mapping[tuple[str, str], Department]

    def suggest(self, grid: str | None, code: str) -> Department | None:
        """The department for a matter (five digits) in a grid (None: unknown)."""
        for grid_length in _PREFIXES if grid else (0,):
            for code_length in _CODES:
                found = self.rows.get(((grid or "")[:grid_length], code[:code_length]))
                if found is not None:
                    return found
        return None


def parse_departments(text: str, file: Path) -> Departments:
    """Read CSV: `grid` is a whole id, a community (12), a street (9), a division (6) or *; `code` 5 or 2 digits or *.

    Raises CityError with the line.
    """
    rows: dict[tuple[str, str], Department] = {}
    reader = csv.reader(text.splitlines())
    try:
        header = next(reader, [])
        if tuple(header) != _COLUMNS:
            raise CityError("the header is wrong", file=file, line=1, remedy=f"it must be {','.join(_COLUMNS)}")
        for line, row in enumerate(reader, start=2):
            if len(row) != len(_COLUMNS):
                raise CityError(f"{len(row)} columns", file=file, line=line, remedy=f"give {len(_COLUMNS)}")
            grid, code = (word.strip().removesuffix("*") for word in row[:2])
            if len(grid) not in _PREFIXES or len(code) not in _CODES:
                said = f"grid {row[0]!r} or code {row[1]!r} is neither whole nor a part that has a meaning"
                raise CityError(
                    said, file=file, line=line, remedy="give 15, 12, 9 or 6 characters and 5 or 2 digits, or *"
                )
            try:
                department = Department(check_organisation(row[2]), row[3])
            except IdError as error:
                raise CityError(str(error), file=file, line=line, remedy="give the organisation's code") from error
            if not row[3] or len(row[3]) > MOST_NAME:
                raise CityError("the name is missing or too long", file=file, line=line, remedy="give a name")
            if (grid, code) in rows:
                raise CityError("the row stands twice", file=file, line=line, remedy="remove one")
            rows[grid, code] = department
    except csv.Error as error:
        raise CityError(f"is no CSV ({error})", file=file, remedy="export it again") from error
    return Departments(rows)
