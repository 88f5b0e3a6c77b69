"""kill -9 in the middle of commits and deliveries: what was said to be durable is there, and nothing arrives twice.

SIGKILL alone cannot show a missing fsync (the page cache survives it): see test_power_cut.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.uplink.trial_crash import random_kills, syscall_kills


@pytest.mark.slow
def test_twenty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    figures = random_kills(tmp_path / "kills", 20, seed=20)
    assert figures["promised"] > 20


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="NOT TESTED: kills at system calls need strace")
def test_kills_at_system_calls_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    figures = syscall_kills(tmp_path, 4, seed=21)
    assert figures["killed"] == figures["tried"] == 4
