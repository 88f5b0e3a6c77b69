"""Is a landmark a problem? By what it is, whether it moves and where it stands, in metres and seconds, in map space.

What a city forbids is data (`rulebook`); every judgement carries the numbers it was made with (`Finding.checks`).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gnss.atlas import Atlas
from gnss.city import Component, Zone
from gnss.types import Array
from perception.catalogue import Catalogue, ObjectClass
from perception.chance import footprint_probability, near_probability, zone_probability
from perception.register import REGISTER_SIGMA_M, match_component
from perception.rulebook import GROUPS, RuleBook, rules_of
from perception.types import ComponentMatch, Landmark, TrackEnd, Verdict

__all__ = [
    "REGISTER_SIGMA_M",
    "RESTRICTED",
    "Check",
    "Decision",
    "Finding",
    "RuleParams",
    "Rules",
    "footprint_probability",
    "match_component",
    "zone_probability",
]

DOUBLE_PARKED = "another vehicle stands between it and the kerb"
"""The doubt (perception.context) that the rule of double parking turns into a waiting case."""

RESTRICTED = {ban.zone: ban.kind for ban in RuleBook().bans}
"""Zone kinds that the default rules forbid, and the case kind each makes."""

_HERE = 0.5
"""A place counts as inside from this probability on, where nothing stricter is asked."""


class Decision(enum.StrEnum):
    """What a rule says of a landmark."""

    ACCEPT = "accept"
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Check:
    """One question that was asked: what, the value found, the limit it was held against, and whether it held."""

    what: str
    value: str
    limit: str = ""
    holds: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """A landmark's judgement: `kind` is set unless refused; `end` is the ledger state when nothing is filed.

    `despite_doubt`: what makes a doubt of a standing vehicle is what makes this one a problem (double parking).
    """

    decision: Decision
    reason: str
    kind: str | None = None
    zone: str | None = None
    grid: str | None = None
    dwell_s: float | None = None
    component: ComponentMatch | None = None
    end: TrackEnd = TrackEnd.NO_PROBLEM
    checks: tuple[Check, ...] = ()
    despite_doubt: bool = False


@dataclass(frozen=True, slots=True)
class RuleParams:
    """Tuning of the rules; a vehicle stands in a zone when `footprint_share` of its footprint does."""

    footprint_share: float = 0.3
    zone_sure: float = 0.6
    zone_sure_alone: float = 0.85
    zone_possible: float = 0.3
    search_m: float = 30.0
    component_search_m: float = 8.0


@dataclass(frozen=True, slots=True)
class _Ban:
    """A rule that may forbid standing here: probability, what it is called, the kind it makes, and its dwell."""

    chance: float
    name: str
    kind: str
    dwell_s: float | None
    zone: str | None


class Rules:
    """Judges landmarks by the catalogue, the city's atlas and its rules; without a book those that the atlas brings."""

    def __init__(self, catalogue: Catalogue, atlas: Atlas, params: RuleParams, book: RuleBook | None = None) -> None:
        self.book = rules_of(atlas.texts, Path("rules")) if book is None else book
        self.catalogue = self.book.applied(catalogue)
        self.atlas = atlas
        self._params = params

    @property
    def params(self) -> RuleParams:
        """The tuning in force."""
        return self._params

    def judge(self, landmark: Landmark, common_m2: Array) -> Finding:
        """Judge one landmark; `common_m2` (2, 2) is the pass-common covariance to add to its own."""
        return _Trial(self, landmark, landmark.cov_own_m2 + common_m2).judged()


