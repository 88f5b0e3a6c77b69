"""A pass laid on what is known: corrected by the city's register first, then aligned with cases and learned anchors.

The register is absolute: it moves the pass and shrinks its common covariance. Cases and learned anchors are not: the
offset against them says how things lie to each other, and nothing of where they are (DESIGN.md section 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception import anchors as permanent
from perception.align import Alignment, align
from perception.assign import AssignParams, Pairing
from perception.rules import Rules
from perception.serial import matrix2, triple
from perception.things import Known, Sights, Thing, pose_parts
from perception.types import Anchor, Case, Landmark, PassPosition, PassRecord
from perception.votes import AlignParams, Link, Prior

_NEIGHBOUR_M = 30.0
"""A landmark with nothing known so near starts a map of its own: what its place owes to GNSS is that map's."""
_GAUGE_M = 0.1
_NOTHING = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Offset:
    """Mean offset to add to a pass's positions (metres east/north), covariance (2, 2) m2 at one of them, and pairs."""

    east_m: float
    north_m: float
    cov_m2: Array
    inliers: int

    @staticmethod
    def of(alignment: Alignment) -> Offset:
        """The mean over the pairs of a window; 0 with the whole prior when nothing was sure."""
        if not alignment.inliers:
            return Offset(0.0, 0.0, alignment.prior.cov_m2, 0)
        mean, cov, _ = alignment.at(np.concatenate([run.time_s for run in alignment.runs]))
        east, north = mean.mean(axis=0)
        return Offset(float(east), float(north), cov.mean(axis=0), alignment.inliers)


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """What a window hands to the next one of the same drive: its offsets against cases and against the register."""

    relative: Link | None = None
    absolute: Link | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What is known around a window: cases, learned anchors and those of the register, each by id."""

    cases: Sequence[Case]
    learned: Sequence[Anchor]
    register: Sequence[Anchor]


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """A pass after alignment. `sights`, `live` are corrected by the register; `positions`, `marks` (L,) go with them.

    `register` and `relative` are the two offsets; `links` go on to the next window.
    """

    sights: Sights
    live: Sights
    marks: tuple[Landmark, ...]
    positions: tuple[PassPosition, ...]
    register: Alignment
    relative: Alignment
    links: Links

    def raw_places(self, known: Known, time_s: Array) -> tuple[Array, Array]:
        """Where known things (K, 2) lie in this pass's own coordinates at times (K,), with covariance (K, 2, 2) m2."""
        offset, spread, _ = self.relative.at(time_s)
        shift = self.register.at(time_s)[0] if self.register.runs else np.zeros((len(time_s), 2))
        return known.place_m - offset - shift, known.own_m2 + spread


def _prior(known: Known, pass_m2: Array) -> Prior:
    """The offset before any vote: what the known things owe to GNSS on the mean, and what this pass may owe."""
    if not len(known.things):
        return Prior(np.zeros(2), pass_m2)
    shared = np.mean(np.trace(known.fused_m2, axis1=1, axis2=2)) / 2
    return Prior((known.place_m - known.fused_m).mean(axis=0), pass_m2 + shared * np.eye(2))


