"""The command line around the runs: configuration, facts, detection, scores, outbox, the demo's own checks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnss.clock import ManualClock
from gnss.types import FixQuality, PoseState
from perception.errors import SetupError
from perception.pipeline import Pipeline, PipelineParams
from replays.score import Match, Score, Spot
from tests.builders import CATALOGUE, make_fix, make_setup
from tests.vehicle.drives import KINDS
from uplink.store import SqliteStore
from vehicle.__main__ import main, parser
from vehicle.bench import speed, speed_text
from vehicle.commands.demo import Shown, checks
from vehicle.config import Config, load_config
from vehicle.params import as_table, override
from vehicle.replay import ReplayOptions, ReplayResult, replay
from vehicle.session import Session
from vehicle.signals import Stopper
from vehicle.stages import Stages
from vehicle.status import EVERY_S, Status
from vehicle.terminal import print_result

EXAMPLE = Path(__file__).resolve().parents[2] / "vehicle" / "example.toml"
COMMANDS = [
    "demo",
    "run",
    "replay",
    "score",
    "compare",
    "drive",
    "bench",
    "model",
    "city",
    "rules",
    "cases",
    "outbox",
    "evidence",
    "simulate",
    "platform",
    "config",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"qiji {command}" in capsys.readouterr().out


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fly"])
    assert ended.value.code == 2
    assert "invalid choice: 'fly'" in capsys.readouterr().err


def test_every_parameter_is_shown_and_can_be_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    car = tmp_path / "car.toml"
    car.write_text('version = 1\nvehicle = "car-1"\n[params]\nhold_s = 2\n[params.tracker]\n', encoding="utf-8")
    assert main(["config", "show", str(car), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["vehicle"] == "car-1"
    assert shown["params"]["hold_s"] == 2.0
    assert set(shown["params"]) == set(as_table(PipelineParams()))
    assert set(shown["params"]["ego"]) == set(as_table(PipelineParams().ego))
    assert main(["config", "show", str(car)]) == 0
    assert "hold_s = 2.0" in capsys.readouterr().out


def test_overrides_keep_types_and_leave_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "car.toml"
    file.write_text("")
    ego = {"smooth_nodes": 5, "qualities": {"single": {"floor_m": 9}}}
    changed = override(PipelineParams(), {"forget_m": 10, "ego": ego}, file)
    assert changed.forget_m == 10.0
    assert isinstance(changed.forget_m, float)
    assert changed.ego.qualities[FixQuality.SINGLE].floor_m == 9.0
    assert changed.ego.qualities[FixQuality.RTK_FIXED] == PipelineParams().ego.qualities[FixQuality.RTK_FIXED]
    with pytest.raises(SetupError, match=r"\[params.ego.qualities\] best is no table of it"):
        override(PipelineParams(), {"ego": {"qualities": {"best": {"floor_m": 9}}}}, file)
    changed = override(PipelineParams(), {"forget_m": 10, "ego": {"smooth_nodes": 5}}, file)
    assert changed == replace(PipelineParams(), forget_m=10.0, ego=replace(PipelineParams().ego, smooth_nodes=5))


def test_the_example_car_is_read() -> None:
    config = load_config(EXAMPLE)
    assert config.receiver is not None
    assert [row.camera.guessed for row in config.cameras] == [False]


def test_a_whole_car_is_read(tmp_path: Path) -> None:
    car = tmp_path / "car.toml"
    car.write_text(
        'version = 1\nvehicle = "car-1"\ncity = "city.toml"\ndata_dir = "memory"\nthreads = 2\n'
        '[platform]\nurl = "http://localhost:1"\ntimeout_s = 3\n'
        '[receiver]\nport = "/dev/ttyUSB0"\nbaud = 9600\nx_m = 0.5\nlatency_s = 0.1\n'
        '[[camera]]\nname = "a"\nsource = "0"\nwidth = 640\nheight = 360\nfx = 480\nz_m = 1.5\n'
        '[[camera]]\nname = "b"\nsource = "rtsp://camera/1"\nwidth = 640\nheight = 360\nmax_age_s = 1\n'
        '[[camera]]\nname = "c"\nsource = "film.mp4"\nwidth = 640\nheight = 360\nfx = 480\n',
        encoding="utf-8",
    )
    config = load_config(car)
    assert config.city == tmp_path / "city.toml"
    assert config.data_dir == tmp_path / "memory"
    assert (config.platform_url, config.timeout_s, config.threads) == ("http://localhost:1", 3.0, 2)
    assert config.receiver is not None
    assert (config.receiver.baud, config.receiver.x_m, config.receiver.latency_s) == (9600, 0.5, 0.1)
    a, b, c = config.cameras
    assert [row.source for row in config.cameras] == ["0", "rtsp://camera/1", str(tmp_path / "film.mp4")]
    assert (a.camera.guessed, b.camera.guessed, c.camera.guessed) == (False, True, True)
    assert (a.camera.fx, a.camera.fy, a.max_age_s, b.max_age_s) == (480.0, 480.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def run(filmed_original: Path, card: Path, tmp_path_factory: pytest.TempPathFactory) -> ReplayResult:
    """The filmed street replayed from its recorded detections, with pictures."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return replay([filmed_original], Config(card=card), out, ReplayOptions("recorded"))


