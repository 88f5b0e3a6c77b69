"""Experiment 3: is the 95 % ellipse honest? One thing of one pass each, so that passes are independent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from replays.bench.figures import Figure, Goal
from replays.bench.fleet import Fleet
from replays.bench.metrics import bootstrap, coverage95, nees, nees_per_dimension
from replays.bench.plan import Experiment, Results, Tables
from replays.bench.relative import CLASSES
from replays.bench.rig import Rig
from replays.world.card import CARD, RTK
from replays.world.streets import solo

GRADES = {"RTK": RTK, "0.4 m": CARD.graded(0.4, 5), "1 m": CARD.graded(1.0), "2.5 m": CARD.graded(2.5)}
CAMERAS = ("front", "left", "right")
SIDES_M = (2.5, 6.5)
PER_WORLD = 8
_INSIDE, _NEES = Goal(0.93, 0.97), Goal(0.9, 1.1)


def measure(rig: Rig, case: str, seed: int) -> Tables:
    """Eight passes, each in a world of its own: rows of NEES, class, grade, camera, coarse."""
    rng = np.random.default_rng(seed)
    rows = []
    for nth in range(PER_WORLD):
        kind, grade = int(rng.integers(len(CLASSES))), int(rng.integers(len(GRADES)))
        side, camera = float(rng.uniform(*SIDES_M)), int(rng.integers(len(CAMERAS)))
        world, ride = solo(seed + nth, CLASSES[kind], side * (-1.0 if CAMERAS[camera] == "left" else 1.0))
        ride = replace(ride, cameras=(CAMERAS[camera],))
        visit = Fleet(rig, world, list(GRADES.values())[grade], seed + nth).go(ride)
        mine = [x for x in visit.linked if x.thing is world.things[0]]
        if mine:
            best = max(mine, key=lambda x: x.placed.landmark.looks)
            total = best.placed.landmark.cov_own_m2 + best.placed.common_m2
            rows.append([nees(best.absolute_m, total), kind, grade, camera, best.placed.landmark.coarse])
    return {"rows": np.array(rows, dtype=np.float64).reshape(-1, 5)}


def conclude(results: Results, seed: int) -> list[Figure]:
    """Coverage and NEES over all passes; by class, grade and camera as details."""
    worlds = results.worlds("all", "rows", 5)
    found = _both(worlds, "all passes", seed, detail=False)
    for column, names in ((1, CLASSES), (2, tuple(GRADES)), (3, CAMERAS), (4, ("fine", "coarse"))):
        for number, name in enumerate(names):
            found += _both([w[w[:, column] == number] for w in worlds], name, seed, detail=True)
    return found


def _both(
    worlds: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]], name: str, seed: int, *, detail: bool
) -> list[Figure]:
    scores = [w[:, 0] for w in worlds]
    inside, mean = bootstrap(scores, coverage95, seed), bootstrap(scores, nees_per_dimension, seed)
    if not inside.count:
        return []
    goals = (None, None) if detail else (_INSIDE, _NEES)
    return [
        Figure("ellipse", f"{name}: truth in the 95 % ellipse", inside, "%", goals[0], 0.95, detail=detail),
        Figure("ellipse", f"{name}: mean NEES per dimension", mean, "", goals[1], 1.0, detail=detail),
    ]


EXPERIMENT = Experiment(
    "ellipse", "3 the 95 % ellipse, one thing per independent pass", {"all": (140, 4)}, measure, conclude
)
