"""Fixtures: a store on disk and a platform that answers real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gnss.clock import ManualClock
from tests.uplink.builders import UTC_NS
from uplink.platform.serve import LocalPlatform
from uplink.store import SqliteStore


@pytest.fixture
def clock() -> ManualClock:
    """Time that moves only by sleeping."""
    return ManualClock(monotonic_ns=1, utc_ns=UTC_NS)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteStore]:
    """An empty store of car-1."""
    with SqliteStore(tmp_path / "car" / "store.sqlite", "car-1", clock, make_epoch=lambda: "00000000aaaaaaaa") as made:
        yield made


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    """A running platform."""
    with LocalPlatform.start(tmp_path / "platform") as running:
        yield running
