"""What a case keeps of its passes, and which looks belong to one approach and so count as one."""

from __future__ import annotations

from dataclasses import dataclass

from gnss.geodesy import distance_m
from perception.rules import Finding
from perception.types import Anchor, Case, Landmark, PassPosition, PassRecord

MOST_PASSES = 32
"""A case keeps its first pass and the newest ones: more would cost time and say no more."""

MOST_LOOKS = 4
"""The remembered appearance follows the light of the last few passes."""

AWAY_M = 50.0
"""The next look needs the car to have been farther away than this in between."""

_WORSE = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One landmark of this pass with its judgement, and where this pass puts it among what is known."""

    landmark: Landmark
    finding: Finding
    position: PassPosition


def _spread(position: PassPosition) -> float:
    return position.cov_aligned_m2[0] + position.cov_aligned_m2[2]


def with_pass(passes: tuple[PassPosition, ...], look: Look) -> tuple[PassPosition, ...]:
    """The passes with this look in the place of an earlier one of the same pass; a coarse one says nothing new.

    An earlier one that was aligned better stays: a drive that is replayed finds nothing left to be aligned with.
    """
    others = tuple(p for p in passes if p.pass_id != look.position.pass_id)
    if look.landmark.coarse and passes:
        return passes
    old = next((p for p in passes if p.pass_id == look.position.pass_id), None)
    if old is not None and any(old.cov_aligned_m2) and _spread(look.position) > _WORSE * _spread(old):
        return passes
    others += (look.position,)
    return others if len(others) <= MOST_PASSES else others[:1] + others[1 - MOST_PASSES :]


def mean_look(before: tuple[float, ...], look: Look, passes: int) -> tuple[float, ...]:
    """Mean appearance over up to some passes; what was there without one, or of another size."""
    seen = look.landmark.appearance
    if seen is None:
        return before
    if len(before) != len(seen):
        return tuple(round(float(v), 4) for v in seen)
    keep = min(passes, MOST_LOOKS) / (min(passes, MOST_LOOKS) + 1)
    return tuple(round(keep * old + (1.0 - keep) * float(new), 4) for old, new in zip(before, seen, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Approach:
    """The approach that a pass is part of: looks less than `least_s` apart, or without having been away, are one."""

    record: PassRecord
    least_s: float

    def counted(self, case: Case | Anchor) -> bool:
        """Has this very pass been taken into the case before?"""
        return any(p.pass_id == self.record.pass_id for p in case.passes)

    def holds(self, case: Case | Anchor) -> bool:
        """Was the thing last seen or clearly looked at in this approach? Then this is no second look."""
        stamps = [s for s in (case.last_seen_utc_ns, case.last_clear_look_utc_ns) if s is not None]
        return self.counted(case) or not stamps or self.includes(case, max(stamps))

    def saw(self, case: Case) -> bool:
        """Was it seen in this approach before? A sight corrects a look that missed it earlier in the approach."""
        return self.counted(case) or case.last_seen_utc_ns is None or self.includes(case, case.last_seen_utc_ns)

    def includes(self, case: Case | Anchor, last_ns: int) -> bool:
        """Does a moment (UTC ns) belong to it?"""
        if self.record.start_utc_ns is None:
            return True
        if (self.record.start_utc_ns - last_ns) * 1e-9 < self.least_s:
            return True
        trail = self.record.trail
        if not trail or trail[0][0] > last_ns:
            return False  # the vehicle's own way since then is not all known: it began, or went on, elsewhere
        since = (p for p in trail if p[0] > last_ns)
        return not any(distance_m(lat, lon, case.lat_deg, case.lon_deg) > AWAY_M for _, lat, lon in since)
