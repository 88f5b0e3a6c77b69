"""Power cuts in the model of recorded writes, and the three mutants that it must catch; ext4 under root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.uplink.crash_child import MUTANTS
from tests.uplink.trial_power import ext4_in_own_namespace, model_cuts, recorded, recorded_by_strace

CUTS = 16
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="NOT TESTED: real system calls need strace")


def test_cuts_lose_nothing_that_was_promised(tmp_path: Path) -> None:
    start, steps = recorded(tmp_path / "run", 24, "")
    checked, found = model_cuts(start, steps, tmp_path, CUTS, seed=30)
    assert found == []
    assert checked > CUTS


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_model_catches_mutants(tmp_path: Path, mutant: str) -> None:
    start, steps = recorded(tmp_path / "run", 24, mutant)
    assert model_cuts(start, steps, tmp_path, CUTS, seed=31)[1] != []


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("mutant", ["", *MUTANTS])
def test_cuts_between_real_system_calls(tmp_path: Path, mutant: str) -> None:
    start, steps = recorded_by_strace(tmp_path / "run", 16, mutant)
    checked, found = model_cuts(start, steps, tmp_path, CUTS, seed=32)
    assert checked > CUTS // 2
    assert (found == []) == (mutant == ""), found[:5]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: cutting a real file system off needs root")
def test_a_file_system_shut_down_under_the_writer(tmp_path: Path) -> None:
    try:
        figures = ext4_in_own_namespace(tmp_path, 3, seed=33)
    except (OSError, __import__("subprocess").CalledProcessError) as error:
        pytest.skip(f"NOT TESTED: no loop mount here ({error})")
    assert figures["violations"] == 0, figures["first"]
    assert figures["promised"] > 3
