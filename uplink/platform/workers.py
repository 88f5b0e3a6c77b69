"""Several worker processes behind one address: started, watched, replaced when one falls, ended together."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess

from gnss.clock import Clock
from perception.errors import SetupError

log = logging.getLogger(__name__)
_YOUNG_S = 5.0
_MOST_YOUNG_DEATHS = 5
_END_S = 30.0


def run_workers(target: Callable[[], None], count: int, clock: Clock) -> None:
    """Run `count` processes of the picklable `target` until SIGINT or SIGTERM, which they get too.

    Raises SetupError when they keep falling right after their start.
    """
    context = get_context("spawn")
    stop = threading.Event()
    before = {n: signal.signal(n, lambda *_: stop.set()) for n in (signal.SIGINT, signal.SIGTERM)}

    def begin() -> tuple[SpawnProcess, int]:
        process = context.Process(target=target, name="platform-worker")
        process.start()
        return process, clock.monotonic_ns()

    running = [begin() for _ in range(count)]
    young_deaths = 0
    try:
        while not stop.is_set():
            connection.wait([p.sentinel for p, _ in running], timeout=0.5)
            for place, (process, born_ns) in enumerate(running):
                if process.is_alive() or stop.is_set():
                    continue
                young_deaths = young_deaths + 1 if clock.monotonic_ns() - born_ns < _YOUNG_S * 1e9 else 0
                log.error("worker_ended", extra={"exit_code": process.exitcode})
                if young_deaths >= _MOST_YOUNG_DEATHS:
                    raise SetupError("worker processes end right after their start", remedy="see their messages above")
                running[place] = begin()
    finally:
        _end([p for p, _ in running])
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(processes: list[SpawnProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(_END_S)
        if process.is_alive():
            process.kill()
            process.join()
