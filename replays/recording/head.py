"""What a recording says of itself: its cameras, its city, and where no picture may be stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gnss.atlas import Atlas
from perception.camera import CameraModel
from replays.recorder import named_files

ATTACHED_BYTES = 8 << 20
"""A city larger than this is not copied into every part; a replay is then told of it by its configuration."""


def attached(city: Path | None, truth: Path | None = None) -> dict[str, bytes]:
    """City and truth as attachments of a recording; without the city's files when they are too large."""
    files = {} if city is None else named_files(city)
    if sum(file.stat().st_size for file in files.values()) > ATTACHED_BYTES:
        files = {}
    if truth is not None:
        files["truth.geojson"] = truth
    return {name: file.read_bytes() for name, file in files.items()}


SENSITIVE_M = 60.0
"""Pictures are left out this close to a sensitive area: what a camera sees well, and the way between two fixes."""


def quiet_places(atlas: Atlas) -> Callable[[float, float], bool] | None:
    """Tells whether no picture may be stored at a place (lat, lon); None when the city has no sensitive area."""
    if not any(zone.kind == "sensitive" for zone in atlas.zones):
        return None
    return lambda lat, lon: any(zone.kind == "sensitive" for zone in atlas.zones_near(lat, lon, SENSITIVE_M))


@dataclass(frozen=True, slots=True)
class Head:
    """What a recording says of itself; `files` are attachments (city.toml and what it names, truth.geojson)."""

    name: str
    vehicle: str
    cameras: Mapping[str, CameraModel]
    note: str = ""
    antenna_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    start_utc_ns: int | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)

    def text(self) -> str:
        """The head as JSON, exact."""
        plain = {"name": self.name, "vehicle": self.vehicle, "note": self.note, "antenna_m": list(self.antenna_m)}
        cameras = [asdict(camera) for camera in self.cameras.values()]
        return json.dumps({**plain, "start_utc_ns": self.start_utc_ns, "cameras": cameras}, ensure_ascii=False)
