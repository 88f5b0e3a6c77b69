"""What an experiment is: worlds to drive, a measure of each, and the figures that all of them together give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gnss.types import Array
from replays.bench.figures import Figure
from replays.bench.rig import Rig

Tables = dict[str, Array]
"""Samples of one world by name: each (n, columns)."""


@dataclass(frozen=True, slots=True)
class Job:
    """One world of one experiment; `case` names the condition, `seed` is the world's own."""

    experiment: str
    case: str
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """All samples of one experiment, by condition, in the jobs' order."""

    by_case: Mapping[str, Sequence[Tables]]

    def worlds(self, case: str, table: str, columns: int = 1) -> list[Array]:
        """One array (n, columns) per world, or (n,) for one column; worlds without the table give none of rows."""
        empty = np.zeros((0, columns)) if columns > 1 else np.zeros(0)
        return [np.asarray(t.get(table, empty), dtype=np.float64) for t in self.by_case.get(case, ())]


@dataclass(frozen=True, slots=True)
class Experiment:
    """`cases` gives how many worlds each condition has at full size, and the least at any size.

    `measure(rig, case, seed)` drives one world; `conclude(results, seed)` makes the figures, in order.
    """

    name: str
    title: str
    cases: Mapping[str, tuple[int, int]]
    measure: Callable[[Rig, str, int], Tables]
    conclude: Callable[[Results, int], list[Figure]]

    def jobs(self, seed: int, size: float) -> list[Job]:
        """Worlds at a share `size` of the full run; world n has the same seed at every size."""
        found = []
        for nth, (case, (full, fewest)) in enumerate(self.cases.items()):
            for world in range(max(fewest, round(full * size))):
                found.append(Job(self.name, case, world_seed(seed, self.name, nth, world)))
        return found


def world_seed(seed: int, name: str, case: int, world: int) -> int:
    """A seed of its own for every world: 32 bits of numpy's seed sequence."""
    words = [seed, case, world, *name.encode()]
    return int(np.random.SeedSequence(words).generate_state(1)[0])
