"""gpsd's own regression logs: what gpsd made of each is what we make of it, but for a committed table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.gnss.gpsd_logs import EXCEPTIONS, FOLDER, exceptions, fixes_of, judge, receiver_bytes


@pytest.fixture(scope="module")
def logs(shared: Path) -> list[Path]:
    folder = shared / FOLDER
    if not folder.is_dir():
        pytest.skip(f"GPSD'S LOGS ARE ABSENT: {folder} is no folder")
    return sorted(folder.glob("*.log"))


def test_every_log_is_read_to_the_end(logs: list[Path]) -> None:
    assert len(logs) == 78
    assert sum(len(fixes_of(log, receiver_bytes(log))) for log in logs) > 1700


def test_every_report_of_gpsd_is_matched_or_listed(logs: list[Path]) -> None:
    counts: Counter[str] = Counter()
    wrong = []
    for log in logs:
        if log.with_name(log.name + ".chk").exists():
            verdict = judge(log)
            counts += verdict.counts
            wrong += verdict.wrong
    assert Counter(wrong) == exceptions(), f"keep {EXCEPTIONS.name} as it is: one row, with its reason, per report"
    right = counts["right"] + counts["right as the sentences alone say it"]
    assert right >= 2500
    assert right / (right + counts["wrong"]) >= 0.995
