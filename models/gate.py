"""The acceptance gate: may a candidate replace the current detector?

Both look at the same validation pictures, and the same redraws of the pictures go through both, so that what is hard
about a picture cancels out (paired bootstrap). A class with many boxes that loses more than two points of AP50 in 95 %
of the redraws rejects the candidate; a class with few boxes only warns. And the sample drives, replayed, may not lose a
case: whoever calls hands in a runner, for this room knows no drives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.evaluate import POOLED, ClassScore, Role, Scores
from models.figures import REPLICATES, interval95, picture_draws

MANY_BOXES = 50
ALLOWED_LOSS = 0.02
SURE = 0.95
Found = Mapping[str, Mapping[str, int]]
"""Drive -> case kind -> true objects found."""
Runner = Callable[[Path], Found]
OK, WARNED, REJECTED, NEW = "ok", "warning", "rejected", "new"


@dataclass(frozen=True, slots=True)
class ClassVerdict:
    """One class on one set. low, high: 95 % interval of candidate minus current; sure_loss: share of the redraws in
    which more than two points are lost."""

    name: str
    pictures: str
    boxes: int
    current: float | None
    candidate: float
    low: float
    high: float
    sure_loss: float
    verdict: str


@dataclass(frozen=True, slots=True)
class DriveVerdict:
    """True objects of one kind that each detector's replay of a drive found."""

    drive: str
    kind: str
    current: int
    candidate: int

    @property
    def verdict(self) -> str:
        """Rejected when a case is lost."""
        return REJECTED if self.candidate < self.current else OK


@dataclass(frozen=True, slots=True)
class Gate:
    """The whole verdict. dropped: classes that only the current detector knows; each rejects."""

    classes: tuple[ClassVerdict, ...]
    drives: tuple[DriveVerdict, ...]
    dropped: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Nothing rejects."""
        verdicts = [row.verdict for row in self.classes] + [row.verdict for row in self.drives]
        return not self.dropped and REJECTED not in verdicts

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "accepted": self.accepted,
            "dropped": list(self.dropped),
            "classes": [{key: _plain(getattr(row, key)) for key in ClassVerdict.__slots__} for row in self.classes],
            "drives": [
                {"drive": d.drive, "kind": d.kind, "current": d.current, "candidate": d.candidate, "verdict": d.verdict}
                for d in self.drives
            ],
        }

    def lines(self) -> list[str]:
        """The verdict as a person reads it."""
        lines = [_class_line(row) for row in self.classes]
        lines += [f"class {name} is dropped: {REJECTED}" for name in self.dropped]
        lines += [
            f"drive {d.drive}, {d.kind}: {d.current} found before, {d.candidate} now: {d.verdict}" for d in self.drives
        ]
        return [*lines, "accepted" if self.accepted else "REJECTED"]


def judge_classes(
    current: Scores, candidate: Scores, known: frozenset[str], replicates: int = REPLICATES, seed: int = 0
) -> tuple[ClassVerdict, ...]:
    """One verdict per class on the photos together, and on each rendered source; `known`: the current's classes.

    Both must come from the same pictures in the same order.
    """
    rows = []
    for name, one in candidate.items():
        if one.role is Role.GIVEN and (name == POOLED or one.rendered):
            for label, score in one.classes.items():
                before = current[name].classes[label] if label in known else None
                rows.append(_judge(label, name, before, score, replicates, seed))
    return tuple(rows)


def _judge(
    name: str, pictures: str, before: ClassScore | None, after: ClassScore, replicates: int, seed: int
) -> ClassVerdict:
    if before is None:
        nan = float("nan")
        return ClassVerdict(name, pictures, after.boxes, None, after.ap50, nan, nan, nan, NEW)
    draws = picture_draws(after.tally.pictures, replicates, seed)
    change = after.tally.replicates(draws) - before.tally.replicates(draws)
    change = change[np.isfinite(change)]
    sure = float((change < -ALLOWED_LOSS).mean()) if len(change) else 0.0
    verdict = OK if sure < SURE else REJECTED if after.boxes >= MANY_BOXES else WARNED
    return ClassVerdict(name, pictures, after.boxes, before.ap50, after.ap50, *interval95(change), sure, verdict)


def judge_drives(current: Found, candidate: Found) -> tuple[DriveVerdict, ...]:
    """One verdict per drive and kind that either found."""
    return tuple(
        DriveVerdict(drive, kind, current.get(drive, {}).get(kind, 0), candidate.get(drive, {}).get(kind, 0))
        for drive in sorted({*current, *candidate})
        for kind in sorted({*current.get(drive, {}), *candidate.get(drive, {})})
    )


def _class_line(row: ClassVerdict) -> str:
    if row.current is None:
        return f"{row.name} on {row.pictures}: new, AP50 {row.candidate:.3f}, {row.boxes} boxes"
    return (
        f"{row.name} on {row.pictures}: AP50 {row.current:.3f} -> {row.candidate:.3f}, change {row.low:+.3f} to "
        f"{row.high:+.3f} (95 %), {row.boxes} boxes: {row.verdict}"
    )


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
