"""A city as a file: import, versions, differences, refusals, and the same answers as in memory."""

from __future__ import annotations

import pickle
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
import shapely

from gnss.atlas import load_atlas
from gnss.cityfile import read_city
from gnss.diff import compare
from gnss.errors import AtlasError
from gnss.importer import Imported, import_city
from gnss.store import StoredAtlas, open_atlas
from gnss.survey import survey
from tests.benchmarks import atlas as benchmark
from tests.gnss.cities import LAT, LON, Row, cell, components, grids, write_city, zones

WHEN = "2026-11-24T00:00:00Z"
ROADS: list[Row] = [
    ({"id": "r1", "name": "文三路", "name_en": "Wensan Road"}, shapely.LineString([(LON, LAT), (LON + 0.003, LAT)]))
]
PLACES: list[Row] = [({"id": "p1", "name": "学校", "kind": "gate"}, shapely.Point(LON + 0.001, LAT + 0.0002))]


def imported(city: Path, *, skip_bad: bool = False) -> Imported:
    return import_city(city, city.with_name("x.atlas"), imported_utc=WHEN, skip_bad=skip_bad)


def test_the_file_answers_as_memory_does(tmp_path: Path) -> None:
    city = write_city(tmp_path, roads=ROADS, places=PLACES)
    memory, stored = load_atlas(city), open_atlas(imported(city).file)
    assert isinstance(load_atlas(stored.file), StoredAtlas)
    assert memory.counts() == stored.counts() == {"grids": 9, "zones": 2, "components": 4, "roads": 1, "places": 1}
    assert (stored.name, stored.division, stored.default_dwell_s) == (memory.name, memory.division, 180.0)
    assert [z.id for z in stored.zones] == [z.id for z in memory.zones]
    for dlat in range(-2, 34):
        for dlon in range(-2, 34, 3):
            at = LAT + dlat * 1e-4, LON + dlon * 1.2e-4
            assert stored.grid_at(*at) == memory.grid_at(*at)
            assert stored.components_near(*at, 60.0) == memory.components_near(*at, 60.0)
            assert stored.places_near(*at, 60.0) == memory.places_near(*at, 60.0)
            assert [z.id for z in stored.zones_near(*at, 25.0)] == [z.id for z in memory.zones_near(*at, 25.0)]
            assert [r.name_en for r in stored.roads_near(*at, 60.0)] == [
                r.name_en for r in memory.roads_near(*at, 60.0)
            ]
    again = pickle.loads(pickle.dumps(stored))
    assert again.version == stored.version


def test_a_zone_keeps_everything_in_the_file(tmp_path: Path) -> None:
    city = write_city(tmp_path)
    for before, after in zip(load_atlas(city).zones, open_atlas(imported(city).file).zones, strict=True):
        same = ("id", "kind", "name", "hours", "dwell_s", "classes", "margin_m", "from_day", "to_day", "permits")
        assert [getattr(before, name) for name in same] == [getattr(after, name) for name in same]
        assert before.polygon.equals(after.polygon)


def test_the_same_content_is_the_same_version(tmp_path: Path) -> None:
    city = write_city(tmp_path)
    first = imported(city)
    assert (first.serial, first.changed, first.difference) == (1, True, None)
    write_city(tmp_path, components=components()[::-1])
    second = imported(city)
    assert (second.version, second.serial, second.changed) == (first.version, 1, False)
    assert sorted(path.name for path in tmp_path.glob("*.atlas*")) == ["x.atlas"]


def test_equal_imports_are_equal_files(tmp_path: Path) -> None:
    city = write_city(tmp_path)
    one = import_city(city, tmp_path / "a.atlas", imported_utc=WHEN).file.read_bytes()
    assert one == import_city(city, tmp_path / "b.atlas", imported_utc=WHEN).file.read_bytes()


def test_a_new_version_tells_what_changed_and_keeps_the_old(tmp_path: Path) -> None:
    city = write_city(tmp_path)
    first = imported(city)
    rows = components()
    moved = shapely.Point(rows[0][1].x + 1e-5, rows[0][1].y)
    changed = [
        ({**rows[0][0], "type": "new"}, moved),
        *rows[2:],
        ({**rows[1][0], "id": "33010601001000009"}, rows[1][1]),
    ]
    write_city(tmp_path, 'rules = "rules.toml"\n', components=changed, zones=zones()[:1])
    (tmp_path / "rules.toml").write_text("version = 1\n")
    second = imported(city)
    assert second.serial == 2
    assert second.difference is not None
    told = second.difference.as_dict()
    assert told["facts"] == ["rules"]
    assert told["components"]["added_ids"] == ["33010601001000009"]
    assert told["components"]["removed_ids"] == ["33010601001000002"]
    assert told["components"]["changed_ids"] == [["33010601001000001", "type, lon"]]
    assert (told["zones"]["removed"], told["grids"]["added"], told["grids"]["changed"]) == (1, 0, 0)
    kept = tmp_path / "x-v1.atlas"
    assert open_atlas(kept).version == first.version
    assert compare(kept, second.file).as_dict() == told
    assert any("1 added, 1 removed, 1 changed" in line for line in second.difference.lines())


