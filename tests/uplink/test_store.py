"""Case memory and enqueueing: what is durable, in which order, and what a start does with leftovers."""

from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gnss.clock import ManualClock
from perception.store import tile_of
from perception.types import Anchor, AnchorUpdate, CalibrationUpdate, CaseChange, CaseState, PassPosition
from tests.uplink.builders import case, change, crash, opened, picture
from tests.uplink.model_platform import ModelPlatform
from uplink.database import Database, Schema
from uplink.envelope import digest_of
from uplink.errors import EvidenceMismatch, StoreError
from uplink.migrations import DEVICE_STORE
from uplink.platform.contract import CaseBody
from uplink.repair import settle_spool
from uplink.sender import Sender
from uplink.store import SqliteStore

EPOCH = "00000000aaaaaaaa"


def reopen(store: SqliteStore, clock: ManualClock, *, orderly: bool = True) -> SqliteStore:
    store.close() if orderly else crash(store)
    return SqliteStore(store.path, store.device, clock, make_epoch=lambda: "ffffffff00000000")


def test_cases_come_back_by_tile_with_candidates_and_anchors(store: SqliteStore) -> None:
    near, far = opened(1), opened(9000)
    candidate = change(case(2, CaseState.CANDIDATE))
    store.commit([near, far, candidate])
    anchor = Anchor("pole-1", "pole", 30.2501, 120.1501, (0.01, 0.0, 0.01))
    store.put_anchors([anchor])
    tile = tile_of(near.case.lat_deg, near.case.lon_deg)
    (known,) = store.known([tile], 77)
    assert known.stamp_ns == 77
    assert [c.id for c in known.cases] == ["case-00001", "case-00002"]
    assert known.cases[0] == near.case
    assert known.anchors == (anchor,)
    assert [len(k.cases) for k in store.known([(0, 0), tile_of(far.case.lat_deg, far.case.lon_deg)], 1)] == [0, 1]


def learned(name: str, revision: int = 1) -> Anchor:
    seen = PassPosition("p1", 1, 30.2501, 120.1501, (0.04, 0.0, 0.04), (2.25, 0.0, 2.25), 0.5, -0.25)
    return Anchor(
        name, "pole", 30.2501, 120.1501, (2.29, 0.0, 2.29), (seen,), revision, 0.99, 1, 1, 0, 30.2502, 120.1502,
        (0.05, 0.0, 0.05), (0.5, 0.5),
    )  # fmt: skip


def test_learned_anchors_are_kept_with_their_passes_moved_and_forgotten(store: SqliteStore, clock: ManualClock) -> None:
    tile = tile_of(30.2501, 120.1501)
    store.commit([], [AnchorUpdate(1, "p1", (learned("a"), learned("b")))])
    store.commit([opened(1)], [AnchorUpdate(2, "p2", (learned("a", 2),), ("b",))])
    assert store.outbox.backlog().events == 1
    again = reopen(store, clock)
    (known,) = again.known([tile], 5)
    assert known.anchors == (learned("a", 2),)
    again.close()


def test_calibrations_are_kept_by_vehicle_and_camera_and_the_newest_wins(store: SqliteStore) -> None:
    assert store.calibration("car-1", 0) == []
    old, new = (CalibrationUpdate(1, "front", yaw, 0.1, 0.2, 0.1, 0.01, 0.02) for yaw in (0.1, 0.3))
    store.commit((), (), {"car-1": [old], "car-10": [old]})
    store.commit((), (), {"car-1": [new, replace(new, camera="left")]})
    assert store.calibration("car-1", 5) == [replace(new, stamp_ns=5), replace(new, stamp_ns=5, camera="left")]
    assert store.calibration("car-10", 5) == [replace(old, stamp_ns=5)]
    assert store.last_seq == 0


