"""Evidence of a parked vehicle: a lead for people, or pictures as GA/T 832-2014 asks for them (standards.md 5.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

LEAD = "lead"
GAT832 = "GA/T 832"


@dataclass(frozen=True, slots=True)
class FullView:
    """One picture: `whole` when the vehicle is in it whole, with a landmark beside it."""

    utc_ns: int
    width_px: int
    height_px: int
    whole: bool


@dataclass(frozen=True, slots=True)
class GradeParams:
    """GA/T 832-2014: two full views, at least so far apart, of at least so many pixels."""

    apart_s: float = 10.0
    width_px: int = 1280
    height_px: int = 720


def evidence_grade(views: Iterable[FullView], params: GradeParams | None = None) -> str:
    """GA/T 832 when two full views lie far enough apart in time, else lead."""
    p = params or GradeParams()
    good = [v for v in views if v.whole and v.width_px >= p.width_px and v.height_px >= p.height_px]
    apart = any(abs(a.utc_ns - b.utc_ns) >= p.apart_s * 1e9 for a, b in combinations(good, 2))
    return GAT832 if apart else LEAD
