"""The world: a street in local east/north/up metres, and typed things on it that exist for a span of time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from gnss.atlas import Atlas, Zone
from gnss.geodesy import LocalFrame
from gnss.types import Array
from perception.catalogue import Catalogue, load_catalogue
from replays.world.chance import stream

if TYPE_CHECKING:
    from replays.world.ride import Ride

LANE_M = 3.25
STRIP_M = 2.2
KERB_M = LANE_M + STRIP_M
"""From the street's axis to the kerb: one lane each way, then a strip to park on; beyond is the pavement."""
PAVEMENT_M = 0.12
DWELL_S = 180.0


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """The project's catalogue, from the folder beside this package's."""
    return load_catalogue(Path(__file__).resolve().parents[2] / "models")


@dataclass(frozen=True, slots=True)
class Motion1D:
    """Metres along the heading at knots of UTC seconds; linear between them, standing before and after."""

    t_s: tuple[float, ...]
    way_m: tuple[float, ...]

    def at(self, t_s: float | Array) -> Array:
        """Way in metres at times of any shape."""
        return np.asarray(np.interp(t_s, self.t_s, self.way_m), dtype=np.float64)

    def speed(self, t_s: float) -> float:
        """Speed in m/s: the slope of the piece that holds `t_s`."""
        return float(self.at(t_s + 0.05) - self.at(t_s - 0.05)) / 0.1


@dataclass(frozen=True, slots=True)
class Thing:
    """A solid with a class: footprint centre (m), heading clockwise from north, (length, width, height) in metres.

    `kind` is the case kind that the truth expects, None when it is no problem. It exists from `from_s` to `to_s` (UTC
    seconds since the world's start). `base_m` is the height of its foot over the road. `drive` moves it along its
    heading; None: it stands. `look` is its true colour histogram (sums to 1), () none.
    """

    id: str
    class_name: str
    kind: str | None
    east_m: float
    north_m: float
    heading_deg: float
    size_m: tuple[float, float, float]
    base_m: float = 0.0
    from_s: float = -math.inf
    to_s: float = math.inf
    drive: Motion1D | None = None
    look: tuple[float, ...] = ()

    @overload
    def place(self, t_s: float) -> tuple[float, float]: ...

    @overload
    def place(self, t_s: Array) -> tuple[Array, Array]: ...

    def place(self, t_s: float | Array) -> tuple[float | Array, float | Array]:
        """East and north in metres at UTC seconds; floats give floats, arrays give arrays."""
        way = np.zeros(np.shape(t_s)) if self.drive is None else self.drive.at(t_s)
        turn = math.radians(self.heading_deg)
        east, north = self.east_m + math.sin(turn) * way, self.north_m + math.cos(turn) * way
        return (east, north) if isinstance(t_s, np.ndarray) else (float(east), float(north))

    def speed(self, t_s: float) -> float:
        """Speed along its heading in m/s."""
        return 0.0 if self.drive is None else self.drive.speed(t_s)

    def exists(self, t_s: float) -> bool:
        """Is it there at this UTC second?"""
        return self.from_s <= t_s < self.to_s


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A straight street with an axis from the origin along `heading_deg` (clockwise from north), and all things on it.

    Positions along the axis and to its right in metres: `at` and `along_right` convert. `rides` are those that the
    traffic of this world makes room for; empty: any ride fits. `stop_lines_m` are places along the axis.
    """

    name: str
    seed: int
    lat0_deg: float
    lon0_deg: float
    start_utc_ns: int
    heading_deg: float
    length_m: float
    things: tuple[Thing, ...]
    zones: tuple[Zone, ...] = ()
    stop_lines_m: tuple[float, ...] = ()
    rides: tuple[Ride, ...] = ()

    @property
    def frame(self) -> LocalFrame:
        """The local frame that all metres are in."""
        return LocalFrame(self.lat0_deg, self.lon0_deg)

    def atlas(self) -> Atlas:
        """The city that judges this street: its zones, UTC+8, 180 s default dwell."""
        return Atlas(self.name, None, 8.0, DWELL_S, [], list(self.zones), [])

    @overload
    def at(self, along_m: float, right_m: float) -> tuple[float, float]: ...

    @overload
    def at(self, along_m: Array, right_m: Array) -> tuple[Array, Array]: ...

    def at(self, along_m: float | Array, right_m: float | Array) -> tuple[float | Array, float | Array]:
        """East and north of a place along the axis and to the right of it."""
        return street_point(self.heading_deg, along_m, right_m)

    def along_right(self, east_m: Array, north_m: Array) -> tuple[Array, Array]:
        """Metres along the axis and to its right of points."""
        turn = math.radians(self.heading_deg)
        sin, cos = math.sin(turn), math.cos(turn)
        return sin * east_m + cos * north_m, cos * east_m - sin * north_m

    def road(self, along_m: Array, grade_percent: float) -> tuple[Array, Array]:
        """Height in metres and slope (rise over run, along the axis) of the road, whose largest slope is given."""
        waves = _waves(self.seed)
        angle = np.asarray(along_m)[..., None] * waves[0] + waves[1]
        share = grade_percent / 100.0 * waves[2]
        return -(np.cos(angle) * share / waves[0]).sum(axis=-1), (np.sin(angle) * share).sum(axis=-1)


def street_point(
    heading_deg: float, along_m: float | Array, right_m: float | Array
) -> tuple[float | Array, float | Array]:
    """East and north of a place along an axis from the origin and to the right of it."""
    turn = math.radians(heading_deg)
    sin, cos = math.sin(turn), math.cos(turn)
    return sin * along_m + cos * right_m, cos * along_m - sin * right_m


@lru_cache(maxsize=256)
def _waves(seed: int) -> Array:
    """(3, 4): wave numbers (rad/m), phases and amplitudes of a slope that stays within 1 and nearly reaches it."""
    rng = stream(seed, "road")
    numbers = 2 * math.pi / rng.uniform(45.0, 160.0, 4)
    phases = rng.uniform(0.0, 2 * math.pi, 4)
    shares = rng.uniform(0.5, 1.0, 4)
    along = np.arange(-100.0, 1000.0, 1.0)[:, None]
    waves = np.stack([numbers, phases, shares / np.abs((np.sin(along * numbers + phases) * shares).sum(axis=1)).max()])
    waves.setflags(write=False)
    return waves
