"""From a simulated drive to the rows of its floor: the simulator's own projection, by central differences.

What is wanted: per thing east, north, foot height, length, width, height and heading; then per camera the mount's yaw
and pitch (rad) and height (m). Linearised about the true places, a level road and the calibrated mount.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gnss.types import Array, Fix, Motion
from perception.types import Seen
from replays.bench.floor import Rows, Way
from replays.world.card import NoiseCard
from replays.world.lens import Eyes, attitude, boxes_of
from replays.world.scene import Thing, World, catalogue
from replays.world.sense import SimulatedDrive
from replays.world.shapes import solids

THING_STATES = 7
MOUNT_STATES = 3
_STEP_M, _STEP_RAD = 0.01, 1e-4
_CUT_PX = 0.5
_HIDDEN_SIGMAS = 5.0
"""An edge that is off by more was cut by a nearer thing: it tells nothing of this one."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where everything stands in the state: things in order, then (vehicle, camera) mounts in order."""

    things: tuple[Thing, ...]
    mounts: tuple[tuple[str, str], ...]

    @property
    def size(self) -> int:
        """Length of the state."""
        return THING_STATES * len(self.things) + MOUNT_STATES * len(self.mounts)

    def mount_at(self, vehicle: str, camera: str) -> int:
        """First index of a mount."""
        return THING_STATES * len(self.things) + MOUNT_STATES * self.mounts.index((vehicle, camera))


def prior_information(layout: Layout, card: NoiseCard) -> Array:
    """Information (G, G) of the prior: places all but unknown; sizes, heading, foot as simulated streets draw them."""
    out = np.zeros((layout.size, layout.size))
    for number, thing in enumerate(layout.things):
        first, shape = THING_STATES * number, catalogue().classes[thing.class_name]
        out[first, first] = out[first + 1, first + 1] = ANYWHERE_M**-2.0
        out[first + 2, first + 2] = (FLAT_BASE_SIGMA_M if shape.flat else BASE_SIGMA_M) ** -2.0
        sigma = np.maximum(SIZE_SIGMAS * shape.size_rel_sigma * np.array(shape.size_m), 1e-4)
        alike = SHARED_SIZE**2 + (1.0 - SHARED_SIZE**2) * np.eye(3)
        out[first + 3 : first + 6, first + 3 : first + 6] = np.linalg.inv(sigma[:, None] * alike * sigma[None, :])
        out[first + 6, first + 6] = (ROAD_HEADING_RAD if shape.yaw == "road" else ANY_HEADING_RAD) ** -2.0
    mount = np.array([math.radians(card.mount_yaw_deg), math.radians(card.mount_pitch_deg), card.mount_height_m])
    for row in range(THING_STATES * len(layout.things), layout.size):
        out[row, row] = mount[(row - THING_STATES * len(layout.things)) % MOUNT_STATES] ** -2.0
    return out


ANYWHERE_M = 1e4
"""So wide that it tells nothing; a thing that no pass saw has a floor all the same."""
BASE_SIGMA_M, FLAT_BASE_SIGMA_M = 0.06, 0.002
"""A thing stands on the road or on a pavement 0.12 m above it: half of each gives 0.06 m. A mark lies on the road."""
SHARED_SIZE, SIZE_SIGMAS = 0.7, 0.95
"""Length, width and height share 0.7 of their unit deviation; draws are clipped at 1.8 sigma, which leaves 0.95."""
ROAD_HEADING_RAD, ANY_HEADING_RAD = math.radians(1.5), math.pi / math.sqrt(12.0)
"""What follows the road is within 1.5 degrees of it; round things point anywhere in half a turn."""


@dataclass(frozen=True, slots=True, eq=False)
class _Looks:
    """One thing seen by one camera: body poses (F, 3) e, n, yaw of its frames, and the boxes as detected (F, 4)."""

    thing: Thing
    number: int
    camera: str
    frames: Array
    poses: Array
    boxes: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Variant:
    """A thing, a change of the body (6,) by e, n, up (m), yaw, pitch, roll (rad), and of the mount (2,) yaw, pitch."""

    thing: Thing
    body: Array = field(default_factory=lambda: np.zeros(6))
    mount: Array = field(default_factory=lambda: np.zeros(2))


