"""Experiment 6: parked cars are found after the revisit, moving and queued ones are not filed."""

from __future__ import annotations

from collections import Counter

import numpy as np

from perception.types import LISTED_STATES, CaseState
from replays.bench.figures import Figure, least, most
from replays.bench.fleet import Fleet
from replays.bench.metrics import rate
from replays.bench.plan import Experiment, Results, Tables
from replays.bench.rig import Rig
from replays.world.card import CARD
from replays.world.scene import Thing
from replays.world.streets import rides
from replays.world.traffic import traffic
from replays.world.write import visible

PASSES, CAMERAS = 2, ("front",)
VEHICLES = frozenset({"car", "truck", "bus", "motorcycle", "bicycle"})


def measure(rig: Rig, case: str, seed: int) -> Tables:
    """One street with traffic, driven twice: (events, chances) of cars filed, found, held."""
    world = traffic(seed, days=1, per_day=PASSES)
    fleet = Fleet(rig, world, CARD, seed)
    moving: set[str] = set()
    looks: Counter[str] = Counter()
    opened: set[str] = set()
    end_s = 0.0
    for visit in fleet.tour(rides(world, PASSES, 1, CAMERAS, 1)):
        seen = visible(visit.drive)
        looks.update(seen)
        moving |= {t.id for t in world.things if t.drive is not None and t.id in seen}
        opened |= {change.case_id for change in visit.passed.changes if change.case.state in LISTED_STATES}
        end_s = visit.ride.start_s + visit.ride.duration_s
    fed = fleet.fed(frozenset(CaseState))
    owners = {name: things for name, things in fed.items() if name in opened}
    filed = {thing for things in owners.values() for thing in things}
    parked = {t.id for t in fleet.problems(end_s, lambda t: t.class_name in VEHICLES and looks[t.id] == PASSES)}
    held = {thing for name, things in fed.items() if name not in opened for thing in things}
    legal = {t.id for t in world.things if _legal(t) and t.id in fleet.seen}
    return {
        "moving": np.array([[len(filed & moving), len(moving)]]),
        "parked": np.array([[len(filed & parked), len(parked)]]),
        "held": np.array([[len((held - filed) & parked), len(parked)]]),
        "legal": np.array([[len(filed & legal), len(legal)]]),
    }


def _legal(thing: Thing) -> bool:
    return thing.kind is None and thing.drive is None and thing.class_name in VEHICLES


def conclude(results: Results, seed: int) -> list[Figure]:
    """The shares over all worlds."""
    wanted = (
        ("moving", "moving or queued cars filed", most(0.005), False),
        ("parked", "illegally parked found after the revisit", least(0.95), False),
        ("held", "illegally parked still held as candidates", None, True),
        ("legal", "legally parked filed", None, False),
    )
    found = []
    for table, name, goal, detail in wanted:
        worlds = results.worlds("traffic", table, 2)
        if worlds:
            found.append(Figure("parked", name, rate(worlds, seed), "%", goal, detail=detail))
    return found


EXPERIMENT = Experiment("parked", "6 parked or not", {"traffic": (32, 2)}, measure, conclude)
