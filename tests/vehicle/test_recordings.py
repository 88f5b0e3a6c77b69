"""Recordings through the command line: replayed, recorded, replayed again to the same changes; drive commands."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from gnss.clock import SystemClock
from perception.types import Seen
from replays.drive import open_drive
from replays.recording.shelf import Limits
from replays.recording.unpack import RECEIVER
from replays.source import DriveSource
from tests.vehicle.test_live import parts, write_car
from vehicle.__main__ import main
from vehicle.config import Config, load_config
from vehicle.record import record_live
from vehicle.replay import ReplayOptions, replay
from vehicle.signals import Stopper
from vehicle.simulate import Pty, sentences


def evidence(run: Path) -> list[tuple[str, str, int, list[int]]]:
    """(case, role, stamp, size) of every picture of a run: the bytes differ by another JPEG's noise."""
    rows = [json.loads(line) for line in (run / "evidence.jsonl").read_text().splitlines()]
    return [(r["case_id"], r["role"], r["stamp_ns"], [r["width"], r["height"]]) for r in rows]


def test_replay_record_replay_gives_the_same_bytes(filmed_original: Path, card: Path, tmp_path: Path) -> None:
    """With pixels and recorded detections: it holds redacted pictures, and the same evidence comes of them."""
    config, file = Config(card=card), tmp_path / "rec.mcap"
    for nth, drive in enumerate((filmed_original, file, file)):
        options = ReplayOptions("recorded", record=file if nth == 0 else tmp_path / f"again{nth}.mcap")
        replay([drive], config, tmp_path / f"run{nth}", options)
    changes = [(tmp_path / f"run{n}" / "changes.jsonl").read_bytes() for n in range(3)]
    assert changes[0] == changes[1] == changes[2]
    assert changes[0].count(b"\n") > 3
    assert evidence(tmp_path / "run0") == evidence(tmp_path / "run1") != []
    opened = open_drive(file)
    assert opened.has_pixels
    assert opened.truth is None
    assert opened.city is not None
    assert opened.meta.name == open_drive(filmed_original).meta.name
    assert not parts(tmp_path)


def test_no_pixel_that_was_to_be_filled_is_in_the_recording(filmed_original: Path, card: Path, tmp_path: Path) -> None:
    replay(
        [filmed_original], Config(card=card), tmp_path / "run", ReplayOptions("recorded", record=tmp_path / "a.mcap")
    )
    raw = dict(open_drive(filmed_original).members["front"].pictures.read())  # type: ignore[union-attr]
    filled = 0
    for event in DriveSource(open_drive(tmp_path / "a.mcap"), "recorded"):
        if isinstance(event, Seen) and event.picture is not None:
            picture = event.picture()
            for x1, y1, x2, y2 in picture.zones:
                inside = picture.image[y1 + 8 : y2 - 8, x1 + 8 : x2 - 8].astype(int)
                if inside.size and raw[event.index][y1 + 8 : y2 - 8, x1 + 8 : x2 - 8].std() > 12:
                    filled += 1
                    assert inside.std(axis=(0, 1)).max() < 4
    assert filled > 10


def test_a_drive_without_pixels_too(
    recorded: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--model", str(card), "--json"]
    assert main(["replay", str(recorded), *argv, "--out", str(tmp_path / "a"), "--record", str(tmp_path / "r")]) == 0
    (file,) = (tmp_path / "r").iterdir()
    assert main(["replay", str(file), *argv, "--out", str(tmp_path / "b")]) == 0
    assert (tmp_path / "a" / "changes.jsonl").read_bytes() == (tmp_path / "b" / "changes.jsonl").read_bytes()
    capsys.readouterr()


def test_several_drives_need_a_folder(recorded: Path, filmed: Path, card: Path, tmp_path: Path) -> None:
    argv = ["replay", str(recorded), str(filmed), "--model", str(card), "--detections", "recorded", "--json"]
    assert main([*argv, "--out", str(tmp_path / "a"), "--record", str(tmp_path / "one.mcap")]) == 2
    assert not (tmp_path / "a").exists()
    assert main([*argv, "--out", str(tmp_path / "a"), "--record", str(tmp_path / "many")]) == 0
    files = sorted((tmp_path / "many").iterdir())
    assert len(files) == 2
    again = [*argv[:1], *map(str, files), *argv[3:], "--out", str(tmp_path / "b")]
    assert main(again) == 0
    assert (tmp_path / "a" / "changes.jsonl").read_bytes() == (tmp_path / "b" / "changes.jsonl").read_bytes()


def test_a_recording_is_not_recorded_over_itself(recorded: Path, card: Path, tmp_path: Path) -> None:
    file, base = tmp_path / "a.mcap", ["--model", str(card), "--json"]
    assert main(["replay", str(recorded), *base, "--out", str(tmp_path / "a"), "--record", str(file)]) == 0
    before = file.read_bytes()
    assert main(["replay", str(file), *base, "--out", str(tmp_path / "b"), "--record", str(file)]) == 2
    assert file.read_bytes() == before


def test_a_torn_recording_is_replayed_and_told(
    recorded: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--model", str(card)]
    assert (
        main(["replay", str(recorded), *base, "--out", str(tmp_path / "a"), "--record", str(tmp_path / "a.mcap")]) == 0
    )
    (tmp_path / "torn.mcap").write_bytes((tmp_path / "a.mcap").read_bytes()[:9000])
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "torn.mcap"), *base, "--out", str(tmp_path / "b")]) == 0
    assert "torn.mcap: torn at offset" in capsys.readouterr().out
    assert main(["drive", "info", str(tmp_path / "torn.mcap")]) == 0
    assert "torn at offset" in capsys.readouterr().out


