"""Real bearings with a known answer: the traffic lights of Regent Street, London, seen from 50 camera positions.

    python -m tests.benchmarks.london [--json]

Detections without time and without track ids go through perception.bearings (which rays are of one thing),
perception.bearing_noise (the noise) and perception.joint (places, one offset per camera position). Truth is used to
score and for the ceiling, never to estimate. All prior constants are the defaults of `BearingNoise`; the density of
things is that of one thing for every three rays. A camera position is what a pass is elsewhere.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment

from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception.bearing_noise import learn, together
from perception.bearings import BearingNoise, Rays, Thing, candidates, find

REACHES_M = (2.0, 3.0, 5.0, 6.0)
GOAL = 0.80
RAYS_PER_THING = 3.0
CONSTANTS = ("bearing_deg", "ln_range", "offset_m", "clutter", "per_m2")


@dataclass(frozen=True, slots=True)
class Score:
    """Strict one-to-one hits within `reach_m` of `found` things and `true` ones."""

    reach_m: float
    hits: int
    found: int
    true: int

    @property
    def precision(self) -> float:
        return self.hits / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        return 2.0 * self.hits / (self.found + self.true) if self.found + self.true else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Street:
    """The rays, and the truth (T, 2), both in metres east/north of the first camera."""

    rays: Rays
    truth_m: Array

    def half(self, *, west: bool) -> Street:
        """The part of the street west (or east) of the median camera."""
        cut = float(np.median(np.unique(self.rays.place_m, axis=0)[:, 0]))
        rays = self.rays
        mine = (rays.place_m[:, 0] < cut) == west
        kept = Rays(rays.camera[mine], rays.place_m[mine], rays.bearing_rad[mine], rays.range_m[mine])
        return Street(kept, self.truth_m[(self.truth_m[:, 0] < cut) == west])


def folder() -> Path:
    """Where the data is: in `QIJI_SHARED`, or `shared` beside the repository. SystemExit, loudly, where it is not."""
    named = os.environ.get("QIJI_SHARED")
    shared = Path(named) if named else Path(__file__).resolve().parents[3] / "shared"
    found = shared / "drives" / "london-traffic-lights"
    if not found.is_dir():
        raise SystemExit(f"SHARED MATERIAL ABSENT: {found} is no folder; set QIJI_SHARED to measure on the real data")
    return found


def read(where: Path) -> Street:
    """The street from its two tables. Raises OSError, KeyError or ValueError when they are not as they should be."""
    tables = []
    for name, columns in (
        ("detection_input.csv", ("lat", "lon", "bearing", "depth")),
        ("ground_truth.csv", ("lat", "lon")),
    ):
        with (where / name).open(encoding="utf-8", newline="") as file:
            tables.append(np.array([[float(row[c]) for c in columns] for row in csv.DictReader(file)]))
    seen, truth = tables
    frame = LocalFrame(float(seen[0, 0]), float(seen[0, 1]))
    _, camera = np.unique(seen[:, :2], axis=0, return_inverse=True)
    place = np.column_stack(frame.to_enu(seen[:, 0], seen[:, 1]))
    rays = Rays(camera.reshape(-1).astype(np.intp), place, np.radians(seen[:, 2]), seen[:, 3])
    return Street(rays, np.column_stack(frame.to_enu(truth[:, 0], truth[:, 1])))


def score(found_m: Array, truth_m: Array, reach_m: float) -> Score:
    """As many pairs within `reach_m` as can be (Hungarian)."""
    distance = np.linalg.norm(found_m[:, None] - truth_m[None], axis=2) if len(found_m) else np.zeros((0, len(truth_m)))
    near = distance <= reach_m
    rows, columns = linear_sum_assignment(-near.astype(np.float64))
    return Score(reach_m, int(near[rows, columns].sum()), len(found_m), len(truth_m))


def prior(rays: Rays) -> BearingNoise:
    """The general prior: defaults, and a density that every street with as many rays would get."""
    return BearingNoise(per_m2=len(rays) / RAYS_PER_THING / rays.seen_m2())


def confirmed(rays: Rays, things: Sequence[Thing]) -> NDArray[np.intp]:
    """Indices of the things that two cameras saw: as with cases, one look alone is a candidate."""
    return np.array(
        [i for i, t in enumerate(things) if len(set(rays.camera[list(t.rays)].tolist())) > 1], dtype=np.intp
    )


def places(things: Sequence[Thing]) -> Array:
    """(M, 2) m."""
    return np.array([t.place_m for t in things]).reshape(-1, 2)


def solved(rays: Rays, before: BearingNoise, weight: float = 1.0) -> tuple[BearingNoise, Array]:
    """The method: noise learned, and places (M, 2) of the confirmed things from the joint solution."""
    noise, things = learn(rays, before, weight=weight)
    return noise, joined(rays, things, noise)


def joined(rays: Rays, things: Sequence[Thing], noise: BearingNoise) -> Array:
    """Places (M, 2) of the confirmed things from the joint solution of all."""
    if not things:
        return np.zeros((0, 2))
    joint = together(rays, things, noise)
    return np.array([joint.places[i] for i in confirmed(rays, things).tolist()]).reshape(-1, 2)


def clustered(rays: Rays, radius_m: float) -> Array:
    """Baseline: ray ends joined by average linkage up to `radius_m`, clusters of two ends or more, their means."""
    ends = rays.ends()
    label = fcluster(linkage(ends, "average"), radius_m, "distance")
    rows = [ends[label == k] for k in np.unique(label)]
    return np.array([r.mean(axis=0) for r in rows if len(r) > 1]).reshape(-1, 2)


def ceiling(street: Street, noise: BearingNoise, found_m: Array) -> dict[str, float]:
    """What truth allows at 6 m: truths with any row whose ray passes within 6 m at a range that is not absurd
    (a factor of e or less), and F1 of an oracle that picks among all candidates, or among what was reported."""
    reach, rays, truth = REACHES_M[-1], street.rays, street.truth_m
    gap = truth[None] - rays.place_m[:, None]
    unit = np.column_stack([np.sin(rays.bearing_rad), np.cos(rays.bearing_rad)])
    along = np.einsum("nti,ni->nt", gap, unit)
    across = np.abs(gap[..., 0] * unit[:, None, 1] - gap[..., 1] * unit[:, None, 0])
    sane = np.abs(np.log(np.maximum(along, 1e-3) / rays.range_m[:, None])) <= 1.0
    near = np.linalg.norm(rays.ends()[:, None] - truth[None], axis=2) <= reach
    every = score(candidates(rays, noise), truth, reach).hits
    mine = score(found_m, truth, reach).hits
    return {
        "truths": float(len(truth)),
        "truths_with_a_compatible_ray": float(((across <= reach) & sane).any(axis=0).sum()),
        "truths_with_a_candidate": float(every),
        "share_of_rows_that_end_near_no_truth": float(np.mean(~near.any(axis=1))),
        "f1_oracle_of_candidates": 2.0 * every / (every + len(truth)),
        "f1_oracle_of_reported": 2.0 * mine / (mine + len(truth)),
    }


def drawn(street: Street, noise: BearingNoise, rng: np.random.Generator) -> Street:
    """The same cameras and lights with rays drawn from the model, as many on average as there are.

    The chance to be seen falls off with range like a Gaussian, as wide as the real ranges are.
    """
    rays, truth = street.rays, street.truth_m
    cameras = np.unique(rays.place_m, axis=0)
    stood = cameras + rng.normal(0.0, noise.offset_m, cameras.shape)
    gap = truth[None] - stood[:, None]
    far = np.maximum(np.hypot(gap[..., 0], gap[..., 1]), 0.5)
    chance = np.exp(-0.5 * far**2 / float((rays.range_m**2).mean()))
    wanted, times = len(rays) * (1.0 - noise.clutter), np.geomspace(0.05, 50.0, 400)
    total = np.minimum(chance[None] * times[:, None, None], 0.95).sum(axis=(1, 2))
    chance = np.minimum(chance * times[np.argmin(np.abs(total - wanted))], 0.95)
    camera, light = np.nonzero(rng.random(chance.shape) < chance)
    bearing = np.arctan2(gap[camera, light, 0], gap[camera, light, 1])
    bearing += np.radians(noise.bearing_deg) * rng.standard_normal(len(camera))
    ranges = far[camera, light] * np.exp(noise.ln_range * rng.standard_normal(len(camera)))
    stray = rng.integers(0, len(cameras), rng.poisson(noise.clutter * len(rays)))
    camera = np.concatenate([camera, stray]).astype(np.intp)
    bearing = np.concatenate([bearing, rng.uniform(-np.pi, np.pi, len(stray))])
    ranges = np.concatenate([ranges, rng.choice(rays.range_m, len(stray))])
    return Street(Rays(camera, cameras[camera], bearing, ranges), truth)


def if_the_model_were_true(street: Street, noise: BearingNoise, draws: int = 10) -> tuple[float, float, float]:
    """Mean, least and greatest F1 at 6 m over streets drawn from the model, with the noise known."""
    found = []
    for seed in range(draws):
        other = drawn(street, noise, np.random.default_rng(seed))
        places_m = joined(other.rays, find(other.rays, noise), noise)
        found.append(score(places_m, other.truth_m, REACHES_M[-1]).f1)
    return float(np.mean(found)), min(found), max(found)


def methods(street: Street) -> tuple[dict[str, Array], BearingNoise]:
    """Places that each baseline and each step of the method gives, and the noise that was learned."""
    rays, before = street.rays, prior(street.rays)
    noise, things = learn(rays, before)
    at_prior = find(rays, before)
    table = {
        "each row alone": rays.ends(),
        "clusters of 3 m": clustered(rays, 3.0),
        "clusters of 6 m": clustered(rays, 6.0),
        "bearings, prior noise": places(at_prior)[confirmed(rays, at_prior)],
        "bearings, one camera is enough": places(things),
        "bearings, learned noise": places(things)[confirmed(rays, things)],
        "bearings + joint solution": joined(rays, things, noise),
    }
    return table, noise


def sensitivity(street: Street) -> dict[str, tuple[float, float]]:
    """F1 at 6 m of the whole method with each prior constant, and the prior's weight, halved and doubled."""
    rays, before = street.rays, prior(street.rays)

    def f1(changed: BearingNoise, weight: float = 1.0) -> float:
        return score(solved(rays, changed, weight)[1], street.truth_m, REACHES_M[-1]).f1

    def both(one: Callable[[float], float]) -> tuple[float, float]:
        return one(0.5), one(2.0)

    def scaled(name: str) -> Callable[[float], float]:
        return lambda times: f1(replace(before, **{name: getattr(before, name) * times}))

    table = {name: both(scaled(name)) for name in CONSTANTS}
    table["weight of the prior"] = both(lambda times: f1(before, times))
    return table


