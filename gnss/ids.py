"""Validators of the ids a city uses: division, unit grid, management component (GB/T 47678)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DIVISION = re.compile(r"[1-9][0-9]{5}", re.ASCII)
_GRID = re.compile(r"[1-9][0-9]{5}[0-9A-Z]{9}", re.ASCII)
_COMPONENT = re.compile(r"[1-9][0-9]{15,16}", re.ASCII)


class IdError(ValueError):
    """An id that breaks its scheme; the message says which rule."""


@dataclass(frozen=True, slots=True)
class ComponentId:
    """A component id taken apart: 17 digits 6+2+3+6 (2026), or 16 digits 6+2+2+6 (`legacy`)."""

    text: str
    division: str
    type_code: str
    sequence: str
    legacy: bool


def check_division(text: object) -> str:
    """The 6-digit division code (GB/T 2260); raises IdError."""
    if not isinstance(text, str) or not _DIVISION.fullmatch(text):
        raise IdError(f"a division is 6 digits as text, the first not 0; got {text!r}")
    return text


def check_grid(text: object, division: str | None = None) -> str:
    """The 15-character unit grid id: 6 division, 3 street, 3 community, 3 sequence; raises IdError."""
    if not isinstance(text, str) or not _GRID.fullmatch(text):
        raise IdError(f"a unit grid id is 15 characters as text, 6 digits then 9 of 0-9 A-Z; got {text!r}")
    return _inside(text, division, "unit grid id")


def check_component(text: object, division: str | None = None) -> ComponentId:
    """A component id of 17 digits, or 16 in the older scheme; raises IdError."""
    if not isinstance(text, str) or not _COMPONENT.fullmatch(text):
        raise IdError(f"a component id is 17 digits as text (16 in the older scheme); got {text!r}")
    _inside(text, division, "component id")
    legacy = len(text) == 16
    type_end = 10 if legacy else 11
    return ComponentId(text, text[:6], text[6:type_end], text[type_end:], legacy)


def _inside(text: str, division: str | None, what: str) -> str:
    if division is not None and not text.startswith(division):
        raise IdError(f"the {what} {text!r} does not begin with the division {division}")
    return text
