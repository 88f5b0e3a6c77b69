"""Whatever the order of commits, faults, crashes and restarts: nothing lost, nothing doubled, nothing changed."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gnss.clock import ManualClock
from perception.types import CaseChange, CaseState
from tests.uplink.builders import UTC_NS, case, change, crash, picture
from tests.uplink.model_platform import FAULTS, ModelPlatform
from uplink.record import insert
from uplink.sender import Sender
from uplink.store import SqliteStore


class OutboxStates(RuleBasedStateMachine):
    """Commits, deliveries with faults, crashes in the middle of a commit, restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock(1, 1)
        self.platform = ModelPlatform()
        self.revisions: dict[int, int] = {}
        self.committed = 0
        self.wanted_pictures: set[str] = set()
        self.pictures_made = 0
        self._open()

    def _open(self) -> None:
        self.store = SqliteStore(
            self.folder / "store.sqlite", "car-1", self.clock, make_epoch=lambda: "00000000aaaaaaaa"
        )
        self.sender = Sender(self.store, self.platform, self.clock, random.Random(1))

    @rule(
        numbers=st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True),
        listed=st.booleans(),
        pictures=st.integers(0, 2),
    )
    def commit(self, numbers: list[int], listed: bool, pictures: int) -> None:
        self.store.commit([self._change(number, listed, pictures) for number in numbers])
        self.committed += len(numbers)

    def _change(self, number: int, listed: bool, pictures: int, remember: bool = True) -> CaseChange:
        revision = self.revisions.get(number, 0) + 1
        made = tuple(picture(1000 + self.pictures_made + k) for k in range(pictures))
        self.pictures_made += pictures
        if remember:
            self.revisions[number] = revision
            self.wanted_pictures |= {one.sha256 for one in made if listed}
        return change(case(number, CaseState.OPEN if listed else CaseState.CANDIDATE, revision), made)

    @rule(number=st.integers(0, 4), at=st.sampled_from(["files", "journal", "transaction"]))
    def crash_in_a_commit(self, number: int, at: str) -> None:
        # What reached the journal is committed by the next start; what did not was never said to be.
        made = self._change(number, True, 1, remember=at != "files")
        self.store._write_evidence([made])
        if at != "files":
            entries = self.store._entries([made], set())
            self.store.journal.append(self.store.epoch, entries[0].seq, [entries[0].to_json()])
            self.committed += 1
        if at == "transaction":
            self.store._database.connection.execute("BEGIN IMMEDIATE")
            insert(self.store._database.connection, entries[0])
        crash(self.store)
        self._open()

    @rule(fault=st.sampled_from(FAULTS[:-1]), steps=st.integers(1, 4))
    def deliver(self, fault: str, steps: int) -> None:
        self.platform.fault = fault
        for _ in range(steps):
            self.sender.step()
            self.clock.advance(400.0)
        self.platform.fault = "none"

    @rule(orderly=st.booleans())
    def restart(self, orderly: bool) -> None:
        self.store.close() if orderly else crash(self.store)
        self._open()

    @rule(days=st.floats(-20_000.0, 20_000.0))
    def clock_jump(self, days: float) -> None:
        self.clock.set_utc_ns(UTC_NS + round(days * 86_400e9))

    @invariant()
    def counts_add_up(self) -> None:
        states = dict(
            tuple(row) for row in self.store._database.rows("SELECT state, count(*) FROM event GROUP BY state")
        )
        assert set(states) <= {"ready", "acked"}
        assert sum(states.values()) == self.committed
        assert states.get("acked", 0) <= len(self.platform.events) <= self.committed
        assert self.platform.conflicts == 0

    @invariant()
    def memory_is_what_was_committed(self) -> None:
        assert {int(c.id[-5:]): c.revision for c in self.store.cases()} == self.revisions

    def teardown(self) -> None:
        assert self.sender.drain(100_000.0)
        assert sorted(self.platform.events) == sorted(
            f"car-1:00000000aaaaaaaa:{k}" for k in range(1, self.committed + 1)
        )
        assert set(self.platform.pictures) >= self.wanted_pictures
        assert self.store.outbox.losses() == {}
        self.store.close()
        shutil.rmtree(self.folder)


TestOutboxStates = OutboxStates.TestCase
TestOutboxStates.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
