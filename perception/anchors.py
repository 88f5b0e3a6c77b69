"""Permanent landmarks: those of the city's register, which are where they are, and those that drives have learned.

Learned ones live as cases do (split covariance per pass, existence), but nobody files them: they only pull offsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gnss.atlas import Atlas
from gnss.geodesy import LocalFrame
from perception.approach import Look, mean_look, with_pass
from perception.casework import Casework
from perception.catalogue import Catalogue
from perception.existence import ExistenceParams, after_hit, after_miss, survived
from perception.fuse import aligned, fuse
from perception.rules import REGISTER_SIGMA_M
from perception.serial import triple
from perception.types import Anchor, PassPosition, PassRecord, Verdict

MOST_ANCHOR_PASSES = 12
SETTLED_DAYS = 3
SETTLED_M = 0.5
_DAY_NS = 86_400_000_000_000

REGISTER_CLASSES: Mapping[str, frozenset[str]] = {
    "manhole_closed": frozenset(f"010{n:02d}" for n in range(1, 24)),
    "pole": frozenset(f"010{n:02d}" for n in range(30, 35)),
    "traffic_sign": frozenset({"02010"}),
    "traffic_light": frozenset({"02014"}),
}
"""Component codes of GB/T 47678.5-2026 appendix A by the anchor class that a camera sees of them."""


def may_anchor(class_name: str, catalogue: Catalogue) -> bool:
    """Can this class be a permanent landmark: an anchor, or a healthy fixed thing that may prove to be one?"""
    shape = catalogue.classes.get(class_name)
    return shape is not None and (shape.role == "anchor" or (shape.role == "healthy" and shape.identity == "fixed"))


def settled(anchor: Anchor, catalogue: Catalogue) -> bool:
    """May it pull an offset? Anchors at once; a bin once three days have seen it within half a metre."""
    shape = catalogue.classes.get(anchor.class_name)
    if shape is None:
        return False
    if shape.role == "anchor" or not anchor.passes:
        return True
    if anchor.map_lat_deg is None or anchor.map_lon_deg is None:
        return False
    frame = LocalFrame(anchor.map_lat_deg, anchor.map_lon_deg)
    days = set()
    for p in anchor.passes:
        east, north = frame.to_enu(p.lat_deg, p.lon_deg)
        if p.utc_ns is not None and (east + p.offset_e_m) ** 2 + (north + p.offset_n_m) ** 2 <= SETTLED_M**2:
            days.add(p.utc_ns // _DAY_NS)
    return len(days) >= SETTLED_DAYS


def register_anchors(atlas: Atlas, middle: tuple[float, float], radius_m: float) -> list[Anchor]:
    """Anchors for the components of the city's register around a place, by id; sigma by accuracy class."""
    classes = {code: name for name, codes in REGISTER_CLASSES.items() for code in codes}
    found = []
    for component in atlas.components_near(*middle, radius_m):
        if component.code in classes:
            variance = REGISTER_SIGMA_M.get(component.accuracy_class or "B", 1.0) ** 2
            found.append(
                Anchor(
                    component.id, classes[component.code], component.lat_deg, component.lon_deg,
                    (variance, 0.0, variance),
                )
            )  # fmt: skip
    return sorted(found, key=lambda a: a.id)


def _placed(anchor: Anchor, passes: tuple[PassPosition, ...]) -> Anchor:
    if len(passes) > MOST_ANCHOR_PASSES:
        passes = passes[:1] + passes[1 - MOST_ANCHOR_PASSES :]
    fused, among = fuse(passes), aligned(passes)
    return replace(
        anchor, lat_deg=fused.lat_deg, lon_deg=fused.lon_deg, cov_m2=triple(fused.cov_m2), passes=passes,
        map_lat_deg=among[0], map_lon_deg=among[1], map_cov_m2=triple(among[2]),
    )  # fmt: skip


def learn(look: Look, work: Casework) -> Anchor | None:
    """A permanent landmark that nobody knew; None when it is not placed well enough to be one."""
    m = look.landmark
    if m.coarse or m.verdict is not Verdict.STATIC or m.existence < 0.5:
        return None
    fresh = Anchor(
        work.new_id(m), m.class_name, m.lat_deg, m.lon_deg, (0.0, 0.0, 0.0), (), 1, m.existence, m.last_utc_ns,
        m.last_utc_ns, appearance=mean_look((), look, 0),
    )  # fmt: skip
    return _placed(fresh, (look.position,))


def see(anchor: Anchor, look: Look, work: Casework) -> Anchor:
    """A known permanent landmark seen again: place, existence and appearance are updated, once per approach."""
    m = look.landmark
    again = work.approach.holds(anchor)
    shape = work.rules.catalogue.classes[anchor.class_name]
    existence = anchor.existence if again else max(anchor.existence, m.existence)
    if not again and m.first_utc_ns is not None and anchor.last_seen_utc_ns is not None:
        prior = survived(anchor.existence, shape, (m.first_utc_ns - anchor.last_seen_utc_ns) * 1e-9)
        existence = after_hit(prior, m.existence)
    stamps = [s for s in (anchor.last_seen_utc_ns, m.last_utc_ns) if s is not None]
    last = max(stamps, default=None)
    after = replace(
        anchor, revision=anchor.revision + 1, existence=existence, last_seen_utc_ns=last,
        last_clear_look_utc_ns=last, clear_misses=0,
        appearance=anchor.appearance if again else mean_look(anchor.appearance, look, len(anchor.passes)),
    )  # fmt: skip
    return _placed(after, with_pass(anchor.passes, look))


def miss(anchor: Anchor, chance: float, record: PassRecord, work: Casework, params: ExistenceParams) -> Anchor | None:
    """A clear look that did not find it; None when it must be believed to be gone."""
    shape = work.rules.catalogue.classes[anchor.class_name]
    stamps = [s for s in (anchor.last_seen_utc_ns, anchor.last_clear_look_utc_ns) if s is not None]
    elapsed_s = 0.0 if record.end_utc_ns is None or not stamps else max(record.end_utc_ns - max(stamps), 0) * 1e-9
    existence = after_miss(survived(anchor.existence, shape, elapsed_s), chance, params)
    if existence < params.resolve_at and anchor.clear_misses >= 1:
        return None
    return replace(
        anchor,
        revision=anchor.revision + 1,
        existence=existence,
        clear_misses=anchor.clear_misses + 1,
        last_clear_look_utc_ns=record.end_utc_ns,
    )


def split(anchors: Sequence[Anchor], catalogue: Catalogue) -> tuple[list[Anchor], list[Anchor]]:
    """Anchors whose class the catalogue knows, as those of the register and those learned."""
    known = [a for a in anchors if a.class_name in catalogue.classes]
    return [a for a in known if not a.passes], [a for a in known if a.passes]
