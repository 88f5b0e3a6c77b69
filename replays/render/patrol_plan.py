"""Where everything of the sample drive stands: problems, harmless things, moving things (street metres)."""

from __future__ import annotations

import random

from replays.render.backdrop import BODY, CLOTHES, LEAVES
from replays.render.ego import Ride
from replays.render.layout import Thing
from replays.render.solids import Rgb

LANE_M, STRIP_M, PAVEMENT_M = 3.5, 2.3, 4.2
KERB_Y, PAVED_Z = LANE_M + STRIP_M, 0.15
STEEL, BLUE, ASPHALT_DARK = (0.30, 0.31, 0.32), (0.01, 0.10, 0.40), (0.022, 0.021, 0.020)
# Chosen by eye among the generators' shapes: a cart with an umbrella, large heaps, wide potholes, a cover half aside.
STALL_SEED, HEAP_SEEDS, BIN_SEED, HOLE_SEEDS, COVER_SEED, SIGN_SEEDS = 1, (170, 73), 5, (9, 15), 3, (2, 1)

Row = tuple[str, str, float, float, float, Rgb, int, str | None]
PROBLEMS: tuple[Row, ...] = (  # id, class, x, y, yaw, colour, shape seed, case kind
    ("stall-1", "street_stall", 80.0, -KERB_Y - 1.5, 90.0, STEEL, STALL_SEED, "street_vending"),
    ("garbage-1", "garbage", 94.0, -KERB_Y - 1.3, 0.0, STEEL, HEAP_SEEDS[0], "exposed_garbage"),
    ("garbage-2", "garbage", 22.0, -KERB_Y - 1.15, 90.0, STEEL, HEAP_SEEDS[1], "exposed_garbage"),
    ("bin-overflow-1", "garbage_bin_overflow", 103.5, -KERB_Y - 0.9, 90.0, BLUE, BIN_SEED, "bin_overflow"),
    ("pothole-1", "pothole", 57.0, -1.1, 0.0, ASPHALT_DARK, HOLE_SEEDS[0], "road_damage"),
    ("pothole-2", "pothole", 88.0, 1.0, 0.0, ASPHALT_DARK, HOLE_SEEDS[1], "road_damage"),
    ("manhole-open-1", "manhole_open", 72.0, -2.92, 0.0, (0.07, 0.065, 0.06), COVER_SEED, "manhole_damage"),
)
HARMLESS: tuple[Row, ...] = (
    ("bin-1", "garbage_bin", 96.0, -KERB_Y - 1.1, 90.0, (0.02, 0.18, 0.06), 11, None),
    ("vendor-1", "person", 80.2, -KERB_Y - 2.5, 90.0, CLOTHES[0], 21, None),
    ("manhole-closed-1", "manhole_closed", 31.0, -1.2, 0.0, (0.08, 0.075, 0.07), 31, None),
    ("manhole-closed-2", "manhole_closed", 107.0, 1.3, 0.0, (0.06, 0.055, 0.05), 32, None),
    ("bicycle-1", "bicycle", 99.8, -KERB_Y - 2.6, 80.0, (0.02, 0.2, 0.45), 41, None),
    ("motorcycle-1", "motorcycle", 48.5, KERB_Y + 0.9, -80.0, (0.45, 0.02, 0.03), 42, None),
)
ILLEGAL = ((36.0, "sedan", BODY[0]), (50.0, "suv", BODY[2]), (64.0, "hatch", BODY[6]))
IN_BAY = ((28.0, "suv", BODY[1]), (41.0, "sedan", BODY[5]), (62.0, "van", BODY[4]), (86.0, "hatch", BODY[0]))
ON_ROAD = ("pothole", "manhole_open", "manhole_closed")


def things(seed: int, ride: Ride) -> tuple[Thing, ...]:
    """Everything that stands or moves in the sample street; the seed draws small turns, car details and trees."""
    rng = random.Random(seed)
    return (*_listed(), *_cars(rng), *_furniture(), *_green(rng), *_moving(rng, ride))


def _listed() -> list[Thing]:
    made = []
    for name, class_name, x, y, yaw, colour, shape, kind in PROBLEMS + HARMLESS:
        z = 0.0 if class_name in ON_ROAD else PAVED_Z
        made.append(Thing(name, class_name, class_name, x, y, z, yaw, shape, colour, kind))
    return made


