"""What is wrong with a city's data, as a report that a person can work through: counted by kind, first ones in full."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gnss.features import FeatureError

ERROR, WARNING = "error", "warning"
MOST_KEPT = 20
"""Findings of one kind that are told in full; the rest is counted."""

TITLES = {
    "id-length": "id of the wrong length",
    "id-form": "id that is none",
    "id-division": "id of another division",
    "duplicate": "id that stands twice",
    "unclosed": "ring that is not closed",
    "geometry": "geometry that cannot be used",
    "bomb": "geometry with too many vertices",
    "swapped": "latitude and longitude swapped",
    "range": "coordinates that are no degrees",
    "hours": "hours that cannot be read",
    "property": "property missing or wrong",
    "encoding": "text in another encoding",
    "overlap": "grids that overlap",
    "gap": "hole between the grids",
    "sequence": "number missing in a community's grids",
    "outside": "outside of every grid",
    "code": "code that is not that of the id",
    "accuracy": "accuracy class that is not A, B or C",
}


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding: `member` is the key of city.toml, `number` the feature's place in its file (None: the whole)."""

    severity: str
    code: str
    member: str
    number: int | None
    message: str
    remedy: str


@dataclass(slots=True)
class Report:
    """All findings of one reading; `read` counts the things that can be used, by member."""

    issues: list[Issue] = field(default_factory=list)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)

    def add(self, issue: Issue) -> None:
        """Count a finding, and keep it when it is one of the first of its kind."""
        key = (issue.severity, issue.member, issue.code)
        self.counts[key] += 1
        if self.counts[key] <= MOST_KEPT:
            self.issues.append(issue)

    def error(self, member: str, error: FeatureError) -> None:
        """A feature that cannot be used."""
        self.add(Issue(ERROR, error.code, member, error.number, error.problem, error.remedy))

    def warn(self, code: str, member: str, number: int | None, message: str, remedy: str) -> None:
        """Something that can be used, but looks wrong."""
        self.add(Issue(WARNING, code, member, number, message, remedy))

    def total(self, severity: str) -> int:
        """Findings of a severity."""
        return sum(count for (kind, _, _), count in self.counts.items() if kind == severity)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "read": dict(sorted(self.read.items())),
            "errors": self.total(ERROR),
            "warnings": self.total(WARNING),
            "counts": [
                {"severity": severity, "member": member, "code": code, "count": count}
                for (severity, member, code), count in sorted(self.counts.items())
            ],
            "issues": [
                {
                    "severity": i.severity, "code": i.code, "member": i.member, "feature": i.number,
                    "message": i.message, "remedy": i.remedy,
                }
                for i in self.issues
            ],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For a person: each kind of finding with its count and remedy, then the first of them."""
        told = [f"{member}: {count:,} can be used" for member, count in sorted(self.read.items())]
        for (severity, member, code), count in sorted(self.counts.items()):
            first = [i for i in self.issues if (i.severity, i.member, i.code) == (severity, member, code)]
            told.append(f"{severity}: {member}: {TITLES.get(code, code)}: {count:,}. Remedy: {first[0].remedy}")
            told.extend(f"  {issue.message}" for issue in first[:5])
            told.extend([f"  ... and {count - 5:,} more"] if count > 5 else [])
        return told
