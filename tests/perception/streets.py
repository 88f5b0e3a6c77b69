"""Streets of landmarks without pictures: what passes of several days would hand to association."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gnss.atlas import Atlas
from gnss.types import Array
from perception.associate import AssociateParams, Association, associate
from perception.rules import RuleParams, Rules
from perception.types import Anchor, Case, Landmark, PassRecord, Verdict
from tests.builders import CATALOGUE, FRONT, UTC0_NS, make_landmark, make_record

DAY_NS = 86_400_000_000_000
PARAMS = AssociateParams()
CLASSES = (
    "garbage", "pothole", "street_stall", "manhole_open", "garbage_bin_overflow", "pole", "manhole_closed",
    "traffic_sign",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Street:
    """Things at `places_m` (N, 2) of the test origin with `names`."""

    places_m: Array
    names: tuple[str, ...]

    @staticmethod
    def random(seed: int, spacing_m: float, length_m: float = 200.0, names: Sequence[str] = CLASSES) -> Street:
        """Both kerbs, at least 2.5 m apart."""
        rng, places = np.random.default_rng(seed), list[Array]()
        while len(places) < length_m / spacing_m:
            place = np.array([rng.choice([-1.0, 1.0]) * rng.uniform(3.5, 7.5), rng.uniform(0.0, length_m)])
            if all(np.hypot(*(place - other)) >= 2.5 for other in places):
                places.append(place)
        return Street(np.array(places), tuple(str(n) for n in rng.choice(list(names), len(places))))

    def look(
        self, day: int, sigma_m: float, *, seed: int, seen: float = 0.9, vehicle: str = "car-1",
        own_m: tuple[float, float] = (0.2, 0.5),
    ) -> PassRecord:  # fmt: skip
        """What one pass makes of it: one offset that drifts, own noise, a share of things `seen`."""
        rng, utc_ns = np.random.default_rng((seed, day)), UTC0_NS + day * DAY_NS
        start, end = sigma_m * rng.standard_normal((2, 2))
        marks = []
        for nth, (place, name) in enumerate(zip(self.places_m, self.names, strict=True)):
            at_s = place[1] / 8.0
            along = place[1] / max(self.places_m[:, 1].max(), 1.0)
            bias = start * (1.0 - 0.3 * along) + 0.3 * along * end
            own = rng.uniform(*own_m)
            spot = place + bias + own * rng.standard_normal(2)
            if rng.random() < seen:
                marks.append(
                    make_landmark(
                        name, spot[0], spot[1], track_id=nth + 1, pass_id=f"d{day}", sigma_m=own,
                        utc_ns=utc_ns + int(at_s * 1e9), stamp_ns=int(at_s * 1e9),
                    )
                )  # fmt: skip
        return make_record(marks, pass_id=f"d{day}", utc_ns=utc_ns, common_m=sigma_m, vehicle=vehicle)


@dataclass(slots=True)
class Memory:
    """Cases and anchors as they stand; `owners` tells which things' landmarks went into each case."""

    city: Atlas = field(default_factory=Atlas.empty)
    cases: dict[str, Case] = field(default_factory=dict)
    anchors: dict[str, Anchor] = field(default_factory=dict)
    owners: dict[str, Counter[int]] = field(default_factory=dict)

    def take(self, record: PassRecord) -> Association:
        """Associate one pass and keep what it did."""
        rules = Rules(CATALOGUE, self.city, RuleParams())
        known, anchors = list(self.cases.values()), list(self.anchors.values())
        result = associate(known, anchors, record, rules, {"front": FRONT}, PARAMS)
        self.cases.update({c.case_id: c.case for c in result.changes})
        self.anchors.update({a.id: a for a in result.anchors.kept})
        for name in result.anchors.gone:
            self.anchors.pop(name, None)
        for end in result.ends:
            if end.case_id is not None:
                self.owners.setdefault(end.case_id, Counter())[end.track_id] += 1
        return result


def mixed(seed: int, count: int = 40) -> list[Landmark]:
    """Landmarks of every kind at random: moving, coarse, faint, of all classes that are placed."""
    rng = np.random.default_rng(seed)
    names = sorted(n for n, c in CATALOGUE.classes.items() if c.role not in ("person", "context"))
    found = []
    for nth in range(count):
        mark = make_landmark(
            str(rng.choice(names)), float(rng.uniform(-8, 8)), float(rng.uniform(0, 80)), track_id=nth + 1,
            sigma_m=float(rng.uniform(0.1, 1.5)), verdict=Verdict(rng.choice([v.value for v in Verdict])),
            existence=float(rng.uniform(0.1, 0.999)), coarse=bool(rng.random() < 0.2), stamp_ns=int(nth * 1e9),
        )  # fmt: skip
        found.append(replace(mark, camera=str(rng.choice(["front", "left"]))))
    return found
