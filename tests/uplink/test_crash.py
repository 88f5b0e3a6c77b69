"""kill -9 in the middle of commits: what was said to be durable is there, and nothing half-done is.

SIGKILL alone cannot show a missing fsync (the page cache survives it); the order of syncs is tested in test_store.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gnss.clock import SystemClock
from uplink.store import SqliteStore

ROUNDS = 20
ROOT = Path(__file__).parents[2]


def killed_run(path: Path, first: int, lines: int, wait_s: float) -> list[str]:
    """Let a child work until it said `lines` lines and `wait_s` more, kill it, and return all it said."""
    command = [sys.executable, "-m", "tests.uplink.crash_child", str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        said = [child.stdout.readline().strip() for _ in range(lines)]
        SystemClock().sleep(wait_s)
        child.send_signal(signal.SIGKILL)
        # A line cut by the kill was not said.
        said += [line.strip() for line in child.stdout if line.endswith("\n")]
    assert child.returncode == -signal.SIGKILL
    return said


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    rng = random.Random(20)
    path = tmp_path / "car" / "store.sqlite"
    promised: set[str] = set()
    acked: set[int] = set()
    number = 0
    for _ in range(ROUNDS):
        said = killed_run(path, number, rng.randint(1, 8), rng.uniform(0.0, 0.03))
        assert said[0] == "ready"
        promised |= {f"case-{int(line.split()[1]):05d}" for line in said if line.startswith("case")}
        acked |= {int(line.split()[1]) for line in said if line.startswith("acked")}
        with SqliteStore(path, "car-1", SystemClock()) as store:
            kept = {case.id for case in store.cases()}
            assert promised <= kept
            assert list(store.spool.folder.glob("*/*.part")) == []
            assert store.outbox.losses() == {}
            rows = store._database.rows("SELECT sha256, size FROM blob WHERE state IN ('held', 'ready')")
            assert all(store.spool.size(row["sha256"]) == row["size"] for row in rows)
            states = {row["seq"]: row["state"] for row in store._database.rows("SELECT seq, state FROM event")}
            assert sorted(states) == list(range(1, len(kept) + 1))
            assert all(states[seq] == "acked" for seq in acked)
        number = max(int(name[5:]) for name in kept) + 1 if kept else 0
    assert len(promised) > ROUNDS