class _Trial:
    """One landmark before the rules: its zones with their probabilities, and the checks made so far."""

    def __init__(self, rules: Rules, landmark: Landmark, cov_m2: Array) -> None:
        self._book, self._atlas, self._params = rules.book, rules.atlas, rules.params
        self._catalogue = rules.catalogue
        self._mark, self._cov = landmark, cov_m2
        self._shape: ObjectClass = rules.catalogue.classes[landmark.class_name]
        self._checks: list[Check] = []
        near = rules.atlas.zones_near(landmark.lat_deg, landmark.lon_deg, self._params.search_m)
        self._zones = sorted(((self._chance(zone), zone) for zone in near), key=lambda row: (-row[0], row[1].id))

    def judged(self) -> Finding:
        """The judgement."""
        shape = self._shape
        for chance, zone in self._zones:
            if zone.kind in self._book.sensitive:
                limit = self._book.sensitive_probability
                if self._check(f"in sensitive area {zone.id}", chance, limit, above=True):
                    reason = "inside a sensitive area: nothing is stored"
                    return self._refuse(reason, end=TrackEnd.SUPPRESSED)
        if shape.role == "anchor":
            return self._refuse("permanent landmark", end=TrackEnd.ANCHOR)
        if shape.role in ("healthy", "person", "context") or shape.kind is None:
            return self._refuse(f"{shape.title}: no problem by itself")
        if shape.role == "vehicle":
            return self._parking(shape.kind)
        if shape.kind == "street_vending":
            return self._stall()
        if shape.kind == "exposed_garbage":
            return self._garbage()
        return self._accept(f"{shape.title} seen", shape.kind)

    # -- what is asked again and again

    def _chance(self, zone: Zone) -> float:
        if self._shape.role == "vehicle":
            return footprint_probability(zone, self._mark, self._cov, self._params.footprint_share)
        return zone_probability(zone, self._mark.lat_deg, self._mark.lon_deg, self._cov)

    def _active(self, zone: Zone) -> bool:
        utc_ns = self._mark.last_utc_ns
        return utc_ns is None or zone.active(utc_ns, self._atlas.utc_offset_hours, self._atlas.calendar)

    def _concerns(self, zone: Zone, classes: Sequence[str]) -> bool:
        """Is this class meant? The zone's own list wins over its rule's; an empty one means all."""
        named = zone.classes or classes
        return not named or self._is(named)

    def _is(self, named: Sequence[str]) -> bool:
        return self._mark.class_name in named or GROUPS.get(self._shape.kind or "", "") in named

    def _check(self, what: str, value: float, limit: float, *, above: bool = False, unit: str = "") -> bool:
        """Note a comparison and return whether it holds: `value` >= `limit`, or > for `above`."""
        holds = value > limit if above else value >= limit
        said = (f"p {value:.2f}", f"{limit:.2f}") if not unit else (f"{value:.2f} {unit}", f"{limit:.2f} {unit}")
        self._checks.append(Check(what, said[0], ("> " if above else ">= ") + said[1], holds))
        return holds

    def _tell(self, what: str, value: str, *, holds: bool = True) -> None:
        self._checks.append(Check(what, value, "", holds))

    def _permit(self, kind: str) -> Zone | None:
        """A permit that covers this kind here and now."""
        for chance, zone in self._zones:
            if zone.kind == self._book.permit_zone and kind in zone.permits and self._concerns(zone, ()):
                inside = self._check(f"inside permit {zone.id}", chance, _HERE)
                if inside and self._in_force(zone):
                    return zone
        return None

    def _in_force(self, zone: Zone) -> bool:
        active = self._active(zone)
        self._tell(f"hours of {zone.id}", zone.hours.text, holds=active)
        return active

    # -- how a judgement ends

    def _grid(self) -> str | None:
        return self._atlas.grid_at(self._mark.lat_deg, self._mark.lon_deg)

    def _refuse(self, reason: str, zone: str | None = None, end: TrackEnd = TrackEnd.NO_PROBLEM) -> Finding:
        return Finding(Decision.REFUSE, reason, zone=zone, end=end, checks=tuple(self._checks))

    def _hold(
        self, reason: str, kind: str, zone: str | None, dwell_s: float, *, despite_doubt: bool = False
    ) -> Finding:
        return Finding(
            Decision.HOLD, reason, kind, zone, self._grid(), dwell_s, checks=tuple(self._checks),
            despite_doubt=despite_doubt,
        )  # fmt: skip

    def _accept(self, reason: str, kind: str) -> Finding:
        """A thing that is a problem wherever it stands; the zone that it most likely stands in is told."""
        permit = self._permit(kind)
        if permit is not None:
            return self._refuse(f"allowed by permit {permit.id}", zone=permit.id)
        component = self._component(kind)
        zone = self._zones[0][1].id if self._zones and self._zones[0][0] >= _HERE else None
        return Finding(Decision.ACCEPT, reason, kind, zone, self._grid(), None, component, checks=tuple(self._checks))

    def _component(self, kind: str) -> ComponentMatch | None:
        row = self._catalogue.kinds[kind]
        if row.family != "component":
            return None
        # Any cover of the register (01001..01023) can be the damaged one; other kinds name their component type.
        covers = frozenset(f"010{n:02d}" for n in range(1, 24))
        codes = covers if kind == "manhole_damage" else frozenset({row.code})
        m = self._mark
        match = match_component(self._atlas, codes, m.lat_deg, m.lon_deg, self._cov, self._params.component_search_m)
        self._tell(
            "register component",
            "none is likely enough" if match is None else f"{match.id} (p {match.probability:.2f})",
        )
        return match

    # -- stalls and garbage

    def _stall(self) -> Finding:
        """Allowed areas and hours first; then what a stall in this place is called here."""
        for chance, zone in self._zones:
            allowed = zone.kind in self._book.vending_allowed and self._concerns(zone, ())
            if allowed and self._check(f"inside {zone.id}", chance, _HERE) and self._in_force(zone):
                return self._refuse(f"vending is allowed in {zone.id} now", zone=zone.id)
        for place in self._book.stalls:
            for chance, zone in self._zones:
                if zone.kind == place.zone and self._check(f"inside {zone.id} ({zone.kind})", chance, _HERE):
                    if self._in_force(zone):
                        return self._accept(f"{self._shape.title} seen in {zone.id} ({zone.kind})", place.kind)
        return self._accept(f"{self._shape.title} seen", "street_vending")

    def _garbage(self) -> Finding:
        """The pile test, and whether it lies beside a bin."""
        rule = self._book.garbage
        across_m = max(self._mark.extent_m[0], self._mark.extent_m[1])
        if not self._check("size across", across_m, rule.least_m, unit="m"):
            return self._refuse(f"{across_m:.2f} m across: a wrapper, no heap")
        kind, reason = "exposed_garbage", f"{self._shape.title} seen"
        bin_beside = self._bin()
        if bin_beside is not None:
            kind, reason = rule.beside_kind, f"{self._shape.title} beside bin {bin_beside.id}"
        if self._check("size across", across_m, rule.pile_m, unit="m"):
            return self._accept(reason, kind)
        said = f"{reason}, {across_m:.2f} m across: waits {rule.persist_s:.0f} s for a second look"
        return self._hold(said, kind, None, rule.persist_s)

    def _bin(self) -> Component | None:
        rule, m = self._book.garbage, self._mark
        for one in self._atlas.components_near(m.lat_deg, m.lon_deg, rule.beside_m + self._params.component_search_m):
            if one.code in rule.bin_codes:
                chance = near_probability(m.lat_deg, m.lon_deg, one.lat_deg, one.lon_deg, self._cov, rule.beside_m)
                if self._check(f"within {rule.beside_m:g} m of bin {one.id}", chance, _HERE):
                    return one
        return None

    # -- vehicles

    def _parking(self, kind: str) -> Finding:
        m, p = self._mark, self._params
        self._tell("moves", f"{m.verdict.value}, {m.speed_mps:.1f} m/s", holds=m.verdict is not Verdict.MOVING)
        if m.verdict is Verdict.MOVING:
            return self._refuse(f"moving at {m.speed_mps:.1f} m/s")
        bans = self._bans()
        bay_chance, bay = self._bay()
        if not bans or bans[0].chance < p.zone_possible:
            second = self._second_row(bay_chance)
            if second is not None:
                return second
            where = f"in parking bay {bay}" if bay is not None and bay_chance >= _HERE else "no zone here forbids it"
            return self._refuse(f"parked legally: {where}")
        ban = bans[0]
        # Bays are often drawn inside the zone that forbids the rest of the street: where a bay is, it wins.
        chance = min(ban.chance, 1.0 - bay_chance)
        if not self._check(f"in {ban.name} and in no bay", chance, p.zone_possible):
            return self._refuse(f"parked legally: in bay {bay} (p {bay_chance:.2f}) of {ban.name}")
        permit = self._permit(ban.kind)
        if permit is not None:
            return self._refuse(f"allowed by permit {permit.id}", zone=permit.id)
        dwell_s = self._atlas.default_dwell_s if ban.dwell_s is None else ban.dwell_s
        return self._banned(ban, chance, dwell_s)

    def _banned(self, ban: _Ban, chance: float, dwell_s: float) -> Finding:
        """It stands where it should not: filed at once, or held for a second look, and for how long."""
        m, p = self._mark, self._params
        longer_s = max(dwell_s, self._book.unsure_dwell_s)
        if m.doubt:
            self._tell("waits in traffic", m.doubt, holds=False)
            double = self._book.double_parking
            if double is not None and m.doubt == DOUBLE_PARKED and m.verdict is Verdict.STATIC:
                return self._doubled(double.kind, ban.zone, double.dwell_s)
            return self._hold(
                f"in {ban.name}, but {m.doubt}: waits for a look without that doubt", ban.kind, ban.zone, longer_s
            )
        if m.verdict is Verdict.UNKNOWN:
            reason = f"in {ban.name}, not surely standing still: waits for a second look"
            return self._hold(reason, ban.kind, ban.zone, longer_s)
        sure = p.zone_sure if m.kerbside else p.zone_sure_alone
        if not self._check(f"surely in {ban.name} ({'at the kerb' if m.kerbside else 'kerb not seen'})", chance, sure):
            reason = f"perhaps in {ban.name} (p {chance:.2f}): waits for a second look"
            return self._hold(reason, ban.kind, ban.zone, dwell_s)
        self._tell("time allowed", f"{dwell_s:.0f} s", holds=dwell_s <= 0)
        if dwell_s > 0:
            reason = f"in {ban.name} (p {chance:.2f}), which allows {dwell_s:.0f} s: waits for a second look"
            return self._hold(reason, ban.kind, ban.zone, dwell_s)
        reason = f"standing in {ban.name} (p {chance:.2f}), no stopping"
        return Finding(Decision.ACCEPT, reason, ban.kind, ban.zone, self._grid(), 0.0, checks=tuple(self._checks))

    def _second_row(self, bay_chance: float) -> Finding | None:
        """Double parking needs no zone: where a row stands at the kerb, the lane beside it is no place to park."""
        double, m = self._book.double_parking, self._mark
        if double is None or m.doubt != DOUBLE_PARKED or m.verdict is not Verdict.STATIC or bay_chance >= _HERE:
            return None
        if self._shape.kind != "illegal_parking":
            return None
        self._tell("second row", m.doubt)
        return self._doubled(double.kind, None, double.dwell_s)

    def _doubled(self, kind: str, zone: str | None, dwell_s: float) -> Finding:
        reason = f"in the second row: waits {dwell_s:.0f} s for a second look"
        return self._hold(reason, kind, zone, dwell_s, despite_doubt=True)

    def _bans(self) -> list[_Ban]:
        """Rules that forbid standing here for this class and at this time, the likeliest first."""
        found = []
        for chance, zone in self._zones:
            ban = next((b for b in self._book.bans if b.zone == zone.kind and self._is(b.classes)), None)
            if ban is None or not self._concerns(zone, ban.classes):
                continue
            active = self._active(zone)
            self._checks.append(Check(f"in {zone.id} ({zone.kind})", f"p {chance:.2f}", zone.hours.text, active))
            if active:
                dwell_s = ban.dwell_s if zone.dwell_s is None else zone.dwell_s
                found.append(_Ban(chance, zone.id, ban.kind, dwell_s, zone.id))
        found += [ban for rule in range(len(self._book.nears)) for ban in self._near(rule)]
        return sorted(found, key=lambda ban: (-ban.chance, ban.name))

    def _near(self, index: int) -> list[_Ban]:
        """Components of the register that keep a distance free around them."""
        rule, m = self._book.nears[index], self._mark
        if not self._is(rule.classes):
            return []
        found = []
        reach_m = rule.within_m + 3.0 * float(np.sqrt(np.trace(self._cov)))
        for one in self._atlas.components_near(m.lat_deg, m.lon_deg, reach_m):
            if one.code in rule.codes:
                chance = near_probability(m.lat_deg, m.lon_deg, one.lat_deg, one.lon_deg, self._cov, rule.within_m)
                name = f"{rule.within_m:g} m of {rule.name} {one.id}"
                self._checks.append(Check(f"within {name}", f"p {chance:.2f}"))
                found.append(_Ban(chance, name, rule.kind, rule.dwell_s, None))
        return found

    def _bay(self) -> tuple[float, str | None]:
        """The likeliest bay that this class may use now."""
        for chance, zone in self._zones:
            bay = next((b for b in self._book.bays if b.zone == zone.kind), None)
            if bay is not None and self._concerns(zone, bay.classes) and self._active(zone):
                self._checks.append(Check(f"in bay {zone.id}", f"p {chance:.2f}", zone.hours.text))
                return chance, zone.id
        return 0.0, None
