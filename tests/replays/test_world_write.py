"""Simulated drives on disk: they open, replay reads what was sensed, the truth scores, and the command writes a set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gnss.atlas import load_atlas
from gnss.types import Fix
from perception.errors import DriveError
from perception.types import Seen
from replays.drive import open_drive
from replays.geojson import read_features
from replays.score import Spot, counts, match_spots
from replays.source import DriveSource
from replays.world.card import CARD
from replays.world.sense import sense
from replays.world.sets import WORLDS, Plan, only, planned, write_set
from replays.world.traffic import traffic
from replays.world.write import visible, write_drive
from vehicle.__main__ import main


def silent(name: str, done: int, total: int) -> None:
    """Nobody watches."""


def truths(file: Path) -> dict[str, dict[str, Any]]:
    return {f["properties"]["id"]: f["properties"] | {"at": f["geometry"]["coordinates"]} for f in read_features(file)}


def test_a_written_drive_is_read_back_as_it_was_sensed(tmp_path: Path) -> None:
    world = traffic(2, 1, 1)
    drive = sense(world, world.rides[0], CARD, 1)
    out = tmp_path / "drive"
    write_drive(drive, world, out)
    read = open_drive(out)
    assert read.start_utc_ns == drive.start_utc_ns
    assert read.cameras == drive.cameras
    assert not read.has_pixels
    events = list(DriveSource(read, "recorded"))
    fixes = [e for e in events if isinstance(e, Fix)]
    assert fixes == [e for e in drive.events if isinstance(e, Fix)]
    frames = [e for e in events if isinstance(e, Seen)]
    sensed = [e for e in drive.events if isinstance(e, Seen)]
    assert [(f.stamp_ns, f.camera, f.index, f.detections.names()) for f in frames] == [
        (f.stamp_ns, f.camera, f.index, f.detections.names()) for f in sensed
    ]
    assert (
        max(abs(a.detections.xyxy - b.detections.xyxy).max(initial=0.0) for a, b in zip(frames, sensed, strict=True))
        < 0.006
    )
    atlas = load_atlas(out / "city.toml")
    assert [(z.id, z.kind, z.dwell_s) for z in atlas.zones] == [(z.id, z.kind, z.dwell_s) for z in world.zones]


def test_the_truth_says_what_is_where_and_when(tmp_path: Path) -> None:
    world = traffic(2, 2, 2)
    drive = sense(world, world.rides[0], CARD, 1)
    write_drive(drive, world, tmp_path / "drive")
    written = truths(tmp_path / "drive" / "truth.geojson")
    assert written.keys() == {t.id for t in world.things}
    for thing in world.things:
        row = written[thing.id]
        assert (row["class"], row["kind"], row["static"]) == (thing.class_name, thing.kind, thing.drive is None)
        assert row["visible"] == (thing.id in visible(drive))
        assert (row["from_utc"] is None) == (abs(thing.from_s) > 1e9)
        if thing.drive is None:
            east, north = world.frame.to_enu(row["at"][1], row["at"][0])
            assert (east, north) == pytest.approx((thing.east_m, thing.north_m), abs=1e-3)
    end_ns = drive.start_utc_ns + 60_000_000_000
    file = tmp_path / "drive" / "truth.geojson"
    now = {n: r for n, r in written.items() if counts(r, end_ns, file)}
    assert {r["kind"] for r in now.values()} >= {"illegal_parking"}
    assert all(world_thing.exists(60.0) for world_thing in world.things if world_thing.id in now)
    spots = [Spot(n, r["kind"], r["at"][1], r["at"][0]) for n, r in now.items()]
    score = match_spots(spots, spots, 1.0)
    assert (score.total.recall, score.total.precision) == (1.0, 1.0)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_a_set_is_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    plan = Plan(passes=2, vehicles=2, days=1, cameras=("front", "left"))
    for number in (1, 2):
        world, rides, card = planned("traffic", 7, plan)
        write_set(world, rides, card, 7, tmp_path / str(number), silent)
    first, second = everything(tmp_path / "1"), everything(tmp_path / "2")
    assert first == second
    assert len({text for name, text in first.items() if name.endswith("truth.geojson")}) == 1
    assert {name.split("/")[0] for name in first} == {"traffic-1", "traffic-2"}


def test_a_set_keeps_out_of_folders_that_hold_something(tmp_path: Path) -> None:
    world, rides, card = planned("street", 1, Plan(1, 1, 1))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DriveError, match="no empty folder"):
        write_set(world, rides, card, 1, tmp_path, silent)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_can_be_planned(name: str) -> None:
    world, rides, card = planned(name, 1, Plan())
    assert world.things
    assert rides
    assert card.pd == 0.9
    assert all(ride.cameras == ("front",) for ride in rides)
    assert {t.class_name for t in only(world, {"garbage"}).things} <= {"garbage"}


@pytest.mark.parametrize(("plan", "said"), [(Plan(0), "0 passes"), (Plan(1, 1, 2), "on 2 days")])
def test_impossible_plans_are_setup_mistakes(plan: Plan, said: str) -> None:
    with pytest.raises(DriveError, match=said):
        planned("street", 1, plan)
    with pytest.raises(DriveError, match="no world 'moon'"):
        planned("moon", 1, Plan())


def test_the_command_writes_drives_that_replay_and_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, run = tmp_path / "set", tmp_path / "run"
    assert main(["simulate", "--seed", "5", "--out", str(out), "--world", "street", "--passes", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [d["vehicle"] for d in told["drives"]] == ["car-1", "car-2"]
    assert told["card"]["pd"] == 0.9
    assert all(d["frames"] > 100 and 0 < d["clutter"] < 0.2 * d["boxes"] for d in told["drives"])
    assert sum(told["problems"].values()) > 10
    folders = sorted(str(f) for f in out.iterdir())
    assert main(["replay", *folders, "--out", str(run), "--detections", "recorded", "--json"]) == 0
    capsys.readouterr()
    assert main(["score", str(run), "--truth", f"{folders[0]}/truth.geojson", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["truths"] > 10
    assert score["recall"] > 0.5
    assert main(["simulate", "--seed", "5", "--out", str(out)]) == 2