def _boxes(looks: _Looks, drive: SimulatedDrive, variants: Sequence[_Variant]) -> tuple[Array, Array]:
    """Noise-free (whole, part) boxes (V, F, 4) of variants of one thing, all in one projection."""
    frames, count = len(looks.poses), len(variants)
    body = np.repeat(np.array([v.body for v in variants]), frames, axis=0)
    poses = np.tile(looks.poses, (count, 1))
    places = np.column_stack([poses[:, :2], np.zeros(len(poses))]) + body[:, :3]
    turn = attitude(poses[:, 2] + body[:, 3], body[:, 4], body[:, 5])
    angles = np.degrees(np.repeat(np.array([v.mount for v in variants]), frames, axis=0))
    eyes = Eyes.of(drive.cameras[looks.camera], places, turn, angles, 0.0)
    solid = solids([v.thing for v in variants])[0]
    feet = np.repeat([[v.thing.east_m, v.thing.north_m, v.thing.base_m] for v in variants], frames, axis=0)
    numbers = np.repeat(np.arange(count), frames)
    whole, part = boxes_of(eyes, np.arange(len(poses)), feet, solid.points, solid.lines, numbers)
    return whole.reshape(count, frames, 4), part.reshape(count, frames, 4)


def _true_mount(drive: SimulatedDrive, looks: _Looks) -> _Variant:
    """The thing as it is, seen by the camera as it is mounted."""
    mount = drive.mounts[looks.camera]
    body = np.array([0.0, 0.0, mount.height_m, 0.0, 0.0, 0.0])
    return _Variant(looks.thing, body, np.radians([mount.yaw_deg, mount.pitch_deg]))


def _moved(thing: Thing, state: int, step: float) -> Thing:
    """The thing with one of its states changed."""
    if state == 0:
        return replace(thing, east_m=thing.east_m + step)
    if state == 1:
        return replace(thing, north_m=thing.north_m + step)
    if state == 2:
        return replace(thing, base_m=thing.base_m + step)
    if state == 6:
        return replace(thing, heading_deg=thing.heading_deg + math.degrees(step))
    sizes = list(thing.size_m)
    sizes[state - 3] += step
    return replace(thing, size_m=(sizes[0], sizes[1], sizes[2]))


def _derivatives(looks: _Looks, drive: SimulatedDrive) -> tuple[Array, Array, Array]:
    """(F, 4, 7) by the thing's states, (F, 4, 3) by the mount, (F, 4, 3) by body pitch, yaw, roll."""
    thing = looks.thing
    # A flat mark that got a height would be another kind of solid.
    states = [n for n in range(THING_STATES) if n != 5 or thing.size_m[2] > 0.0]
    steps, variants = [], []
    for state in states:
        steps.append(_STEP_RAD if state == 6 else _STEP_M)
        variants += [_Variant(_moved(thing, state, sign * steps[-1])) for sign in (1, -1)]
    for state in range(2):
        steps.append(_STEP_RAD)
        variants += [_Variant(thing, mount=sign * _STEP_RAD * np.eye(2)[state]) for sign in (1, -1)]
    for state in (2, 4, 3, 5):  # a camera mounted higher is a body that is higher
        steps.append(_STEP_M if state == 2 else _STEP_RAD)
        variants += [_Variant(thing, sign * steps[-1] * np.eye(6)[state]) for sign in (1, -1)]
    whole, _ = _boxes(looks, drive, variants)
    slopes = (whole[0::2] - whole[1::2]) / (2.0 * np.array(steps)[:, None, None])
    slopes = np.moveaxis(slopes, 0, 2)
    by_thing = np.zeros((*slopes.shape[:2], THING_STATES))
    by_thing[:, :, states] = slopes[:, :, : len(states)]
    return by_thing, slopes[:, :, len(states) : len(states) + 3], slopes[:, :, len(states) + 3 :]


