"""The ego filter on the real logs keeps the goals that its benchmark prints (tests/benchmarks/ego.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.ego import Row, comma_rows, mountain_view_rows, nagoya_rows, text

LAG_S = 8.0


def kept(rows: list[Row], at_least: int) -> None:
    assert [row for row in rows if row.verdict == "MISS"] == [], text(rows)
    assert sum(row.verdict == "pass" for row in rows) >= at_least


def test_mountain_view(shared: Path) -> None:
    kept(mountain_view_rows(shared, LAG_S), 9)


@pytest.mark.parametrize("solution", ["rover_1Hz_rtk", "rover_1Hz_spp"])
def test_nagoya(shared: Path, solution: str) -> None:
    kept(nagoya_rows(shared, solution, LAG_S), 4)


def test_comma(shared: Path) -> None:
    kept(comma_rows(shared, LAG_S), 2)
