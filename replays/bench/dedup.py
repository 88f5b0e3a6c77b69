"""Experiment 5: one case per thing? After five passes of two vehicles with three cameras each."""

from __future__ import annotations

import numpy as np

from perception.types import CaseState
from replays.bench.figures import Figure, most
from replays.bench.fleet import Fleet, Visit
from replays.bench.metrics import Fusion, count_fusion, rate
from replays.bench.plan import Experiment, Results, Tables
from replays.bench.rig import Rig
from replays.world.card import CARD
from replays.world.streets import rides, street

PASSES, VEHICLES, CAMERAS, LENGTH_M = 5, 2, ("front", "left", "right"), 120.0
CONDITIONS = {
    f"{spacing:.0f} m, sigma {sigma:g} m": (spacing, sigma) for spacing in (6.0, 10.0, 20.0) for sigma in (1.5, 3.0)
}


def tour(rig: Rig, case: str, seed: int) -> tuple[Fleet, list[Visit]]:
    """The drives of one world of a condition; the baselines work on the same landmarks."""
    spacing, sigma = CONDITIONS[case]
    world = street(seed, spacing, LENGTH_M)
    fleet = Fleet(rig, world, CARD.graded(sigma), seed)
    return fleet, list(fleet.tour(rides(world, PASSES, VEHICLES, CAMERAS, PASSES)))


def objects_of(fleet: Fleet, visits: list[Visit]) -> list[str]:
    """Ids of the problems that were seen and still stand at the end."""
    last = visits[-1].ride
    return [thing.id for thing in fleet.problems(last.start_s + last.duration_s)]


def fusion_row(fusion: Fusion) -> list[float]:
    """Objects, found, duplicates, false merges."""
    return [fusion.objects, fusion.found, fusion.duplicates, fusion.false_merges]


def measure(rig: Rig, case: str, seed: int) -> Tables:
    """Counts of one world before and after the re-merge, and of candidates and cases of clutter that are left."""
    fleet, visits = tour(rig, case, seed)
    objects = objects_of(fleet, visits)
    early = count_fusion(fleet.fed(), objects)
    fleet.end_shift()
    listed = count_fusion(fleet.fed(), objects)
    held = fleet.fed(frozenset({CaseState.CANDIDATE}))
    false = sum(1 for c in fleet.cases() if fleet.feeds.owner(c.id) is None)
    row = [*fusion_row(listed), len(held), false, early.duplicates, early.false_merges]
    return {"rows": np.array([row], dtype=np.float64)}


def conclude(results: Results, seed: int) -> list[Figure]:
    """Duplicates per object and false merges per object for each condition; goals at 6 m."""
    found = []
    for case, (spacing, _) in CONDITIONS.items():
        worlds = results.worlds(case, "rows", 8)
        if not worlds:
            continue
        tight = spacing == 6.0
        for label, column, limit in (("duplicates / object", 2, 0.01), ("false merges / object", 3, 0.005)):
            estimate, early = (rate([w[:, [c, 0]] for w in worlds], seed) for c in (column, column + 4))
            unit, goal = ("", "%")[column - 2], most(limit) if tight else None
            before = f"{early.value:.3f}" if column == 2 else f"{early.value:.2%}"
            note = f"before the re-merge {before}"
            found.append(Figure("dedup", f"{case}: {label}", estimate, unit, goal, note=note))
        for label, column in (("found", 1), ("candidates left / object", 4), ("cases of clutter / object", 5)):
            estimate = rate([w[:, [column, 0]] for w in worlds], seed)
            found.append(Figure("dedup", f"{case}: {label}", estimate, "%", detail=True))
    return found


EXPERIMENT = Experiment(
    "dedup",
    "5 one case per thing (5 passes, 2 vehicles, 3 cameras, re-merge at the end)",
    {case: ((12, 1) if spacing == 6.0 else (5, 1)) for case, (spacing, _) in CONDITIONS.items()},
    measure,
    conclude,
)
