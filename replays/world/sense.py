"""One ride through a world as the car's sensors report it: the pipeline's events, and beside them the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from gnss.types import Array
from perception.camera import CameraModel
from perception.events import Event, order_key
from perception.types import Detections, Seen
from replays.world.card import NoiseCard
from replays.world.chance import gauss_markov, stream
from replays.world.clutter import clutter
from replays.world.detector import (
    CLASS_NAMES,
    Found,
    chance,
    edge_noise,
    histograms,
    named,
    noticed,
    shifted,
    sureness,
)
from replays.world.lens import Eyes, angular_share, attitude, boxes_of
from replays.world.occlude import Looks, hidden
from replays.world.receiver import GnssTrack, receive, roll_along
from replays.world.ride import Ride
from replays.world.rig import CAMERAS, PHASE, Mount, mount_of
from replays.world.scene import World
from replays.world.shapes import Indices
from replays.world.stage import Stage

BLOCK = 256
_BODY_STEP_S = 0.01
_DIP_OVER_S = 0.3
_BEHIND_M = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedDrive:
    """Events of a drive in the pipeline's order, and the truth behind them.

    `start_utc_ns` is the UTC of stamp 0. `cameras` is what the pipeline believes, `mounts` what is true beyond it.
    `labels` names the thing of every box of (camera, frame index), in order; None is clutter. `true_pose` gives east m,
    north m, yaw rad (counter-clockwise from east) of the reference point at a stamp of the vehicle's clock.
    `best_view` is the best chance over `pd` that any frame had to detect a thing (0..1), `hits` the expected number of
    frames that detect it, both without things that were never in view. `gnss` keeps the receiver's true errors.
    """

    name: str
    vehicle: str
    start_utc_ns: int
    events: tuple[Event, ...]
    cameras: dict[str, CameraModel]
    labels: dict[tuple[str, int], tuple[str | None, ...]]
    true_pose: Callable[[int], tuple[float, float, float]]
    mounts: dict[str, Mount]
    best_view: Mapping[str, float]
    hits: Mapping[str, float]
    gnss: GnssTrack


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """P looks of one camera at things: frame row, thing row, part of the box in the picture, chance over `pd`."""

    frame: Indices
    thing: Indices
    box: Array
    likely: Array


def sense(world: World, ride: Ride, card: NoiseCard, seed: int) -> SimulatedDrive:
    """Simulate one ride; the same arguments give the same events. Raises KeyError for an unknown camera."""
    cameras = {name: CAMERAS[name] for name in ride.cameras}
    mounts = {name: mount_of(world.seed, ride.vehicle, name, card) for name in cameras}
    shake = _shake(ride, card, seed)
    stage = Stage.of(world, ride, card)
    gnss = receive(world, ride, card, seed)
    events: list[Event] = [*gnss.fixes, *roll_along(world, ride, card, seed)]
    labels: dict[tuple[str, int], tuple[str | None, ...]] = {}
    best, hits = np.zeros(len(stage.things)), np.zeros(len(stage.things))
    for name, camera in cameras.items():
        count = math.floor(ride.duration_s * ride.fps)
        t: Array = (np.arange(count, dtype=np.float64) + PHASE.get(name, 0.0)) / ride.fps
        eyes, floor = _eyes(world, ride, camera, mounts[name], (t, shake), card)
        sights = [_sight(stage, eyes, world, ride, t, block, card) for block in _blocks(len(t))]
        sight = _joined(sights)
        np.maximum.at(best, sight.thing, sight.likely)
        hits += card.pd * np.bincount(sight.thing, sight.likely, len(hits))
        rng = stream(seed, ride.name, name, "detector")
        found, looks = _detect(stage, sight, eyes, floor, 1.0 / ride.fps, card, rng)
        seen, names = _frames(stage, found, looks, t + card.clock_offset_s, camera)
        events += seen
        labels.update(names)
    events.sort(key=order_key)
    start_ns = world.start_utc_ns + round(ride.start_s * 1e9)
    pose = partial(_pose_at, world, ride)
    views, counts = ({stage.things[i].id: float(v[i]) for i in np.flatnonzero(best)} for v in (best, hits))
    return SimulatedDrive(
        ride.name, ride.vehicle, start_ns, tuple(events), cameras, labels, pose, mounts, views, counts, gnss
    )  # fmt: skip


def _pose_at(world: World, ride: Ride, stamp_ns: int) -> tuple[float, float, float]:
    return ride.pose(world, stamp_ns * 1e-9)


def _shake(ride: Ride, card: NoiseCard, seed: int) -> Array:
    """Body yaw, pitch, roll (n, 3) in radians on a 10 ms grid, beyond what the pose says, without the braking dip."""
    steps = math.ceil(ride.duration_s / _BODY_STEP_S) + 102
    rng = stream(seed, ride.name, "body")
    unit = gauss_markov(rng, (steps, 3), _BODY_STEP_S, card.attitude_tau_s)
    shaken: Array = np.radians(np.array([card.yaw_deg, card.pitch_deg, card.roll_deg])) * unit
    return shaken


def _eyes(
    world: World, ride: Ride, camera: CameraModel, mount: Mount, when: tuple[Array, Array], card: NoiseCard
) -> tuple[Eyes, Array]:
    """A camera's true places and attitudes at the ride's seconds `when[0]` (F,), and the road's height (F,) there."""
    t, shake = when
    east, north, yaw = ride.poses(world, t)
    height, slope = world.road(ride.along(t), card.grade_percent)
    off = shake[np.rint(t / _BODY_STEP_S).astype(np.intp)]
    speeds = (ride.state(np.maximum(t + s, 0.0))[1] for s in (_DIP_OVER_S, -_DIP_OVER_S))
    rate = (next(speeds) - next(speeds)) / (2 * _DIP_OVER_S)
    pitch = -np.arctan(ride.direction * slope) + off[:, 1] - math.radians(card.dip_deg) * rate
    turn = attitude(yaw + off[:, 0], pitch, off[:, 2])
    wrong = np.tile(np.array([mount.yaw_deg, mount.pitch_deg]), (len(t), 1))
    for at_s, name, yaw_deg, pitch_deg in ride.knocks:
        if name == camera.name:
            wrong[t >= at_s] += (yaw_deg, pitch_deg)
    body = np.stack([east, north, height], axis=1)
    return Eyes.of(camera, body, turn, wrong, mount.height_m), height


