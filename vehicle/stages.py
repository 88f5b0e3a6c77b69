"""Milliseconds per stage of a run: measured outside the pipeline, which has no clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gnss.clock import stopwatch


@dataclass(slots=True)
class Stage:
    """Sum of one stage."""

    calls: int = 0
    total_s: float = 0.0
    worst_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one call."""
        self.calls += 1
        self.total_s += seconds
        self.worst_s = max(self.worst_s, seconds)


@dataclass(slots=True)
class Stages:
    """Named stages in order of first use."""

    by_name: dict[str, Stage] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Time the body under `name`."""
        elapsed = stopwatch()
        try:
            yield
        finally:
            self.add(name, elapsed())

    def add(self, name: str, seconds: float) -> None:
        """Count one call of `name` that was timed elsewhere; for one thread per name."""
        self.by_name.setdefault(name, Stage()).add(seconds)

    def table(self) -> dict[str, dict[str, float]]:
        """Per stage: calls, mean_ms, worst_ms, total_s."""
        return {
            name: {
                "calls": stage.calls,
                "mean_ms": 1e3 * stage.total_s / max(stage.calls, 1),
                "worst_ms": 1e3 * stage.worst_s,
                "total_s": stage.total_s,
            }
            for name, stage in self.by_name.items()
        }