def _cars(rng: random.Random) -> list[Thing]:
    """Three cars in the no-stopping zone, one where only a dwell counts, four in the bays."""
    made, right = [], -KERB_Y + 1.1
    for i, (x, model, colour) in enumerate(ILLEGAL, start=1):
        yaw, shape = rng.uniform(-1.5, 1.5), rng.getrandbits(30)
        made.append(Thing(f"parked-nostop-{i}", "car", model, x, right, 0.0, yaw, shape, colour, "illegal_parking"))
    made.append(Thing("parked-dwell-1", "car", "suv", 112.0, right, 0.0, 0.8, rng.getrandbits(30), BODY[7]))
    for i, (x, model, colour) in enumerate(IN_BAY, start=1):
        yaw, shape = 180.0 + rng.uniform(-1.5, 1.5), rng.getrandbits(30)
        made.append(Thing(f"parked-bay-{i}", "car", model, x, KERB_Y - 1.15, 0.0, yaw, shape, colour))
    return made


def _furniture() -> list[Thing]:
    made, sign_y = [], -KERB_Y - 0.45
    for i, x in enumerate((14.0, 43.0, 74.0, 98.5, 128.0), start=1):
        made.append(Thing(f"lamp-right-{i}", "pole", "lamp_pole", x, -KERB_Y - 0.5, PAVED_Z, 90.0, 77, STEEL))
    for i, x in enumerate((20.0, 52.0, 76.0, 100.0, 124.0), start=1):
        made.append(Thing(f"lamp-left-{i}", "pole", "lamp_pole", x, KERB_Y + 0.5, PAVED_Z, -90.0, 77, STEEL))
    for i, (x, shape) in enumerate(zip((29.0, 105.0), SIGN_SEEDS, strict=True), start=1):
        made.append(Thing(f"sign-post-{i}", None, "sign_post", x, sign_y, PAVED_Z, 0.0, shape, STEEL))
        made.append(Thing(f"sign-{i}", "traffic_sign", "sign_panel", x, sign_y, PAVED_Z, 0.0, shape))
    return made


def _green(rng: random.Random) -> list[Thing]:
    made = []
    for side, places in ((-1.0, (8, 26, 40, 55, 69, 87, 117, 132)), (1.0, (12, 33, 45, 66, 82, 93, 110, 130))):
        for x in places:
            yaw, shape, y = rng.uniform(0.0, 360.0), rng.randrange(4), side * (KERB_Y + 1.3)
            made.append(Thing(f"tree-{side:+.0f}-{x}", None, "tree", float(x), y, PAVED_Z, yaw, shape, LEAVES[0]))
    for x in (15, 58, 71, 104):
        shape = rng.randrange(4)
        made.append(Thing(f"bush-{x}", None, "bush", float(x), KERB_Y + 1.2, PAVED_Z, 0.0, shape, LEAVES[1]))
    return made


def _moving(rng: random.Random, ride: Ride) -> list[Thing]:
    """An oncoming car, a car ahead that drives away after some seconds, two pedestrians."""
    since = [(k / 10.0, k / 10.0 - ride.start_s) for k in range(261)]
    oncoming = tuple((t, 124.0 - 7.0 * s, LANE_M / 2) for t, s in since)
    ahead = tuple((t, ride.place(t).x_m + 17.0 + 0.55 * max(0.0, s - 2.5) ** 2, -LANE_M / 2) for t, s in since)
    plans = (
        ("moving-oncoming", "car", "sedan", 0.0, 180.0, BODY[8], oncoming),
        ("moving-ahead", "car", "suv", 0.0, 0.0, BODY[4], ahead),
        ("pedestrian-1", "person", "person", PAVED_Z, 0.0, CLOTHES[1], _walk(since, 52.0, -KERB_Y - 2.9, 1.25)),
        ("pedestrian-2", "person", "person", PAVED_Z, 180.0, CLOTHES[4], _walk(since, 92.0, KERB_Y + 1.0, -1.1)),
    )
    return [
        Thing(name, class_name, model, track[0][1], track[0][2], z, yaw, rng.getrandbits(30), colour, None, track)
        for name, class_name, model, z, yaw, colour, track in plans
    ]


def _walk(since: list[tuple[float, float]], x: float, y: float, speed: float) -> tuple[tuple[float, float, float], ...]:
    return tuple((t, x + speed * s, y) for t, s in since)
