"""`qiji replay`: several drives share one memory, equal runs give equal bytes, a kept store remembers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perception.errors import SetupError
from perception.types import CalibrationUpdate
from replays.run_folder import RunWriter
from tests.builders import Thing
from tests.vehicle.drives import DAY_NS, KINDS, STREET, street, write_drive
from uplink.platform.serve import LocalPlatform
from vehicle.__main__ import main
from vehicle.config import Config
from vehicle.replay import ReplayOptions, _late, open_drives, replay
from vehicle.session import UNPROTECTED

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "replays" / "samples" / "patrol-street"


def changes_of(run: Path) -> list[dict[str, Any]]:
    """All changes of a run, in order."""
    return [json.loads(line) for line in (run / "changes.jsonl").read_text().splitlines()]


def replayed(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> dict[str, Any]:
    """Run the command; its JSON."""
    assert main(["replay", *(str(a) for a in argv), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    result: dict[str, Any] = json.loads(printed.out)
    return result


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same street on two days; the next morning the heap is gone."""
    folder = tmp_path_factory.mktemp("days")
    things = [t if t.name != "heap" else Thing("heap", "garbage", 4.5, 24.0, away=frozenset({1})) for t in STREET]
    return [write_drive(folder / name, street(60.0, things=things), pass_index=n) for n, name in enumerate("ab")]


