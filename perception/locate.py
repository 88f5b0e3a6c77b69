"""A track placed on the ground: one joint fit on bearings, ground plane and class size, with its covariance.

Method: geolocation.md sections 1.3 and 8D-E. Never an average of single-frame projections. The covariance returned is
the object's own part; the GNSS error common to the pass is added by whoever needs the total.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gnss.geodesy import LocalFrame, ellipse95
from gnss.types import Array, Pose
from perception import solid
from perception.camera import CameraModel
from perception.catalogue import ObjectClass
from perception.solver import Fit, fit
from perception.types import Observation, Verdict


@dataclass(frozen=True, slots=True)
class LocateParams:
    """Tuning of localisation; sigmas are 1 sigma. Frames rarer than `aimed_period_s` were aimed one by one, by hand."""

    most_observations: int = 16
    correlation_time_s: float = 0.2
    jitter_deg: float = 0.15
    aimed_jitter_deg: float = 3.0
    aimed_period_s: float = 0.5
    pose_fading_s: float = 10.0
    mount_sigma_deg: float = 0.5
    guessed_mount_sigma_deg: float = 2.0
    base_m: float = 0.05
    base_sigma_m: float = 0.09
    hanging_sigma_m: float = 2.0
    road_yaw_sigma_deg: float = 10.0
    prior_range_sigma_m: float = 60.0
    speed_sigma_mps: float = 8.0
    drift_sigma_mps: float = 0.7
    static_log_ratio: float = math.log(20.0)
    moving_log_ratio: float = math.log(100.0)
    static_speed_sigma_mps: float = 0.8
    coarse_semi_major_m: float = 3.0
    never_nearer_m: float = 20.0
    least_parallax_deg: float = 2.0


@dataclass(frozen=True, slots=True)
class MountBias:
    """What is known of a camera's mount: biases added to its calibration, with 1 sigma (degrees)."""

    yaw_deg: float
    yaw_sigma_deg: float
    pitch_deg: float
    pitch_sigma_deg: float

    @staticmethod
    def unknown(camera: CameraModel, params: LocateParams) -> MountBias:
        """Before anything was learned."""
        sigma = params.guessed_mount_sigma_deg if camera.guessed else params.mount_sigma_deg
        return MountBias(0.0, sigma, 0.0, sigma)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a track is: footprint centre, own covariance (2, 2) east/north m2, verdict, size, mount bias it saw."""

    lat_deg: float
    lon_deg: float
    cov_own_m2: Array
    verdict: Verdict
    speed_mps: float
    heading_deg: float
    extent_m: tuple[float, float, float]
    closest_range_m: float
    coarse: bool
    misfit: float
    bias: MountBias


def chosen(observations: Sequence[Observation], most: int) -> list[int]:
    """Indices of at most `most` observations: half the largest boxes, half evenly spread over the track."""
    if len(observations) <= most:
        return list(range(len(observations)))
    sizes = np.array(
        [(o.xyxy[2] - o.xyxy[0]) * (o.xyxy[3] - o.xyxy[1]) * (0.2 + 0.2 * sum(o.edges)) for o in observations]
    )
    large = set(np.argsort(-sizes, kind="stable")[: most // 2].tolist())
    spread = set(np.linspace(0, len(observations) - 1, most - len(large)).round().astype(int).tolist())
    return sorted(large | spread)


def _first_guess(
    view: solid.Sightings, shape: ObjectClass, observations: Sequence[Observation], by_size: bool = False
) -> tuple[Array, int]:
    """Start position (2,) east/north and the index of the frame that gave it: the nearest usable ground contact.

    `by_size`: the horizon is not known well enough for a ground contact, so range comes from the class's height.
    """
    camera = view.camera
    best, best_range, best_ray = -1, math.inf, np.array([1.0, 0.0])
    boxes = np.array([o.xyxy for o in observations])
    middle = (boxes[:, 0] + boxes[:, 2]) / 2 - 0.5
    grounds = camera.ground_point(np.column_stack([middle, boxes[:, 3] - 0.5]))
    bearings = camera.ground_point(np.column_stack([middle, np.full(len(boxes), camera.height - 1.0)]))
    for index, observation in enumerate(observations):
        x1, y1, x2, y2 = observation.xyxy
        ground, bearing = grounds[index], bearings[index]
        distance = float(np.hypot(*ground)) if shape.on_ground and observation.edges[3] and not by_size else math.nan
        if not distance < 80.0:
            tall = shape.size_m[2] or max(y2 - y1, 4.0) / camera.fy * 10.0
            distance = camera.fy * tall / max(y2 - y1, 4.0)
        if distance < best_range:
            ray = ground if np.isfinite(ground).all() else bearing
            if not np.isfinite(ray).all():
                ray = np.array([1.0, -((x1 + x2) / 2 - camera.cx) / camera.fx])
            best, best_range, best_ray = index, distance, ray / np.hypot(*ray)
    along = best_range + 0.5 * min(shape.size_m[0], shape.size_m[1])
    yaw = view.yaw_rad[best]
    forward, left = best_ray * along
    east = view.east_m[best] + math.cos(yaw) * forward - math.sin(yaw) * left
    north = view.north_m[best] + math.sin(yaw) * forward + math.cos(yaw) * left
    return np.array([east, north]), best


def _moving_guess(view: solid.Sightings, shape: ObjectClass, observations: Sequence[Observation]) -> Array | None:
    """Start (4,) east, north, along, across of a moving thing: from the nearest look of each half of the track."""
    half = len(observations) // 2
    if half < 1:
        return None
    (a, first), (b, second) = (
        _first_guess(view.part(piece), shape, observations[piece])
        for piece in (slice(0, half), slice(half, len(observations)))
    )
    yaw, t0, t1 = view.yaw_rad[half + second], view.time_s[first], view.time_s[half + second]
    velocity = np.clip((b - a) / max(t1 - t0, 0.05), -30.0, 30.0)
    along = math.cos(yaw) * velocity[0] + math.sin(yaw) * velocity[1]
    across = math.cos(yaw) * velocity[1] - math.sin(yaw) * velocity[0]
    return np.array([*(b - velocity * t1), along, 0.2 * across])


def _mixed(static: Fit, moving: Fit) -> Fit:
    """Neither hypothesis is sure: their mixture's mean and covariance, so that the ellipse holds both places."""
    weight = 1.0 / (1.0 + math.exp(min(max(moving.log_evidence - static.log_evidence, -50.0), 50.0)))
    gap = static.parameters - moving.parameters
    return Fit(
        weight * static.parameters + (1.0 - weight) * moving.parameters,
        weight * static.covariance + (1.0 - weight) * moving.covariance + weight * (1.0 - weight) * np.outer(gap, gap),
        max(static.log_evidence, moving.log_evidence),
        min(static.chi2_per_residual, moving.chi2_per_residual),
    )


