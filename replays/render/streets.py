"""Random streets for training pictures: every class is frequent, everything else varies."""

from __future__ import annotations

import random

from replays.render.backdrop import BODY, PAVING, houses, markings
from replays.render.ground import rim_radius
from replays.render.layout import HOLES, Street, Thing, Weather
from replays.render.planner import Planner
from replays.render.truth import Camera, Place

PICTURE = (640, 360)
LENGTH_M = 110.0
VIEWS = 4
VEHICLES = {"bus": 6.0, "truck": 3.8, "car": 2.8}  # half a length with a gap, metres
PAVEMENT_MIX = (
    *("street_stall",) * 2,
    *("garbage",) * 2,
    "garbage_bin",
    *("garbage_bin_overflow",) * 2,
    *("person",) * 2,
    "bicycle",
    "motorcycle",
    "traffic_sign",
    "pole",
    *("tree",) * 2,
    "bush",
)
ROAD_MIX = ("pothole", "pothole", "manhole_open", "manhole_closed", "")


def training_street(seed: int) -> Street:
    """A random street of `LENGTH_M` metres; the same seed gives the same street."""
    m = Planner(seed)
    rng = m.rng
    lane, strip_r, strip_l = rng.uniform(3.1, 3.8), rng.choice((0.4, 2.2, 2.4)), rng.choice((0.4, 2.2, 2.4))
    right, left, pavement = -(lane + strip_r), lane + strip_l, rng.uniform(3.0, 5.5)
    busy = rng.uniform(0.25, 0.75)
    for edge, side, yaw in ((right, -1.0, 0.0), (left, 1.0, 180.0)):
        if abs(edge) > lane + 1.0:
            _parked(m, edge - side * 1.2, yaw, busy)
        else:
            rng.uniform(0.0, 6.0)
        _pavement(m, edge, side, pavement)
    _traffic(m, lane)
    _in_the_road(m, lane, right, left)
    overcast = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    grey = rng.uniform(0.045, 0.12)
    weather = Weather(rng.uniform(22.0, 70.0), rng.uniform(0.0, 360.0), overcast, rng.uniform(-0.1, 0.8))
    lines = markings(0.0, LENGTH_M, lane, rng.random() < 0.6)
    asphalt, paving = (grey, grey, grey * rng.uniform(0.95, 1.06)), rng.choice(PAVING)
    rows = houses(rng, 0.0, LENGTH_M, max(-right, left) + pavement + 0.3)
    size = (seed, 0.0, LENGTH_M, lane, strip_r, strip_l, pavement)
    return Street(*size, asphalt, paving, weather, _clear(m.things), rows, tuple(lines))


def _parked(m: Planner, y: float, yaw: float, busy: float) -> None:
    rng = m.rng
    x = rng.uniform(0.0, 6.0)
    while x < LENGTH_M:
        if rng.random() < busy:
            turned = yaw if rng.random() < 0.85 else yaw + 180.0
            x += m.vehicle(x + 2.6, y, turned) + rng.uniform(0.8, 3.0)
        else:
            x += 6.0


def _pavement(m: Planner, edge: float, side: float, width: float) -> None:
    rng = m.rng
    x = rng.uniform(2.0, 6.0)
    while x < LENGTH_M:
        pick = rng.choice(PAVEMENT_MIX)
        m.roadside(pick, x, edge + side * rng.uniform(0.75, min(2.2, width - 1.2)), side)
        x += rng.uniform(2.8, 6.0)


def _traffic(m: Planner, lane: float) -> None:
    for side, yaw in ((-1.0, 0.0), (1.0, 180.0)):
        x = m.rng.uniform(20.0, 45.0)
        while x < LENGTH_M:
            m.vehicle(x, side * lane / 2 + m.rng.uniform(-0.3, 0.3), yaw + m.rng.uniform(-4, 4))
            x += m.rng.uniform(14.0, 45.0)


def _in_the_road(m: Planner, lane: float, right: float, left: float) -> None:
    rng = m.rng
    x = 7.0
    while x < LENGTH_M:
        model, number = rng.choice(ROAD_MIX), rng.getrandbits(30)
        if model:
            y = rng.choice((-1.0, 1.0)) * lane / 2 + rng.uniform(-1.0, 1.0) * (lane / 2 - 1.25)
            if model in HOLES:
                y = max(right + 1.2, min(left - 1.2, y))
            tone = rng.uniform(0.02, 0.045) if model == "pothole" else rng.uniform(0.04, 0.10)
            m.add(model, model, x, y, 0.0, (tone * 1.05, tone, tone * 0.94), seed=number)
        x += rng.uniform(3.2, 7.0)
    for _ in range(rng.randint(0, 5)):
        m.walker(rng.uniform(8, LENGTH_M), rng.uniform(right + 0.5, left - 0.5), rng.uniform(0, 360), 0.0)
    for _ in range(rng.randint(0, 3)):
        name = rng.choice(("bicycle", "motorcycle"))
        place = (rng.uniform(8, LENGTH_M), right + rng.uniform(0.4, 1.2), rng.uniform(-15, 15))
        m.add(name, name, *place, rng.choice(BODY))


def _clear(things: list[Thing]) -> tuple[Thing, ...]:
    """Drop things that would stand in a vehicle, and holes too near another hole."""
    kept: list[Thing] = []
    for t in things:
        reach = VEHICLES.get(t.class_name or "", 0.6)
        parked = (o for o in kept if o.class_name in VEHICLES)
        if any(abs(t.x_m - o.x_m) < reach + VEHICLES[str(o.class_name)] and abs(t.y_m - o.y_m) < 1.5 for o in parked):
            continue
        if t.model in HOLES and any(abs(t.x_m - o.x_m) < _wide(t) + _wide(o) + 0.3 for o in kept if o.model in HOLES):
            continue
        kept.append(t)
    return tuple(kept)


def _wide(hole: Thing) -> float:
    return float(rim_radius(hole.model, hole.seed).max())


def views(street: Street) -> list[tuple[Camera, Place]]:
    """`VIEWS` camera places along a training street, each with its own mounting; no vehicle right before the lens."""
    rng = random.Random(street.seed * 7919 + 1)
    vehicles = [t for t in street.things if t.class_name in VEHICLES]
    w, h = PICTURE
    made = []
    for k in range(VIEWS):
        fx = rng.uniform(0.62, 1.0) * w
        height, pitch, yaw, roll = (
            rng.uniform(1.2, 2.1),
            rng.uniform(0.0, 11.0),
            rng.gauss(0.0, 9.0),
            rng.gauss(0.0, 1.0),
        )
        mounting = {"z_m": height, "pitch_deg": pitch, "yaw_deg": yaw, "roll_deg": roll}
        camera = Camera(w, h, fx, fx, (w - 1) / 2, (h - 1) / 2, **mounting)
        for _ in range(12):
            x = (k + rng.random()) * (LENGTH_M - 35.0) / VIEWS - 4.0
            in_lane = rng.random() < 0.8
            y = -street.lane_m / 2 + rng.gauss(0.0, 0.4) if in_lane else street.kerb_right + rng.uniform(0.8, 2.0)
            if not any(-4.0 < t.x_m - x < 9.0 and abs(t.y_m - y) < 2.0 for t in vehicles):
                break
        made.append((camera, Place(0.0, x, y, rng.gauss(0.0, 2.0))))
    return made
