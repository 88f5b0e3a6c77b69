"""All experiments of `qiji bench cases`, run over processes and put on one page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from replays.bench import absolute, cases, cost, dedup, ellipse, nasty, parked, relative, resolve
from replays.bench.figures import Figure, page, plain
from replays.bench.plan import Experiment, Job, Results, Tables
from replays.bench.rig import Rig
from replays.bench.spread import Tell, spread
from replays.world.card import CARD

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (relative, absolute, ellipse, cases, dedup, parked, resolve, nasty, cost)
}
ALONE = frozenset({"cost"})
"""Experiments that time something: they run after the others, one world at a time."""
DEFAULT_SEED = 20_261
QUICK, FULL = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """All figures of a run, in the experiments' order."""

    seed: int
    size: float
    figures: tuple[Figure, ...]

    @property
    def passed(self) -> bool:
        """Did every figure with a goal meet it?"""
        return all(figure.passed is not False for figure in self.figures)


def run_job(rig: Rig, job: Job) -> Tables:
    """Measure one world; the processes call this."""
    return EXPERIMENTS[job.experiment].measure(rig, job.case, job.seed)


def run(
    rig: Rig, seed: int, size: float, names: Sequence[str] = (), processes: int = 2, tell: Tell | None = None
) -> Outcome:
    """Run the named experiments (none: all) at a share `size` of their worlds. Raises KeyError for no such name."""
    wanted = [EXPERIMENTS[name] for name in names] if names else list(EXPERIMENTS.values())
    jobs = [job for e in wanted if e.name not in ALONE for job in e.jobs(seed, size)]
    timed = [job for e in wanted if e.name in ALONE for job in e.jobs(seed, size)]
    samples = spread(partial(run_job, rig), jobs, processes, tell, "worlds")
    samples += spread(partial(run_job, rig), timed, 1, tell, "timed worlds", apart=True)
    figures: list[Figure] = []
    for experiment in wanted:
        by_case: dict[str, list[Tables]] = {case: [] for case in experiment.cases}
        for job, tables in zip([*jobs, *timed], samples, strict=True):
            if job.experiment == experiment.name:
                by_case[job.case].append(tables)
        figures += experiment.conclude(Results(by_case), seed)
    return Outcome(seed, size, tuple(figures))


def text(outcome: Outcome, *, details: bool) -> str:
    """The page; `details` adds the figures by class, grade and camera."""
    shown = [f for f in outcome.figures if details or not f.detail]
    card = ", ".join(f"{key} {value}" for key, value in CARD.to_dict().items() if key != "name")
    head = [
        f"qiji bench cases: seed {outcome.seed}, {outcome.size:.0%} of the worlds; intervals: bootstrap over worlds",
        *textwrap.wrap(f"noise {CARD.name} (1 sigma): {card}", 130, subsequent_indent="  "),
    ]
    return page(shown, {e.name: e.title for e in EXPERIMENTS.values()}, head)


def to_dict(outcome: Outcome) -> dict[str, Any]:
    """The run for machines, details included."""
    return {
        "version": 1,
        "seed": outcome.seed,
        "size": outcome.size,
        "noise_card": CARD.to_dict(),
        "goals_met": outcome.passed,
        "figures": [plain(figure) for figure in outcome.figures],
    }
