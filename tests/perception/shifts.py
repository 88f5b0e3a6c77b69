"""A synthetic shift: objects at both kerbs, passes with an offset each, and cases of which some are duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from perception.fuse import fuse
from perception.serial import triple
from perception.types import Case, CaseState, PassPosition
from tests.builders import FRAME, UTC0_NS, make_case

HOUR_NS = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class Shift:
    """Cases with the object of each by case id (-1: clutter), and how many objects there are."""

    cases: tuple[Case, ...]
    truth: Mapping[str, int]
    objects: int

    def duplicates(self, groups: tuple[tuple[str, ...], ...]) -> float:
        """Groups beyond the first of each object, per object."""
        owners = [{self.truth[name] for name in group} - {-1} for group in groups]
        counts = np.bincount([o for group in owners for o in group], minlength=self.objects)
        return float(np.maximum(counts - 1, 0).sum()) / self.objects

    def false_merges(self, groups: tuple[tuple[str, ...], ...]) -> float:
        """Objects that share a group with another object, per object."""
        owners = [{self.truth[name] for name in group} - {-1} for group in groups]
        return sum(max(len(group) - 1, 0) for group in owners) / self.objects

    def swallowed(self, groups: tuple[tuple[str, ...], ...]) -> float:
        """Clutter that went into another case, per object."""
        return sum(len(g) - 1 for g in groups if any(self.truth[n] < 0 for n in g)) / self.objects


def make_shift(
    seed: int, *, spacing_m: float = 6.0, gnss_m: float = 1.5, own_m: float = 0.4, passes: int = 5,
    length_m: float = 200.0, split: float = 0.08, clutter: float = 0.1, classes: tuple[str, ...] = ("garbage",),
) -> Shift:  # fmt: skip
    """A street of `length_m` driven `passes` times, hours apart; `split` is the share of objects in two cases.

    Objects are seen with probability 0.9 a pass, `own_m` off per axis, each pass shifted by `gnss_m` per axis as a
    whole; `clutter` is the share of sights that are of nothing.
    """
    rng = np.random.default_rng(seed)
    spots: list[tuple[float, float]] = []
    for side in (-6.0, 6.0):
        at = rng.exponential(spacing_m)
        while at < length_m:
            spots.append((side + 0.5 * rng.standard_normal(), at))
            at += 2.5 + rng.exponential(max(spacing_m - 2.5, 0.1))
    names = [classes[int(rng.integers(len(classes)))] for _ in spots]
    offsets = gnss_m * rng.standard_normal((passes, 2))
    seen: dict[int, list[PassPosition]] = {}
    own, common = (own_m**2, 0.0, own_m**2), (gnss_m**2, 0.0, gnss_m**2)
    for number in range(passes):
        things = [(k, spot) for k, spot in enumerate(spots) if rng.random() < 0.9]
        things += [
            (-1 - len(seen) - k, (float(rng.uniform(-8, 8)), float(rng.uniform(0, length_m))))
            for k in range(int(rng.binomial(len(things), clutter)))
        ]
        for key, spot in things:
            east, north = np.array(spot) + offsets[number] + own_m * rng.standard_normal(2)
            lat, lon = FRAME.to_geo(float(east), float(north))
            made = PassPosition(f"p{number}", UTC0_NS + number * 5 * HOUR_NS, lat, lon, own, common)
            seen.setdefault(key if key >= 0 else -1_000_000 - 1000 * number - key, []).append(made)
    return _cases(seen, names, len(spots), split, rng)


def _cases(
    seen: Mapping[int, list[PassPosition]], names: list[str], objects: int, split: float, rng: np.random.Generator
) -> Shift:
    cases: list[Case] = []
    truth: dict[str, int] = {}
    for key, positions in seen.items():
        parts = [positions]
        if key >= 0 and len(positions) > 1 and rng.random() < split:
            lost = int(rng.integers(len(positions)))
            parts = [positions[:lost] + positions[lost + 1 :], [positions[lost]]]
        for part in parts:
            name = f"{len(cases):04d}"
            fused = fuse(part)
            base = make_case(names[key] if key >= 0 else names[0], id=name)
            stamps = [p.utc_ns for p in part if p.utc_ns is not None]
            cases.append(
                replace(
                    base, lat_deg=fused.lat_deg, lon_deg=fused.lon_deg, cov_m2=triple(fused.cov_m2), passes=tuple(part),
                    state=CaseState.OPEN if len(part) > 1 else CaseState.CANDIDATE, first_seen_utc_ns=min(stamps),
                    last_seen_utc_ns=max(stamps),
                )
            )  # fmt: skip
            truth[name] = key if key >= 0 else -1
    return Shift(tuple(cases), truth, objects)