def _prior(shape: ObjectClass, params: LocateParams, bias: MountBias, heading_sigma_rad: float) -> tuple[Array, Array]:
    """Prior mean and sigma (11,); position and yaw means are filled by the caller."""
    mean, sigma = np.zeros(solid.PARAMETERS), np.zeros(solid.PARAMETERS)
    sigma[[solid.EAST, solid.NORTH]] = params.prior_range_sigma_m
    sigma[solid.BASE] = (
        params.hanging_sigma_m if not shape.on_ground else params.base_sigma_m / (4 if shape.flat else 1)
    )
    # Some stand on the road, some on a pavement; a mark on the road lies on it.
    mean[solid.BASE] = 0.0 if shape.flat or not shape.on_ground else params.base_m
    mean[[solid.LENGTH, solid.WIDTH, solid.HEIGHT]] = shape.size_m
    sigma[[solid.LENGTH, solid.HEIGHT]] = np.array([shape.size_m[0], shape.size_m[2]]) * shape.size_rel_sigma
    if shape.yaw == "road":
        sigma[solid.WIDTH] = shape.size_m[1] * shape.size_rel_sigma
        sigma[solid.YAW] = math.radians(params.road_yaw_sigma_deg)
    mean[solid.MOUNT_YAW], mean[solid.MOUNT_PITCH] = math.radians(bias.yaw_deg), math.radians(bias.pitch_deg)
    sigma[solid.MOUNT_YAW] = math.hypot(math.radians(bias.yaw_sigma_deg), heading_sigma_rad)
    sigma[solid.MOUNT_PITCH] = math.radians(bias.pitch_sigma_deg)
    return mean, sigma


def _shaken(
    view: solid.Sightings, guess: Array, own: Array, span_s: float, aimed: bool, params: LocateParams
) -> solid.Sightings:
    """The sightings with what moves whole boxes: attitude jitter, and pose noise that does not last the whole track.

    The part of the pose's own error that lasts is common to the track's frames and goes to the covariance instead.
    """
    fading = 1.0 - math.exp(-span_s / params.pose_fading_s)
    place_m = math.sqrt(max(float(np.trace(own[:2, :2])) / 2, 0.0) * fading)
    turn = math.sqrt(max(float(own[2, 2]), 0.0) * fading)
    jitter = math.radians(params.aimed_jitter_deg if aimed else params.jitter_deg)
    ranges = np.maximum(np.hypot(guess[0] - view.east_m, guess[1] - view.north_m), 2.0)
    across = np.sqrt((place_m / ranges) ** 2 + turn**2 + (jitter**2 if aimed else 0.0))
    upright = np.hypot(place_m * view.camera.z_m / ranges**2, jitter)
    return replace(view, shake=np.column_stack([across, upright]))


