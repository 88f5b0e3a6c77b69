"""Comparing two runs: cases by id, then by place and kind; what changed, what is new or gone; the ledgers' counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnss.geodesy import distance_m
from perception.errors import DriveError
from replays.geojson import read_features
from replays.score import Spot, match_spots

SAME_PLACE_M = 5.0
"""Cases of one kind under different ids within this distance count as one that was renamed."""

_COMPARED = ("kind", "code", "state", "grid", "zone")
_MOVED_M = 0.001


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `what` is only in A, only in B, renamed, changed, moved or ledger."""

    what: str
    subject: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences of two runs in a stable order, and whether changes.jsonl is equal byte by byte."""

    differences: tuple[Difference, ...]
    same_cases: int
    changes_identical: bool

    @property
    def equal(self) -> bool:
        """No difference in cases or ledger."""
        return not self.differences


def compare_runs(run_a: Path, run_b: Path) -> Comparison:
    """Compare two run folders; raises DriveError when a member is missing or broken."""
    a, b = _cases(run_a), _cases(run_b)
    differences: list[Difference] = []
    common = sorted(set(a) & set(b))
    same = 0
    for name in common:
        found = _changed(name, a[name], b[name])
        same += not found
        differences += found
    only_a, only_b = ({k: v for k, v in mine.items() if k not in other} for mine, other in ((a, b), (b, a)))
    renamed = match_spots(
        [_spot(k, v) for k, v in only_b.items()], [_spot(k, v) for k, v in only_a.items()], SAME_PLACE_M
    )
    for match in renamed.matches:
        differences.append(Difference("renamed", match.truth.kind, match.truth.id, match.case.id))
        differences += _changed(f"{match.truth.id} -> {match.case.id}", a[match.truth.id], b[match.case.id])
    differences += [Difference("only in A", s.id, _brief(a[s.id]), "") for s in renamed.missed]
    differences += [Difference("only in B", s.id, "", _brief(b[s.id])) for s in renamed.false]
    differences += _ledgers(_ledger(run_a), _ledger(run_b))
    identical = (run_a / "changes.jsonl").read_bytes() == (run_b / "changes.jsonl").read_bytes()
    return Comparison(tuple(differences), same, identical)


def _cases(run: Path) -> dict[str, dict[str, Any]]:
    return {feature["properties"]["id"]: feature for feature in read_features(run / "cases.geojson")}


def _ledger(run: Path) -> dict[str, Any]:
    file = run / "ledger.json"
    try:
        ledger = json.loads(file.read_text(encoding="utf-8"))
        ends = {end: row["total"] for end, row in ledger["ends"].items()}
        return {"tracks": ledger["tracks"], **ends}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DriveError(
            f"cannot be read as a ledger: {error!r}", file=file, remedy="name a finished run folder"
        ) from error


def _position(feature: Mapping[str, Any]) -> tuple[float, float]:
    lon, lat = feature["geometry"]["coordinates"][:2]
    return float(lat), float(lon)


def _spot(name: str, feature: Mapping[str, Any]) -> Spot:
    lat, lon = _position(feature)
    return Spot(name, str(feature["properties"]["kind"]), lat, lon)


def _brief(feature: Mapping[str, Any]) -> str:
    lat, lon = _position(feature)
    return f"{feature['properties']['kind']} {feature['properties']['state']} at {lat:.7f}, {lon:.7f}"


def _changed(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    found = []
    for key in _COMPARED:
        before, after = a["properties"].get(key), b["properties"].get(key)
        if before != after:
            found.append(Difference("changed", f"{name} {key}", str(before), str(after)))
    moved = distance_m(*_position(a), *_position(b))
    if moved > _MOVED_M:
        found.append(Difference("moved", name, _brief(a), f"{moved:.3f} m away"))
    return found


def _ledgers(a: Mapping[str, int], b: Mapping[str, int]) -> list[Difference]:
    keys = sorted(set(a) | set(b))
    return [Difference("ledger", k, str(a.get(k, 0)), str(b.get(k, 0))) for k in keys if a.get(k, 0) != b.get(k, 0)]


def comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain data for `--json`."""
    rows = [{"what": d.what, "subject": d.subject, "a": d.a, "b": d.b} for d in comparison.differences]
    return {
        "equal": comparison.equal,
        "same_cases": comparison.same_cases,
        "changes_identical": comparison.changes_identical,
        "differences": rows,
    }


def comparison_text(comparison: Comparison) -> str:
    """The comparison for a terminal."""
    head = f"{comparison.same_cases} cases are the same, {len(comparison.differences)} differences"
    tail = "changes.jsonl is identical" if comparison.changes_identical else "changes.jsonl differs"
    lines = [f"  {d.what}: {d.subject}: {d.a or '-'} | {d.b or '-'}" for d in comparison.differences]
    return "\n".join([head, *lines, tail])
