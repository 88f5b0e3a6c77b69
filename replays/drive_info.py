"""What a drive holds: durations, rates, gaps, distance, bounding box; as data and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gnss.geodesy import distance_m
from replays.drive import Drive
from replays.drive_toml import utc_iso
from replays.members import Stamps

GAP_FACTOR = 3.0
"""A gap is longer than this many median periods."""


def drive_info(drive: Drive) -> dict[str, Any]:
    """Facts of a drive as plain data; distances in metres along the fixes, rates per second."""
    fixes = drive.fixes
    stamps = np.array([fix.stamp_ns for fix in fixes], np.int64)
    ends = [stamps[[0, -1]], *(member.stamp_ns[[0, -1]] for member in drive.members.values())]
    begin, end = min(int(pair[0]) for pair in ends), max(int(pair[1]) for pair in ends)
    lats, lons = [fix.lat_deg for fix in fixes], [fix.lon_deg for fix in fixes]
    walked = sum(distance_m(a.lat_deg, a.lon_deg, b.lat_deg, b.lon_deg) for a, b in pairwise(fixes))
    start = drive.start_utc_ns
    box = {"south": min(lats), "west": min(lons), "north": max(lats), "east": max(lons)}
    gnss = {"file": drive.gnss.file.name, **_rates(stamps)}
    gnss |= {"dropped": dict(drive.gnss.dropped), "qualities": _qualities(drive)}
    return {
        "path": str(drive.path),
        "name": drive.meta.name,
        "vehicle": drive.meta.vehicle,
        "note": drive.meta.note,
        "start_utc": None if start is None else utc_iso(start + begin),
        "duration_s": round((end - begin) / 1e9, 3),
        "distance_m": round(walked, 1),
        "bounding_box": {name: round(value, 8) for name, value in box.items()},
        "cameras": {name: _camera(drive, name) for name in drive.members},
        "gnss": gnss,
        "motion": None if drive.motion is None else _rates(drive.motion.stamp_ns),
        "detections": None if drive.detections is None else _detections(drive),
        "city": drive.city is not None,
        "truth": drive.truth is not None,
        "events": drive.events is not None,
        "notices": list(drive.notices),
    }


def _rates(stamps: Stamps) -> dict[str, Any]:
    """Count, rate from the median period, and gaps longer than GAP_FACTOR periods, of stamps (N,) in ns."""
    count = len(stamps)
    periods = np.diff(stamps)
    median = float(np.median(periods)) if count > 1 else 0.0
    gaps = periods[periods > GAP_FACTOR * median] if median > 0 else periods[:0]
    return {
        "count": count,
        "rate_hz": round(1e9 / median, 3) if median > 0 else None,
        "gaps": len(gaps),
        "longest_gap_s": round(float(gaps.max()) / 1e9, 3) if len(gaps) else None,
    }


def _camera(drive: Drive, name: str) -> dict[str, Any]:
    member = drive.members[name]
    camera = member.model
    return {
        **_rates(member.stamp_ns),
        "size": [camera.width, camera.height],
        "fx": round(camera.fx, 2),
        "height_m": camera.z_m,
        "guessed": camera.guessed,
        "pictures": None if member.pictures is None else member.pictures.source.name,
    }


def _qualities(drive: Drive) -> dict[str, int]:
    counts: dict[str, int] = {}
    for fix in drive.fixes:
        name = fix.quality.name.lower()
        counts[name] = counts.get(name, 0) + 1
    return counts


def _detections(drive: Drive) -> dict[str, Any]:
    if drive.detections is None:
        return {}
    frames = {camera: len(places) for camera, places in drive.detections.places.items()}
    return {"frames": frames, "classes": list(drive.detections.class_names)}


def info_rows(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts as (label, value) rows for a terminal or the report."""
    box = info["bounding_box"]
    rows = [
        ("Drive", f"{info['name']} ({info['vehicle']})"),
        ("Begins", info["start_utc"] or "no UTC: can be replayed alone only"),
        ("Duration", f"{info['duration_s']:.1f} s, {info['distance_m']:.0f} m"),
        ("Area", f"{box['south']:.6f}, {box['west']:.6f} to {box['north']:.6f}, {box['east']:.6f}"),
    ]
    for name, camera in info["cameras"].items():
        size = "{}x{}".format(*camera["size"])
        calibration = "guessed" if camera["guessed"] else f"fx {camera['fx']:.1f} px, {camera['height_m']:.2f} m up"
        pictures = camera["pictures"] or "no pictures"
        rows.append((f"Camera {name}", f"{_counted('frames', camera)}, {size}, calibration {calibration}, {pictures}"))
    rows.append(
        ("Fixes", f"{_counted('fixes', info['gnss'])}, {info['gnss']['file']}, {_listed(info['gnss']['qualities'])}")
    )
    if info["gnss"]["dropped"]:
        rows.append(("Dropped", _listed(info["gnss"]["dropped"])))
    if info["motion"] is not None:
        rows.append(("Motion", _counted("samples", info["motion"])))
    if info["detections"] is not None:
        detections = info["detections"]
        rows.append(
            ("Detections", f"{_listed(detections['frames'])} frames; {', '.join(detections['classes']) or 'no boxes'}")
        )
    members = [word for word in ("city", "truth", "events") if info[word]]
    rows.append(("Beside it", ", ".join(members) or "neither city, truth nor events"))
    if info["note"]:
        rows.append(("Note", info["note"]))
    rows += [("Notice", notice) for notice in info["notices"]]
    return rows


def _counted(what: str, rates: Mapping[str, Any]) -> str:
    rate = "" if rates["rate_hz"] is None else f" at {rates['rate_hz']:.2f}/s"
    gaps = "" if not rates["gaps"] else f", {rates['gaps']} gaps up to {rates['longest_gap_s']:.1f} s"
    return f"{rates['count']} {what}{rate}{gaps}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def info_text(rows: Sequence[tuple[str, str]]) -> str:
    """Rows as an aligned text."""
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label.ljust(width)}  {value}" for label, value in rows)
