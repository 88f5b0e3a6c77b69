"""What the benchmark prints: figures with intervals, goals and floors, as one page of text and as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from replays.bench.metrics import Estimate


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be: at least `low` and at most `high` (None: no such end)."""

    low: float | None = None
    high: float | None = None

    def met(self, value: float) -> bool:
        """A figure that could not be measured meets no goal."""
        if math.isnan(value):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


def most(value: float) -> Goal:
    """At most `value`."""
    return Goal(high=value)


def least(value: float) -> Goal:
    """At least `value`."""
    return Goal(low=value)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the page. `unit` is m, %, "" (a ratio or a count) or ms; shares are kept as 0..1 and shown in %.

    `floor` is the Cramer-Rao floor in the same unit; `note` says what a reader must know. A `detail` is printed only
    when asked for, and always in the plain data.
    """

    experiment: str
    name: str
    estimate: Estimate
    unit: str = ""
    goal: Goal | None = None
    floor: float | None = None
    note: str = ""
    detail: bool = False

    @property
    def passed(self) -> bool | None:
        """None without a goal."""
        return None if self.goal is None else self.goal.met(self.estimate.value)


def plain(figure: Figure) -> dict[str, Any]:
    """The figure for machines; what is not a number is null."""
    tree: dict[str, Any] = {"experiment": figure.experiment, "name": figure.name, "unit": figure.unit}
    tree |= {key: _rounded(value) for key, value in asdict(figure.estimate).items()}
    tree["goal"] = None if figure.goal is None else {"low": figure.goal.low, "high": figure.goal.high}
    tree |= {"floor": _rounded(figure.floor), "passed": figure.passed, "note": figure.note, "detail": figure.detail}
    return tree


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 5)


def _shown(value: float | None, unit: str) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    if unit == "%":
        return f"{100 * value:.2f}" if value < 0.1 else f"{100 * value:.1f}"
    return f"{value:.0f}" if unit == "n" else f"{value:.3f}"


def _goal_text(goal: Goal | None, unit: str) -> str:
    if goal is None:
        return ""
    low, high = (None if v is None else _shown(v, unit).rstrip("0").rstrip(".") for v in (goal.low, goal.high))
    if low is not None and high is not None:
        return f"{low}..{high}"
    return f"<= {high}" if low is None else f">= {low}"


_HEAD = ("figure", "value", "95 % interval", "unit", "goal", "floor", "n", "")


def page(figures: Sequence[Figure], titles: dict[str, str], head: Sequence[str]) -> str:
    """The page: `head` lines (noise card, seed), then an aligned table per experiment."""
    table: list[tuple[str, ...]] = []
    for figure in figures:
        e, unit = figure.estimate, figure.unit
        interval = "" if math.isnan(e.low) else f"{_shown(e.low, unit)} .. {_shown(e.high, unit)}"
        verdict = {None: "", True: "pass", False: "MISS"}[figure.passed]
        floor = "" if figure.floor is None else _shown(figure.floor, unit)
        told = f"{verdict} {figure.note}".strip()
        shown = "" if unit == "n" else unit
        table.append(
            (
                figure.name,
                _shown(e.value, unit),
                interval,
                shown,
                _goal_text(figure.goal, unit),
                floor,
                str(e.count),
                told,
            )
        )
    widths = [max(len(row[i]) for row in [_HEAD, *table]) for i in range(7)]
    lines = [*head, "", _line(_HEAD, widths)]
    said = ""
    for figure, row in zip(figures, table, strict=True):
        if figure.experiment != said:
            said = figure.experiment
            lines.append(f"-- {titles.get(said, said)}")
        lines.append(_line(row, widths))
    graded = [f.passed for f in figures if f.passed is not None]
    lines.append(f"\n{sum(graded)} of {len(graded)} goals met")
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:7], widths[1:], strict=True))]
    return "  ".join([*cells, row[7]]).rstrip()
