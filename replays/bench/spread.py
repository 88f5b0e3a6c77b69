"""Worlds over processes: jobs are independent and seeded each, so any number of processes gives the same result."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

_Job = TypeVar("_Job")
_Found = TypeVar("_Found")
Tell = Callable[[str, int, int], None]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started within use one thread for linear algebra: two of them would fight over the cores."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def spread(
    work: Callable[[_Job], _Found],
    jobs: Sequence[_Job],
    processes: int,
    tell: Tell | None = None,
    name: str = "worlds",
    *,
    apart: bool = False,
) -> list[_Found]:
    """`work` of every job, in the jobs' order; `tell(name, done, total)` after each.

    One process: in this one, unless `apart` asks for a process that has nothing else to do.

    `work` must be picklable (a module-level function): processes are spawned, so that threads of the caller do no harm.
    """
    found: list[_Found] = []

    def take(results: Iterator[_Found]) -> None:
        for result in results:
            found.append(result)
            if tell is not None:
                tell(name, len(found), len(jobs))

    if not jobs or (processes <= 1 and not apart):
        take(map(work, jobs))
        return found
    with one_thread_each(), multiprocessing.get_context("spawn").Pool(processes) as pool:
        take(pool.imap(work, jobs))
    return found
