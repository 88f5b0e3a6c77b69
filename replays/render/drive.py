"""A patrol as a drive folder with truth and atlas: everything but the pixels, byte-equal by seed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from replays.render.ego import Anchor, ReceiverError, fixes_csv, motion_csv
from replays.render.layout import Thing, mesh_of, placed
from replays.render.patrol import FRONT, Patrol

START_UTC = datetime(2026, 6, 1, 2, 0, 0, tzinfo=UTC)
DIVISION = "330106"
FOOT_M = 1.0  # what stands below this height makes the footprint (a lamp's arm does not)
REGISTER = {
    "manhole_open": "01002",
    "manhole_closed": "01002",
    "pole": "01037",
}  # component types: sewer cover, street lamp


def write_drive(patrol: Patrol, folder: Path, seed: int, name: str) -> None:
    """Write drive.toml, front.csv, fixes.csv, motion.csv, truth.geojson, city.toml and its layers into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    stamps = patrol.stamps_s()
    first, last = stamps[0], stamps[-1]
    fix_stamps = [float(t) for t in range(math.floor(first) - 1, math.ceil(last + 1.0) + 1)]
    motion_stamps = [fix_stamps[0] + k / 20.0 for k in range(int((fix_stamps[-1] - fix_stamps[0]) * 20) + 1)]
    start_ns = int(START_UTC.timestamp()) * 1_000_000_000
    texts = {
        "drive.toml": _drive_toml(name),
        "front.csv": "index,stamp_ns\n" + "".join(f"{i},{round(t * 1e9)}\n" for i, t in enumerate(stamps)),
        "fixes.csv": fixes_csv(patrol.ride, patrol.anchor, start_ns, fix_stamps, ReceiverError(), seed),
        "motion.csv": motion_csv(patrol.ride, motion_stamps, seed),
        "truth.geojson": _collection(_truth(patrol)),
        "city.toml": _city_toml(),
        "zones.geojson": _collection(_zones(patrol)),
        "grids.geojson": _collection(_grids(patrol)),
        "components.geojson": _collection(_components(patrol)),
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")


def _drive_toml(name: str) -> str:
    c = FRONT
    return (
        f'version = 1\nname = "{name}"\nvehicle = "sample-car-1"\n'
        f"start_utc = {START_UTC.strftime('%Y-%m-%dT%H:%M:%SZ')}\n\n"
        f'[[camera]]\nname = "front"\nfile = "front.mp4"\nstamps = "front.csv"\n'
        f"width = {c.width}\nheight = {c.height}\n"
        f"fx = {c.fx}\nfy = {c.fy}\ncx = {c.cx}\ncy = {c.cy}\ndist = [0.0, 0.0, 0.0, 0.0, 0.0]\n"
        f"x_m = {c.x_m}\ny_m = {c.y_m}\nz_m = {c.z_m}\n"
        f"yaw_deg = {c.yaw_deg}\npitch_deg = {c.pitch_deg}\nroll_deg = {c.roll_deg}\n\n"
        f'[gnss]\nx_m = 0.0\ny_m = 0.0\nz_m = 0.0\nlatency_s = 0.0\ndatum = "WGS84"\n'
    )


def _city_toml() -> str:
    return (
        f'version = 1\nname = "Sample district"\ndivision = "{DIVISION}"\nutc_offset_hours = 8\ndatum = "WGS84"\n'
        'grids = "grids.geojson"\nzones = "zones.geojson"\ncomponents = "components.geojson"\n'
    )


def _collection(features: Sequence[dict[str, Any]]) -> str:
    rows = ",\n".join(json.dumps(f, ensure_ascii=False) for f in features)
    return '{"type": "FeatureCollection", "features": [\n' + rows + "\n]}\n"


def _lonlat(anchor: Anchor, x: float, y: float) -> list[float]:
    lat, lon = anchor.geo(x, y)
    return [round(lon, 9), round(lat, 9)]


def _ring(anchor: Anchor, x0: float, x1: float, y0: float, y1: float) -> dict[str, Any]:
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))
    return {"type": "Polygon", "coordinates": [[_lonlat(anchor, x, y) for x, y in corners]]}


def footprint(thing: Thing, t_s: float) -> tuple[float, float]:
    """Centre (x, y) of the footprint in the street frame at time t; of a manhole its shaft's centre."""
    own = mesh_of(thing).vertices
    if thing.model.startswith("manhole"):
        own = np.zeros((1, 3))
    low = own[own[:, 2] < FOOT_M]
    own = low if len(low) else own
    centre = np.array([[*((own[:, :2].min(axis=0) + own[:, :2].max(axis=0)) / 2), 0.0]])
    at = placed(thing, centre, t_s)[0]
    return float(at[0]), float(at[1])


def _closest_s(patrol: Patrol, thing: Thing) -> float:
    def gap(t: float) -> float:
        place, (x, y) = patrol.ride.place(t), thing.at(t)
        return math.hypot(x - place.x_m, y - place.y_m)

    return min(patrol.stamps_s(), key=gap)


def _truth(patrol: Patrol) -> list[dict[str, Any]]:
    """One Point per thing with a class; a moving one lies where it was nearest to the car."""
    features = []
    for thing in patrol.street.things:
        if thing.class_name is None:
            continue
        moving = bool(thing.track)
        x, y = footprint(thing, _closest_s(patrol, thing))
        first, last = (patrol.stamps_s()[0], patrol.stamps_s()[-1]) if moving else (-3600.0, 3600.0)
        properties: dict[str, Any] = {
            "id": thing.id,
            "class": thing.class_name,
            "kind": thing.kind,
            "static": not moving,
            "from_utc": _utc(first),
            "to_utc": _utc(last),
        }
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": _lonlat(patrol.anchor, x, y)},
                "properties": properties,
            }
        )
    return features


def _utc(offset_s: float) -> str:
    return (START_UTC + timedelta(seconds=round(offset_s, 3))).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _zones(patrol: Patrol) -> list[dict[str, Any]]:
    features = []
    for zone in patrol.zones:
        properties: dict[str, Any] = {"id": zone.id, "kind": zone.kind, "hours": "00:00-24:00", "name": zone.name}
        if zone.dwell_s is not None:
            properties["dwell_s"] = zone.dwell_s
        features.append(
            {
                "type": "Feature",
                "geometry": _ring(patrol.anchor, zone.x0, zone.x1, zone.y0, zone.y1),
                "properties": properties,
            }
        )
    return features


def _grids(patrol: Patrol) -> list[dict[str, Any]]:
    """Unit grids of 70 m along the street: 6 digits division, 3 street office, 3 community, 3 sequence."""
    street, features = patrol.street, []
    for k in range(4):
        x0 = street.x0 - 40.0 + 70.0 * k
        properties = {"id": f"{DIVISION}001002{k + 1:03d}", "name": f"grid {k + 1}"}
        features.append(
            {"type": "Feature", "geometry": _ring(patrol.anchor, x0, x0 + 70.0, -40.0, 40.0), "properties": properties}
        )
    return features


def _components(patrol: Patrol) -> list[dict[str, Any]]:
    """The register of covers and lamps: 17-digit ids, surveyed to class A with 0.1 m errors left out."""
    features = []
    known = [t for t in patrol.street.things if t.class_name in REGISTER]
    for number, thing in enumerate(known, start=1):
        code = REGISTER[str(thing.class_name)]
        x, y = footprint(thing, 0.0)
        properties = {"id": f"{DIVISION}{code}{number:06d}", "type": code, "code": code, "accuracy_class": "A"}
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": _lonlat(patrol.anchor, x, y)},
                "properties": properties,
            }
        )
    return features
