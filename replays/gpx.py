"""GPX 1.0 and 1.1 track points as fixes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from gnss.types import Fix
from perception.errors import DriveError
from perception.serial import utc_ns_of

GUESSED_H_ACC_M = 5.0
"""1 sigma per axis of a phone or dashcam track that does not say its accuracy."""


def read_gpx(file: Path, start_utc_ns: int | None = None) -> list[Fix]:
    """Track points with a time, in order of time; stamps count from `start_utc_ns` (None: from the first point).

    A point without `hdop` gets the declared guess of GUESSED_H_ACC_M. Points of equal time keep the first.
    Raises DriveError when the file is no GPX, a point is broken, or no point has a time.
    """
    points = [_point(file, number, node) for number, node in enumerate(_nodes(file), 1)]
    timed = sorted((p for p in points if p.utc_ns is not None), key=lambda p: p.utc_ns or 0)
    if not timed:
        problem = f"has no track point with a time ({len(points)} without)"
        raise DriveError(problem, file=file, remedy="export the track with times (<trkpt> with <time>)")
    start = start_utc_ns if start_utc_ns is not None else timed[0].utc_ns or 0
    fixes: list[Fix] = []
    for point in timed:
        utc_ns = point.utc_ns or 0
        if not fixes or utc_ns - start > fixes[-1].stamp_ns:
            acc = GUESSED_H_ACC_M if point.hdop is None else None
            fixes.append(Fix(utc_ns - start, utc_ns, point.lat_deg, point.lon_deg, point.alt_m, acc, hdop=point.hdop))
    return fixes


def _nodes(file: Path) -> list[ElementTree.Element]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DriveError(f"cannot be read: {error.strerror}", file=file, remedy="name the GPX file") from error
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        # A GPX needs neither; entities are how a small file grows without bound.
        raise DriveError("has a DOCTYPE", file=file, remedy="export a plain GPX file")
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - entities are refused above
    except ElementTree.ParseError as error:
        raise DriveError(f"is no XML: {error}", file=file, line=error.position[0], remedy="export it again") from error
    return [node for node in root.iter() if _local(node) == "trkpt"]


def _local(node: ElementTree.Element) -> str:
    return node.tag.rsplit("}", 1)[-1]


def _point(file: Path, number: int, node: ElementTree.Element) -> Fix:
    said = {_local(child): (child.text or "").strip() for child in node}
    try:
        lat, lon = float(node.attrib["lat"]), float(node.attrib["lon"])
        alt = float(said["ele"]) if said.get("ele") else None
        hdop = float(said["hdop"]) if said.get("hdop") else None
        utc_ns = utc_ns_of(said["time"]) if said.get("time") else None
    except (KeyError, ValueError) as error:
        raise DriveError(f"track point {number} is broken: {error}", file=file, remedy="mend or delete it") from error
    if not (abs(lat) <= 90 and abs(lon) <= 180):
        raise DriveError(f"track point {number} is not on the earth", file=file, remedy="mend or delete it")
    return Fix(0, utc_ns, lat, lon, alt, hdop=hdop)