def _blocks(frames: int) -> list[slice]:
    return [slice(begin, min(begin + BLOCK, frames)) for begin in range(0, frames, BLOCK)]


def _sight(stage: Stage, eyes: Eyes, world: World, ride: Ride, t_s: Array, block: slice, card: NoiseCard) -> _Sight:
    """All looks of a block of frames at things near, ahead and existing."""
    utc = ride.start_s + t_s[block]
    places = stage.places(world, utc, card)
    gap = places - eyes.position[block, None, :]
    reach = np.hypot(stage.half[:, 0], stage.half[:, 1])
    flat = np.hypot(gap[..., 0], gap[..., 1])
    axis = eyes.turn[block, :2, 2]
    depth = gap[..., 0] * axis[:, None, 0] + gap[..., 1] * axis[:, None, 1]
    exists = (stage.span[:, 0] <= utc[:, None]) & (utc[:, None] < stage.span[:, 1])
    near = exists & (flat - reach < card.range_m) & (flat > reach) & (depth + reach > 0.5 * (flat - reach))
    frame, thing = np.nonzero(near)
    whole, part = np.empty((len(frame), 4)), np.empty((len(frame), 4))
    slot = np.zeros(len(stage.things), np.intp)
    which = np.full(len(stage.things), -1)
    for number, group in enumerate(stage.groups):
        slot[group.numbers], which[group.numbers] = np.arange(len(group.numbers)), number
    for number, group in enumerate(stage.groups):
        mine = np.flatnonzero(which[thing] == number)
        at = (frame[mine], thing[mine])
        whole[mine], part[mine] = boxes_of(
            eyes, at[0] + block.start, places[at], group.points, group.lines, slot[at[1]]
        )
    good = np.flatnonzero(~np.isnan(part[:, 0]))
    frame, thing, whole, part = frame[good], thing[good], whole[good], part[good]
    looks = Looks(
        frame, gap[frame, thing], stage.heading[thing], stage.half[thing], stage.tall[thing], stage.box[thing]
    )
    hid = hidden(looks)
    sides = np.tile(whole[:, 2:] - whole[:, :2], 2)
    shown = whole + sides * hid.cut * np.array([1.0, 1.0, -1.0, -1.0])
    box = np.concatenate([np.maximum(part[:, :2], shown[:, :2]), np.minimum(part[:, 2:], shown[:, 2:])], axis=1)
    inside = angular_share(part, whole, eyes.camera)
    return _Sight(frame + block.start, thing, box, chance(box, inside, hid.visible, card))


