"""`qiji outbox` from outside the running car."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from gnss.clock import ManualClock
from perception.types import CaseState
from tests.uplink.builders import case, change, opened, picture
from uplink import inspection
from uplink.errors import StoreError
from uplink.export import export
from uplink.folder import FolderTransport
from uplink.sender import Sender
from uplink.store import SqliteStore


def test_status_while_the_car_runs(store: SqliteStore) -> None:
    store.commit([opened(1, pictures=2), change(case(2, CaseState.CANDIDATE), (picture(5),))])
    found = inspection.status(store.path)
    assert (found.device, found.epoch, found.last_seq) == ("car-1", store.epoch, 2)
    assert (found.events, found.blobs) == ({"ready": 2}, {"held": 1, "ready": 2})
    assert found.cases == {"candidate": 1, "open": 1}
    assert found.blob_bytes_ready == 1200
    assert json.dumps(found.to_dict())


def test_dead_letters_are_named_and_brought_back(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([opened(1, pictures=0)])
    envelope = store.outbox.next_event()
    assert envelope is not None
    store.outbox.bury_event(envelope, 422, "422 invalid-body")
    found = inspection.status(store.path)
    assert found.dead == [
        {"uid": envelope.key, "case_uid": "case-00001", "last_status": 422, "last_error": "422 invalid-body"}
    ]
    assert found.losses == {"dead event": 1}
    with pytest.raises(StoreError, match="in use"):
        inspection.retry_dead(store.path, clock)
    store.close()
    assert inspection.retry_dead(store.path, clock) == 1
    assert inspection.status(store.path).events == {"ready": 1}


def test_export_holds_bodies_and_pictures(store: SqliteStore, clock: ManualClock, tmp_path: Path) -> None:
    store.commit([opened(1)])
    assert Sender(store, FolderTransport(tmp_path / "sent"), clock, random.Random(1)).drain(10.0)
    store.commit([opened(2, pictures=2)])
    out = tmp_path / "export"
    assert export(store.path, out) == 1
    (line,) = (out / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["body"]["case_id"] == "case-00002"
    assert {p.stem for p in (out / "evidence").iterdir()} == {p.sha256 for p in opened(2, pictures=2).pictures}
    with pytest.raises(StoreError, match="exists already"):
        export(store.path, out)


def test_no_store_and_no_database_are_setup_mistakes(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        inspection.status(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("hello" * 500)
    with pytest.raises(StoreError, match="cannot be read"):
        inspection.status(tmp_path / "text.sqlite")