def test_anchors_and_cases_are_one_transaction(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("uplink.memory.keep_anchors", refuse)
    with pytest.raises(OSError, match="full"):
        store.commit([opened(1)], [AnchorUpdate(1, "p1", (learned("a"),))])
    assert store.cases() == []
    assert store.last_seq == 0


def test_a_store_of_the_first_schema_keeps_its_anchors(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "car" / "store.sqlite"
    path.parent.mkdir()
    first = Schema(DEVICE_STORE.application_id, DEVICE_STORE.migrations[:1])
    old = Database(path, first)
    with old.transaction() as tx:
        row, column = tile_of(30.2501, 120.1501)
        values = ("pole-1", "pole", 30.2501, 120.1501, 0.01, 0.0, 0.01, row, column)
        tx.execute("INSERT INTO anchor VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    old.close()
    with SqliteStore(path, "car-1", clock) as store:
        (known,) = store.known([(row, column)], 1)
        assert known.anchors == (Anchor("pole-1", "pole", 30.2501, 120.1501, (0.01, 0.0, 0.01)),)


def test_memory_and_outbox_outlive_the_process(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([opened(1), opened(2)])
    again = reopen(store, clock)
    assert again.epoch == EPOCH
    assert [c.id for c in again.cases()] == ["case-00001", "case-00002"]
    assert again.outbox.backlog().events == 2
    again.commit([opened(3)])
    assert again.last_seq == 3
    again.close()


def test_an_older_revision_never_overwrites_a_newer_one(store: SqliteStore) -> None:
    newer = change(case(1, CaseState.RESOLVED, revision=3))
    store.commit([newer])
    store.commit([change(case(1, CaseState.OPEN, revision=2))])
    assert store.cases() == [newer.case]
    assert store.outbox.backlog().events == 2


def test_bodies_keep_the_schema_and_form_a_chain(store: SqliteStore) -> None:
    store.commit([opened(k) for k in range(3)])
    before = ""
    for seq in (1, 2, 3):
        envelope = store.outbox.next_event(set(range(1, seq)))
        assert envelope is not None
        assert (envelope.seq, envelope.key) == (seq, f"car-1:{EPOCH}:{seq}")
        assert envelope.digest == digest_of(envelope.body)
        body = CaseBody.model_validate_json(envelope.body)
        assert body.prev_hash == before
        before = envelope.digest
    assert store.chain_head == before


def test_candidates_tell_nothing_of_their_pictures_until_they_are_cases(store: SqliteStore) -> None:
    kept = picture(1)
    store.commit([change(case(1, CaseState.CANDIDATE), (kept,))])
    envelope = store.outbox.next_event()
    assert envelope is not None
    assert json.loads(envelope.body)["evidence"] == []
    assert store.outbox.backlog().blobs == 0
    assert store.spool.size(kept.sha256) == len(kept.jpeg)
    # Opened from memory: the picture is known by its hash only.
    store.commit([change(case(1, CaseState.OPEN, revision=2, evidence=(replace(kept, jpeg=b""),)))])
    assert store.outbox.backlog().blobs == 1


class Recorder:
    """Writes down the order of syncs, renames and commits as they really happen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self._fsync, self._rename = os.fsync, os.rename
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "fdatasync", self.fsync)
        monkeypatch.setattr(os, "rename", self.rename)

    def fsync(self, descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self.steps.append("sync folder" if name.is_dir() else f"sync {name.suffix}")
        self._fsync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        self.steps.append(f"rename {Path(old).suffix} {Path(new).suffix}")
        self._rename(old, new)

    def watch(self, store: SqliteStore) -> None:
        def note(sql: str) -> None:
            if sql in ("BEGIN IMMEDIATE", "COMMIT"):
                self.steps.append(sql)

        store._database.connection.set_trace_callback(note)


DURABLE_ORDER = ["sync .part", "rename .part .jpg", "sync folder", "sync .log", "BEGIN IMMEDIATE", "COMMIT"]


def test_the_file_is_durable_before_its_row(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit([opened(0)])
    recorder = Recorder(monkeypatch)
    recorder.watch(store)
    store.commit([opened(1)])
    assert recorder.steps == DURABLE_ORDER


def row_before_file(store: SqliteStore, changes: Sequence[CaseChange]) -> None:
    store._enqueue(changes, (), {}, set())
    store._write_evidence(changes)


def no_file_sync(store: SqliteStore, changes: Sequence[CaseChange]) -> None:
    for one in changes:
        for made in one.pictures:
            final = store.spool.path(made.sha256)
            final.with_suffix(".part").write_bytes(made.jpeg)
            os.rename(final.with_suffix(".part"), final)
    store._enqueue(changes, (), {}, set())


@pytest.mark.parametrize("mutant", [row_before_file, no_file_sync])
def test_the_order_test_sees_mutants(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, mutant: Callable[[SqliteStore, Sequence[CaseChange]], None]
) -> None:
    recorder = Recorder(monkeypatch)
    recorder.watch(store)
    mutant(store, [opened(1)])
    assert recorder.steps != DURABLE_ORDER


def test_acknowledge_is_committed_before_the_file_goes(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit([opened(1)])
    recorder = Recorder(monkeypatch)
    recorder.watch(store)
    unlink = Path.unlink

    def noted(path: Path, missing_ok: bool = False) -> None:
        recorder.steps.append("unlink")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", noted)
    store.outbox.ack_event(f"car-1:{EPOCH}:1", {"receipt_id": "x"}, 201)
    blob = store.outbox.next_blob()
    assert blob is not None
    store.outbox.ack_blob(blob.sha256, 201)
    assert store.outbox.purge() == 1
    commit = ["BEGIN IMMEDIATE", "COMMIT"]
    assert recorder.steps == [*commit, *commit, "unlink", "sync folder", *commit]


def test_a_failed_sync_commits_nothing_and_the_next_try_writes_anew(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        store.commit([opened(1)])
    monkeypatch.setattr(os, "fsync", real)
    assert store.spool.pending == set()
    assert store.cases() == []
    assert list(store.spool.folder.glob("*/*.*")) == []
    store.commit([opened(1)])
    assert store.outbox.backlog().blobs == 1


def test_all_or_nothing_within_one_commit(store: SqliteStore) -> None:
    bad = change(case(2, existence=float("nan")))
    with pytest.raises(ValueError, match="JSON"):
        store.commit([opened(1), bad])
    assert store.cases() == []
    assert store.last_seq == 0
    assert store.chain_head == ""


def test_wrong_hash_is_a_bug_and_raises(store: SqliteStore) -> None:
    with pytest.raises(EvidenceMismatch):
        store.commit([change(case(1), (replace(picture(1), jpeg=b"other"),))])


def test_two_processes_cannot_share_a_store(store: SqliteStore, clock: ManualClock) -> None:
    with pytest.raises(StoreError, match="in use by another process"):
        SqliteStore(store.path, "car-1", clock)


def test_a_store_of_another_device_is_refused(store: SqliteStore, clock: ManualClock) -> None:
    store.close()
    with pytest.raises(StoreError, match="belongs to device 'car-1'"):
        SqliteStore(store.path, "car-2", clock)
    with pytest.raises(StoreError, match="cannot be used"):
        SqliteStore(store.path, "../car", clock)
    SqliteStore(store.path, "car-1", clock).close()


@pytest.mark.parametrize("member", ["database", "garbage"])
def test_a_damaged_store_is_moved_aside_and_its_events_come_along(
    store: SqliteStore, clock: ManualClock, member: str
) -> None:
    store.commit([opened(k) for k in range(20)])
    crash(store)
    content = store.path.read_bytes()
    keep = 100 if member == "database" else 0
    store.path.write_bytes(content[:keep] + b"\xa5" * (len(content) - keep))
    with SqliteStore(store.path, "car-1", clock, make_epoch=lambda: "ffffffff00000000") as again:
        assert again.epoch == "ffffffff00000000"
        assert again.memory_lost
        assert again.outbox.losses() == {"damaged store": 1}
        assert (store.path.parent / "quarantine" / "0000" / "store.sqlite").exists()
        assert len(again.cases()) == 20
        assert again.outbox.backlog().blobs == 20
        envelope = again.outbox.next_event()
        assert envelope is not None
        assert (envelope.seq, envelope.key) == (-20, f"car-1:{EPOCH}:1")
        again.commit([opened(21)])
        assert again.last_seq == 1
        assert again.outbox.backlog().events == 21


def test_leftovers_of_a_crash_are_cleaned(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([opened(1), opened(2)])
    orphan, gone = picture(99), opened(2).pictures[0]
    store.spool.write(orphan.sha256, orphan.jpeg)
    part = store.spool.path(orphan.sha256).with_suffix(".part")
    part.write_bytes(b"half")
    store.spool.path(gone.sha256).write_bytes(b"short")
    again = reopen(store, clock, orderly=False)
    assert not part.exists()
    assert again.spool.size(orphan.sha256) is None
    assert again.outbox.backlog().events == 2
    # The platform is asked before a picture is called lost.
    assert again.outbox.losses() == {}
    assert Sender(again, ModelPlatform(), clock, random.Random(1)).drain(100.0)
    assert again.outbox.losses() == {"lost evidence": 1}
    again.close()


def test_urgent_before_listed_before_candidates(tmp_path: Path, clock: ManualClock) -> None:
    from perception.catalogue import CaseKind, Catalogue
    from uplink.payload import Origin

    urgent = CaseKind("manhole_damage", "Cover", "井盖异常", "component", "matter", "01023", urgent=True)
    origin = Origin(Catalogue({}, {"manhole_damage": urgent}))
    with SqliteStore(tmp_path / "s" / "store.sqlite", "car-1", clock, origin=origin) as store:
        store.commit(
            [change(case(1, CaseState.CANDIDATE)), opened(2), change(case(3, kind="manhole_damage", code="01023"))]
        )
        order = []
        while (envelope := store.outbox.next_event()) is not None:
            body = json.loads(envelope.body)
            order.append(body["case_id"])
            store.outbox.ack_event(envelope.key, {}, 201)
        assert order == ["case-00003", "case-00002", "case-00001"]
        assert body["SXMC"] == "exposed_garbage"


def test_a_look_at_the_spool_beside_a_commit_takes_nothing_away(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, fsync = os.rename, os.fsync

    def settled_rename(old: Path, new: Path) -> None:
        settle_spool(store._database, store.spool)
        rename(old, new)
        settle_spool(store._database, store.spool)

    def settled_fsync(descriptor: int) -> None:
        settle_spool(store._database, store.spool)
        fsync(descriptor)

    monkeypatch.setattr(os, "rename", settled_rename)
    monkeypatch.setattr(os, "fsync", settled_fsync)
    store.commit([opened(1, pictures=2)])
    monkeypatch.undo()
    assert store.spool.pending == set()
    assert all(store.spool.holds(made.sha256) for made in opened(1, pictures=2).pictures)
