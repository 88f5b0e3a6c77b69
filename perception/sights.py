"""Tracks made ready for a joint fit: arrays of sightings, priors by class, and how their box errors hang together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gnss.geodesy import LocalFrame
from gnss.types import Array, Mask, Pose, Rows
from perception import solid
from perception.box_noise import BoxNoise, EdgeCovariance, edge_covariance
from perception.camera import CameraModel
from perception.catalogue import ObjectClass
from perception.guess import first_guess, moving_guess, paced_guess
from perception.mount import MountBias, MountParams
from perception.types import Observation


@dataclass(frozen=True, slots=True)
class LocateParams:
    """Tuning of localisation; sigmas are 1 sigma. Frames rarer than `aimed_period_s` were aimed one by one, by hand."""

    most_observations: int = 12
    aimed_jitter_deg: float = 3.0
    aimed_period_s: float = 0.5
    base_m: float = 0.05
    base_sigma_m: float = 0.09
    hanging_sigma_m: float = 2.0
    road_yaw_sigma_deg: float = 10.0
    free_yaw_sigma_deg: float = 60.0
    prior_range_sigma_m: float = 60.0
    speed_sigma_mps: float = 8.0
    drift_sigma_mps: float = 0.7
    static_log_ratio: float = math.log(20.0)
    moving_log_ratio: float = math.log(100.0)
    static_speed_sigma_mps: float = 0.8
    crawl_mps: float = 0.5
    walk_mps: float = 1.0
    coarse_semi_major_m: float = 3.0
    never_nearer_m: float = 20.0
    least_parallax_deg: float = 2.0
    teaching_looks: int = 8
    teaching_range_m: float = 15.0
    teaching_doubt: float = 0.1
    misfit_prior: float = 20.0
    most_doubt: float = 0.35
    worst_misfit: float = 3.5
    hidden_log_prior: float = -math.log(10.0)
    hidden_shift: float = 0.15
    hidden_grain: float = 0.01
    box: BoxNoise = field(default_factory=BoxNoise)
    mount: MountParams = field(default_factory=MountParams)


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """One track to place: its observations in time order, the pose of each, its camera and class."""

    observations: Sequence[Observation]
    poses: Sequence[Pose]
    camera: CameraModel
    shape: ObjectClass

    def __post_init__(self) -> None:
        if not self.observations or len(self.observations) != len(self.poses):
            raise ValueError("a track without observations, or without a pose for each, cannot be placed")


def chosen(observations: Sequence[Observation], most: int) -> list[int]:
    """Indices of at most `most` observations: half the largest boxes, half evenly spread over the track."""
    if len(observations) <= most:
        return list(range(len(observations)))
    boxes = np.array([o.xyxy for o in observations])
    whole = np.array([sum(o.edges) for o in observations])
    sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * (0.2 + 0.2 * whole)
    large = set(np.argsort(-sizes, kind="stable")[: most // 2].tolist())
    spread = set(np.linspace(0, len(observations) - 1, most - len(large)).round().astype(int).tolist())
    return sorted(large | spread)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B tracks as arrays. `mean` (B, 12) and `information` (B, 12, 12) are the priors of standing things.

    `free` (R,) are the rows whose long side may point anywhere. `vehicle` (V,) are the rows that may move, `loose`
    (V, 12, 12) their prior then and `early` and `pace` (V, 4) where a moving one may start (east, north, velocity).
    `own` (B, 3, 3) is the mean covariance of the poses, `lasting` (B,) the share of it that outlasts the track.
    `stretch` (B, 3, 3) is the prior of the mount bias as this stretch sees it. `aimed` (B,): photos aimed by hand.
    """

    sights: tuple[Sight, ...]
    origin: LocalFrame
    view: solid.Sightings
    mean: Array
    information: Array
    free: Rows
    vehicle: Rows
    loose: Array
    early: Array
    pace: Array
    own: Array
    lasting: Array
    noise: EdgeCovariance
    stretch: Array
    aimed: Mask

    def starts(self) -> tuple[tuple[Rows, Array, Array], ...]:
        """Rows, starts and prior informations of hypotheses: standing, standing turned by a right angle, moving.

        Something that moves has three starts: from where it would stand, as the two halves of the track suggest, and
        before us at our own speed, which bearings alone cannot tell from any other.
        """
        still, turned = self.mean.copy(), self.mean[self.free]
        still[self.free, solid.YAW] += math.pi / 4
        turned[:, solid.YAW] -= math.pi / 4
        early, pace = self.mean[self.vehicle], self.mean[self.vehicle]
        early[:, [solid.EAST, solid.NORTH, solid.ALONG, solid.ACROSS]] = self.early
        pace[:, [solid.EAST, solid.NORTH, solid.ALONG, solid.ACROSS]] = self.pace
        return (
            (np.arange(len(self.sights)), still, self.information),
            (self.free, turned, self.information[self.free]),
            *((self.vehicle, start, self.loose) for start in (self.mean[self.vehicle], early, pace)),
        )

    def ranges(self, parameters: Array) -> Array:
        """Distances (B, F) of the objects' places from the vehicle; infinite where there is no observation."""
        east, north = parameters[:, solid.EAST, None], parameters[:, solid.NORTH, None]
        found: Array = np.hypot(east - self.view.east_m, north - self.view.north_m)
        return np.where(self.view.seen, found, np.inf)


