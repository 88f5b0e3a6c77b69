"""The run folder: its members, sums of the ledger, and nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perception.errors import DriveError
from perception.types import TrackEnd, TrackEnded
from replays.geojson import read_features
from replays.run_folder import LedgerError, RunWriter


def ended(track: int, end: TrackEnd = TrackEnd.FILED, reason: str = "opened", case_id: str | None = "c1") -> TrackEnded:
    return TrackEnded(track, "front", "car", end, reason, track * 10**9, case_id)


def close_short(writer: RunWriter) -> None:
    writer.take(ended(1))
    writer.close(timings={}, tracks=3)


def end_twice(writer: RunWriter) -> None:
    writer.take(ended(1))
    writer.take(ended(1))


def test_members_of_a_run(tmp_path: Path, fakes: Any) -> None:
    out = tmp_path / "run"
    cases = [fakes.case("c2", state="candidate"), fakes.case("c1"), fakes.case("c3", state="merged", merged_into="c1")]
    with RunWriter(out) as writer:
        writer.start_drive("tiny", "car-7")
        writer.take(fakes.drive_pass([(0, 0), (0, 8), (0, 16)]))
        writer.take(fakes.landmark("l1", 1, 4, 20))
        writer.take(fakes.landmark("l2", 2, -4, 25, "moving"))
        for case in cases:
            writer.take(fakes.change(case, (fakes.picture("close_up", 90),)))
        assert not out.exists()
        writer.close(timings={"detect_ms": 1.23456}, data={"frames": 3})
    assert sorted(p.name for p in out.iterdir()) == [
        "cases.geojson", "changes.jsonl", "evidence", "evidence.jsonl", "landmarks.geojson", "ledger.json",
        "timings.json", "track.geojson",
    ]  # fmt: skip
    features = read_features(out / "cases.geojson")
    assert [(f["properties"]["id"], f["properties"]["state"]) for f in features] == [
        ("c1", "open"),
        ("c2", "candidate"),
    ]
    assert [f["properties"]["verdict"] for f in read_features(out / "landmarks.geojson")] == ["static", "moving"]
    (track,) = read_features(out / "track.geojson")
    assert len(track["geometry"]["coordinates"]) == 3
    assert track["properties"]["end"] == "2026-03-31T23:33:22.000Z"
    assert [json.loads(line)["case_id"] for line in (out / "changes.jsonl").read_text().splitlines()] == [
        "c2",
        "c1",
        "c3",
    ]
    assert "sha256" not in (out / "changes.jsonl").read_text()
    lines = [json.loads(line) for line in (out / "evidence.jsonl").read_text().splitlines()]
    assert {(row["role"], (out / row["file"]).read_bytes()[:2]) for row in lines} == {("close_up", b"\xff\xd8")}
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_the_last_change_of_a_case_is_its_state(tmp_path: Path, fakes: Any) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.take(fakes.change(fakes.case("c1", state="candidate"), change="candidate"))
        writer.take(fakes.change(fakes.case("c1", state="open")))
        out = writer.close(timings={}, known=[fakes.case("c1", state="withdrawn"), fakes.case("c0", state="resolved")])
    states = {f["properties"]["id"]: f["properties"]["state"] for f in read_features(out / "cases.geojson")}
    assert states == {"c0": "resolved", "c1": "open"}


def test_ledger_adds_up(tmp_path: Path, fakes: Any) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.start_drive("a", "car-7")
        for track in (1, 2):
            writer.take(ended(track))
        writer.take(ended(3, TrackEnd.NO_PROBLEM, "moving", None))
        writer.start_drive("b", "car-7")
        writer.take(ended(1, TrackEnd.NO_PROBLEM, "legal", None))
        out = writer.close(timings={}, tracks=4)
    ledger = json.loads((out / "ledger.json").read_text())
    assert ledger["tracks"] == 4 == sum(row["total"] for row in ledger["ends"].values())
    assert set(ledger["ends"]) == {end.value for end in TrackEnd}
    assert ledger["ends"]["no-problem"] == {"total": 2, "reasons": {"legal": 1, "moving": 1}}
    assert [row["drive"] for row in ledger["entries"]] == ["a", "a", "a", "b"]


def test_a_ledger_that_does_not_add_up_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="3 tracks began, 1 ended"), RunWriter(tmp_path / "run") as writer:
        close_short(writer)
    with pytest.raises(LedgerError, match="ended twice"), RunWriter(tmp_path / "run") as writer:
        end_twice(writer)
    assert list(tmp_path.iterdir()) == []


def test_an_older_run_is_replaced_and_other_folders_are_not(tmp_path: Path, fakes: Any) -> None:
    out = fakes.run(tmp_path / "run", [fakes.case("c1")])
    fakes.run(out, [fakes.case("c2")])
    assert [f["properties"]["id"] for f in read_features(out / "cases.geojson")] == ["c2"]
    assert len(list((out / "evidence").iterdir())) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DriveError, match="no run folder"):
        RunWriter(tmp_path / "mine")
    with pytest.raises(ValueError, match="boom"), RunWriter(out):
        raise ValueError("boom")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "run"]
    assert [f["properties"]["id"] for f in read_features(out / "cases.geojson")] == ["c2"]


def test_equal_runs_write_equal_bytes(tmp_path: Path, fakes: Any) -> None:
    runs = [fakes.run(tmp_path / name, [fakes.case("c1"), fakes.case("c2", east_m=-3.0)]) for name in ("a", "b")]
    for name in ("changes.jsonl", "cases.geojson", "landmarks.geojson", "ledger.json", "evidence.jsonl"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()