def _collect(drive: SimulatedDrive, layout: Layout) -> tuple[list[_Looks], Array]:
    """Looks per thing and camera, and the stamps (F,) of all frames in seconds of the drive."""
    numbers = {thing.id: n for n, thing in enumerate(layout.things)}
    found: dict[tuple[int, str], list[tuple[int, Array, Array]]] = {}
    times: list[float] = []
    for event in drive.events:
        if not isinstance(event, Seen):
            continue
        for box, name in zip(event.detections.xyxy, drive.labels[(event.camera, event.index)], strict=True):
            if name in numbers:
                pose = np.array(drive.true_pose(event.stamp_ns))
                row = len(times), pose, np.asarray(box, dtype=np.float64)
                found.setdefault((numbers[name], event.camera), []).append(row)
        times.append(event.stamp_ns * 1e-9)
    looks = [
        _Looks(
            layout.things[n], n, camera, np.array([r[0] for r in rows]), np.array([r[1] for r in rows]),
            np.array([r[2] for r in rows]),
        )
        for (n, camera), rows in sorted(found.items())
    ]  # fmt: skip
    return looks, np.array(times)


def rows_of(world: World, drive: SimulatedDrive, layout: Layout, card: NoiseCard) -> Rows | None:
    """All usable edges of a drive's boxes of the layout's things; None when there is none."""
    looks, times = _collect(drive, layout)
    parts: list[tuple[Array, ...]] = []
    for chain, look in enumerate(looks):
        whole, part = (boxes[0] for boxes in _boxes(look, drive, [_true_mount(drive, look)]))
        sides = np.tile(whole[:, 2:] - whole[:, :2], 2)
        sigma = np.hypot(card.edge_px, card.edge_rel * sides)
        shake = math.radians(math.hypot(card.pitch_deg, card.yaw_deg)) * drive.cameras[look.camera].fx
        usable = (np.abs(whole - part) < _CUT_PX) & (
            np.abs(look.boxes - whole) < _HIDDEN_SIGMAS * np.hypot(sigma, shake)
        )
        by_thing, by_mount, by_body = _derivatives(look, drive)
        state = np.zeros((*usable.shape, layout.size))
        first, mount = THING_STATES * look.number, layout.mount_at(drive.vehicle, look.camera)
        state[:, :, first : first + THING_STATES] = by_thing
        state[:, :, mount : mount + MOUNT_STATES] = by_mount
        # Moving the car one way moves the thing the other; turning it is turning its body.
        pose = np.concatenate([-by_thing[:, :, :2], by_body[:, :, 1:2]], axis=2)
        frame = np.repeat(look.frames[:, None], 4, axis=1)
        chains = np.repeat(4 * chain + np.arange(4)[None], len(look.frames), axis=0)
        parts.append(tuple(a[usable] for a in (state, by_body, pose, frame, chains, sigma)))
    kept = [p for p in parts if len(p[0])]
    if not kept:
        return None
    state, body, pose, frame, chains, sigma = (np.concatenate(column) for column in zip(*kept, strict=True))
    used, index = np.unique(frame, return_inverse=True)
    return Rows(
        state, body, pose, index.reshape(-1).astype(np.intp), chains.astype(np.intp), sigma, times[used.astype(int)]
    )


def way_of(drive: SimulatedDrive) -> tuple[Way, Array]:
    """The true way at the odometer's stamps, and the stamps (s) of the fixes."""
    ticks = [e.stamp_ns for e in drive.events if isinstance(e, Motion)]
    fixes = np.array([e.stamp_ns * 1e-9 for e in drive.events if isinstance(e, Fix)])
    poses = np.array([drive.true_pose(stamp) for stamp in ticks])
    time_s = np.array(ticks) * 1e-9
    speed = np.hypot(np.gradient(poses[:, 0], time_s), np.gradient(poses[:, 1], time_s))
    return Way(time_s, np.unwrap(poses[:, 2]), speed), fixes


def thing_block(cov: Array, number: int) -> Array:
    """East/north (2, 2) of thing `number` in a floor's covariance."""
    first = THING_STATES * number
    block: Array = cov[first : first + 2, first : first + 2]
    return block


def layout_of(things: Sequence[Thing], drives: Sequence[SimulatedDrive]) -> Layout:
    """The layout of things that several drives saw."""
    mounts = sorted({(drive.vehicle, name) for drive in drives for name in drive.cameras})
    return Layout(tuple(things), tuple(mounts))
