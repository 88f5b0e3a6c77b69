"""The things of a world that a ride can meet, as arrays, and where they are from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnss.types import Array
from replays.world.card import NoiseCard
from replays.world.detector import CLASS_NAMES
from replays.world.ride import Ride
from replays.world.scene import Thing, World
from replays.world.shapes import Indices, Solids, is_box, solids


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """The things of a world that a ride can meet, as arrays."""

    things: tuple[Thing, ...]
    groups: list[Solids]
    heading: Array
    half: Array
    tall: Array
    box: NDArray[np.bool_]
    span: Array
    class_id: Indices
    looks: Array

    @staticmethod
    def of(world: World, ride: Ride, card: NoiseCard) -> Stage:
        """Everything that exists at some time of a ride."""
        end_s = ride.start_s + ride.duration_s + 1.0
        things = tuple(t for t in world.things if t.from_s < end_s and t.to_s >= ride.start_s)
        sizes = np.array([t.size_m for t in things], dtype=np.float64).reshape(-1, 3)
        most = max((len(t.look) for t in things), default=0)
        looks = np.array([t.look or (1.0 / most,) * most for t in things] if most else np.zeros((len(things), 0)))
        return Stage(
            things,
            solids(things, card.wheels),
            np.radians(90.0 - np.array([t.heading_deg for t in things])),
            np.maximum(sizes[:, :2] / 2, 0.01),
            sizes[:, 2],
            np.array([is_box(t) for t in things], dtype=bool),
            np.array([(t.from_s, t.to_s) for t in things], dtype=np.float64).reshape(-1, 2),
            np.array([CLASS_NAMES.index(t.class_name) for t in things], dtype=np.intp),
            looks.reshape(len(things), most),
        )

    def places(self, world: World, utc_s: Array, card: NoiseCard) -> Array:
        """Feet (F, N, 3) at UTC seconds (F,): east, north and height of the road there plus the thing's own."""
        out = np.empty((len(utc_s), len(self.things), 3))
        out[:, :, 0] = [t.east_m for t in self.things]
        out[:, :, 1] = [t.north_m for t in self.things]
        for number, thing in enumerate(self.things):
            if thing.drive is not None:
                out[:, number, 0], out[:, number, 1] = thing.place(utc_s)
        along, _ = world.along_right(out[:, :, 0], out[:, :, 1])
        moving = np.array([t.drive is not None for t in self.things], dtype=bool)
        # Only what moves changes its height from frame to frame.
        out[:, :, 2] = world.road(along[:1], card.grade_percent)[0]
        if moving.any():
            out[:, moving, 2] = world.road(along[:, moving], card.grade_percent)[0]
        out[:, :, 2] += [t.base_m for t in self.things]
        return out
