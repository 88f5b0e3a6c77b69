"""`qiji cases remerge` and `qiji replay --end-shift`: duplicates become one in the store, the outbox and the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnss.clock import ManualClock
from perception.types import CaseChange, CaseState, ChangeKind
from tests.perception.shifts import make_shift
from uplink.inspection import status
from uplink.store import SqliteStore
from vehicle.__main__ import main
from vehicle.folders import STORE_FILE

SHIFT = make_shift(3)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store after a shift that left duplicates."""
    file = tmp_path / "memory" / STORE_FILE
    changes = [
        CaseChange(c.id, 0, ChangeKind.OPENED, c, 0, c.last_seen_utc_ns, c.passes[-1].pass_id, c.reason)
        for c in SHIFT.cases
    ]
    with SqliteStore(file, "car-1", ManualClock()) as made:
        made.commit(changes)
    return file


def merged(file: Path) -> dict[str, str | None]:
    """Who went into whom, as the store remembers it."""
    with SqliteStore(file, "car-1", ManualClock()) as opened:
        return {c.id: c.merged_into for c in opened.cases() if c.state is CaseState.MERGED}


def test_a_dry_run_only_shows(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = status(store)
    assert main(["cases", "remerge", str(store), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "would become one" in told
    assert f"{len(SHIFT.cases)} cases looked at" in told
    assert "m apart" in told
    assert status(store) == before
    assert merged(store) == {}


def test_duplicates_become_one_and_the_platform_hears_of_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = status(store)
    assert main(["cases", "remerge", str(store), "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert main(["cases", "remerge", str(store), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {**planned, "dry_run": False}
    gone = {row["case"]: row["into"] for row in told["merged"]}
    assert gone
    assert merged(store) == gone
    pairs = [{SHIFT.truth[a], SHIFT.truth[str(b)]} for a, b in gone.items()]
    assert all(len(pair - {-1}) <= 1 for pair in pairs), "two things became one"
    assert all(f"the same thing as {row['into']}: " in row["why"] for row in told["merged"])
    survivors = set(gone.values())
    assert status(store).events["ready"] == before.events["ready"] + len(gone) + len(survivors)
    with SqliteStore(store, "car-1", ManualClock()) as opened:
        aliases = {n for c in opened.cases() if c.id in survivors for n in c.aliases}
    assert aliases == set(gone)


def test_a_second_time_finds_little(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["cases", "remerge", str(store)]) == 0
    told = capsys.readouterr().out
    assert told.count("became one") >= 1
    assert int(told.splitlines()[-1].split()[-2]) <= 1


def test_no_store_is_a_setup_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cases", "remerge", str(tmp_path / STORE_FILE)]) == 2
    assert "there is no store" in capsys.readouterr().err
    assert not (tmp_path / STORE_FILE).exists()


def test_a_replay_ends_the_shift(
    store: Path, recorded: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["replay", str(recorded), "--model", str(card), "--store", str(store.parent), "--json"]
    assert main([*argv, "--out", str(tmp_path / "run"), "--end-shift"]) == 0
    assert "merged" in json.loads(capsys.readouterr().out)["cases"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "changes.jsonl").read_text().splitlines()]
    gone = {line["case_id"] for line in lines if line["change"] == "merged into"}
    assert gone == set(merged(store))
    assert gone
    listed = json.loads((tmp_path / "run" / "cases.geojson").read_text())["features"]
    assert not gone & {row["properties"].get("id") for row in listed}
    timings = json.loads((tmp_path / "run" / "timings.json").read_text())
    assert "end of shift" in json.dumps(timings)


def test_a_replay_leaves_the_shift_open(store: Path, recorded: Path, card: Path, tmp_path: Path) -> None:
    argv = ["replay", str(recorded), "--model", str(card), "--store", str(store.parent), "--json"]
    assert main([*argv, "--out", str(tmp_path / "run")]) == 0
    assert merged(store) == {}
