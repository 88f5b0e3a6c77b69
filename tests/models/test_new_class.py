"""The tutorial, run for real: a new class from pictures to a filed case, in a copy of the checkout."""

from __future__ import annotations

import faulthandler
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.models.cubes import Cube, write_cube_drive, write_cube_set
from tests.source_tree import ROOT

PAGE = ROOT / "docs" / "add-a-class.md"
ROOMS = ("gnss", "perception", "replays", "uplink", "vehicle")
TRAINED_AFTER = 4
"""Lines of the page until the network is exported."""
TINY = "--epochs 14 --batch 8 --height 160 --width 256 --warmup-steps 20 --ema-steps 30 --lr 0.002 --threads 1"
MINUTES = 10


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def checkout(folder: Path) -> Path:
    """The checkout as the trainer has it: code by link, the models room as files of its own."""
    for room in ROOMS:
        (folder / room).symlink_to(ROOT / room)
    shutil.copytree(ROOT / "models", folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def follow_the_page(folder: Path) -> None:
    """Step 1: classes.toml, kinds.toml and the recipe, with the page's own text."""
    named, kind, source = blocks("toml")
    for file, text in (("models/classes.toml", named), ("models/kinds.toml", kind)):
        with (folder / file).open("a", encoding="utf-8") as stream:
            stream.write("\n" + text)
    recipe = (folder / "models" / "qiji-street-n" / "recipe.toml").read_text(encoding="utf-8")
    for old, new in (
        (
            '"manhole_closed", "pole", "traffic_sign",\n]\n#',
            '"manhole_closed", "pole", "traffic_sign", "bulky_waste",\n]\n#',
        ),
        ('name = "qiji-street-n"', 'name = "my-street"'),
        ("[aliases]\n", '[aliases]\nmattress = "bulky_waste"\n'),
        ("input_wh = [640, 384]", "input_wh = [256, 160]"),  # not on the page: a tiny network for a quick test
    ):
        assert recipe.count(old) == 1, old
        recipe = recipe.replace(old, new)
    (folder / "work" / "recipe.toml").write_text(recipe + "\n" + source, encoding="utf-8")


def run(line: str, folder: Path) -> str:
    """One `qiji` line of the page."""
    words = shlex.split(line)
    assert words[0] == "qiji"
    if words[1:3] == ["model", "train"]:
        words += TINY.split()
    environment = {**os.environ, "PYTHONPATH": str(folder), "YOLO_CONFIG_DIR": str(folder / "work")}
    done = subprocess.run(
        [sys.executable, "-m", "vehicle", *words[1:]],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60 * MINUTES, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_page_is_complete() -> None:
    """What can be said without the extra: its blocks are TOML, and a command for every step stands there."""
    named, kind, source = (tomllib.loads(text) for text in blocks("toml"))
    assert named["class"]["bulky_waste"]["kind"] in kind["kind"]
    assert source["source"][0]["name"] == "yard"
    verbs = [" ".join(shlex.split(line)[1:3]) for line in page_lines()]
    steps = ["model data", "model prepare", "model train", "model export", "model evaluate", "model promote"]
    assert verbs[:-1] == [*steps, "model check"]
    assert verbs[-1].startswith("replay")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """The trainer's checkout after steps 1 to 3. In a fixture: two tests share what a slow machine needs."""
    missing = [name for name in ("torch", "ultralytics", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"NO TRAIN EXTRA: {', '.join(missing)} not installed, so no class is added end to end")
    faulthandler.cancel_dump_traceback_later()  # training outlasts the alarm for tests that hang; `run` has its own
    folder = checkout(tmp_path_factory.mktemp("checkout"))
    write_cube_set(folder / "work" / "bulky", 140, 36)
    write_cube_drive(folder / "work" / "drives" / "yard-street", Cube("bulky_waste", 42.0, 3.0), "bulky_waste")
    shutil.copy(shared / "weights" / "yolov5n_coco_state_dict.pt", folder / "work" / "yolov5n_coco.pt")
    follow_the_page(folder)
    for line in page_lines()[:TRAINED_AFTER]:
        run(line, folder)
    return folder


def page_lines() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines()]


@pytest.mark.slow
def test_the_new_class_is_trained(trained: Path) -> None:
    assert (trained / "work" / "sheets" / "train-mattress.png").is_file()
    assert (trained / "work" / "model.onnx").stat().st_size < 12_000_000


@pytest.mark.slow
def test_the_new_class_files_a_case_of_its_own_kind(trained: Path) -> None:
    said = {" ".join(shlex.split(line)[1:3]): run(line, trained) for line in page_lines()[TRAINED_AFTER:]}
    assert "bulky_waste on photos: new" in said["model promote"]
    assert "drive yard-street, bulky_waste: 0 found before, 1 now: ok" in said["model promote"]
    card = tomllib.loads((trained / "models" / "my-street" / "model.toml").read_text(encoding="utf-8"))
    assert card["training"]["classes"]["bulky_waste"]["trained"] == "photos"
    assert "bulky_waste" not in card["render_validated"]
    assert card["calibration"]["class"]["bulky_waste"]["positives"] > 0
    cases = json.loads((trained / "work" / "out" / "cases.geojson").read_text(encoding="utf-8"))["features"]
    filed = [case["properties"] for case in cases if case["properties"]["kind"] == "bulky_waste"]
    assert [(case["state"], case["code"]) for case in filed] == [("open", "06011")]