def lay(
    around: Surroundings,
    landmarks: Sequence[Landmark],
    record: PassRecord,
    rules: Rules,
    frame: LocalFrame,
    links: Links,
    align_params: AlignParams,
    params: AssignParams,
) -> Laid:
    """Align a window; everything that it saw votes, what goes on beyond its end too."""
    context = Sights.of([*landmarks, *record.live], record.views, frame)
    middle_ns = (record.start_stamp_ns + record.end_stamp_ns) // 2
    pass_m2 = record.cov_common_m2 + pose_parts([middle_ns], record.views)[0]
    prior = Prior(np.zeros(2), pass_m2)
    register = Alignment(prior, align_params.tau_s)
    if around.register:
        known = Known.of(around.register, record.pass_id, frame, params.seen)
        votes = Pairing.of(context, known, rules.catalogue, params).votes(prior, params, absolute=True)
        register = align(votes, prior, links.absolute, align_params)
    shift, left, site = register.at(context.time_s)
    if register.runs:
        context = replace(context, place_m=context.place_m + shift)
        pass_m2 = left.mean(axis=0) if len(left) else pass_m2
    pulling: list[Thing] = [*around.cases, *(a for a in around.learned if permanent.settled(a, rules.catalogue))]
    known = Known.of(pulling, record.pass_id, frame, params.seen)
    prior = _prior(known, pass_m2)
    votes = Pairing.of(context, known, rules.catalogue, params).votes(prior, params)
    relative = align(votes, prior, links.relative, align_params)
    count = len(landmarks)
    sights = context.part(slice(0, count))
    alone = _alone(sights.place_m + relative.at(sights.time_s)[0], known)
    positions = _positions(landmarks, sights, record, frame, relative, register, left[:count], site[:count], alone)
    marks = tuple(_corrected(m, p) for m, p in zip(landmarks, positions, strict=True))
    onward = Links(_onward(relative, record, bool(alone.any())), _onward(register, record, False))
    return Laid(sights, context.part(slice(count, None)), marks, positions, register, relative, onward)


def _alone(places_m: Array, known: Known) -> NDArray[np.bool_]:
    """Places (L, 2) that have nothing known near, what this very pass has touched aside."""
    others = known.place_m[~known.mine]
    if not len(others):
        return np.ones(len(places_m), np.bool_)
    apart = np.hypot(*(places_m[:, None, :] - others[None, :, :]).transpose(2, 0, 1))
    result: NDArray[np.bool_] = apart.min(axis=1) > _NEIGHBOUR_M
    return result


def _positions(
    landmarks: Sequence[Landmark],
    sights: Sights,
    record: PassRecord,
    frame: LocalFrame,
    relative: Alignment,
    register: Alignment,
    left: Array,
    site: Array,
    alone: NDArray[np.bool_],
) -> tuple[PassPosition, ...]:
    """What the pass says of each landmark, its covariance split in own, common and register."""
    offset, doubt, _ = relative.at(sights.time_s)
    found = []
    for i, m in enumerate(landmarks):
        lat, lon = m.lat_deg, m.lon_deg
        parts = triple(m.cov_own_m2), triple(record.cov_common_m2), _NOTHING
        if register.runs:
            lat, lon = frame.to_geo(float(sights.place_m[i, 0]), float(sights.place_m[i, 1]))
            parts = triple(sights.own_m2[i]), triple(left[i] - site[i] + 1e-6 * np.eye(2)), triple(site[i])
        among = sights.own_m2[i] if alone[i] else sights.own_m2[i] + doubt[i]
        found.append(
            PassPosition(
                record.pass_id, m.last_utc_ns, lat, lon, parts[0], parts[1], float(offset[i, 0]), float(offset[i, 1]),
                parts[2], triple(among),
            )
        )  # fmt: skip
    return tuple(found)


def _corrected(m: Landmark, p: PassPosition) -> Landmark:
    if (p.lat_deg, p.lon_deg) == (m.lat_deg, m.lon_deg):
        return m
    return replace(m, lat_deg=p.lat_deg, lon_deg=p.lon_deg, cov_own_m2=matrix2(p.cov_own_m2))


def _onward(alignment: Alignment, record: PassRecord, gauge: bool) -> Link | None:
    """The offset at the window's end, for the next one. Things that began a map carry this pass's error themselves."""
    end = np.array([record.end_stamp_ns * 1e-9])
    mean, cov, _ = alignment.at(end)
    if alignment.runs:
        return Link(record.end_stamp_ns, mean[0], cov[0])
    return Link(record.end_stamp_ns, mean[0], _GAUGE_M**2 * np.eye(2)) if gauge else None
