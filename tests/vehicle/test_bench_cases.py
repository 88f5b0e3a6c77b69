"""`qiji bench cases` as it is typed."""

from __future__ import annotations

import json

import pytest

from vehicle.__main__ import FOUND, OK, USAGE, main


@pytest.mark.slow
def test_a_tiny_run_prints_a_page_and_plain_data(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "cases", "--only", "relative", "--size", "0.01", "--processes", "1"]
    assert main(words) == OK
    page = capsys.readouterr().out
    assert "noise card-1" in page
    assert "followed to <= 8 m: median" in page
    assert "goals met" in page
    code = main([*words, "--json", "--gate", "--seed", "5"])
    tree = json.loads(capsys.readouterr().out)
    assert tree["seed"] == 5
    assert tree["noise_card"]["edge_px"] == 3.0
    assert {f["experiment"] for f in tree["figures"]} == {"relative"}
    met = all(f["passed"] is not False for f in tree["figures"])
    assert tree["goals_met"] is met
    assert code == (OK if met else FOUND)


@pytest.mark.parametrize(
    "words", [["--only", "nothing"], ["--size", "0"], ["--size", "nan"], ["--seed", "-1"]], ids=" ".join
)
def test_a_mistake_is_told_and_nothing_runs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "cases", *words]) == USAGE
    assert "qiji:" in capsys.readouterr().err