def _verdict(static: Fit, moving: Fit, params: LocateParams) -> tuple[Verdict, float]:
    """Compare the two motion hypotheses; returns the verdict and the speed (m/s) of the likelier one."""
    ratio = static.log_evidence - moving.log_evidence
    speed = float(np.hypot(moving.parameters[solid.ALONG], moving.parameters[solid.ACROSS]))
    sigma = math.sqrt(max(float(moving.covariance[solid.ALONG, solid.ALONG]), 0.0))
    if ratio > params.static_log_ratio and sigma < params.static_speed_sigma_mps:
        return Verdict.STATIC, 0.0
    if ratio < -params.moving_log_ratio:
        return Verdict.MOVING, speed
    return Verdict.UNKNOWN, speed if ratio < 0 else 0.0


def place(
    observations: Sequence[Observation],
    poses: Sequence[Pose],
    camera: CameraModel,
    shape: ObjectClass,
    bias: MountBias,
    params: LocateParams,
) -> Placement:
    """Place one object from all its observations (in time order) and the pose of each. Raises ValueError when empty."""
    if not observations:
        raise ValueError("a track without observations cannot be placed")
    keep = chosen(observations, params.most_observations)
    observations, poses = [observations[i] for i in keep], [poses[i] for i in keep]
    origin = LocalFrame(poses[-1].lat_deg, poses[-1].lon_deg)
    places = np.array([origin.to_enu(p.lat_deg, p.lon_deg) for p in poses])
    span_s = max((observations[-1].stamp_ns - observations[0].stamp_ns) * 1e-9, 1e-3)
    rate = (len(observations) - 1) / span_s
    # Errors that fade as exp(-t / tau) leave one independent measurement every 2 tau.
    correlation = math.sqrt(max(1.0, 2.0 * rate * params.correlation_time_s))
    view = solid.sightings(observations, poses, places, camera, correlation)
    aimed = rate > 0 and 1.0 / rate > params.aimed_period_s and camera.guessed
    guess, nearest = _first_guess(view, shape, observations, by_size=aimed and not shape.flat)
    own = np.mean([p.cov_own for p in poses], axis=0)
    view = _shaken(view, guess, own, 0.0 if len(poses) == 1 else span_s, aimed, params)
    mean, sigma = _prior(shape, params, bias, math.sqrt(max(float(own[2, 2]), 0.0)))
    mean[:2] = guess
    mean[solid.YAW] = view.yaw_rad[nearest]
    corners = solid.template(shape)
    whitening = view.whitening()

    def residuals(hypotheses: Array) -> Array:
        gap = view.outline(hypotheses, corners, shape) - view.edges
        white: Array = np.einsum("fij,bfj->bfi", whitening, gap)
        return white.reshape(len(hypotheses), -1)

    best = fit(residuals, mean.copy(), mean, sigma)
    verdict, speed = Verdict.STATIC, 0.0
    if shape.role == "vehicle":
        loose = sigma.copy()
        loose[[solid.ALONG, solid.ACROSS]] = params.speed_sigma_mps, params.drift_sigma_mps
        starts = [best.parameters]
        if (early := _moving_guess(view, shape, observations)) is not None:
            starts.append(np.concatenate([early[:2], mean[2 : solid.ALONG], early[2:]]))
        moving = max((fit(residuals, s, mean, loose) for s in starts), key=lambda f: f.log_evidence)
        verdict, speed = _verdict(best, moving, params)
        if verdict is Verdict.MOVING:
            best = moving
        elif verdict is Verdict.UNKNOWN:
            best = _mixed(best, moving)
    return _placement(best, view, origin, own, (verdict, speed), params)


def _placement(
    best: Fit,
    view: solid.Sightings,
    origin: LocalFrame,
    own: Array,
    motion: tuple[Verdict, float],
    params: LocateParams,
) -> Placement:
    e, n = float(best.parameters[solid.EAST]), float(best.parameters[solid.NORTH])
    lat, lon = origin.to_geo(e, n)
    ranges = np.hypot(e - view.east_m, n - view.north_m)
    bearings = np.unwrap(np.arctan2(n - view.north_m, e - view.east_m))
    parallax = math.degrees(float(np.ptp(bearings)))
    fitted = best.covariance[:2, :2] * max(1.0, best.chi2_per_residual)
    cov = fitted + own[:2, :2]
    far = float(ranges.min()) > params.never_nearer_m and parallax < params.least_parallax_deg
    p, c = best.parameters, best.covariance
    bias = MountBias(
        math.degrees(p[solid.MOUNT_YAW]), math.degrees(math.sqrt(max(c[solid.MOUNT_YAW, solid.MOUNT_YAW], 0.0))),
        math.degrees(p[solid.MOUNT_PITCH]), math.degrees(math.sqrt(max(c[solid.MOUNT_PITCH, solid.MOUNT_PITCH], 0.0))),
    )  # fmt: skip
    extent = (abs(float(p[solid.LENGTH])), abs(float(p[solid.WIDTH])), abs(float(p[solid.HEIGHT])))
    return Placement(
        lat, lon, cov, motion[0], motion[1], (90.0 - math.degrees(p[solid.YAW])) % 360.0, extent,
        float(ranges.min()), far or ellipse95(cov)[0] > params.coarse_semi_major_m, best.chi2_per_residual, bias,
    )  # fmt: skip
