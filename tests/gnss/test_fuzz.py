"""A short form of the fuzz run; the long one is `python -m tests.benchmarks.parsers --fuzz`."""

from __future__ import annotations

import itertools
import random
import tracemalloc

from gnss.refusal import Refusal
from tests.gnss.fuzzing import Fuzz, strings


def test_random_and_mutated_strings_raise_nothing_and_hold_nothing() -> None:
    fuzz, rng = Fuzz.begin(1), random.Random(2)
    for data in itertools.islice(strings(rng), 20_000):
        fuzz.step(data)
    assert fuzz.fixes > 500
    never = {Refusal.WEEK_ROLLOVER}  # only with a date before which none is believed
    reached = {reason for reason, count in fuzz.counters.items() if count}
    assert set(Refusal) - reached - never == set()


def test_memory_does_not_grow() -> None:
    fuzz, rng = Fuzz.begin(3), random.Random(4)
    pieces = strings(rng)
    for data in itertools.islice(pieces, 1000):
        fuzz.step(data)
    tracemalloc.start()
    try:
        for data in itertools.islice(pieces, 500):
            fuzz.step(data)
        before = tracemalloc.get_traced_memory()[0]
        for data in itertools.islice(pieces, 3000):
            fuzz.step(data)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000
