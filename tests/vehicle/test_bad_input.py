"""Mistakes a person can make: exit code 2, one message with file, line and remedy, and nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vehicle.drives import write_card
from vehicle.__main__ import main

Spoil = Callable[[Path], None]


def edit(file: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def no_video(drive: Path) -> None:
    (drive / "front.mp4").unlink()
    (drive / "detections.jsonl").unlink()


def stamps_go_back(drive: Path) -> None:
    edit(drive / "front.csv", "3,300000000", "3,100000000")


def wrong_column(drive: Path) -> None:
    edit(drive / "fixes.csv", "lat_deg", "latitude")


def cut_video(drive: Path) -> None:
    data = (drive / "front.mp4").read_bytes()
    (drive / "front.mp4").write_bytes(data[: len(data) // 2])


def short_video(drive: Path) -> None:
    """More rows than frames, in a container without a frame table, so that only reading it to the end shows it."""
    with (drive / "front.csv").open("a", encoding="utf-8") as stream:
        stream.writelines(f"{50 + n},{5_000_000_000 + n * 100_000_000}\n" for n in range(3))


def no_fix(drive: Path) -> None:
    header = (drive / "fixes.csv").read_text(encoding="utf-8").splitlines()[0]
    (drive / "fixes.csv").write_text(header + "\n", encoding="utf-8")


def no_fixes_file(drive: Path) -> None:
    (drive / "fixes.csv").unlink()


def unknown_camera(drive: Path) -> None:
    edit(drive / "detections.jsonl", '"camera":"front"', '"camera":"rear"')


def bad_number(drive: Path) -> None:
    edit(drive / "motion.csv", "0,", "0,fast")


def bad_zone(drive: Path) -> None:
    edit(drive / "zones.geojson", '"hours": "00:00-24:00"', '"hours": "always"')


@pytest.mark.parametrize(
    ("spoil", "named", "said"),
    [
        (no_video, "front.mp4: ", "pictures of camera 'front' are missing"),
        (stamps_go_back, "front.csv:5: ", "goes back behind"),
        (wrong_column, "fixes.csv:1: ", "'lat_deg' is missing"),
        (cut_video, "front.mp4: ", "truncated"),
        (short_video, "front.mp4: ", "truncated: 50 frames"),
        (no_fix, "fixes.csv: ", "no usable fix"),
        (no_fixes_file, "street: ", "has no fixes"),
        (unknown_camera, "detections.jsonl:1: ", "'rear' is not in drive.toml"),
        (bad_number, "motion.csv:2: ", "'fast"),
        (bad_zone, "zones.geojson", "always"),
    ],
)
def test_a_broken_drive(
    filmed: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Spoil, named: str, said: str
) -> None:
    spoil(filmed)
    assert refused(["replay", str(filmed), "--model", str(card)], tmp_path, capsys, named, said)


def refused(argv: list[str], folder: Path, capsys: pytest.CaptureFixture[str], named: str, said: str) -> bool:
    """Exit code 2, one line of message that names the place and the remedy; nothing new in the folder."""
    before = sorted(folder.rglob("*"))
    code = main([*argv, "--out", str(folder / "run")])
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if not line.endswith(" frames")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("qiji: ")
    assert named in lines[0]
    assert said in lines[0]
    assert "Remedy: " in lines[0]
    assert sorted(folder.rglob("*")) == before
    return True


def test_a_video_whose_end_is_missing_shows_only_while_it_is_read(
    filmed: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    writer = cv2.VideoWriter(str(filmed / "front.mkv"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (640, 360))
    capture = cv2.VideoCapture(str(filmed / "front.mp4"))
    for _ in range(30):
        writer.write(capture.read()[1])
    writer.release()
    capture.release()
    (filmed / "front.mp4").unlink()
    edit(filmed / "drive.toml", "[[camera]]", '[[camera]]\nfile = "front.mkv"')
    said = "truncated: 30 frames can be read"
    assert refused(["replay", str(filmed), "--model", str(card)], tmp_path, capsys, "front.mkv: ", said)


def test_an_older_run_survives_a_failed_one(
    filmed: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["replay", str(filmed), "--model", str(card), "--detections", "recorded", "--out", str(tmp_path / "run")]
    assert main(argv) == 0
    capsys.readouterr()
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and filmed not in p.parents}
    wrong_column(filmed)
    assert main(argv) == 2
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and filmed not in p.parents}
    assert after == before


@pytest.mark.parametrize(
    ("changes", "named", "said"),
    [
        ({"classes": '["car", "person"]', "privacy": "{}"}, "model.toml", "lists 2"),
        ({"classes": '["car", "unicorn"]'}, "model.toml", "unicorn"),
        ({"onnx": '"text.onnx"'}, "text.onnx", "is not an ONNX file"),
        ({"onnx": '"gone.onnx"'}, "gone.onnx", "missing"),
        ({"sha256": '"00"'}, "model.toml", "sha256"),
        ({"sized": "3"}, "model.toml", "sized"),
    ],
)
@pytest.mark.parametrize("command", ["replay", "run", "detect"])
def test_a_model_that_cannot_be_used(
    filmed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    named: str,
    said: str,
    command: str,
) -> None:
    broken = write_card(tmp_path / "card", changes)
    (tmp_path / "card" / "text.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    what = {"replay": ["replay"], "run": ["run", "--simulate"], "detect": ["drive", "detect"]}[command]
    assert refused([*what, str(filmed), "--model", str(broken)], tmp_path, capsys, named, said)


def test_class_names_that_differ_from_those_inside_the_network(
    filmed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.perception.cards import write_card as write_tiny_card

    (tmp_path / "card").mkdir()
    broken = write_tiny_card(tmp_path / "card", names="{0: 'truck', 1: 'person'}")
    said = "output 0 is 'car' in `classes` but 'truck' inside"
    assert refused(["replay", str(filmed), "--model", str(broken)], tmp_path, capsys, "card.toml", said)


CAR = 'version = 1\nvehicle = "car-1"\n'


@pytest.mark.parametrize(
    ("text", "named", "said"),
    [
        (CAR + "colour = 3\n", "car.toml:3: ", "'colour'"),
        (CAR + "[params.tracker]\nspeed = 3\n", "car.toml:4: ", "[params.tracker] speed does not exist"),
        (CAR + "[params]\nhold_s = 'two'\n", "car.toml:4: ", "'two'"),
        (CAR + "[receiver]\nport = 'x'\nspeed = 3\n", "car.toml:5: ", "'speed'"),
        (CAR + "[[camera]]\nname = 'a'\nsource = '0'\nwidth = 10\nheight = 0\n", "car.toml:7: ", "'height' is 0"),
        (CAR + "[[camera]]\nname = 'a'\nwidth = 10\nheight = 10\n", "car.toml:4: ", "lacks source"),
        ("version = 2\n", "car.toml", "version is 2"),
        ("version = \n", "car.toml", "line 1"),
        (CAR + "city = 'gone.toml'\n", "gone.toml", "missing"),
        (CAR + "model = 'gone.toml'\n", "gone.toml", "cannot be read"),
    ],
)
def test_a_wrong_configuration(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, named: str, said: str, card: Path
) -> None:
    car = tmp_path / "car.toml"
    car.write_text(text, encoding="utf-8")
    more = [] if "model" in text else ["--model", str(card)]
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in recorded.iterdir():
        if file.name not in ("city.toml", "zones.geojson"):
            (bare / file.name).write_bytes(file.read_bytes())
    assert refused(["replay", str(bare), "--config", str(car), *more], tmp_path, capsys, named, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 1\n", "vehicle is missing"),
        (CAR, "[receiver] is missing"),
        (CAR + "[receiver]\nport = '/dev/gone'\n", "[[camera]] is missing"),
        (
            CAR
            + "[receiver]\nport = '/dev/gone'\n[[camera]]\nname = 'a'\nsource = 'gone.mp4'\nwidth = 9\nheight = 9\n",
            "no such video",
        ),
    ],
)
def test_a_car_that_cannot_drive(
    card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "car.toml").write_text(text, encoding="utf-8")
    argv = ["run", str(tmp_path / "car.toml"), "--model", str(card), "--record", str(tmp_path / "drive")]
    assert refused(argv, tmp_path, capsys, "", said)


def test_a_drive_that_is_not_there(card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = tmp_path / "gone"
    assert refused(["replay", str(gone), "--model", str(card)], tmp_path, capsys, f"{gone}: ", "does not exist")
    assert refused(["run", "--simulate", str(gone), "--model", str(card)], tmp_path, capsys, f"{gone}: ", "does")


def test_one_drive_named_twice(recorded: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["replay", str(recorded), str(recorded), "--model", str(card)]
    assert refused(argv, tmp_path, capsys, f"{recorded}: ", "named twice")


def test_a_run_folder_that_is_somebodys_own(
    recorded: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").write_text("dear")
    assert refused(["replay", str(recorded), "--model", str(card)], tmp_path, capsys, "run: ", "is no run folder")


def test_a_run_folder_that_cannot_be_made(
    recorded: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert main(["replay", str(recorded), "--model", str(card), "--out", str(tmp_path / "file" / "run")]) == 2
    said = capsys.readouterr().err
    assert "cannot be made" in said
    assert "Remedy: " in said


def test_a_platform_address_that_is_none(
    recorded: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["replay", str(recorded), "--model", str(card), "--platform", "example.org"]
    assert refused(argv, tmp_path, capsys, "", "is not http:// or https://")


def test_nothing_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(["run"], tmp_path, capsys, "", "nothing to run")