def _joined(sights: Sequence[_Sight]) -> _Sight:
    return _Sight(
        np.concatenate([s.frame for s in sights]), np.concatenate([s.thing for s in sights]),
        np.concatenate([s.box for s in sights]), np.concatenate([s.likely for s in sights]),
    )  # fmt: skip


def _detect(
    stage: Stage, sight: _Sight, eyes: Eyes, floor_m: Array, step_s: float, card: NoiseCard, rng: np.random.Generator
) -> tuple[Found, Array | None]:
    """Boxes of a camera, sorted by frame and falling confidence, with their histograms."""
    shape = (len(eyes.position), len(stage.things))
    kept = noticed(sight.frame, sight.thing, sight.likely, shape, step_s, card, rng)
    noise = edge_noise(shape, step_s, card, rng)
    frame, thing = sight.frame[kept], sight.thing[kept]
    limit = np.array([eyes.camera.width, eyes.camera.height], dtype=np.float64)
    boxes = shifted(sight.box[kept], noise[frame, thing], limit, card)
    true = Found(frame, thing, boxes, named(stage.class_id[thing], card, rng), sureness(sight.likely[kept], rng))
    false = clutter(eyes, floor_m, len(frame), card, rng)
    fields = (
        np.concatenate([getattr(true, name), getattr(false, name)])
        for name in ("frame", "thing", "xyxy", "class_id", "confidence")
    )
    both = Found(*fields)
    order = np.lexsort((-both.confidence, both.frame))
    looks = None
    bins = stage.looks.shape[1]
    if card.looks and bins:
        drift = rng.standard_normal(stage.looks.shape)
        measured = histograms(stage.looks, thing, card, drift, rng)
        looks = np.concatenate([measured, rng.dirichlet(np.full(bins, 0.5), len(false.frame))])[order]
    return replace(
        both, frame=both.frame[order], thing=both.thing[order], xyxy=both.xyxy[order],
        class_id=both.class_id[order], confidence=both.confidence[order],
    ), looks  # fmt: skip


def _frames(
    stage: Stage, found: Found, looks: Array | None, stamps_s: Array, camera: CameraModel
) -> tuple[list[Seen], dict[tuple[str, int], tuple[str | None, ...]]]:
    """One Seen per frame, empty ones too, and the names of its boxes."""
    borders = np.searchsorted(found.frame, np.arange(len(stamps_s) + 1))
    xyxy, confidence = found.xyxy.astype(np.float32), found.confidence.astype(np.float32)
    class_id = found.class_id.astype(np.int32)
    histograms_ = None if looks is None else looks.astype(np.float32)
    names = [None if row < 0 else stage.things[row].id for row in found.thing.tolist()]
    seen, labels = [], {}
    for index, stamp_s in enumerate(stamps_s.tolist()):
        part = slice(int(borders[index]), int(borders[index + 1]))
        look = None if histograms_ is None else histograms_[part]
        boxes = Detections(xyxy[part], confidence[part], class_id[part], CLASS_NAMES, look)
        seen.append(Seen(round(stamp_s * 1e9), camera.name, index, camera.width, camera.height, boxes))
        labels[camera.name, index] = tuple(names[part])
    return seen, labels
