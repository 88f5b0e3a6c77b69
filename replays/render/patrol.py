"""The sample drive's street: where every problem, parked car, pole and pedestrian stands."""

from __future__ import annotations

import random
from dataclasses import dataclass

from replays.render.backdrop import houses, markings
from replays.render.ego import Anchor, Ride
from replays.render.layout import Street, Weather
from replays.render.patrol_plan import KERB_Y, LANE_M, PAVEMENT_M, STRIP_M, things
from replays.render.truth import Camera

FRONT = Camera(1280, 720, 960.0, 960.0, 639.5, 359.5, x_m=1.5, y_m=0.0, z_m=1.5, pitch_deg=4.0)


@dataclass(frozen=True, slots=True)
class Zone:
    """A stretch of kerb strip x0..x1, y0..y1 (street metres) with the properties of the city's zone file."""

    id: str
    name: str
    kind: str
    dwell_s: float | None
    x0: float
    x1: float
    y0: float
    y1: float


@dataclass(frozen=True, slots=True)
class Patrol:
    """A drive through a street: the street, the ride, and how the city judges the kerbs."""

    street: Street
    ride: Ride
    anchor: Anchor
    zones: tuple[Zone, ...]
    start_s: float
    frames: int
    rate_hz: float

    def stamps_s(self) -> list[float]:
        """Stamp of every frame, seconds."""
        return [self.start_s + i / self.rate_hz for i in range(self.frames)]


def _zones() -> tuple[Zone, ...]:
    right = (-KERB_Y - 0.1, -LANE_M + 0.1)
    return (
        Zone("zone-nostop-south", "no-stopping kerb, south side", "no_parking", 0.0, 29.0, 76.0, *right),
        Zone("zone-noparking-south", "no-parking kerb, south side", "no_parking", None, 105.0, 124.0, *right),
        Zone("zone-bay-north", "parking bays, north side", "parking_bay", None, 22.0, 92.0, LANE_M - 0.1, KERB_Y + 0.1),
    )


def patrol(seed: int, frames: int = 210, rate_hz: float = 10.0) -> Patrol:
    """The sample patrol of a seed: fixed plan, seeded colours and shapes of the backdrop."""
    ride = Ride(2.0, 5.95, 0.75, -LANE_M / 2)
    zones, lines = _zones(), markings(0.0, 140.0, LANE_M, True)
    lines.append((zones[0].x0, zones[0].x1, -KERB_Y + 0.06, -KERB_Y + 0.20, "yellow"))
    bay = zones[2]
    for k in range(12):
        x = bay.x0 + k * (bay.x1 - bay.x0) / 11
        lines.append((x - 0.05, x + 0.05, LANE_M + 0.07, KERB_Y - 0.05, "white"))
    weather = Weather(63.0, 155.0, 0.15, 0.15)
    rows = houses(random.Random(seed + 1), 0.0, 140.0, KERB_Y + PAVEMENT_M + 0.3)
    size = (seed, 0.0, 140.0, LANE_M, STRIP_M, STRIP_M, PAVEMENT_M)
    asphalt, paving = (0.075, 0.075, 0.077), (0.34, 0.31, 0.28)
    street = Street(*size, asphalt, paving, weather, things(seed, ride), rows, tuple(lines))
    return Patrol(street, ride, Anchor(30.2670, 120.1590, 63.0), zones, ride.start_s, frames, rate_hz)
