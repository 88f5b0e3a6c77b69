"""Experiment 2: absolute places after one, ten and twenty-five passes on different days, over the Bayesian floor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnss.types import Array
from perception.types import Case, Verdict
from replays.bench.figures import Figure, Goal, most
from replays.bench.fleet import Fleet, Visit
from replays.bench.floor import floor_covariance, information, pose_covariance
from replays.bench.floor_rows import Layout, layout_of, prior_information, rows_of, thing_block, way_of
from replays.bench.metrics import bootstrap, coverage95, nees, nees_per_dimension, quantile, rmse, rmse_ratio
from replays.bench.plan import Experiment, Results, Tables
from replays.bench.rig import Rig
from replays.world.card import CARD, RTK, NoiseCard
from replays.world.scene import World
from replays.world.streets import rides, street

DAY_S = 86_400.0
SPACING_M, LENGTH_M = 14.0, 40.0
_PASSES = {"sigma 1 m": 10, "25 passes": 25, "RTK": 2}
_CARDS = {"sigma 1 m": CARD, "25 passes": CARD, "RTK": RTK}


def measure(rig: Rig, case: str, seed: int) -> Tables:
    """One street on many days; rows of squared error, trace of its floor (m2) and NEES, of single passes and cases."""
    card, passes = _CARDS[case], _PASSES[case]
    world = street(seed, SPACING_M, LENGTH_M)
    things = [t for t in world.things if t.drive is None]
    fleet = Fleet(rig, world, card, seed)
    layout: Layout | None = None
    known: list[Array] = []
    tables: dict[str, list[list[float]]] = {"single": [], "fused": []}
    for nth, visit in enumerate(fleet.tour(rides(world, passes, 1, ("front",), passes)), start=1):
        layout = layout or layout_of(things, [visit.drive])
        known.append(pass_information(world, visit, layout, card))
        tables["single"] += _singles(visit, layout, card, known[-1])
        if nth == passes:
            tables["fused"] += _fused(fleet, layout, card, known)
    return {name: np.array(rows).reshape(-1, 3) for name, rows in tables.items()}


def pass_information(world: World, visit: Visit, layout: Layout, card: NoiseCard) -> Array:
    """What one pass tells of the layout's state."""
    rows = rows_of(world, visit.drive, layout, card)
    if rows is None:
        return np.zeros((layout.size, layout.size))
    way, fixes = way_of(visit.drive)
    return information(rows, card, pose_covariance(way, rows.time_s, fixes, card))


def _singles(visit: Visit, layout: Layout, card: NoiseCard, known: Array) -> list[list[float]]:
    """Squared error, floor and NEES of every standing thing's longest landmark of this pass."""
    cov = floor_covariance([known], prior_information(layout, card))
    rows = []
    for number, thing in enumerate(layout.things):
        mine = [x for x in visit.linked if x.thing is thing and x.placed.landmark.verdict is not Verdict.MOVING]
        if not mine or not np.diag(known)[7 * number]:
            continue
        best = max(mine, key=lambda x: x.placed.landmark.looks)
        if best.placed.landmark.coarse:
            continue
        total = best.placed.landmark.cov_own_m2 + best.placed.common_m2
        error = best.absolute_m
        rows.append([float(error @ error), float(np.trace(thing_block(cov, number))), nees(error, total)])
    return rows


def _fused(fleet: Fleet, layout: Layout, card: NoiseCard, known: Sequence[Array]) -> list[list[float]]:
    """The same of the cases after all passes; of two cases of one thing the one with more passes."""
    cov = floor_covariance(known, prior_information(layout, card))
    best: dict[str, Case] = {}
    for case in fleet.cases():
        owner = fleet.feeds.owner(case.id)
        if owner is not None and (owner not in best or len(case.passes) > len(best[owner].passes)):
            best[owner] = case
    rows = []
    for number, thing in enumerate(layout.things):
        if thing.id in best:
            error, total = fleet.error(best[thing.id], thing)
            rows.append([float(error @ error), float(np.trace(thing_block(cov, number))), nees(error, total)])
    return rows


def conclude(results: Results, seed: int) -> list[Figure]:
    """RMSE over floor, RMSE, median and P95 for every condition."""
    found: list[Figure] = []
    wanted: list[tuple[str, str, str, dict[str, Goal]]] = [
        ("sigma 1 m", "single", "single pass, sigma 1 m", {"median": most(1.25)}),
        ("RTK", "single", "single pass, RTK", {"median": most(0.25), "P95": most(0.6)}),
        ("sigma 1 m", "fused", "10 passes, sigma 1 m", {"median": most(0.45)}),
        ("25 passes", "fused", "25 passes, sigma 1 m", {}),
    ]
    for case, table, title, goals in wanted:
        worlds = results.worlds(case, table, 3)
        rows = np.concatenate(worlds) if worlds else np.zeros((0, 3))
        if not len(rows):
            continue
        ideal = rmse(rows[:, 1])
        ratio = bootstrap([w[:, :2] for w in worlds], rmse_ratio, seed)
        found.append(Figure("absolute", f"{title}: RMSE / floor", ratio, "", most(1.10), 1.0))
        squares = [w[:, 0] for w in worlds]
        found.append(Figure("absolute", f"{title}: RMSE", bootstrap(squares, rmse, seed), "m", None, ideal))
        for label, share in (("median", 0.5), ("P95", 0.95)):
            estimate = bootstrap([np.sqrt(s) for s in squares], quantile(share), seed)
            found.append(Figure("absolute", f"{title}: {label}", estimate, "m", goals.get(label)))
        scores = [w[:, 2] for w in worlds]
        inside, mean = bootstrap(scores, coverage95, seed), bootstrap(scores, nees_per_dimension, seed)
        found.append(Figure("absolute", f"{title}: ellipse coverage", inside, "%", detail=True))
        found.append(Figure("absolute", f"{title}: NEES per dimension", mean, detail=True))
    return found


EXPERIMENT = Experiment(
    "absolute",
    "2 absolute place (independent offsets per pass)",
    {"sigma 1 m": (40, 2), "25 passes": (9, 1), "RTK": (60, 2)},
    measure,
    conclude,
)
