"""Experiment 4: cases against true things after two passes, strict one-to-one per kind within 1, 2, 3 and 5 metres."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gnss.types import Array
from replays.bench.figures import Figure, least
from replays.bench.fleet import Fleet
from replays.bench.metrics import rate
from replays.bench.plan import Experiment, Results, Tables
from replays.bench.rig import Rig
from replays.score import Score, Spot, match_spots
from replays.world.card import CARD
from replays.world.scene import catalogue
from replays.world.streets import rides, street

RADII_M = (1.0, 2.0, 3.0, 5.0)
SPACING_M, LENGTH_M = 10.0, 200.0
KINDS = tuple(sorted(catalogue().kinds))


def score_fleet(fleet: Fleet, at_s: float, radius_m: float) -> Score:
    """Active cases against the problems that stand there at `at_s`, one-to-one per kind.

    What no pass could see well is no miss, but a case of it is no false one either.
    """
    cases = [Spot(c.id, c.kind, c.lat_deg, c.lon_deg) for c in fleet.cases()]
    truths = []
    for thing in fleet.world.things:
        if thing.kind is not None and thing.exists(at_s):
            lat, lon = fleet.world.frame.to_geo(*thing.place(at_s))
            truths.append(Spot(thing.id, thing.kind, lat, lon))
    score = match_spots(cases, truths, radius_m)
    missed = [spot for spot in score.missed if spot.id in fleet.seen]
    kinds = {
        kind: replace(counts, missed=sum(spot.kind == kind for spot in missed)) for kind, counts in score.kinds.items()
    }
    return replace(score, kinds=kinds, missed=tuple(missed))


def measure(rig: Rig, case: str, seed: int) -> Tables:
    """One street, two passes: rows (radius, kind, matched, missed, false) with kinds numbered by name."""
    world = street(seed, SPACING_M, LENGTH_M)
    fleet = Fleet(rig, world, CARD, seed)
    end_s = 0.0
    for visit in fleet.tour(rides(world, 2, 1, ("front",), 2)):
        end_s = visit.ride.start_s + visit.ride.duration_s
    rows = []
    for radius in RADII_M:
        for kind, counts in score_fleet(fleet, end_s, radius).kinds.items():
            rows.append([radius, KINDS.index(kind), counts.matched, counts.missed, counts.false])
    return {"rows": np.array(rows, dtype=np.float64).reshape(-1, 5)}


def _counts(worlds: list[Array]) -> tuple[list[Array], list[Array]]:
    """(matched, predicted) and (matched, true) per world."""
    precision = [np.array([[w[:, 2].sum(), w[:, 2].sum() + w[:, 4].sum()]]) for w in worlds]
    recall = [np.array([[w[:, 2].sum(), w[:, 2].sum() + w[:, 3].sum()]]) for w in worlds]
    return precision, recall


def conclude(results: Results, seed: int) -> list[Figure]:
    """Precision and recall per radius, goals at 3 m; per kind at 3 m as details."""
    worlds = results.worlds("two passes", "rows", 5)
    found = []
    for radius in RADII_M:
        precision, recall = _counts([w[w[:, 0] == radius] for w in worlds])
        goals = (least(0.97), least(0.95)) if radius == 3.0 else (None, None)
        found.append(Figure("cases", f"precision at {radius:.0f} m", rate(precision, seed), "%", goals[0]))
        found.append(Figure("cases", f"recall at {radius:.0f} m", rate(recall, seed), "%", goals[1]))
    numbers = sorted({int(k) for w in worlds for k in w[:, 1]})
    for number in numbers:
        precision, recall = _counts([w[(w[:, 0] == 3.0) & (w[:, 1] == number)] for w in worlds])
        name = KINDS[number]
        found.append(Figure("cases", f"  {name}: precision at 3 m", rate(precision, seed), "%", detail=True))
        found.append(Figure("cases", f"  {name}: recall at 3 m", rate(recall, seed), "%", detail=True))
    return found


EXPERIMENT = Experiment("cases", "4 cases after two passes", {"two passes": (30, 2)}, measure, conclude)
