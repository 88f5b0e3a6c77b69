"""A new city reaches the pipeline while it runs, and judges what comes after it."""

from __future__ import annotations

from pathlib import Path

from gnss.atlas import load_atlas
from gnss.clock import SystemClock
from perception.events import Reload
from perception.pipeline import Pipeline
from perception.types import TrackEnded
from tests.builders import Thing, World, make_atlas, make_setup, make_zone
from tests.gnss.cities import write_city
from vehicle.citywatch import CityWatch
from vehicle.live import LiveSource

KERB = make_zone("no_stopping", (2.0, 8.0), (0.0, 200.0), dwell_s=0.0)


def reasons(reload_at_s: float | None) -> list[str]:
    """Ends of the cars of a street whose city forbids stopping, and from some time on no more."""
    world = World([Thing(f"c{n}", "car", 5.0, 30.0 * n) for n in range(1, 5)])
    events = world.events()
    if reload_at_s is not None:
        events = [Reload(int(reload_at_s * 1e9), make_atlas()), *events]
    pipeline = Pipeline(make_setup(make_atlas([KERB])))
    outputs = [o for event in events for o in pipeline.step(event)] + pipeline.flush()
    assert pipeline.counts["city reloaded"] == (reload_at_s is not None)
    return [o.reason for o in outputs if isinstance(o, TrackEnded) and o.class_name == "car"]


def test_a_reload_changes_the_judgement() -> None:
    assert any("no_stopping" in reason for reason in reasons(None))
    assert all("no zone here forbids it" in reason for reason in reasons(0.0))


def test_the_watch_brings_a_new_version_as_an_event(tmp_path: Path) -> None:
    city = write_city(tmp_path)
    clock = SystemClock()
    source = LiveSource(clock, clock.monotonic_ns())
    watch = CityWatch(city, load_atlas(city), source, every_s=0.01)
    source.add_device(watch.stop, watch.check)
    watch.start()
    empty = tmp_path / "empty.geojson"
    empty.write_text('{"type": "FeatureCollection", "features": []}')
    empty.replace(tmp_path / "zones.geojson")
    items = iter(source)
    taken = next(items)
    assert isinstance(taken, Reload)
    assert taken.atlas.zones == []
    assert taken.stamp_ns >= 0
    city.write_text("version = ")
    for _ in range(500):
        if watch._watch.refused:
            break
        clock.sleep(0.01)
    watch.check()
    source.stop()
    assert list(items) == []
    assert source.counts["city: new version refused"] == 1
