"""The product beside three baselines on the same simulated drives: `python -m tests.benchmarks.cases [--worlds N]`.

Duplicates and false merges per object after five passes of two vehicles with three cameras, for fixed radii of 2, 5
and 8 m, for a Hungarian assignment without the joint offset, and for the product; then errors relative to the true
trajectory of averaged single-frame projections, of the product, and of the Cramer-Rao floor.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

from gnss.types import Array
from replays.bench import dedup, relative
from replays.bench.fleet import Fleet
from replays.bench.metrics import count_fusion, rate
from replays.bench.plan import world_seed
from replays.bench.rig import Rig
from replays.bench.spread import spread
from replays.bench.suite import DEFAULT_SEED
from replays.world.card import CARD
from replays.world.streets import solo
from tests.benchmarks.baselines import averaged_projection, feeds_of, fixed_radius, hungarian, spots_of
from vehicle.commands.bench import rig_of
from vehicle.config import Config

METHODS = ("radius 2 m", "radius 5 m", "radius 8 m", "Hungarian, no offset", "qiji")
Row = dict[str, Array]


def fusion(rig: Rig, job: tuple[str, int]) -> Row:
    """One world of a condition: objects, found, duplicates, false merges of every method."""
    fleet, visits = dedup.tour(rig, *job)
    objects = dedup.objects_of(fleet, visits)
    passes = [spots_of(visit, fleet.world.frame, rig.catalogue) for visit in visits]
    piles = {f"radius {r} m": fixed_radius(passes, float(r)) for r in (2, 5, 8)}
    piles["Hungarian, no offset"] = hungarian(passes)
    rows = {name: count_fusion(feeds_of(found), objects) for name, found in piles.items()}
    fleet.end_shift()
    rows["qiji"] = count_fusion(fleet.fed(), objects)
    return {name: np.array([dedup.fusion_row(counts)], dtype=np.float64) for name, counts in rows.items()}


def places(rig: Rig, job: tuple[str, int]) -> Row:
    """Solo passes: error of the averaged projection and of the product, and the floor's covariance."""
    case, seed = job
    rng, rows = np.random.default_rng(seed), []
    for number, name in enumerate(relative.CLASSES):
        world, ride = solo(seed + number, name, float(rng.choice(relative.SIDES_M[case])), relative.LOST_M[case])
        visit = Fleet(rig, world, CARD, seed + number).go(ride)
        mine = relative.row_of(visit, world, world.things[0])
        plain = averaged_projection(visit, world, world.things[0])
        if mine is not None and plain is not None:
            rows.append([plain, *mine])
    return {"rows": np.array(rows).reshape(-1, 6)}


def print_fusion(rig: Rig, seed: int, worlds: int, processes: int) -> None:
    """Duplicates / false merges per object, one line per condition and method."""
    print(f"{'duplicates / false merges per object':<26}" + "".join(f"{name:>24}" for name in METHODS))
    for nth, case in enumerate(dedup.CONDITIONS):
        jobs = [(case, world_seed(seed, "dedup", nth, world)) for world in range(worlds)]
        found = spread(partial(fusion, rig), jobs, processes)
        cells = []
        for name in METHODS:
            two, three = (rate([row[name][:, [column, 0]] for row in found], seed).value for column in (2, 3))
            cells.append(f"{two:.3f} / {three:.3f}")
        print(f"{case:<36}" + "".join(f"{cell:>24}" for cell in cells))


def print_places(rig: Rig, seed: int, worlds: int, processes: int) -> None:
    """Median and P95 of the error relative to the true trajectory."""
    print(f"\n{'relative error, median / P95, m':<36}{'averaged projections':>24}{'qiji':>24}{'floor':>24}")
    for nth, case in enumerate(relative.LOST_M):
        jobs = [(case, world_seed(seed, "relative", nth, world)) for world in range(worlds)]
        rows = np.concatenate([found["rows"] for found in spread(partial(places, rig), jobs, processes)])
        ideal = relative.floor_errors(rows[:, 1:], seed)
        cells = [np.quantile(values, [0.5, 0.95]) for values in (rows[:, 0], rows[:, 1], ideal)]
        print(f"{case:<36}" + "".join(f"{f'{a:.2f} / {b:.2f}':>24}" for a, b in cells))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--worlds", type=int, default=6, help="per condition (default 6)")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    rig = rig_of(Config())
    print_fusion(rig, arguments.seed, arguments.worlds, arguments.processes)
    print_places(rig, arguments.seed, 2 * arguments.worlds, arguments.processes)


if __name__ == "__main__":
    main()
