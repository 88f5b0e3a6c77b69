"""Experiment 8: what goes wrong on bad days: a jump of the receiver, a late clock, twins, a knocked mount, a jam."""

from __future__ import annotations

import numpy as np

from gnss.types import Array
from perception.types import LISTED_STATES
from replays.bench.figures import Figure
from replays.bench.fleet import Fleet
from replays.bench.metrics import bootstrap, count_fusion, coverage95, nees, rate
from replays.bench.plan import Experiment, Results, Tables
from replays.bench.rig import Rig
from replays.world.nasty import NASTY


def measure(rig: Rig, case: str, seed: int) -> Tables:
    """All rides of one bad world: counts, and (error, NEES) of every active case."""
    world, rides, card = NASTY[case](seed)
    fleet = Fleet(rig, world, card, seed)
    end_s = 0.0
    for visit in fleet.tour(rides):
        end_s = visit.ride.start_s + visit.ride.duration_s
    objects = [t.id for t in fleet.problems(end_s)]
    fusion = count_fusion(fleet.fed(), objects)
    problems = {t.id: t for t in world.things if t.kind is not None}
    errors: list[list[float]] = []
    false = 0
    for found in fleet.cases(LISTED_STATES):
        owner = fleet.feeds.owner(found.id)
        if owner not in problems:
            false += 1
            continue
        error, cov = fleet.error(found, problems[owner])
        errors.append([float(np.hypot(*error)), nees(error, cov)])
    counts = [false, fusion.duplicates, fusion.false_merges, fusion.found, fusion.objects]
    return {"counts": np.array([counts], dtype=np.float64), "errors": np.array(errors).reshape(-1, 2)}


def _greatest(values: Array) -> float:
    return float(np.max(values))


def conclude(results: Results, seed: int) -> list[Figure]:
    """False cases, duplicates, false merges and found per thing, worst error and coverage, per bad world."""
    found = []
    for case in NASTY:
        counts, errors = results.worlds(case, "counts", 5), results.worlds(case, "errors", 2)
        if not counts:
            continue
        labels = ("false cases / thing", "duplicates / thing", "false merges / thing", "found")
        rates = [rate([w[:, [column, 4]] for w in counts], seed) for column in range(4)]
        worst = bootstrap([w[:, 0] for w in errors], _greatest, seed)
        inside = bootstrap([w[:, 1] for w in errors], coverage95, seed)
        note = (
            f"duplicates {rates[1].value:.1%}, found {rates[3].value:.1%}, worst {worst.value:.2f} m, "
            f"in ellipse {inside.value:.1%}"
        )
        found.append(Figure("nasty", f"{case}: {labels[0]}", rates[0], "%", note=note))
        found += [Figure("nasty", f"{case}: {labels[i]}", rates[i], "%", detail=True) for i in (1, 2, 3)]
        found.append(Figure("nasty", f"{case}: worst error", worst, "m", detail=True))
        found.append(Figure("nasty", f"{case}: truth in the 95 % ellipse", inside, "%", detail=True))
    return found


EXPERIMENT = Experiment("nasty", "8 bad days", {name: (5, 1) for name in NASTY}, measure, conclude)
