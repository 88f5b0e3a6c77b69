"""Puts vehicles and pavement items into a random street."""

from __future__ import annotations

import random

from replays.render.backdrop import BINS, BODY, CLOTHES, LEAVES
from replays.render.layout import Thing
from replays.render.solids import Rgb

SHAPE_MIX = ("sedan", "sedan", "suv", "suv", "hatch", "van")
PAVED_Z = 0.15
GREY = (0.42, 0.43, 0.44)


class Planner:
    """Collects things; every draw comes from one seeded generator, in order."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.things: list[Thing] = []

    def add(
        self,
        class_name: str | None,
        model: str,
        x: float,
        y: float,
        yaw: float = 0.0,
        colour: Rgb = (0.5, 0.5, 0.5),
        z: float = 0.0,
        seed: int | None = None,
    ) -> None:
        """Place one thing; its shape's seed is drawn unless given."""
        number = self.rng.getrandbits(30) if seed is None else seed
        self.things.append(Thing(f"{model}{len(self.things)}", class_name, model, x, y, z, yaw, number, colour))

    def vehicle(self, x: float, y: float, yaw: float) -> float:
        """Add a car, truck or bus; returns the length it takes."""
        pick, rng = self.rng.random(), self.rng
        if pick < 0.80:
            self.add("car", rng.choice(SHAPE_MIX), x, y, yaw, rng.choice(BODY))
            return 5.2
        if pick < 0.93:
            self.add("truck", "truck", x, y, yaw, rng.choice(BODY))
            return 7.0
        self.add("bus", "bus", x, y, yaw, rng.choice(BODY[:2] + BODY[6:]))
        return 11.0

    def walker(self, x: float, y: float, yaw: float, z: float) -> None:
        """Add a person with clothes of a random colour."""
        self.add("person", "person", x, y, yaw, self.rng.choice(CLOTHES), z)

    def roadside(self, pick: str, x: float, y: float, side: float) -> None:
        """One pavement item; `side` is +1 on the left, and the item's front looks at the road."""
        to_road = -90.0 if side > 0 else 90.0
        if pick == "street_stall":
            self._stall(x, y, side, to_road)
        elif pick == "garbage":
            self._heap(x, y, side, to_road)
        elif pick == "traffic_sign":
            self._sign(x, y, side)
        elif pick == "pole":
            model = self.rng.choice(("lamp_pole", "lamp_pole", "utility_pole"))
            self.add(pick, model, x, y, to_road, self.rng.choice(((0.3, 0.3, 0.3), (0.1, 0.12, 0.1))), PAVED_Z)
        elif pick == "tree":
            self.add(None, pick, x, y, self.rng.uniform(0, 360), LEAVES[0], PAVED_Z, self.rng.randrange(4))
        elif pick == "bush":
            self.add(None, pick, x, y, 0.0, self.rng.choice(LEAVES[:2]), PAVED_Z, self.rng.randrange(4))
        else:
            self._group(pick, x, y, side, to_road)

    def _stall(self, x: float, y: float, side: float, to_road: float) -> None:
        rng = self.rng
        self.add("street_stall", "street_stall", x, y, to_road + rng.uniform(-15, 15), z=PAVED_Z)
        self.walker(x + rng.uniform(-0.5, 0.5), y + side * 0.95, to_road + rng.uniform(-50, 50), PAVED_Z)
        if rng.random() < 0.4:
            self.walker(x + rng.uniform(-0.6, 0.6), y - side * 1.1, -to_road, PAVED_Z if abs(y) > 7 else 0.0)

    def _heap(self, x: float, y: float, side: float, to_road: float) -> None:
        rng = self.rng
        self.add("garbage", "garbage", x, y, rng.uniform(0, 360), z=PAVED_Z)
        if rng.random() < 0.5:
            x += rng.choice((-1.5, 1.5))
            yaw = to_road + rng.uniform(-20, 20)
            self.add("garbage_bin", "garbage_bin", x, y + side * 0.2, yaw, rng.choice(BINS), PAVED_Z)

    def _sign(self, x: float, y: float, side: float) -> None:
        number, facing = self.rng.getrandbits(30), 180.0 if side < 0 else 0.0
        yaw = facing + 180.0 + self.rng.uniform(-10, 10)
        self.add(None, "sign_post", x, y, yaw, GREY, PAVED_Z, number)
        self.add("traffic_sign", "sign_panel", x, y, yaw, z=PAVED_Z, seed=number)

    def _group(self, pick: str, x: float, y: float, side: float, to_road: float) -> None:
        """One to three bins, people, or two-wheelers side by side."""
        rng = self.rng
        if pick in ("garbage_bin", "garbage_bin_overflow"):
            for k in range(rng.choice((1, 1, 2, 3)) if pick == "garbage_bin" else 1):
                self.add(pick, pick, x + 0.8 * k, y, to_road + rng.uniform(-12, 12), rng.choice(BINS), PAVED_Z)
        elif pick == "person":
            for k in range(rng.choice((1, 1, 2))):
                yaw = rng.choice((0, 180)) + rng.uniform(-30, 30)
                self.walker(x + 0.5 * k, y + side * 0.6 * (1 + k), yaw, PAVED_Z)
        else:
            yaw = rng.choice((0.0, to_road)) + rng.uniform(-15, 15)
            for k in range(rng.choice((1, 2, 3))):
                self.add(pick, pick, x + 0.75 * k, y, yaw, rng.choice(BODY + CLOTHES), PAVED_Z)
