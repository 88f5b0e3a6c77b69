"""The life of a case: born, opened, updated, missed, resolved, reopened. Each step makes one `CaseChange`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from perception.approach import Approach, Look, mean_look, with_pass
from perception.catalogue import CaseKind
from perception.existence import ExistenceParams, after_hit, after_miss, survived
from perception.fuse import Fused, aligned, fuse
from perception.rules import Decision, Finding, Rules
from perception.serial import triple
from perception.types import (
    ACTIVE_STATES,
    Case,
    CaseChange,
    CaseState,
    ChangeKind,
    ComponentMatch,
    Landmark,
    PassPosition,
    PassRecord,
    Picture,
    TrackEnd,
)

MOST_EVIDENCE = 6
"""Close-up and context of the best look of each of up to three passes."""


def case_id(vehicle: str, first_look: str, camera: str, class_name: str, nth: int) -> str:
    """Derived id: 16 hex digits of SHA-256 over device, first look, camera and class; `nth` > 0 tells twins apart."""
    text = "|".join((vehicle, first_look, camera, class_name) + ((str(nth),) if nth else ()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Casework:
    """Makes the changes of one pass. Holds no memory beyond the ids already taken."""

    def __init__(
        self, rules: Rules, record: PassRecord, params: ExistenceParams, same_approach_s: float, taken: Iterable[str]
    ) -> None:
        self.rules = rules
        self._record = record
        self._params = params
        self.approach = Approach(record, same_approach_s)
        self._taken = set(taken)
        self._last: tuple[tuple[PassPosition, ...], Fused] | None = None

    def may_return(self, case: Case) -> bool:
        """Can a resolved case still be the same thing? A gone vehicle is gone: the next one there is another."""
        if case.state is CaseState.MERGED:
            return False
        if case.state not in (CaseState.RESOLVED, CaseState.WITHDRAWN) or self.approach.counted(case):
            return True
        if case.state is CaseState.WITHDRAWN:
            return False
        shape = self.rules.catalogue.classes[case.class_name]
        return shape.identity != "transient"

    def _fused(self, passes: tuple[PassPosition, ...]) -> Fused:
        """Fusion of these passes; asked for twice in a row, by the rules and by the case."""
        if self._last is None or self._last[0] != passes:
            self._last = passes, fuse(passes)
        return self._last[1]

    def judged(self, case: Case, look: Look) -> Finding:
        """The rules' word on a known thing: where all its passes together put it, not where this pass does."""
        fused = self._fused(with_pass(case.passes, look))
        there = replace(look.landmark, lat_deg=fused.lat_deg, lon_deg=fused.lon_deg, cov_own_m2=fused.cov_m2)
        return self.rules.judge(there, np.zeros((2, 2)))

    def _placed(self, case: Case, passes: tuple[PassPosition, ...]) -> Case:
        fused, among = self._fused(passes), aligned(passes)
        budget = [("gnss_m", fused.gnss_sigma_m), ("own_m", fused.own_sigma_m)]
        if any(any(p.cov_site_m2) for p in passes):
            budget.append(("site_m", fused.site_sigma_m))
        return replace(
            case, lat_deg=fused.lat_deg, lon_deg=fused.lon_deg, cov_m2=triple(fused.cov_m2),
            error_budget=tuple(budget), passes=passes,
            map_lat_deg=among[0], map_lon_deg=among[1], map_cov_m2=triple(among[2]),
        )  # fmt: skip

    def _change(
        self,
        before: Case | None,
        after: Case,
        kind: ChangeKind,
        stamp_ns: int,
        reason: str,
        pictures: tuple[Picture, ...],
    ) -> CaseChange:
        base = 0 if before is None else before.revision
        light = tuple(replace(p, jpeg=b"") for p in after.evidence)
        case = replace(after, revision=base + 1, reason=reason, evidence=light)
        utc_ns = case.last_seen_utc_ns if kind is not ChangeKind.RESOLVED else case.last_clear_look_utc_ns
        return CaseChange(case.id, base, kind, case, stamp_ns, utc_ns, self._record.pass_id, reason, pictures)

    def new_id(self, m: Landmark) -> str:
        """An id that nothing known has, derived from the first look."""
        look = (
            str(m.first_utc_ns // 1_000_000)
            if m.first_utc_ns is not None
            else f"{self._record.drive}@{m.first_stamp_ns}"
        )
        nth = 0
        while (name := case_id(self._record.vehicle, look, m.camera, m.class_name, nth)) in self._taken:
            nth += 1
        self._taken.add(name)
        return name

    def _code(self, row: CaseKind, component: ComponentMatch | None) -> str:
        """A cover or a pole is filed under the type of the component it is, once the register says which."""
        if component is None or row.name not in ("manhole_damage", "pole_damage"):
            return row.code
        return component.code

    def birth(self, look: Look) -> tuple[CaseChange | None, TrackEnd, str]:
        """A landmark that matches nothing known: an open case, a candidate, or too little to keep."""
        m, finding = look.landmark, look.finding
        if finding.kind is None:
            raise ValueError(f"landmark {m.id} was refused and cannot become a case")
        if m.existence < 0.5:
            return None, TrackEnd.EXPIRED, f"existence {m.existence:.2f} below 0.50"
        row = self.rules.catalogue.kinds[finding.kind]
        opens = finding.decision is Decision.ACCEPT and m.existence >= self._params.open_at
        code = self._code(row, finding.component)
        case = Case(
            self.new_id(m), 0, row.name, row.matter_kind, code, m.class_name,
            CaseState.OPEN if opens else CaseState.CANDIDATE,
            m.existence, m.confidence, m.lat_deg, m.lon_deg, (0.0, 0.0, 0.0), (), (), self._record.vehicle,
            m.first_utc_ns, m.last_utc_ns, m.first_utc_ns, m.last_utc_ns, finding.reason, finding.zone, finding.grid,
            finding.component, "lead", m.heading_deg, m.extent_m, m.pictures, dwell_s=finding.dwell_s,
            appearance=mean_look((), look, 0),
        )  # fmt: skip
        case = self._placed(case, (look.position,))
        reason = finding.reason
        if finding.decision is Decision.ACCEPT and not opens:
            reason += f"; existence {m.existence:.2f} below {self._params.open_at:.2f}"
        kind = ChangeKind.OPENED if opens else ChangeKind.CANDIDATE
        change = self._change(None, case, kind, m.last_stamp_ns, reason, m.pictures)
        return change, TrackEnd.FILED if opens else TrackEnd.CANDIDATE, reason

    def revisit(self, case: Case, look: Look) -> tuple[CaseChange | None, TrackEnd, str]:
        """A landmark at a known case: position and existence are updated, candidates may open, resolved ones reopen."""
        m, finding = look.landmark, look.finding
        if case.state is CaseState.REJECTED:
            return None, TrackEnd.SUPPRESSED, f"the platform rejected {case.id}"
        if case.state in (CaseState.RESOLVED, CaseState.WITHDRAWN) and self.approach.counted(case):
            return None, TrackEnd.MERGED, f"this pass was counted before {case.id} was found gone"
        if finding.decision is Decision.REFUSE:
            return None, finding.end, finding.reason
        again = self.approach.saw(case)
        passes = with_pass(case.passes, look)
        shape = self.rules.catalogue.classes[case.class_name]
        elapsed_s = (
            0.0
            if again or m.first_utc_ns is None or case.last_seen_utc_ns is None
            else (m.first_utc_ns - case.last_seen_utc_ns) * 1e-9
        )
        prior = survived(case.existence, shape, elapsed_s)
        existence = after_hit(max(prior, self._params.birth), m.existence, self._params.birth)
        if again:
            # Counted before, as one look among others: whatever it was worth is in.
            others = self.approach.counted(case) and any(p.pass_id != self._record.pass_id for p in case.passes)
            existence = case.existence if others else max(case.existence, m.existence)
        state, kind, reason = self._next(case, look, existence)
        old = {p.sha256 for p in case.evidence}
        fresh = tuple(p for p in m.pictures if p.sha256 not in old) if not again or len(case.evidence) < 2 else ()
        fresh = fresh[: max(0, MOST_EVIDENCE - len(case.evidence))]
        component = finding.component or case.component
        after = replace(
            case, state=state, existence=existence, confidence=max(case.confidence, m.confidence), clear_misses=0,
            evidence=case.evidence + fresh, zone=finding.zone or case.zone,
            component=component, code=self._code(self.rules.catalogue.kinds[case.kind], component),
            appearance=case.appearance if again else mean_look(case.appearance, look, len(case.passes)),
            last_seen_utc_ns=_latest(case.last_seen_utc_ns, m.last_utc_ns),
            last_clear_look_utc_ns=_latest(case.last_clear_look_utc_ns, m.last_utc_ns),
        )  # fmt: skip
        change = self._change(case, self._placed(after, passes), kind, m.last_stamp_ns, reason, fresh)
        # An urgent case was filed by this very track before its window closed.
        own = all(p.pass_id == self._record.pass_id for p in case.passes) and case.state in ACTIVE_STATES
        if kind is ChangeKind.OPENED or own:
            return change, TrackEnd.FILED, reason
        held = change.case.state is CaseState.CANDIDATE
        return change, TrackEnd.CANDIDATE if held else TrackEnd.MERGED, reason

    def _next(self, case: Case, look: Look, existence: float) -> tuple[CaseState, ChangeKind, str]:
        m, finding = look.landmark, look.finding
        if case.state is CaseState.RESOLVED:
            return CaseState.REOPENED, ChangeKind.REOPENED, "seen again at the place"
        if case.state is not CaseState.CANDIDATE:
            state = CaseState.OPEN if case.state is CaseState.MONITORING else case.state
            return state, ChangeKind.UPDATED, case.reason if self.approach.saw(case) else "seen again"
        if existence < self._params.open_at:
            return (
                CaseState.CANDIDATE,
                ChangeKind.CANDIDATE,
                f"seen again; existence {existence:.2f} below {self._params.open_at:.2f}",
            )
        if m.doubt and not finding.despite_doubt:
            # Another car in the same queue an hour later looks like the same car parked: no revisit proves that one.
            return CaseState.CANDIDATE, ChangeKind.CANDIDATE, f"seen again, but {m.doubt}"
        if finding.decision is Decision.ACCEPT:
            return CaseState.OPEN, ChangeKind.OPENED, finding.reason
        if m.last_utc_ns is None or case.first_seen_utc_ns is None or finding.dwell_s is None:
            return CaseState.CANDIDATE, ChangeKind.CANDIDATE, "seen again, but time is unknown"
        stood_s = (m.last_utc_ns - case.first_seen_utc_ns) * 1e-9
        # The first look of this approach may have been too coarse to open it: what counts is when it was first seen.
        if stood_s >= finding.dwell_s and not m.coarse and not self.approach.includes(case, case.first_seen_utc_ns):
            return (
                CaseState.OPEN,
                ChangeKind.OPENED,
                f"still standing after {stood_s:.0f} s, {finding.dwell_s:.0f} s allowed",
            )
        return (
            CaseState.CANDIDATE,
            ChangeKind.CANDIDATE,
            f"seen again after {stood_s:.0f} s; {finding.dwell_s:.0f} s and a second look needed",
        )

    def miss(self, case: Case, pass_pd: float, stamp_ns: int, *, seen_healthy: bool) -> CaseChange | None:
        """A clear look that did not find it: existence falls; gone only after looks enough, with a picture of it."""
        shape = self.rules.catalogue.classes[case.class_name]
        last = _latest(case.last_seen_utc_ns, case.last_clear_look_utc_ns)
        end_ns = self._record.end_utc_ns
        now = None if end_ns is None else end_ns + stamp_ns - self._record.end_stamp_ns
        elapsed_s = 0.0 if last is None or now is None else (now - last) * 1e-9
        existence = after_miss(survived(case.existence, shape, elapsed_s), pass_pd, self._params)
        misses = case.clear_misses + 1
        enough = misses >= (1 if seen_healthy or (pass_pd >= 0.95 and shape.identity == "transient") else 2)
        gone = existence < self._params.resolve_at and enough
        pictures = tuple(p for name, p in self._record.case_pictures if name == case.id) if gone else ()
        ended = CaseState.WITHDRAWN if case.state is CaseState.CANDIDATE else CaseState.RESOLVED
        after = replace(
            case, existence=existence, clear_misses=misses, evidence=case.evidence + pictures,
            last_clear_look_utc_ns=_latest(case.last_clear_look_utc_ns, now), state=ended if gone else case.state,
        )  # fmt: skip
        proof = "the healthy one is there" if seen_healthy else f"clear look {misses}, pD {pass_pd:.2f}, not there"
        if gone:
            kind = ChangeKind.WITHDRAWN if case.state is CaseState.CANDIDATE else ChangeKind.RESOLVED
            return self._change(case, after, kind, stamp_ns, f"{proof}; existence {existence:.3f}", pictures)
        if case.state is not CaseState.CANDIDATE:
            after = replace(after, state=CaseState.MONITORING)
        return self._change(case, after, ChangeKind.UPDATED, stamp_ns, f"{proof}; existence {existence:.3f}", ())


def _latest(a: int | None, b: int | None) -> int | None:
    return max((v for v in (a, b) if v is not None), default=None)
