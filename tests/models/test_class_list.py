"""Every catalogue class is listed; one without data says so, and one that no photo checked does not file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from models.class_list import NO_DATA, class_facts, class_text
from models.recipe import load_recipe
from perception.card import load_card
from tests.models.test_shipped_model import CARD, FOLDER
from tests.perception.cards import catalogue
from vehicle.__main__ import main


def test_a_class_without_data_exists_and_says_so() -> None:
    aliases = load_recipe(FOLDER / "recipe.toml").aliases
    rows = {row.name: row for row in class_facts(catalogue(), load_card(CARD, catalogue()), aliases)}
    assert set(rows) == set(catalogue().classes)
    bare = rows["guardrail_damaged"]
    assert (bare.known, bare.trained, bare.validated, bare.filing) == (False, NO_DATA, "nothing", False)
    assert bare.kind == "guardrail_damage"
    assert rows["sign_damaged"].aliases == ("damaged_sign",)
    assert rows["pothole"].trained == "photos, renders"
    assert rows["street_stall"].trained == rows["street_stall"].validated == "renders"
    assert rows["person"].kind is None
    assert "no data yet" in class_text(list(rows.values()))


def test_what_only_renders_validated_does_not_file(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "model.onnx", tmp_path)
    text = CARD.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("render_validated")]
    lines.insert(lines.index("limits = ["), 'render_validated = ["street_stall"]')
    (tmp_path / "model.toml").write_text("\n".join(lines), encoding="utf-8")
    rows = {row.name: row for row in class_facts(catalogue(), load_card(tmp_path / "model.toml", catalogue()), {})}
    assert not rows["street_stall"].filing
    assert rows["pothole"].filing


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "list", "--classes", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["aliases"] for row in rows}["street_stall"] == ["cart"]
    assert main(["model", "list", "--classes"]) == 0
    assert "heap" in capsys.readouterr().out


def test_a_sample_picture_is_looked_at(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["model", "check", str(CARD), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["input_wh"] == [640, 384]
    assert sum(facts["found"].values()) >= 1
    (tmp_path / "a.jpg").write_bytes(b"no")
    assert main(["model", "check", str(CARD), "--image", str(tmp_path / "a.jpg")]) == 2
    assert main(["model", "check", str(CARD), "--against", "last.pt"]) == 2
    assert "Remedy" in capsys.readouterr().err
