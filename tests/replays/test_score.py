"""Scoring: what is compared, one-to-one matching, and the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perception.errors import DriveError
from replays.score import Spot, match_spots, score_run, score_text, score_to_dict

LAT, LON = 31.2, 121.4
M_LAT, M_LON = 1 / 110_880.0, 1 / 95_350.0


def truth_feature(name: str, kind: str | None, east_m: float, north_m: float, **extra: Any) -> dict[str, Any]:
    position = [LON + east_m * M_LON, LAT + north_m * M_LAT]
    properties = {"id": name, "class": "car", "kind": kind, "static": True, "from_utc": None, "to_utc": None, **extra}
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": position}, "properties": properties}


def write_truth(file: Path, features: list[dict[str, Any]]) -> Path:
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return file


def spot(name: str, east_m: float, kind: str = "road_damage") -> Spot:
    return Spot(name, kind, LAT, LON + east_m * M_LON)


def test_what_counts(tmp_path: Path, fakes: Any) -> None:
    run = fakes.run(
        tmp_path / "run",
        [
            fakes.case("hit", east_m=5.5),
            fakes.case("ghost", east_m=40.0),
            fakes.case("wrong-kind", kind="road_damage", east_m=-20.0),
            fakes.case("held", state="candidate", east_m=60.0),
            fakes.case("gone", state="resolved", east_m=80.0),
        ],
    )
    truth = write_truth(
        tmp_path / "truth.geojson",
        [
            truth_feature("t-hit", "illegal_parking", 5, 30),
            truth_feature("t-legal", None, 40, 30),
            truth_feature("t-kind", "exposed_garbage", -20, 30),
            truth_feature("t-gone", "illegal_parking", 80, 30, to_utc="2026-03-31T23:33:21Z"),
            truth_feature("t-later", "illegal_parking", 90, 30, from_utc="2026-04-01T10:00:00Z"),
            truth_feature("t-stays", "illegal_parking", 100, 30, to_utc="2026-04-01T10:00:00Z"),
            truth_feature("t-hidden", "illegal_parking", 110, 30, visible=False),
        ],
    )
    score = score_run(run, truth)
    assert [(m.truth.id, m.case.id) for m in score.matches] == [("t-hit", "hit")]
    assert score.matches[0].distance_m == pytest.approx(0.5, abs=0.01)
    assert sorted(s.id for s in score.missed) == ["t-kind", "t-stays"]
    assert sorted(s.id for s in score.false) == ["ghost", "wrong-kind"]
    assert score.total.recall == pytest.approx(1 / 3)
    assert score.total.precision == pytest.approx(1 / 3)
    assert not score.passes(0.8, 0.8)
    assert score.passes(0.33, 0.33)
    plain = score_to_dict(score)
    assert (plain["matched"], plain["truths"], plain["predictions"]) == (1, 3, 3)
    assert plain["kinds"]["exposed_garbage"] == {
        "matched": 0,
        "missed": 1,
        "false": 0,
        "recall": 0.0,
        "precision": None,
    }
    text = score_text(score)
    assert "missed exposed_garbage: t-kind" in text
    assert "33.3 %" in text


def test_matching_is_one_to_one_and_takes_most_pairs() -> None:
    # Greedy would give case b to truth 1 (0.4 m) and leave truth 2 without one within 3 m.
    score = match_spots([spot("a", -2.5), spot("b", 0.4)], [spot("1", 0.0), spot("2", 3.0)], 3.0)
    assert {(m.truth.id, m.case.id) for m in score.matches} == {("1", "a"), ("2", "b")}
    score = match_spots([spot("a", 0.1), spot("b", 0.2)], [spot("1", 0.0)], 3.0)
    assert [m.case.id for m in score.matches] == ["a"]
    assert [s.id for s in score.false] == ["b"]


def test_the_radius_is_a_radius() -> None:
    assert len(match_spots([spot("a", 2.99)], [spot("1", 0.0)], 3.0).matches) == 1
    assert len(match_spots([spot("a", 3.01)], [spot("1", 0.0)], 3.0).matches) == 0


def test_nothing_predicted_passes_no_gate() -> None:
    score = match_spots([], [spot("1", 0.0)], 3.0)
    assert (score.total.recall, score.total.precision) == (0.0, None)
    assert not score.passes(0.0, 0.1)


def test_broken_files_are_named(tmp_path: Path, fakes: Any) -> None:
    run = fakes.run(tmp_path / "run", [fakes.case("c")])
    with pytest.raises(DriveError, match=r"nowhere\.geojson"):
        score_run(run, tmp_path / "nowhere.geojson")
    broken = tmp_path / "broken.geojson"
    broken.write_text('{"type":\n')
    with pytest.raises(DriveError, match=r"broken\.geojson:2: "):
        score_run(run, broken)
    untimely = write_truth(tmp_path / "t.geojson", [truth_feature("t", "road_damage", 0, 0, to_utc="tomorrow")])
    with pytest.raises(DriveError, match="truth 't'"):
        score_run(run, untimely)
    with pytest.raises(DriveError, match="radius"):
        score_run(run, untimely, 0.0)