def test_detections_are_recorded_into_the_drive(
    filmed: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (filmed / "detections.jsonl").unlink()
    assert main(["drive", "detect", str(filmed), "--model", str(card)]) == 0
    assert "50 frames written" in capsys.readouterr().out
    lines = [json.loads(line) for line in (filmed / "detections.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(50))
    assert {box["class"] for box in lines[0]["boxes"]} == {"garbage", "car"}
    out = ["--out", str(tmp_path / "a"), "--json"]
    assert main(["replay", str(filmed), "--model", str(card), "--detections", "model", *out]) == 0
    modelled = json.loads(capsys.readouterr().out)
    out = ["--out", str(tmp_path / "b"), "--json"]
    assert main(["replay", str(filmed), "--model", str(card), "--detections", "recorded", *out]) == 0
    assert json.loads(capsys.readouterr().out)["ledger"] == modelled["ledger"]
    assert (tmp_path / "a" / "changes.jsonl").read_bytes() == (tmp_path / "b" / "changes.jsonl").read_bytes()


def test_an_import_tells_the_folder_and_the_guesses(
    filmed_original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = "".join(
        f'<trkpt lat="{30 + n * 1e-5:.5f}" lon="120"><time>2026-04-01T02:00:{n:02d}Z</time></trkpt>' for n in range(9)
    )
    track = tmp_path / "track.gpx"
    track.write_text(f"<gpx><trk><trkseg>{points}</trkseg></trk></gpx>", encoding="utf-8")
    video = next(filmed_original.glob("front.m*"))
    told = ["drive", "import", str(video), "--track", str(track), "--out"]
    assert main([*told, str(tmp_path / "a")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"imported into {tmp_path / 'a'}"
    assert len(lines) == 2
    assert "70 degrees" in lines[1]
    assert main([*told, str(tmp_path / "b"), "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["drive"] == str(tmp_path / "b")
    assert "70 degrees" in tree["note"]


def test_info_score_and_compare(run: ReplayResult, filmed_original: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["drive", "info", str(filmed_original), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vehicle"] == "car-1"
    truth = tmp_path / "truth.geojson"
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [case.lon_deg, case.lat_deg]},
            "properties": {"id": case.id, "class": case.class_name, "kind": case.kind, "static": True},
        }
        for case in run.listed[:-1]
    ]
    truth.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    gate = ["score", str(run.out), "--truth", str(truth)]
    assert main([*gate, "--min-recall", "0.99"]) == 0
    assert main([*gate, "--min-precision", "0.99"]) == 1
    assert main(["compare", str(run.out), str(run.out)]) == 0
    capsys.readouterr()


def test_the_outbox_of_a_run_is_told(run: ReplayResult, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox", "status", str(run.store / "cases.sqlite"), "--json"]) == 0
    told = capsys.readouterr().out
    assert json.loads(told)
    with SqliteStore(run.store / "cases.sqlite", "car-1", ManualClock()) as store:
        assert {case.kind for case in store.cases()} == KINDS
        assert store.outbox.backlog().events >= len(KINDS)


def failing(run: ReplayResult, shown: dict[str, Shown], score: Score) -> list[str]:
    """The demo's checks that do not hold."""
    return [text for holds, text in checks(run, shown, CATALOGUE, score) if not holds]


def test_the_demo_says_what_does_not_hold(run: ReplayResult) -> None:
    spot = Spot("t", "exposed_garbage", 30.0, 120.0)
    good = Score(3.0, {}, (Match(spot, spot, 0.5),), (), ())
    shown = {case.id: Shown(case.state.value, len(case.evidence), True) for case in run.listed}
    whole = replace(run, unsent=0)
    first = next(iter(shown))
    assert failing(whole, shown, good) == []
    assert len(failing(whole, {**shown, first: replace(shown[first], state="resolved")}, good)) == 1
    assert len(failing(whole, dict(list(shown.items())[1:]), good)) == 1
    assert len(failing(whole, {**shown, "another": Shown("open", 0, True)}, good)) == 1
    assert "acknowledged" in failing(whole, {**shown, first: replace(shown[first], complete=False)}, good)[0]
    assert "acknowledged" in failing(replace(run, unsent=2), shown, good)[0]
    heap = next(case for case in run.cases if case.kind == "exposed_garbage")
    fewer = replace(whole, cases=tuple(case for case in run.cases if case is not heap))
    lacks = failing(fewer, {n: s for n, s in shown.items() if n != heap.id}, good)
    assert lacks == ["a case of family garbage was filed with a picture"]
    bare = replace(whole, cases=tuple(replace(case, evidence=()) for case in run.cases))
    assert len(failing(bare, shown, good)) == 4
    missed = failing(whole, shown, replace(good, missed=(spot,)))
    assert missed == ["recall 0.50 at 3 m, wanted 0.8"]
    assert failing(whole, shown, Score(3.0, {}, (), (), ())) == [
        "recall none at 3 m, wanted 0.8",
        "precision none at 3 m, wanted 0.8",
    ]
    assert len(failing(replace(whole, cases=()), {}, good)) == 5


def test_the_result_is_told_to_a_person(run: ReplayResult, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(run, CATALOGUE)
    told = capsys.readouterr().out
    assert f"{len(run.listed)} cases, 0 candidates" in told
    for case in run.listed:
        assert case.id[:10] in told
        assert CATALOGUE.kinds[case.kind].title_zh in told
    assert f"ledger: {sum(run.ends.values())} tracks = " in told
    assert "read: 50 frames, 7 fixes; dropped: nothing" in told
    print_result(replace(run, cases=(), ends=Counter(), unsent=3), CATALOGUE)
    told = capsys.readouterr().out
    assert "no case and no candidate" in told
    assert "3 items could not be delivered" in told


def test_the_bench_measures_both_on_the_same_frames(filmed_original: Path, card: Path, tmp_path: Path) -> None:
    result = speed(filmed_original, Config(card=card), 2, tmp_path)
    assert result["frames"] == 50
    assert len(result["rounds"]) == 2
    assert result["ratio"] == result["end_to_end_fps"] / result["bare_fps"]
    assert set(result["stages"]) >= {"read", "detect", "redact", "pipeline", "report"}
    assert all(row["calls"] == 50 for name, row in result["stages"].items() if name in ("detect", "redact"))
    assert f"ratio {result['ratio']:.2f}" in speed_text(result)


def test_a_status_line_tells_pose_cases_and_backlog() -> None:
    clock = ManualClock()
    pipeline = Pipeline(make_setup())
    said: list[str] = []
    session = Session(pipeline, None, None, None, Stages())  # type: ignore[arg-type]
    status = Status(clock, session, lambda: 7, said.append)
    status.tick()
    assert said == []
    session.frames = 50
    clock.sleep(EVERY_S)
    status.tick()
    status.tick()
    assert len(said) == 1
    assert "10.0 frames/s" in said[0]
    assert f"pose {PoseState.NONE.value}" in said[0]
    assert "7 items in the outbox" in said[0]
    for fix in (make_fix(0.0, 8.0 * s, s * 10**9) for s in range(4)):
        pipeline.step(fix)
    session.last_ns = 3 * 10**9
    assert "pose NONE" not in status.line()


def test_a_stop_asked_for_early_reaches_what_comes_later() -> None:
    stopper, told = Stopper(), list[str]()
    stopper.attach(lambda: told.append("first"))
    stopper.ask()
    stopper.attach(lambda: told.append("second"))
    assert told == ["first", "second"]


def test_the_parser_knows_every_command() -> None:
    action = next(a for a in parser()._actions if a.dest == "command")
    assert action.choices is not None
    assert set(action.choices) == set(COMMANDS)