def bad_city(folder: Path) -> Path:
    """One of each mistake."""
    good = components()
    wrong: list[Row] = [
        ({"id": "1234", "type": "x"}, good[0][1]),
        ({"id": "33010701001000007", "type": "x"}, good[0][1]),
        (good[0][0], good[0][1]),
        ({"id": "33010601001000008", "accuracy_class": "Z", "code": "01002"}, good[0][1]),
        ({"id": "33010601001000010"}, shapely.Point(LON + 0.05, LAT)),
        ({"id": "33010601001000011"}, shapely.Point(LAT, LON)),
    ]
    ground = grids()
    overlapping = shapely.union_all([cell(0, 0), shapely.box(LON, LAT, LON + 1.2 * cell(0, 0).length / 4, LAT + 1e-4)])
    ground[0] = (ground[0][0], overlapping)
    del ground[4]
    return write_city(folder, components=good + wrong, grids=ground)


def test_the_report_names_every_mistake(tmp_path: Path) -> None:
    report = survey(read_city(bad_city(tmp_path)))
    found = {(severity, member, code): n for (severity, member, code), n in report.counts.items()}
    assert found == {
        ("error", "components", "id-length"): 1,
        ("error", "components", "id-division"): 1,
        ("error", "components", "duplicate"): 1,
        ("error", "components", "swapped"): 1,
        ("warning", "components", "accuracy"): 1,
        ("warning", "components", "code"): 1,
        ("warning", "components", "outside"): 2,
        ("warning", "grids", "overlap"): 1,
        ("warning", "grids", "gap"): 1,
        ("warning", "grids", "sequence"): 1,
    }
    assert report.read["components"] == 6
    told = "\n".join(report.lines())
    assert "feature 5: " in told
    assert "lacks 005" in told
    assert all(issue.remedy for issue in report.issues)
    assert report.as_dict()["errors"] == 4


def test_errors_leave_the_old_version_in_force(tmp_path: Path) -> None:
    city = write_city(tmp_path)
    first = imported(city)
    before = first.file.read_bytes()
    bad_city(tmp_path)
    with pytest.raises(AtlasError, match="4 features cannot be used"):
        imported(city)
    assert first.file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("x*")) == ["x.atlas"]
    skipped = imported(city, skip_bad=True)
    assert (skipped.serial, open_atlas(skipped.file).counts()["components"]) == (2, 6)


def test_other_files_are_not_overwritten(tmp_path: Path) -> None:
    city = write_city(tmp_path)
    (tmp_path / "x.atlas").write_text("my notes")
    with pytest.raises(AtlasError, match="is no atlas"):
        imported(city)
    with closing(sqlite3.connect(tmp_path / "y.atlas")) as db:
        db.execute("CREATE TABLE t (a)")
    with pytest.raises(AtlasError, match="no atlas of this software"):
        open_atlas(tmp_path / "y.atlas")
    with pytest.raises(AtlasError, match="cannot be written"):
        import_city(city, tmp_path / "nowhere" / "x.atlas", imported_utc=WHEN)


@pytest.mark.parametrize("damage", ["cut", "flip", "zero"])
def test_a_broken_atlas_is_an_error_and_no_crash(tmp_path: Path, damage: str) -> None:
    file = imported(write_city(tmp_path)).file
    whole = file.read_bytes()
    for start in range(100, len(whole), 4096):
        broken = bytearray(whole)
        if damage == "cut":
            del broken[start:]
        else:
            width = min(64, len(whole) - start)
            cut = slice(start, start + width)
            broken[cut] = bytes(width) if damage == "zero" else bytes(b ^ 0xFF for b in broken[cut])
        file.write_bytes(broken)
        with suppress(AtlasError), closing(open_atlas(file)) as atlas:
            atlas.grid_at(LAT, LON)
            atlas.zones_near(LAT, LON, 30.0)
            atlas.components_near(LAT, LON, 300.0)


def test_the_benchmark_runs_on_a_small_city(tmp_path: Path) -> None:
    told = benchmark.run(tmp_path, 200, 3000, 100, 200)
    assert told["read"] == {"grids": 200, "zones": 100, "components": 3000}
    assert told["found"][0] > 0
    assert {"median_ms", "open_s", "ratio_to_bare_query", "opened_mb", "peak_mb"} <= told.keys()