def test_drive_record_takes_what_the_car_sees(filmed_original: Path, card: Path, tmp_path: Path) -> None:
    before = set(threading.enumerate())  # servers of other tests may still be closing
    pty = Pty()
    config = load_config(write_car(tmp_path, filmed_original, card, pty.name))
    fixes = open_drive(filmed_original).fixes

    def talk() -> None:
        for fix in fixes[:6]:
            pty.write(sentences(fix))
            SystemClock().sleep(1.0)

    talker = threading.Thread(target=talk)
    talker.start()
    result = record_live(config, tmp_path / "shelf", Limits(), Stopper(), seconds=4.0)
    talker.join()
    pty.close()
    assert result.path == tmp_path / "shelf" / "0001"
    opened = open_drive(tmp_path / "shelf")
    assert opened.meta.vehicle == "car-9"
    assert opened.scratch is not None
    assert b"GGA" in (opened.scratch.folder / RECEIVER).read_bytes()
    seen = [e for e in DriveSource(opened, "recorded") if isinstance(e, Seen)]
    assert 20 < len(seen) <= 41
    assert all(e.picture is not None for e in seen)
    assert len(opened.fixes) >= 3
    assert (np.diff(opened.members["front"].stamp_ns) > 0).all()
    assert set(threading.enumerate()) <= before


def test_a_place_that_is_taken_is_refused_before_anything_opens(
    filmed_original: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    car = write_car(tmp_path, filmed_original, card, "/dev/gone")
    (tmp_path / "taken.mcap").write_text("mine")
    for argv in (["drive", "record", str(car), "--out"], ["run", str(car), "--record"]):
        assert main([*argv, str(tmp_path / "taken.mcap")]) == 2
        said = capsys.readouterr().err
        assert "taken.mcap: exists. Remedy: " in said
    assert (tmp_path / "taken.mcap").read_text() == "mine"


def test_check_trim_and_picture(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], filmed: Path, card: Path
) -> None:
    assert main(["drive", "check", str(recorded)]) == 0
    assert capsys.readouterr().out == f"{recorded}: nothing is wrong\n"
    assert main(["drive", "trim", str(filmed), "--from", "1", "--to", "2", "--out", str(tmp_path / "cut")]) == 0
    assert "11 frames written" in capsys.readouterr().out
    head = (tmp_path / "cut" / "drive.toml").read_text().splitlines()
    (tmp_path / "cut" / "drive.toml").write_text("\n".join(line for line in head if not line.startswith("z_m")) + "\n")
    assert main(["drive", "check", str(recorded), str(tmp_path / "cut"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told[str(recorded)] == []
    assert [finding["code"] for finding in told[str(tmp_path / "cut")]] == ["no calibration"]
    assert main(["drive", "info", str(recorded), "--picture", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert main(["drive", "trim", str(filmed), "--from", "3", "--to", "2", "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()


def test_detections_are_not_written_into_a_recording(
    filmed: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "a.mcap", tmp_path / "out"
    replay([filmed], Config(card=card), out, ReplayOptions("recorded", record=file))
    assert main(["drive", "detect", str(file), "--model", str(card)]) == 2
    assert "a recording is not added to. Remedy: give --out" in capsys.readouterr().err
    assert main(["drive", "detect", str(file), "--model", str(card), "--out", str(tmp_path / "d.jsonl")]) == 0
    assert (tmp_path / "d.jsonl").read_text().count("\n") == 50


@pytest.mark.parametrize("content", [b"", b"\x89MCAP1\r\n", b"text\n"])
@pytest.mark.parametrize("verb", ["info", "check", "replay"])
def test_a_file_that_is_no_recording(
    card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, verb: str
) -> None:
    file = tmp_path / "a.mcap"
    file.write_bytes(content)
    command = ["replay"] if verb == "replay" else ["drive", verb]
    more = ["--model", str(card), "--out", str(tmp_path / "run")] if verb == "replay" else []
    assert main([*command, str(file), *more]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"qiji: {file}: ")
    assert "Remedy: " in said
    assert [p.name for p in tmp_path.iterdir()] == ["a.mcap"]
