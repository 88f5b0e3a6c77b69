"""A new version is taken up; a broken one is not, and is complained of once."""

from __future__ import annotations

from pathlib import Path

from gnss.atlas import load_atlas
from gnss.importer import import_city
from gnss.watch import AtlasWatch
from tests.gnss.cities import components, write_city, zones

WHEN = "2026-11-24T00:00:00Z"


def test_an_imported_version_is_taken_up(tmp_path: Path) -> None:
    city, out = write_city(tmp_path), tmp_path / "x.atlas"
    import_city(city, out, imported_utc=WHEN)
    first = load_atlas(out)
    watch = AtlasWatch(out, first)
    assert watch.poll() is None
    write_city(tmp_path, zones=zones()[:1])
    import_city(city, out, imported_utc=WHEN)
    fresh = watch.poll()
    assert fresh is not None
    assert (len(first.zones), len(fresh.zones)) == (2, 1)
    assert watch.poll() is None
    out.write_bytes(out.read_bytes())  # touched, but the same
    assert (watch.poll(), watch.reloads, watch.refused) == (None, 1, 0)


def test_a_broken_version_leaves_the_old_one_in_force(tmp_path: Path) -> None:
    city, out = write_city(tmp_path), tmp_path / "x.atlas"
    import_city(city, out, imported_utc=WHEN)
    first = load_atlas(out)
    watch = AtlasWatch(out, first)
    whole = out.read_bytes()
    out.unlink()
    assert watch.poll() is None
    assert "missing" in watch.refusal
    out.write_bytes(b"rubbish")
    assert watch.poll() is None
    assert watch.poll() is None
    assert watch.refused == 2
    assert first.components_near(*(components()[0][1].y, components()[0][1].x), 1.0)
    out.write_bytes(whole)
    assert watch.poll() is None
    assert watch.refusal == ""


def test_a_city_toml_is_watched_with_its_members(tmp_path: Path) -> None:
    city = write_city(tmp_path)
    watch = AtlasWatch(city, load_atlas(city))
    assert watch.poll() is None
    (tmp_path / "zones.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    fresh = watch.poll()
    assert fresh is not None
    assert fresh.zones == []
    city.write_text("version = ")
    assert (watch.poll(), watch.refused) == (None, 1)
