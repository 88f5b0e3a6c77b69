"""Scoring a run against true objects: one-to-one per kind within a radius, misses and false cases by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from gnss.geodesy import distance_m
from perception.errors import DriveError
from perception.serial import utc_ns_of
from perception.types import ACTIVE_STATES
from replays.geojson import read_features

PREDICTED_STATES = frozenset(state.value for state in ACTIVE_STATES)
DEFAULT_RADIUS_M = 3.0
_FAR = 1e6


@dataclass(frozen=True, slots=True)
class Spot:
    """A predicted or true object: id, case kind, position."""

    id: str
    kind: str
    lat_deg: float
    lon_deg: float


@dataclass(frozen=True, slots=True)
class Match:
    """A true object and the case that found it."""

    truth: Spot
    case: Spot
    distance_m: float


@dataclass(frozen=True, slots=True)
class KindScore:
    """Counts of one case kind."""

    matched: int
    missed: int
    false: int

    @property
    def precision(self) -> float | None:
        """Matched over predicted; None when nothing was predicted."""
        return _ratio(self.matched, self.matched + self.false)

    @property
    def recall(self) -> float | None:
        """Matched over true; None when nothing is true."""
        return _ratio(self.matched, self.matched + self.missed)


@dataclass(frozen=True, slots=True)
class Score:
    """The whole verdict. `kinds` sorted by name; distances in metres are in `matches`."""

    radius_m: float
    kinds: dict[str, KindScore]
    matches: tuple[Match, ...]
    missed: tuple[Spot, ...]
    false: tuple[Spot, ...]

    @property
    def total(self) -> KindScore:
        """All kinds together."""
        return KindScore(len(self.matches), len(self.missed), len(self.false))

    def passes(self, recall: float, precision: float) -> bool:
        """Whether both gates are met; a score over nothing meets none."""
        total = self.total
        return (total.recall or 0.0) >= recall and (total.precision or 0.0) >= precision


def score_run(run_dir: Path, truth_file: Path, radius_m: float = DEFAULT_RADIUS_M) -> Score:
    """Score `cases.geojson` of a run folder against truth.geojson; DriveError when a file is missing or broken."""
    if not (math.isfinite(radius_m) and radius_m > 0):
        raise DriveError(f"radius {radius_m} m is not positive", remedy="give --radius in metres, for example 3")
    cases = [
        _spot(feature, run_dir / "cases.geojson")
        for feature in read_features(run_dir / "cases.geojson")
        if feature["properties"].get("state") in PREDICTED_STATES
    ]
    end_ns = last_look_utc_ns(run_dir)
    truths = [
        _spot(feature, truth_file)
        for feature in read_features(truth_file)
        if counts(feature["properties"], end_ns, truth_file)
    ]
    return match_spots(cases, truths, radius_m)


def last_look_utc_ns(run_dir: Path) -> int | None:
    """UTC of the end of the last pass of a run (track.geojson), None when the run had no UTC."""
    features = read_features(run_dir / "track.geojson")
    ends = [utc_ns_of(feature["properties"]["end"]) for feature in features if feature["properties"].get("end")]
    return max(ends, default=None)


def counts(properties: dict[str, Any], end_utc_ns: int | None, file: Path) -> bool:
    """Whether a truth counts: its kind is set, it was visible and it existed at the last look."""
    if not properties.get("kind") or properties.get("visible") is False:
        return False
    try:
        begin, end = (None if not properties.get(k) else utc_ns_of(properties[k]) for k in ("from_utc", "to_utc"))
    except (TypeError, ValueError) as error:
        name = properties.get("id")
        remedy = 'write from_utc and to_utc as "2026-04-01T02:00:00Z" or null'
        raise DriveError(f"truth {name!r}: {error}", file=file, remedy=remedy) from error
    if end_utc_ns is None:
        return end is None
    return (end is None or end > end_utc_ns) and (begin is None or begin <= end_utc_ns)


def match_spots(cases: Sequence[Spot], truths: Sequence[Spot], radius_m: float) -> Score:
    """One-to-one per kind: the most matches within the radius, of those sets the one with least distance."""
    matches: list[Match] = []
    missed: list[Spot] = []
    false: list[Spot] = []
    kinds: dict[str, KindScore] = {}
    for kind in sorted({spot.kind for spot in (*cases, *truths)}):
        of_cases = [spot for spot in cases if spot.kind == kind]
        of_truths = [spot for spot in truths if spot.kind == kind]
        found = _assign(of_cases, of_truths, radius_m)
        hit_cases, hit_truths = {m.case.id for m in found}, {m.truth.id for m in found}
        lost = [spot for spot in of_truths if spot.id not in hit_truths]
        wrong = [spot for spot in of_cases if spot.id not in hit_cases]
        kinds[kind] = KindScore(len(found), len(lost), len(wrong))
        matches, missed, false = matches + found, missed + lost, false + wrong
    return Score(radius_m, kinds, tuple(matches), tuple(missed), tuple(false))


def _assign(cases: Sequence[Spot], truths: Sequence[Spot], radius_m: float) -> list[Match]:
    if not cases or not truths:
        return []
    distances = np.array([[distance_m(t.lat_deg, t.lon_deg, c.lat_deg, c.lon_deg) for c in cases] for t in truths])
    rows, columns = linear_sum_assignment(np.where(distances <= radius_m, distances, _FAR))
    pairs = [(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]
    return [Match(truths[r], cases[c], float(distances[r, c])) for r, c in pairs if distances[r, c] <= radius_m]


def _spot(feature: dict[str, Any], file: Path) -> Spot:
    try:
        lon, lat = feature["geometry"]["coordinates"][:2]
        properties = feature["properties"]
        return Spot(str(properties["id"]), str(properties["kind"]), float(lat), float(lon))
    except (KeyError, TypeError, ValueError) as error:
        raise DriveError(
            f"has a feature that is no point with id and kind: {error!r}", file=file, remedy="mend it"
        ) from error


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def score_to_dict(score: Score) -> dict[str, Any]:
    """The score as plain data for `--json`."""
    distances = sorted(match.distance_m for match in score.matches)
    return {
        "radius_m": score.radius_m,
        "truths": score.total.matched + score.total.missed,
        "predictions": score.total.matched + score.total.false,
        **_rates(score.total),
        "median_distance_m": None if not distances else round(float(np.median(distances)), 3),
        "max_distance_m": None if not distances else round(distances[-1], 3),
        "kinds": {kind: _rates(counted) for kind, counted in score.kinds.items()},
        "matches": [
            {"truth": m.truth.id, "case": m.case.id, "kind": m.truth.kind, "distance_m": round(m.distance_m, 3)}
            for m in score.matches
        ],
        "missed": [_plain(spot) for spot in score.missed],
        "false": [_plain(spot) for spot in score.false],
    }


def _rates(counted: KindScore) -> dict[str, Any]:
    rates = {"recall": counted.recall, "precision": counted.precision}
    rounded_rates = {name: None if rate is None else round(rate, 4) for name, rate in rates.items()}
    return {"matched": counted.matched, "missed": counted.missed, "false": counted.false, **rounded_rates}


def _plain(spot: Spot) -> dict[str, Any]:
    return {"id": spot.id, "kind": spot.kind, "lat_deg": round(spot.lat_deg, 8), "lon_deg": round(spot.lon_deg, 8)}


def score_text(score: Score) -> str:
    """The score as a table for a terminal, misses and false cases below it."""
    rows: list[list[str]] = [["kind", "true", "found", "missed", "false", "recall", "precision"]]
    for kind, counted in [*score.kinds.items(), ("all", score.total)]:
        numbers = (counted.matched + counted.missed, counted.matched, counted.missed, counted.false)
        rows.append([kind, *map(str, numbers), _percent(counted.recall), _percent(counted.precision)])
    widths = [max(len(row[i]) for row in rows) for i in range(7)]
    lines = []
    for row in rows:
        numbers_text = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers_text]))
    lines += [f"  {m.truth.kind}: {m.truth.id} found as {m.case.id}, {m.distance_m:.2f} m off" for m in score.matches]
    lines += [f"  missed {s.kind}: {s.id} at {s.lat_deg:.7f}, {s.lon_deg:.7f}" for s in score.missed]
    lines += [f"  false {s.kind}: {s.id} at {s.lat_deg:.7f}, {s.lon_deg:.7f}" for s in score.false]
    return "\n".join(lines)


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} %"