def test_the_ledger_and_the_json_agree(
    recorded: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = replayed(capsys, recorded, "--model", card, "--out", tmp_path / "run")
    ledger = json.loads((tmp_path / "run" / "ledger.json").read_text())
    assert {k: row["total"] for k, row in ledger["ends"].items() if row["total"]} == told["ledger"]
    assert ledger["tracks"] == sum(told["ledger"].values()) == len(ledger["entries"])
    assert told["cases"] == {"open": len(KINDS)}
    assert told["data"]["frames"] + told["data"].get("frames without a pose", 0) == told["frames"] == 50
    assert told["unsent"] is None


def test_equal_replays_give_equal_bytes_in_other_processes_too(recorded: Path, card: Path, tmp_path: Path) -> None:
    for n in range(3):
        replay([recorded], Config(card=card), tmp_path / f"run{n}", ReplayOptions("recorded"))
    for n, seed in ((3, "1"), (4, "77")):
        argv = ["replay", str(recorded), "--model", str(card), "--detections", "recorded"]
        subprocess.run(
            [sys.executable, "-m", "vehicle", *argv, "--out", str(tmp_path / f"run{n}")],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True,
        )  # fmt: skip
    for name in ("changes.jsonl", "cases.geojson", "landmarks.geojson", "ledger.json"):
        assert len({(tmp_path / f"run{n}" / name).read_bytes() for n in range(5)}) == 1, name
    assert len(changes_of(tmp_path / "run0")) >= len(KINDS)


def test_equal_replays_through_the_network_give_equal_bytes(filmed_original: Path, card: Path, tmp_path: Path) -> None:
    """With pixels, network and redaction: the look-ahead thread changes no order and no picture."""
    for n in range(2):
        replay([filmed_original], Config(card=card), tmp_path / f"run{n}", ReplayOptions("model"))
    for name in ("changes.jsonl", "evidence.jsonl", "cases.geojson", "ledger.json"):
        assert (tmp_path / "run0" / name).read_bytes() == (tmp_path / "run1" / name).read_bytes(), name
    assert json.loads((tmp_path / "run0" / "ledger.json").read_text())["tracks"] > 0


def test_recorded_detections_with_pixels_bring_pictures(filmed_original: Path, card: Path, tmp_path: Path) -> None:
    result = replay([filmed_original], Config(card=card), tmp_path / "run", ReplayOptions("recorded"))
    assert {case.kind for case in result.listed} == KINDS
    assert all(case.evidence for case in result.listed)
    for line in (tmp_path / "run" / "evidence.jsonl").read_text().splitlines():
        assert (tmp_path / "run" / json.loads(line)["file"]).exists()


@pytest.mark.skipif(
    not (SAMPLE / "detections.jsonl").exists(), reason="the sample drive carries no recorded detections"
)
def test_the_sample_replays_to_equal_bytes(tmp_path: Path) -> None:
    for n in range(2):
        replay([SAMPLE], Config(), tmp_path / f"run{n}", ReplayOptions("recorded"))
    assert (tmp_path / "run0" / "changes.jsonl").read_bytes() == (tmp_path / "run1" / "changes.jsonl").read_bytes()


def test_two_days_share_a_memory_in_order_of_time(days: list[Path], card: Path, tmp_path: Path) -> None:
    orders = (days, days[::-1])
    for n, paths in enumerate(orders):
        result = replay(paths, Config(card=card), tmp_path / f"run{n}", ReplayOptions("recorded"))
    assert (tmp_path / "run0" / "changes.jsonl").read_bytes() == (tmp_path / "run1" / "changes.jsonl").read_bytes()
    assert {case.kind for case in result.listed} >= KINDS
    assert len(result.listed) == len(KINDS)
    again = [case for case in result.listed if len({p.utc_ns // DAY_NS for p in case.passes if p.utc_ns}) == 2]
    assert {case.kind for case in again} == KINDS - {"exposed_garbage"}


def test_a_kept_store_remembers_between_calls(
    days: list[Path], card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "memory"
    for name, drive in zip("ab", days, strict=True):
        told = replayed(capsys, drive, "--model", card, "--store", store, "--out", tmp_path / name)
        assert told["store"] == str(store)
    first = {c["case_id"] for c in changes_of(tmp_path / "a") if c["change"] == "opened"}
    second = changes_of(tmp_path / "b")
    assert len(first) == len(KINDS)
    assert {c["case_id"] for c in second} <= first
    assert "opened" not in {c["change"] for c in second}
    assert not (tmp_path / "a.store").exists()


def test_the_same_two_days_in_one_call_and_in_two(days: list[Path], card: Path, tmp_path: Path) -> None:
    options = ReplayOptions("recorded", store=tmp_path / "memory")
    replay(days, Config(card=card), tmp_path / "both", ReplayOptions("recorded"))
    for name, drive in zip("ab", days, strict=True):
        replay([drive], Config(card=card), tmp_path / name, options)
    assert changes_of(tmp_path / "both") == changes_of(tmp_path / "a") + changes_of(tmp_path / "b")


def test_a_drive_without_utc_is_alone(days: list[Path], card: Path, tmp_path: Path) -> None:
    timeless = write_drive(tmp_path / "timeless", utc=False)
    with pytest.raises(SetupError, match="no UTC and cannot share a memory"):
        open_drives([days[0], timeless])
    result = replay([timeless], Config(card=card), tmp_path / "run", ReplayOptions("recorded"))
    assert any("no UTC" in notice for notice in result.notices)
    assert {case.kind for case in result.listed} >= {"exposed_garbage", "manhole_damage"}


def test_two_drives_of_one_name_keep_their_tracks_apart(card: Path, tmp_path: Path) -> None:
    paths = [write_drive(tmp_path / day / "live", pass_index=n) for n, day in enumerate(("mon", "tue"))]
    result = replay(paths, Config(card=card), tmp_path / "run", ReplayOptions("recorded"))
    entries = json.loads((tmp_path / "run" / "ledger.json").read_text())["entries"]
    assert {e["drive"] for e in entries} == {"live (1)", "live (2)"}
    assert len(entries) == sum(result.ends.values())


def test_the_antenna_of_the_drive_is_used(card: Path, tmp_path: Path) -> None:
    """An antenna 2 m ahead of the reference point puts the car, and all it sees, 2 m back along the street."""
    places = []
    for forward_m in (0.0, 2.0):
        drive = write_drive(tmp_path / f"drive{forward_m:.0f}")
        text = (drive / "drive.toml").read_text()
        (drive / "drive.toml").write_text(text.replace("[[camera]]", f"[gnss]\nx_m = {forward_m}\n\n[[camera]]"))
        result = replay([drive], Config(card=card), tmp_path / f"run{forward_m:.0f}", ReplayOptions("recorded"))
        places.append({case.kind: case.lat_deg for case in result.listed})
    shared = set(places[0]) & set(places[1])
    assert len(shared) >= 3
    for kind in shared:
        assert (places[0][kind] - places[1][kind]) * 110_850 == pytest.approx(2.0, abs=0.3)


def test_everything_reaches_the_platform(filmed_original: Path, card: Path, tmp_path: Path) -> None:
    with LocalPlatform.start(tmp_path / "platform") as platform:
        options = ReplayOptions("recorded", platform=platform.url)
        result = replay([filmed_original], Config(card=card), tmp_path / "run", options)
        rows = platform.intake.database.rows("SELECT count(*) AS n FROM event")
    assert result.unsent == 0
    assert rows[0]["n"] == len(changes_of(tmp_path / "run"))


def test_a_bug_leaves_neither_run_nor_store(
    recorded: Path, card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: RunWriter, output: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RunWriter, "take", broken)
    with pytest.raises(ZeroDivisionError):
        replay([recorded], Config(card=card), tmp_path / "run", ReplayOptions("recorded"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("known", "pictures"), [(True, True), (False, False)])
def test_boxes_of_nobody_knows_whom_make_no_picture(tmp_path: Path, known: bool, pictures: bool) -> None:
    drive = tmp_path / "drive"
    shutil.copytree(SAMPLE, drive)
    file = drive / "detections.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if not known:
        # As any other tool may write them: thresholded for cases, without the people and cars that must be filled.
        lines = [{k: v for k, v in line.items() if k != "model"} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    result = replay([drive], Config(), tmp_path / "run", ReplayOptions(detections="recorded"))
    assert len(result.listed) >= 8
    assert any((tmp_path / "run" / "evidence").iterdir()) == pictures
    assert (result.data[UNPROTECTED] > 0) == (not known)


def test_a_camera_clock_that_is_surely_off_is_told_and_one_that_may_be_right_is_not() -> None:
    learned = CalibrationUpdate(0, "front", 0.0, 0.1, 0.0, 0.1, late_s=0.2034, late_sigma_s=0.012)
    said = _late("monday, camera front", learned)
    assert said == "monday, camera front: stamps are 203 ms later than the pictures (sigma 12 ms), by wheels and turns"
    assert "earlier" in _late("x", replace(learned, late_s=-0.2))
    assert _late("x", replace(learned, late_sigma_s=0.08)) == ""
    assert _late("x", replace(learned, late_s=None, late_sigma_s=None)) == ""
