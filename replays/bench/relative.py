"""Experiment 1: places relative to the true trajectory, of things followed to the end and of things lost at 15 m."""

from __future__ import annotations

import numpy as np

from gnss.types import Array
from replays.bench.figures import Figure, Goal, most
from replays.bench.fleet import Fleet, Visit
from replays.bench.floor import floor_covariance, information
from replays.bench.floor_rows import layout_of, prior_information, rows_of, thing_block
from replays.bench.metrics import bootstrap, quantile
from replays.bench.plan import Experiment, Results, Tables
from replays.bench.rig import Rig
from replays.world.card import CARD
from replays.world.scene import Thing, World
from replays.world.streets import solo

CLASSES = ("car", "garbage", "pothole", "street_stall", "garbage_bin_overflow", "pole", "manhole_open", "motorcycle")
SIDES_M = {"near": (2.5, 4.0), "lost": (3.0, 6.0)}
NEAR_M = 8.0
LOST_M = {"near": None, "lost": 15.0}
_FLOOR_DRAWS = 64


def measure(rig: Rig, case: str, seed: int) -> Tables:
    """One thing, one pass, per class: rows of error, floor covariance (ee, en, nn), closest range, class number."""
    rows = []
    rng = np.random.default_rng(seed)
    for number, name in enumerate(CLASSES):
        side = float(rng.choice(SIDES_M[case]))
        world, ride = solo(seed + number, name, side, LOST_M[case])
        fleet = Fleet(rig, world, CARD, seed + number)
        row = row_of(fleet.go(ride), world, world.things[0])
        if row is not None:
            rows.append([*row, number])
    return {"rows": np.array(rows).reshape(-1, 6), "tries": np.array([[len(rows), len(CLASSES)]])}


def row_of(visit: Visit, world: World, thing: Thing) -> list[float] | None:
    """The longest landmark of the thing; None when it made none."""
    mine = [x for x in visit.linked if x.thing is thing]
    if not mine:
        return None
    best = max(mine, key=lambda x: x.placed.landmark.looks)
    cov = relative_floor(visit, world, thing)
    closest = best.placed.landmark.closest_range_m
    return [float(np.hypot(*best.relative_m)), cov[0, 0], cov[0, 1], cov[1, 1], closest]


def relative_floor(visit: Visit, world: World, thing: Thing) -> Array:
    """Floor (2, 2) of one thing of one drive with the trajectory known."""
    layout = layout_of([thing], [visit.drive])
    rows = rows_of(world, visit.drive, layout, CARD)
    passes = [] if rows is None else [information(rows, CARD, None)]
    return thing_block(floor_covariance(passes, prior_information(layout, CARD)), 0)


def floor_errors(rows: Array, seed: int) -> Array:
    """Errors that an efficient estimator would make: draws from every sample's floor covariance, one row per sample."""
    rng = np.random.default_rng(seed)
    unit = rng.standard_normal((len(rows), _FLOOR_DRAWS, 2))
    covs = rows[:, [1, 2, 2, 3]].reshape(-1, 2, 2)
    drawn = np.einsum("nij,nkj->nki", np.linalg.cholesky(covs + 1e-12 * np.eye(2)), unit)
    return np.asarray(np.hypot(drawn[..., 0], drawn[..., 1]))


def conclude(results: Results, seed: int) -> list[Figure]:
    """Median and P95 with the floor's own median and P95 beside them, and their ratio."""
    found = []
    for case, title in (("near", "followed to <= 8 m"), ("lost", "lost at 15 m")):
        worlds = results.worlds(case, "rows", 6)
        if case == "near":
            worlds = [w[w[:, 4] <= NEAR_M] for w in worlds]
        rows = np.concatenate([np.zeros((0, 6)), *worlds])
        if not len(rows):
            continue
        ideal = floor_errors(rows, seed)
        for share, label, limit in ((0.5, "median", 0.20), (0.95, "P95", 0.50 if case == "near" else 1.8)):
            floor = float(np.quantile(ideal, share))
            goal: Goal | None = most(limit)
            if case == "lost":
                goal = None if label == "median" else most(max(limit, 1.2 * floor))
            estimate = bootstrap([w[:, 0] for w in worlds], quantile(share), seed)
            note = f"{estimate.value / floor:.2f} x floor"
            found.append(Figure("relative", f"{title}: {label}", estimate, "m", goal, floor, note))
        for number, name in enumerate(CLASSES):
            mine = [w[w[:, 5] == number][:, 0] for w in worlds]
            estimate = bootstrap(mine, quantile(0.5), seed)
            if estimate.count:
                floor = float(np.median(ideal[rows[:, 5] == number]))
                found.append(Figure("relative", f"  {name}: median", estimate, "m", None, floor, detail=True))
    return found


EXPERIMENT = Experiment(
    "relative", "1 place relative to the true trajectory", {"near": (50, 2), "lost": (36, 2)}, measure, conclude
)
