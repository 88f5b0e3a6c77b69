"""Experiment 7: what is gone is closed, what is there stays open, and nothing hidden is ever called gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from perception.types import ACTIVE_STATES, CaseState
from replays.bench.figures import Figure, least, most
from replays.bench.fleet import Fleet, Visit
from replays.bench.link import seconds
from replays.bench.metrics import bootstrap, calibration_error, rate
from replays.bench.plan import Experiment, Results, Tables
from replays.bench.rig import Rig
from replays.world.card import CARD
from replays.world.ride import Ride
from replays.world.scene import Thing, World
from replays.world.sense import sense
from replays.world.streets import living, rides

PASSES, DAYS, VEHICLES, SPACING_M, LENGTH_M = 10, 5, 2, 7.0, 150.0
CLEAR_VIEW, CLEAR_FRAMES = 0.8, 5.0
"""A pass looked clearly at a place when a thing there would have been found in five frames on average, and in the best
of them with 0.8 of the detector's chance. A place is hidden when no frame would have had any chance at all."""
_CARDS = {"pD 0.9": replace(CARD, name="card-1, pD 0.9"), "pD 0.95": replace(CARD, name="card-1, pD 0.95", pd=0.95)}
WITHIN = {"pD 0.9": 5, "pD 0.95": 4}


def ghosts(world: World) -> World:
    """The world in which no problem ever vanishes: it tells which passes could have seen the place of a gone one."""
    kept = tuple(t if t.kind is None else replace(t, to_s=np.inf) for t in world.things)
    return replace(world, things=kept)


@dataclass(slots=True)
class Lives:
    """What happened to the things of one world so far."""

    opened: dict[str, int] = field(default_factory=dict)
    clear_before: dict[str, int] = field(default_factory=dict)
    clear_gone: dict[str, int] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    chances: int = 0
    false: int = 0
    hidden: int = 0
    hidden_chances: int = 0


def measure(rig: Rig, case: str, seed: int) -> Tables:
    """One living street over many passes: counts of false and hidden resolves, of closed ones, and delays."""
    world, card = living(seed, PASSES, DAYS, spacing_m=SPACING_M, length_m=LENGTH_M), _CARDS[case]
    fleet, spirits, lives = Fleet(rig, world, card, seed), ghosts(world), Lives()
    calibration: list[list[float]] = []
    for ride in rides(world, PASSES, VEHICLES, ("front",), DAYS):
        before = {c.id: c.state for c in fleet.store.cases()}
        visit = fleet.go(ride)
        _judge(world, fleet, visit, before, _clear(spirits, ride, fleet), lives)
        calibration += [[x.placed.landmark.existence, float(x.thing is not None)] for x in visit.linked]
    limit = WITHIN[case]
    # Only what had time to be closed counts: closed already, or looked at clearly often enough without.
    due = {n for n, clear in lives.clear_gone.items() if n in lives.opened and (n in lives.closed or clear >= limit)}
    prompt = [n for n in due if lives.closed.get(n, limit + 1) <= limit]
    return {
        "false": np.array([[lives.false, lives.chances]]),
        "closed": np.array([[len(prompt), len(due)]]),
        "hidden": np.array([[lives.hidden, max(lives.hidden_chances, 1)]]),
        "open delay": np.array(sorted(lives.opened.values()), dtype=np.float64),
        "close delay": np.array(sorted(lives.closed.values()), dtype=np.float64),
        "existence": np.array(calibration).reshape(-1, 2),
    }


def _clear(spirits: World, ride: Ride, fleet: Fleet) -> Mapping[str, float]:
    """How well this ride could see the place of every thing that was born, gone or not: 0 hidden, 1 clear."""
    drive = sense(spirits, ride, fleet.card, fleet.seed)
    best, hits = drive.best_view, drive.hits
    return {name: float(best[name] >= CLEAR_VIEW and hits[name] >= CLEAR_FRAMES) or 0.5 for name in best}


def _judge(
    world: World, fleet: Fleet, visit: Visit, before: Mapping[str, CaseState], views: Mapping[str, float], lives: Lives
) -> None:
    """Count one pass."""
    at_s = seconds(world, visit.drive, 0)
    owners = {c.id: fleet.feeds.owner(c.id) for c in fleet.store.cases()}
    resolved = {ch.case_id for ch in visit.passed.changes if ch.case.state is CaseState.RESOLVED}
    opened = {ch.case_id for ch in visit.passed.changes if ch.case.state in ACTIVE_STATES}
    things = {t.id: t for t in world.things}
    left = {owners[c.id] for c in fleet.cases()}
    _judge_open_cases(before, owners, things, views, resolved, left, at_s, lives)
    for thing in things.values():
        if thing.kind is None or thing.from_s > at_s:
            continue
        mine = {name for name, owner in owners.items() if owner == thing.id}
        clear = views.get(thing.id, 0.0) == 1.0
        if thing.exists(at_s):
            if thing.id not in lives.opened:
                lives.clear_before[thing.id] = lives.clear_before.get(thing.id, 0) + clear
                if mine & opened:
                    lives.opened[thing.id] = lives.clear_before[thing.id]
        elif thing.id in lives.opened and thing.id not in lives.closed:
            lives.clear_gone[thing.id] = lives.clear_gone.get(thing.id, 0) + clear
            states = {c.state for c in fleet.store.cases() if c.id in mine}
            if not states & ACTIVE_STATES:
                lives.closed[thing.id] = lives.clear_gone[thing.id]


def _judge_open_cases(
    before: Mapping[str, CaseState],
    owners: Mapping[str, str | None],
    things: Mapping[str, Thing],
    views: Mapping[str, float],
    resolved: set[str],
    left: set[str | None],
    at_s: float,
    lives: Lives,
) -> None:
    """Every open case of a thing that is there is a chance to resolve falsely; of a hidden place, one to guess.

    A misplaced second case that is closed while another one stays open (`left`) tells nobody that the thing is gone.
    """
    for name, state in before.items():
        owner = owners.get(name)
        if state not in ACTIVE_STATES or owner is None:
            continue
        if things[owner].exists(at_s):
            lives.chances += 1
            lives.false += name in resolved and owner not in left
        if views.get(owner, 0.0) == 0.0:
            lives.hidden_chances += 1
            lives.hidden += name in resolved


def conclude(results: Results, seed: int) -> list[Figure]:
    """Rates with their goals, then delays in clear passes and the calibration of existence."""
    found = []
    for case, limit in WITHIN.items():
        false = rate(results.worlds(case, "false", 2), seed)
        closed = rate(results.worlds(case, "closed", 2), seed)
        hidden = rate(results.worlds(case, "hidden", 2), seed)
        found += [
            Figure("resolve", f"{case}: falsely resolved, per open case and pass", false, "%", most(0.005)),
            Figure("resolve", f"{case}: vanished closed within {limit} clear passes", closed, "%", least(0.95)),
            Figure("resolve", f"{case}: resolved from a hidden place", hidden, "%", most(0.0)),
        ]
        for table in ("open delay", "close delay"):
            delays = bootstrap(results.worlds(case, table), lambda v: float(np.mean(v)), seed)
            found.append(Figure("resolve", f"{case}: {table}, mean clear passes", delays, detail=case != "pD 0.9"))
        existence = bootstrap(results.worlds(case, "existence", 2), calibration_error, seed)
        found.append(Figure("resolve", f"{case}: existence, calibration error", existence, detail=case != "pD 0.9"))
    return found


EXPERIMENT = Experiment(
    "resolve", "7 resolved means looked and gone", {"pD 0.9": (40, 1), "pD 0.95": (40, 1)}, measure, conclude
)