def collect(sights: Sequence[Sight], mounts: Mapping[str, MountBias], params: LocateParams) -> Batch:
    """Make a batch; at most `most_observations` of each track are used."""
    kept = []
    for s in sights:
        keep = chosen(s.observations, params.most_observations)
        kept.append(Sight([s.observations[i] for i in keep], [s.poses[i] for i in keep], s.camera, s.shape))
    last = kept[0].poses[-1]
    origin = LocalFrame(last.lat_deg, last.lon_deg)
    places = [
        np.column_stack(origin.to_enu(np.array([p.lat_deg for p in s.poses]), np.array([p.lon_deg for p in s.poses])))
        for s in kept
    ]
    shapes = [s.shape for s in kept]
    view = solid.sightings(
        [s.observations for s in kept], [s.poses for s in kept], places, [s.camera for s in kept], shapes,
        (params.box.edge_width_share, params.box.edge_rel),
    )  # fmt: skip
    own = np.array([np.mean([p.cov_own for p in s.poses], axis=0) for s in kept])
    span = view.time_s.max(axis=1) - view.time_s.min(axis=1)
    count = np.array([len(s.observations) for s in kept])
    guessed = np.array([s.camera.guessed for s in kept])
    aimed = guessed & (count > 1) & (span > params.aimed_period_s * np.maximum(count - 1, 1))
    flat = np.array([s.shape.flat for s in kept])
    mount = np.array([mounts[s.camera.name].mean for s in kept])
    lasting = np.exp(-span / params.box.pose_tau_s)
    stretch = np.array(
        [
            mounts[s.camera.name].stretch(max(float(o[2, 2] * k), 0.0), params.mount)
            for s, o, k in zip(kept, own, lasting, strict=True)
        ]
    )
    guess, nearest = first_guess(view, shapes, mount, aimed & ~flat, np.ones_like(view.seen))
    mean, information = _priors(kept, mount, stretch, params)
    mean[:, [solid.EAST, solid.NORTH]] = guess
    mean[:, solid.YAW] = view.yaw_rad[np.arange(len(kept)), nearest]
    vehicle = np.array([row for row, s in enumerate(kept) if s.shape.role == "vehicle"], dtype=np.intp)
    free = np.array([row for row, s in enumerate(kept) if solid.turns(s.shape)], dtype=np.intp)
    early, pace = np.zeros((0, 4)), np.zeros((0, 4))
    if len(vehicle):
        pace = paced_guess(view.of(vehicle), [shapes[v] for v in vehicle], mount[vehicle])
        early = moving_guess(view.of(vehicle), [shapes[v] for v in vehicle], mount[vehicle], (aimed & ~flat)[vehicle])
    noise = edge_covariance(view, guess, own, _jitter(aimed, params), params.box)
    return Batch(
        tuple(kept), origin, view, mean, information, free, vehicle,
        _loose(information[vehicle], mean[vehicle], params), early, pace, own, lasting, noise, stretch, aimed,
    )  # fmt: skip


def _jitter(aimed: Mask, params: LocateParams) -> Array:
    """Attitude jitter (B, 2) of yaw and pitch in degrees."""
    ridden = np.array([params.box.yaw_jitter_deg, params.box.pitch_jitter_deg])
    jitter: Array = np.where(aimed[:, None], params.aimed_jitter_deg, ridden)
    return jitter


def _priors(kept: Sequence[Sight], mount: Array, stretch: Array, params: LocateParams) -> tuple[Array, Array]:
    """Prior means (B, 12) and informations (B, 12, 12) of standing things; position and yaw means come later."""
    mean = np.zeros((len(kept), solid.PARAMETERS))
    sigma = np.zeros((len(kept), solid.PARAMETERS))
    sigma[:, [solid.EAST, solid.NORTH]] = params.prior_range_sigma_m
    for row, shape in enumerate(s.shape for s in kept):
        on_road = shape.flat and shape.on_ground
        sigma[row, solid.BASE] = (
            params.base_sigma_m / (4.0 if on_road else 1.0) if shape.on_ground else params.hanging_sigma_m
        )
        # Some stand on the road, some on a pavement; a mark on the road lies on it.
        mean[row, solid.BASE] = params.base_m if shape.on_ground and not shape.flat else 0.0
        mean[row, [solid.LENGTH, solid.WIDTH, solid.HEIGHT]] = np.log([size or 1.0 for size in shape.size_m])
        sigma[row, solid.LENGTH] = shape.size_rel_sigma
        sigma[row, solid.HEIGHT] = 0.0 if shape.flat else shape.size_rel_sigma
        if shape.yaw == "road":
            sigma[row, solid.WIDTH] = shape.size_rel_sigma
            sigma[row, solid.YAW] = math.radians(params.road_yaw_sigma_deg)
        elif solid.turns(shape):
            sigma[row, solid.WIDTH] = shape.size_rel_sigma
            sigma[row, solid.YAW] = math.radians(params.free_yaw_sigma_deg)
    mean[:, solid.MOUNT] = mount
    information = np.zeros((len(kept), solid.PARAMETERS, solid.PARAMETERS))
    diagonal = np.arange(solid.PARAMETERS)
    with np.errstate(divide="ignore"):
        information[:, diagonal, diagonal] = 1.0 / sigma**2
    information[:, solid.MOUNT, solid.MOUNT] = np.linalg.inv(stretch)
    return mean, information


def _loose(information: Array, mean: Array, params: LocateParams) -> Array:
    """Priors (V, 12, 12) of vehicles that may move: fast along the road, slowly across it."""
    loose = information.copy()
    yaw = mean[:, solid.YAW]
    along = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    across = np.stack([-np.sin(yaw), np.cos(yaw)], axis=1)
    velocity = slice(solid.ALONG, solid.ACROSS + 1)
    loose[:, velocity, velocity] = (
        along[:, :, None] * along[:, None, :] / params.speed_sigma_mps**2
        + across[:, :, None] * across[:, None, :] / params.drift_sigma_mps**2
    )
    return loose
