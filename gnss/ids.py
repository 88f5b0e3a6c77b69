"""Validators of the ids a city uses: division, unit grid, management component, matter code (GB/T 47678)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

_DIVISION = re.compile(r"[1-9][0-9]{5}", re.ASCII)
_GRID = re.compile(r"[1-9][0-9]{5}[0-9A-Z]{9}", re.ASCII)
_COMPONENT = re.compile(r"[1-9][0-9]{15,16}", re.ASCII)
_MATTER = re.compile(r"[1-9][0-9]{10}", re.ASCII)
_ORGANISATION = re.compile(r"[0-9A-Z]{18}", re.ASCII)
_SHOWN = 60


class IdError(ValueError):
    """An id that breaks its scheme; the message says which rule. `code`: form, length or division."""

    def __init__(self, message: str, code: str = "form") -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class ComponentId:
    """A component id taken apart: 17 digits 6+2+3+6 (2026), or 16 digits 6+2+2+6 (`legacy`)."""

    text: str
    division: str
    type_code: str
    sequence: str
    legacy: bool


@dataclass(frozen=True, slots=True)
class MatterCode:
    """事项代码, 11 digits 6+2+3: a division and the five digits of a matter. It classifies, it is no instance's id."""

    text: str
    division: str
    code: str


def check_division(text: object) -> str:
    """The 6-digit division code (GB/T 2260); raises IdError."""
    if not isinstance(text, str) or not _DIVISION.fullmatch(text):
        _refuse("a division is 6 digits as text, the first not 0", text, (6,))
    return text


def check_grid(text: object, division: str | None = None) -> str:
    """The 15-character unit grid id: 6 division, 3 street, 3 community, 3 sequence; raises IdError."""
    if not isinstance(text, str) or not _GRID.fullmatch(text):
        _refuse("a unit grid id is 15 characters as text, 6 digits then 9 of 0-9 A-Z", text, (15,))
    return _inside(text, division, "unit grid id")


def check_component(text: object, division: str | None = None) -> ComponentId:
    """A component id of 17 digits, or 16 in the older scheme; raises IdError."""
    if not isinstance(text, str) or not _COMPONENT.fullmatch(text):
        _refuse("a component id is 17 digits as text (16 in the older scheme)", text, (16, 17))
    _inside(text, division, "component id")
    legacy = len(text) == 16
    type_end = 10 if legacy else 11
    return ComponentId(text, text[:6], text[6:type_end], text[type_end:], legacy)


def check_matter(text: object, division: str | None = None) -> MatterCode:
    """The 11-digit 事项代码: 6 division, 2 category, 3 matter; raises IdError."""
    if not isinstance(text, str) or not _MATTER.fullmatch(text):
        _refuse("a matter code is 11 digits as text: 6 of the division and 5 of the matter", text, (11,))
    _inside(text, division, "matter code")
    return MatterCode(text, text[:6], text[6:])


def check_organisation(text: object) -> str:
    """统一社会信用代码 of a department: 18 of 0-9 A-Z; raises IdError."""
    if not isinstance(text, str) or not _ORGANISATION.fullmatch(text):
        _refuse("an organisation code is 18 characters of 0-9 A-Z", text, (18,))
    return text


def _refuse(rule: str, text: object, lengths: tuple[int, ...]) -> NoReturn:
    shown = repr(text)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    wrong_length = isinstance(text, str) and len(text) not in lengths
    said = f" ({len(text)} characters)" if isinstance(text, str) and wrong_length else ""
    raise IdError(f"{rule}; got {shown}{said}", "length" if wrong_length else "form")


def _inside(text: str, division: str | None, what: str) -> str:
    if division is not None and not text.startswith(division):
        raise IdError(f"the {what} {text!r} does not begin with the division {division}", "division")
    return text
