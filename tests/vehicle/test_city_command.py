"""`qiji city` and `qiji rules` as a person at a city's desk uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely

from gnss.geodesy import ellipse95
from perception.serial import case_to_dict, change_to_dict
from perception.types import CaseChange, ChangeKind
from tests.builders import make_case
from tests.gnss.cities import LAT, LON, Row, components, write_city, write_geojson
from tests.source_tree import ROOT
from vehicle.__main__ import main
from vehicle.commands.shift import covariance

RULES = ROOT / "models" / "directory" / "rules.toml"


def test_check_tells_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    city = write_city(tmp_path)
    assert main(["city", "check", str(city), "--strict"]) == 0
    assert "components: 4 can be used" in capsys.readouterr().out
    wrong: list[Row] = [*components(), ({"id": "12"}, components()[0][1])]
    write_city(tmp_path, components=wrong)
    assert main(["city", "check", str(city), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == [{"severity": "error", "member": "components", "code": "id-length", "count": 1}]
    far: list[Row] = [*components(), ({"id": "33010601001000077"}, shapely.Point(LON + 1, LAT))]
    write_city(tmp_path, components=far)
    assert main(["city", "check", str(city)]) == 0
    assert main(["city", "check", str(city), "--strict"]) == 1
    (tmp_path / "zones.geojson").write_text("{")
    assert main(["city", "check", str(city)]) == 2
    assert "zones.geojson:1: is no JSON" in capsys.readouterr().err


def test_import_info_and_the_next_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    city, out = write_city(tmp_path), tmp_path / "x.atlas"
    assert main(["city", "import", str(city), "--out", str(out)]) == 0
    assert "version 1 (" in capsys.readouterr().out
    assert main(["city", "import", str(city), "--out", str(out)]) == 0
    assert "nothing new, version 1" in capsys.readouterr().out
    write_city(tmp_path, components=components()[:3])
    assert main(["city", "import", str(city), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["serial"], told["changed"], told["difference"]["components"]["removed"]) == (2, True, 1)
    old = str(tmp_path / "x-v1.atlas")
    place = f"{LAT + 0.0004},{LON + 0.0004}"
    assert main(["city", "info", str(out), "--since", old, "--at", place, "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["serial"], info["components"], info["at"]["grid"]) == (2, 3, "330106001002001")
    assert info["since"]["components"]["removed"] == 1
    assert main(["city", "info", str(out), "--at", "here"]) == 2
    assert "is no place" in capsys.readouterr().err


def test_rules_that_cannot_be_followed_are_not_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    city = write_city(tmp_path, 'rules = "rules.toml"\n')
    (tmp_path / "rules.toml").write_text("version = 1\n[[ban]]\nzone = 'x'\nkind = 'flying'\n")
    for words in (["check", str(city)], ["import", str(city), "--out", str(tmp_path / "x.atlas")]):
        assert main(["city", *words]) == 2
        assert "no case kind 'flying'" in capsys.readouterr().err
    assert not (tmp_path / "x.atlas").exists()
    assert main(["rules", "check", str(tmp_path / "rules.toml")]) == 2
    assert main(["rules", "check", str(RULES)]) == 0
    assert "7 bans, 2 bays, 0 distances: fine" in capsys.readouterr().out


def test_a_case_is_explained_with_its_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    case = make_case("car", 5.0, 50.0, id="abc123", dwell_s=180.0)
    steps = [
        CaseChange("abc123", 0, kind, case, 0, case.last_seen_utc_ns, "p0", reason)
        for kind, reason in ((ChangeKind.CANDIDATE, "in z1, which allows 180 s"), (ChangeKind.OPENED, "after 700 s"))
    ]
    lines = [json.dumps(change_to_dict(step, with_pictures=False)) for step in steps]
    (run / "changes.jsonl").write_text("\n".join(lines) + "\n")
    assert case_to_dict(case)["id"] == "abc123"
    zone = shapely.box(case.lon_deg - 1e-4, case.lat_deg - 1e-4, case.lon_deg + 1e-4, case.lat_deg + 1e-4)
    city = write_city(tmp_path, zones=[({"id": "z1", "kind": "no_parking"}, zone)])
    assert main(["rules", "explain", "abc", str(run), "--city", str(city)]) == 0
    told = capsys.readouterr().out
    for words in ("candidate: in z1", "opened: after 700 s", "[yes] in z1", "SXMC 机动车乱停放"):
        assert words in told
    assert "ZGBMDM" in told.splitlines()[-1]
    assert main(["rules", "explain", "abc", str(run), "--city", str(city), "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["now"]["decision"] == "hold"
    assert plain["now"]["dwell_s"] == 180.0
    assert any(check["what"].startswith("surely in z1") for check in plain["now"]["checks"])
    assert main(["rules", "explain", "zzz", str(run)]) == 2
    assert "no case begins with 'zzz'" in capsys.readouterr().err
    assert main(["rules", "explain", "abc", str(tmp_path / "nothing")]) == 2


def test_a_shift_against_the_register(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    rows = components()
    near = shapely.Point(rows[0][1].x + 5e-5, rows[0][1].y)
    city = write_city(tmp_path, components=[*rows, ({"id": "33010601001000055", "accuracy_class": "A"}, near)])
    ellipse = {"semi_major_m": 0.8, "semi_minor_m": 0.6, "azimuth_deg": 30.0, "closest_range_m": 6.0}
    things: list[Row] = [
        ({"id": "p/1", "class": "manhole_closed", **ellipse}, rows[0][1]),
        ({"id": "p/2", "class": "manhole_closed", **ellipse}, shapely.Point(rows[0][1].x, rows[0][1].y + 5e-5)),
        ({"id": "p/3", "class": "car", **ellipse}, rows[1][1]),
        ({"id": "p/4", "class": "manhole_closed", **ellipse, "closest_range_m": 40.0}, rows[1][1]),
    ]
    write_geojson(run / "landmarks.geojson", things)
    assert main(["city", "shift", str(run), "--city", str(city), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["matched"]["run:p/1"]["id"] == rows[0][0]["id"]
    assert told["not_in_register"] == ["run:p/2"]
    assert told["not_seen"] == ["33010601001000055"]
    assert main(["city", "shift", str(run), "--city", str(city)]) == 0
    assert "1 matched, 1 seen and not in the register, 1 in the register and not seen" in capsys.readouterr().out
    assert ellipse95(covariance(ellipse)) == pytest.approx((0.8, 0.6, 30.0))
    (run / "landmarks.geojson").write_text("{}")
    assert main(["city", "shift", str(run), "--city", str(city)]) == 2
