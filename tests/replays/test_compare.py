"""Comparing runs: equal ones are equal, and each sort of difference is found and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perception.errors import DriveError
from perception.types import TrackEnd, TrackEnded
from replays.compare import compare_runs, comparison_text, comparison_to_dict


def test_equal_runs(tmp_path: Path, fakes: Any) -> None:
    a, b = (fakes.run(tmp_path / name, [fakes.case("c1")]) for name in "ab")
    comparison = compare_runs(a, b)
    assert comparison.equal
    assert comparison.changes_identical
    assert comparison.same_cases == 1


def test_every_difference_is_named(tmp_path: Path, fakes: Any) -> None:
    a = fakes.run(
        tmp_path / "a",
        [
            fakes.case("same", east_m=50),
            fakes.case("state"),
            fakes.case("lost", east_m=-30),
            fakes.case("old", north_m=200),
        ],
    )
    b = fakes.run(
        tmp_path / "b",
        [
            fakes.case("same", east_m=50),
            fakes.case("state", state="resolved", east_m=5.5),
            fakes.case("found", kind="road_damage", east_m=-30),
            fakes.case("new", north_m=201),
        ],
        [TrackEnded(1, "front", "car", TrackEnd.EXPIRED, "short", 0)],
    )
    comparison = compare_runs(a, b)
    found = {(d.what, d.subject) for d in comparison.differences}
    assert found == {
        ("changed", "state state"), ("moved", "state"), ("only in A", "lost"), ("only in B", "found"),
        ("renamed", "illegal_parking"), ("moved", "old -> new"), ("ledger", "expired"), ("ledger", "tracks"),
    }  # fmt: skip
    assert comparison.same_cases == 1
    assert not comparison.equal
    assert "changed: state state: open | resolved" in comparison_text(comparison)
    assert len(comparison_to_dict(comparison)["differences"]) == 8


def test_a_folder_that_is_no_run_is_named(tmp_path: Path, fakes: Any) -> None:
    run = fakes.run(tmp_path / "run", [])
    with pytest.raises(DriveError, match=r"cases\.geojson"):
        compare_runs(run, tmp_path)
