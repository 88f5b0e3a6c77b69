"""What a street is: a frozen description that a seed decides completely. No Blender here.

The street frame has x along the road (direction of the patrol), y to the left, z up; metres.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from replays.render import cars, furniture, ground, people, rubbish, stalls, vehicles
from replays.render.houses import House
from replays.render.solids import Floats, Mesh, Rgb, turn_z

HOLES = ("pothole", "manhole_open")
MODELS: dict[str, Callable[[Rgb, int], Mesh]] = {
    "truck": vehicles.truck,
    "bus": vehicles.bus,
    "bicycle": vehicles.bicycle,
    "motorcycle": vehicles.motorcycle,
    "person": people.person,
    "street_stall": stalls.street_stall,
    "garbage": rubbish.garbage,
    "garbage_bin": rubbish.garbage_bin,
    "garbage_bin_overflow": rubbish.garbage_bin_overflow,
    "lamp_pole": furniture.lamp_pole,
    "utility_pole": furniture.utility_pole,
    "sign_panel": furniture.sign_panel,
    "sign_post": furniture.sign_post,
    "tree": furniture.tree,
    "bush": furniture.bush,
    "pothole": ground.pothole,
    "manhole_open": ground.manhole_open,
    "manhole_closed": ground.manhole_closed,
}


@dataclass(frozen=True, slots=True)
class Thing:
    """One object. `class_name` is a catalogue name, None for scenery; `kind` the case kind it should lead to.

    `track` holds (t_s, x_m, y_m) knots of a moving thing, empty for a static one; yaw is counter-clockwise from +x.
    """

    id: str
    class_name: str | None
    model: str
    x_m: float
    y_m: float
    z_m: float = 0.0
    yaw_deg: float = 0.0
    seed: int = 0
    colour: Rgb = (0.5, 0.5, 0.5)
    kind: str | None = None
    track: tuple[tuple[float, float, float], ...] = ()

    def at(self, t_s: float) -> tuple[float, float]:
        """Place (x, y) at time t, linear between knots and held beyond them."""
        if not self.track:
            return self.x_m, self.y_m
        times = [k[0] for k in self.track]
        i = bisect.bisect_right(times, t_s)
        if i == 0 or i == len(times):
            return self.track[min(i, len(times) - 1)][1:]
        a, b = self.track[i - 1], self.track[i]
        f = (t_s - a[0]) / (b[0] - a[0])
        return a[1] + f * (b[1] - a[1]), a[2] + f * (b[2] - a[2])


@dataclass(frozen=True, slots=True)
class Weather:
    """Light: sun angles in the street frame, overcast 0..1, exposure in stops."""

    sun_elevation_deg: float
    sun_azimuth_deg: float
    overcast: float
    exposure: float


@dataclass(frozen=True, slots=True)
class Street:
    """A straight street with one lane each way, kerb strips, pavements, houses and things."""

    seed: int
    x0: float
    x1: float
    lane_m: float
    strip_right_m: float
    strip_left_m: float
    pavement_m: float
    asphalt: Rgb
    paving: Rgb
    weather: Weather
    things: tuple[Thing, ...]
    houses: tuple[House, ...]
    stripes: tuple[tuple[float, float, float, float, str], ...]

    @property
    def kerb_right(self) -> float:
        """y of the right kerb, metres (negative)."""
        return -(self.lane_m + self.strip_right_m)

    @property
    def kerb_left(self) -> float:
        """y of the left kerb, metres."""
        return self.lane_m + self.strip_left_m


def mesh_of(thing: Thing) -> Mesh:
    """The object's own mesh; raises KeyError for an unknown model."""
    if thing.model in cars.SHAPES:
        return cars.car(thing.model, thing.colour, thing.seed)
    return MODELS[thing.model](thing.colour, thing.seed)


def placed(thing: Thing, vertices: Floats, t_s: float) -> Floats:
    """Vertices (N, 3) of the thing's own frame in the street frame at time t."""
    x, y = thing.at(t_s)
    moved: Floats = turn_z(vertices, math.radians(thing.yaw_deg)) + np.array([x, y, thing.z_m])
    return moved
