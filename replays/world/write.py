"""A simulated drive as a drive folder: recorded detections, fixes, wheels, the city that judges it, and the truth."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import shapely

from replays.atomic import write_text
from replays.drive_toml import utc_iso
from replays.recorder import Recorder
from replays.world.scene import DWELL_S, World
from replays.world.sense import SimulatedDrive

VISIBLE_HITS = 4.0
"""A thing was visible in a drive when so many frames are expected to detect it: one more than a track needs."""


def write_drive(drive: SimulatedDrive, world: World, out: Path, seen: Collection[str] | None = None) -> None:
    """Write the drive folder `out` (new, empty or an older drive); raises DriveError when it is something else.

    `seen` are the things that count as visible, for example in any drive of a set; None: those of this drive.
    """
    note = f"simulated: world {world.name}, seed {world.seed}"
    with tempfile.TemporaryDirectory() as folder:
        city = write_city(world, Path(folder))
        with Recorder(out, drive.name, drive.vehicle, drive.cameras, note, city=city) as recorder:
            for event in drive.events:
                recorder.tap(event)
            recorder.close()
    write_text(out / "truth.geojson", truth_text(world, visible(drive) if seen is None else seen))


def write_city(world: World, folder: Path) -> Path:
    """city.toml and zones.geojson of a world; returns the former."""
    features = [
        {
            "type": "Feature",
            "properties": {"id": z.id, "kind": z.kind, "name": z.name, "hours": "00:00-24:00"}
            | ({} if z.dwell_s is None else {"dwell_s": z.dwell_s}),
            "geometry": _rounded(shapely.geometry.mapping(z.polygon)),
        }
        for z in world.zones
    ]
    (folder / "zones.geojson").write_text(_collection(features), encoding="utf-8")
    head = [
        "version = 1",
        f"name = {json.dumps('simulated ' + world.name)}",
        "utc_offset_hours = 8.0",
        f"default_dwell_s = {DWELL_S}",
    ]
    city = folder / "city.toml"
    city.write_text("\n".join([*head, 'zones = "zones.geojson"']) + "\n", encoding="utf-8")
    return city


def visible(drive: SimulatedDrive) -> frozenset[str]:
    """Ids of the things that a drive had a fair chance to see."""
    return frozenset(name for name, hits in drive.hits.items() if hits >= VISIBLE_HITS)


def truth_text(world: World, seen: Collection[str]) -> str:
    """truth.geojson: every thing where it is (a moving one where it begins), and from when to when, null: always."""
    frame, features = world.frame, []
    for thing in world.things:
        east, north = thing.place(thing.from_s) if thing.drive is not None else (thing.east_m, thing.north_m)
        lat, lon = frame.to_geo(east, north)
        properties = {
            "id": thing.id,
            "class": thing.class_name,
            "kind": thing.kind,
            "static": thing.drive is None,
            "visible": thing.id in seen,
            "from_utc": _utc(world, thing.from_s),
            "to_utc": _utc(world, thing.to_s),
        }
        point = {"type": "Point", "coordinates": [round(lon, 9), round(lat, 9)]}
        features.append({"type": "Feature", "properties": properties, "geometry": point})
    return _collection(features)


def _utc(world: World, t_s: float) -> str | None:
    return utc_iso(world.start_utc_ns + round(t_s * 1e9)) if abs(t_s) < 1e9 else None


def _rounded(geometry: Mapping[str, Any]) -> dict[str, Any]:
    rings = [[[round(x, 9), round(y, 9)] for x, y in ring] for ring in geometry["coordinates"]]
    return {"type": geometry["type"], "coordinates": rings}


def _collection(features: list[dict[str, Any]]) -> str:
    """One feature per line, so that two truths can be compared by eye."""
    lines = ",\n".join(json.dumps(f, ensure_ascii=False, separators=(",", ":")) for f in features)
    return f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n'
