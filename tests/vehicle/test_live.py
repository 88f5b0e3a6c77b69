"""The car, live: what it saw replays to the same cases; signals and lost ports end nothing but what they should."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import vehicle.setup
from gnss.clock import SystemClock
from gnss.errors import ReceiverError
from gnss.nmea import NmeaReader
from gnss.types import Fix
from perception.card import ModelCard
from perception.errors import DriveError
from perception.types import Detections, Frame, Shed
from replays.drive import open_drive
from replays.events import read_events
from replays.recording.unpack import RECEIVER
from tests.vehicle.drives import KINDS, RecordedDetector, street, write_drive
from uplink.platform.serve import LocalPlatform
from uplink.store import SqliteStore
from vehicle.cameras import CameraThread
from vehicle.config import Config, load_config
from vehicle.live import LiveSource
from vehicle.replay import ReplayOptions, replay
from vehicle.run import LiveOptions, LiveResult, run_live
from vehicle.signals import Stopper, stop_on_signals
from vehicle.simulate import Pty, Simulation, sentences, simulate

ROOT = Path(__file__).resolve().parents[2]


def cases_of(run: Path) -> dict[str, tuple[str, str, list[float]]]:
    """Case id -> kind, state and place of a run folder."""
    features = json.loads((run / "cases.geojson").read_text())["features"]
    return {
        f["properties"]["id"]: (f["properties"]["kind"], f["properties"]["state"], f["geometry"]["coordinates"])
        for f in features
    }


def parts(folder: Path) -> list[Path]:
    """Half-written things."""
    return [p for p in folder.rglob("*") if p.name.endswith((".part", ".old"))]


@pytest.fixture(scope="module")
def simulated(filmed_original: Path, card: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LiveResult]:
    """One simulated run with recorder, run folder and platform; its folder and result."""
    base = tmp_path_factory.mktemp("simulated")
    before = set(threading.enumerate())

    def detector(model: ModelCard, **_: object) -> RecordedDetector:
        return RecordedDetector(filmed_original, model)

    with pytest.MonkeyPatch.context() as patch, LocalPlatform.start(base / "platform") as platform:
        patch.setattr(vehicle.setup, "OnnxDetector", detector)
        config = Config(card=card, data_dir=base / "data", platform_url=platform.url)
        options = LiveOptions(base / "drive", base / "run", drain_s=60.0)
        result = simulate(Simulation.prepare(filmed_original, config), config, options, Stopper())
        rows = platform.intake.database.rows("SELECT count(*) AS n FROM event")
        assert rows[0]["n"] >= len(result.cases)
    assert {t.name for t in set(threading.enumerate()) - before} == set()
    return base, result


def test_a_simulated_run_files_the_street_and_delivers_it(simulated: tuple[Path, LiveResult]) -> None:
    base, result = simulated
    cases = cases_of(base / "run")
    assert {kind for kind, _, _ in cases.values()} == KINDS
    assert {name: state for name, (_, state, _) in cases.items()} == result.cases
    assert {name: kind for name, (kind, _, _) in cases.items()} == result.kinds
    assert result.unsent == 0
    assert not parts(base)


def test_what_a_simulated_run_saw_replays_to_the_same_changes(simulated: tuple[Path, LiveResult], card: Path) -> None:
    base, _ = simulated
    result = replay([base / "drive"], Config(card=card), base / "again", ReplayOptions("recorded"))
    assert cases_of(base / "again") == cases_of(base / "run")
    assert (base / "again" / "changes.jsonl").read_bytes() == (base / "run" / "changes.jsonl").read_bytes()
    ledgers = [json.loads((base / name / "ledger.json").read_text()) for name in ("run", "again")]
    assert ledgers[0]["ends"] == ledgers[1]["ends"]
    assert result.data["late events"] == 0


def test_the_same_with_the_known_objects_it_was_fed(simulated: tuple[Path, LiveResult], card: Path) -> None:
    base, _ = simulated
    replay([base / "drive"], Config(card=card), base / "known", ReplayOptions("recorded", "recorded"))
    assert (base / "known" / "changes.jsonl").read_bytes() == (base / "run" / "changes.jsonl").read_bytes()


def test_a_live_ledger_adds_up(simulated: tuple[Path, LiveResult]) -> None:
    base, result = simulated
    ledger = json.loads((base / "run" / "ledger.json").read_text())
    assert ledger["tracks"] == sum(row["total"] for row in ledger["ends"].values()) == len(ledger["entries"]) > 0
    seen = result.counts.get("frames", 0) + result.counts.get("frames without a pose", 0)
    shed = sum(n for name, n in result.counts.items() if name.startswith("shed: "))
    assert seen + shed + result.counts.get("late events", 0) == result.counts["camera front: frames"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until the process has come so far; fail when it ends before."""
    clock = SystemClock()
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, process.communicate()[1]
        clock.sleep(0.05)
    pytest.fail("the process did not come so far within a minute")


