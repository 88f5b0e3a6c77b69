"""Several worker processes on PostgreSQL: a fleet at once, and a worker that falls in the middle of it.

A short form; the fleet of 200 and the rate beside pgbench's is `python -m tests.benchmarks.platform_fleet`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import requests

from gnss.clock import SystemClock
from tests.benchmarks.platform_fleet import deliver_all, gaps, served
from tests.uplink.platform import postgres

VEHICLES, EVENTS = 20, 15


def children(parent: int) -> list[int]:
    """Worker processes of a running platform (not Python's resource tracker)."""
    found = []
    for name in Path("/proc").iterdir():
        if name.name.isdecimal():
            try:
                if int((name / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    if b"spawn_main" in (name / "cmdline").read_bytes():
                        found.append(int(name.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def test_two_workers_take_a_fleet_and_outlive_one_of_them(
    postgres_server: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    postgres.emptied(postgres_server)
    port = free_port()
    with served(tmp_path, postgres_server, 2, port) as process:
        first = children(process.pid)
        assert len(first) == 2

        def kill_one() -> None:
            SystemClock().sleep(0.4)
            os.kill(first[0], signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        fleet = deliver_all(port, VEHICLES, EVENTS)
        killer.join()
        assert sum(fleet.statuses.values()) == VEHICLES * EVENTS
        assert gaps(port, VEHICLES, EVENTS) == 0
        total = requests.get(f"http://127.0.0.1:{port}/v1/cases?limit=1", timeout=20).json()["total"]
        assert total == VEHICLES * EVENTS
        for _ in range(200):
            if len(after := children(process.pid)) == 2 and first[0] not in after:
                break
            SystemClock().sleep(0.1)
        else:
            raise AssertionError(f"the fallen worker was not replaced: {children(process.pid)}")