def jackknife(street: Street) -> dict[str, tuple[float, float]]:
    """F1 at 6 m in each half of the street: with its own noise, and with the noise learned in the other half."""
    halves = {"west": street.half(west=True), "east": street.half(west=False)}
    learned = {name: solved(half.rays, prior(half.rays)) for name, half in halves.items()}
    table = {}
    for name, other in (("west", "east"), ("east", "west")):
        half, noise = halves[name], learned[other][0]
        theirs = joined(half.rays, find(half.rays, noise), noise)
        found = (learned[name][1], theirs)
        one, two = (score(places_m, half.truth_m, REACHES_M[-1]).f1 for places_m in found)
        table[name] = (one, two)
    return table


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    street = read(folder())
    table, noise = methods(street)
    scores = {name: [score(found, street.truth_m, r) for r in REACHES_M] for name, found in table.items()}
    final = table["bearings + joint solution"]
    top, moved, halves = ceiling(street, noise, final), sensitivity(street), jackknife(street)
    # Were the model true: with the clutter that was learned, and with as many strays as truth cannot explain.
    strays = replace(noise, clutter=top["share_of_rows_that_end_near_no_truth"])
    model = {"clutter as learned": if_the_model_were_true(street, noise)}
    model["rows near no truth as clutter"] = if_the_model_were_true(street, strays)
    if as_json:
        plain = {n: {str(s.reach_m): [s.f1, s.precision, s.recall] for s in rows} for n, rows in scores.items()}
        print(
            json.dumps(
                {"scores": plain, "ceiling": top, "model": model, "sensitivity": moved, "jackknife": halves}, indent=1
            )
        )
        return
    print(f"{len(street.rays)} rays, {len(np.unique(street.rays.camera))} cameras, {len(street.truth_m)} true lights")
    print("F1 (precision, recall), strict one-to-one")
    print(f"{'':32s}{'found':>6s}" + "".join(f"{f'{r:.0f} m':>20s}" for r in REACHES_M))
    for name, rows in scores.items():
        cells = "".join(f"{f'{s.f1:.3f} ({s.precision:.2f}, {s.recall:.2f})':>20s}" for s in rows)
        print(f"{name:32s}{rows[0].found:6d}{cells}")
    print(
        f"goal {GOAL:.2f} at 6 m: {'reached' if scores['bearings + joint solution'][-1].f1 >= GOAL else 'NOT reached'}"
    )
    print("ceiling at 6 m: " + ", ".join(f"{k.replace('_', ' ')} {v:.3g}" for k, v in top.items()))
    for name, (mean, least, most) in model.items():
        print(f"F1 at 6 m were the model true, {name}: {mean:.3f} ({least:.3f} to {most:.3f} in ten draws)")
    print("noise learned: " + ", ".join(f"{k} {getattr(noise, k):.3g}" for k in CONSTANTS))
    print(
        "sensitivity, F1 at 6 m (prior x0.5, x2): " + ", ".join(f"{k} {a:.3f} {b:.3f}" for k, (a, b) in moved.items())
    )
    print(
        "halves, F1 at 6 m (own noise, the other's): "
        + ", ".join(f"{k} {a:.3f} {b:.3f}" for k, (a, b) in halves.items())
    )


if __name__ == "__main__":
    main()