def test_sigterm_ends_a_run_cleanly(card: Path, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "in" / "long", street(length_m=200.0), pixels=True)
    out = tmp_path / "out" / "run"
    command = [sys.executable, "-m", "vehicle", "run", "--simulate", str(drive), "--model", str(card), "--json"]
    with subprocess.Popen(
        [*command, "--out", str(out)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: (out.with_name("run.drive") / "0001" / "0001.mcap").exists(), process)
        SystemClock().sleep(3.0)
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert 0 < json.loads(said)["counts"]["camera front: frames"] < 250
    assert {p.name for p in out.iterdir()} >= {"cases.geojson", "changes.jsonl", "ledger.json", "report.html"}
    assert 0 < len(open_drive(out.with_name("run.drive")).members["front"].stamp_ns) < 250
    assert not parts(tmp_path)


def test_signals_are_taken_and_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stopper:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert stopper.asked
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_while_loading_ends_the_run_at_once_and_whole(filmed_original: Path, card: Path, tmp_path: Path) -> None:
    stopper = Stopper()
    config = Config(card=card, data_dir=tmp_path / "data")
    simulation = Simulation.prepare(filmed_original, config)
    stopper.ask()
    result = simulate(simulation, config, LiveOptions(tmp_path / "drive", tmp_path / "run"), stopper)
    assert result.cases == {}
    assert "camera front: frames" not in result.counts
    assert json.loads((tmp_path / "run" / "ledger.json").read_text())["tracks"] == 0
    assert not parts(tmp_path)


def write_car(folder: Path, drive: Path, card: Path, port: str, more: str = "") -> Path:
    """A CAR.toml with the drive's video as its camera and a receiver at `port`."""
    car = folder / "car.toml"
    car.write_text(
        f'version = 1\nvehicle = "car-9"\nmodel = "{card}"\ndata_dir = "data"\n{more}\n[receiver]\nport = "{port}"\n'
        f'[[camera]]\nname = "front"\nsource = "{drive / "front.mp4"}"\nwidth = 640\nheight = 360\nfx = 480.0\n'
        "x_m = 1.5\nz_m = 1.5\npitch_deg = 4.0\n",
        encoding="utf-8",
    )
    return car


def test_a_car_without_platform_keeps_its_cases_and_survives_an_unplugged_receiver(
    filmed_original: Path, card: Path, tmp_path: Path
) -> None:
    pty = Pty()
    config = load_config(write_car(tmp_path, filmed_original, card, pty.name))
    fixes = open_drive(filmed_original).fixes

    def talk() -> None:
        while not list(tmp_path.glob(".run.*.part")):
            SystemClock().sleep(0.05)
        for fix in fixes[:4]:
            pty.write(sentences(fix))
            SystemClock().sleep(1.0)
        pty.close()

    talker = threading.Thread(target=talk)
    talker.start()
    result = run_live(config, LiveOptions(tmp_path / "drive", tmp_path / "run", drain_s=0.0), Stopper())
    talker.join()
    assert result.counts["receiver: port lost"] >= 1
    assert result.counts["camera front: frames"] == 50
    assert result.counts["fixes"] >= 3, result.counts
    with SqliteStore(tmp_path / "data" / "cases.sqlite", "car-9", SystemClock()) as store:
        assert {case.id for case in store.cases()} == set(result.cases)
        backlog = store.outbox.backlog()
    assert result.unsent == backlog.events + backlog.blobs
    recording = open_drive(tmp_path / "drive")
    assert recording.meta.vehicle == "car-9"
    assert recording.scratch is not None
    raw = (recording.scratch.folder / RECEIVER).read_bytes()
    assert raw == b"".join(sentences(fix) for fix in fixes[:4])[: len(raw)]
    assert raw.count(b"GGA") >= 3
    assert not parts(tmp_path)


class SlowDetector(RecordedDetector):
    """Takes a third of a second: at 10 frames/s two of three frames must be shed."""

    def detect(self, frame: Frame) -> Detections:
        """Late boxes."""
        SystemClock().sleep(0.35)
        return super().detect(frame)


def test_shed_frames_are_counted_recorded_and_replayed(
    filmed_original: Path, card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vehicle.setup, "OnnxDetector", lambda card, **_: SlowDetector(filmed_original, card))
    config = Config(card=card, data_dir=tmp_path / "data")
    options = LiveOptions(tmp_path / "drive", tmp_path / "run")
    result = simulate(Simulation.prepare(filmed_original, config), config, options, Stopper())
    recording = open_drive(tmp_path / "drive")
    assert recording.events is not None
    shed = [e for e in read_events(recording.events) if isinstance(e, Shed)]
    assert len(shed) > 10
    assert len(shed) + len(recording.members["front"].index) == 50
    again = replay([tmp_path / "drive"], Config(card=card), tmp_path / "again", ReplayOptions("recorded"))
    assert sum(n for name, n in again.data.items() if name.startswith("shed: ")) == len(shed)
    assert (tmp_path / "again" / "changes.jsonl").read_bytes() == (tmp_path / "run" / "changes.jsonl").read_bytes()
    assert cases_of(tmp_path / "again") == cases_of(tmp_path / "run")
    assert result.counts["frames"] + len(shed) == 50
    assert sum(n for name, n in result.counts.items() if name.startswith("shed: ")) == len(shed)


def test_an_error_in_a_camera_thread_ends_the_run_with_it(filmed_original: Path, card: Path, tmp_path: Path) -> None:
    row = load_config(write_car(tmp_path, filmed_original, card, "/dev/ttyS0")).cameras[0]

    def broken() -> Iterator[Frame]:
        yield Frame(0, "front", 0, np.zeros((360, 640, 3), np.uint8))
        raise DriveError("is broken here", file=tmp_path / "front.mp4")

    clock = SystemClock()
    start_ns = clock.monotonic_ns()
    source = LiveSource(clock, start_ns)
    source.add_camera(CameraThread(row, clock, start_ns, source.take_frame, broken()))
    with pytest.raises(DriveError, match="is broken here"):
        list(source)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_receiver_thread_that_dies_ends_the_run(
    filmed_original: Path, card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: NmeaReader, data: bytes, stamp_ns: int) -> list[Fix]:
        raise ZeroDivisionError

    monkeypatch.setattr(NmeaReader, "feed", broken)
    config = Config(card=card, data_dir=tmp_path / "data")
    options = LiveOptions(tmp_path / "drive", tmp_path / "run")
    with pytest.raises(RuntimeError, match="the receiver's thread ended"):
        simulate(Simulation.prepare(filmed_original, config), config, options, Stopper())
    # What was recorded before the bug is kept: it may show why.
    assert {p.name for p in tmp_path.iterdir()} <= {"data", "drive"}


def test_a_port_that_is_not_there_is_a_setup_error(filmed_original: Path, card: Path, tmp_path: Path) -> None:
    config = load_config(write_car(tmp_path, filmed_original, card, os.devnull + "-gone"))
    with pytest.raises(ReceiverError, match="cannot be opened"):
        run_live(config, LiveOptions(tmp_path / "drive", tmp_path / "run"), Stopper())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["car.toml"]
