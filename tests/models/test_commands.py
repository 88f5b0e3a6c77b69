"""The trainer's commands without the train extra: a clear error naming it, exit code 2, no traceback."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from models import commands
from models.errors import TrainingSetupError
from tests.models.worlds import write_data_set, write_recipe
from vehicle.__main__ import main


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingSetupError, match=r"torch, ultralytics, onnx not installed.*qiji\[train\]"):
        commands.export_model(write_recipe(tmp_path), tmp_path / "last.pt", tmp_path / "model.onnx")


def test_prepare_needs_no_extra_where_no_teacher_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    recipe, data = write_recipe(tmp_path), write_data_set(tmp_path / "data")
    assert (
        main(["model", "prepare", "--recipe", str(recipe), "--photos", str(data), "--out", str(tmp_path / "out")]) == 0
    )
    pictures = json.loads(capsys.readouterr().out)["pictures"]
    assert pictures["heaps train"] + pictures["heaps calibration"] == 6
    assert pictures["heaps val"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model", "prepare", "--recipe", "none.toml", "--photos", "d", "--out", "o"], "no such recipe"),
        (["model", "prepare", "--recipe", "{recipe}", "--out", "o"], "no data set given"),
        (["model", "evaluate", "none.onnx", "--recipe", "{recipe}", "--prepared", "{folder}"], "prepare command"),
    ],
)
def test_a_setup_mistake_ends_with_code_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    recipe = write_recipe(tmp_path)
    filled = [text.format(recipe=recipe, folder=tmp_path) for text in arguments]
    assert main(filled) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert len(told.splitlines()) == 1
