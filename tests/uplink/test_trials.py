"""The trials in their short, seeded form; `make soak` runs the full ones (docs/reliability.md has the figures)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.uplink import trial_delivery, trial_disk
from uplink.disk import DiskLimits

pytestmark = pytest.mark.slow


def test_through_a_faulty_proxy_each_case_arrives_once(tmp_path: Path) -> None:
    figures = trial_delivery.through_faults(tmp_path, 80, seed=40)
    assert figures["faults"] > 20
    assert figures["gaps"] in ([], None)


def test_only_the_poisoned_are_buried_and_a_bad_release_buries_nobody(tmp_path: Path) -> None:
    figures = trial_delivery.poisoned(tmp_path, 300, seed=41)
    assert figures["during_bad_hour"] <= 10


def test_wrong_clocks_expire_and_reorder_nothing(tmp_path: Path) -> None:
    trial_delivery.clock_jumps(tmp_path, 40, seed=42)


def test_a_fleet_that_comes_back_is_no_herd(tmp_path: Path) -> None:
    figures = trial_delivery.returning_fleet(tmp_path, 24, seed=43)
    assert figures["requests_while_down"] < 24 * 60


def test_a_quota_is_kept_and_what_goes_is_counted(tmp_path: Path) -> None:
    figures = trial_disk.fill(tmp_path, 100, 40_000, DiskLimits(quota_bytes=4_000_000))
    assert figures["pictures_shed"] > 20
    assert figures["level_when_full"] < 1.05


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="NOT TESTED: a small disk needs root (mount)"
)
def test_a_disk_of_six_megabytes(tmp_path: Path) -> None:
    figures = trial_disk.small_disk(tmp_path / "disk", 6, 200, 30_000)
    assert figures["pictures_shed"] > 50


def test_damaged_stores_deliver_all_that_can_be_read(tmp_path: Path) -> None:
    trial_disk.corruptions(tmp_path, 12, seed=44)


def test_a_backlog_starts_drains_by_priority_and_shrinks(tmp_path: Path) -> None:
    figures = trial_disk.backlog(tmp_path, 1000, 50)
    assert figures["start_descriptors"] < 100
