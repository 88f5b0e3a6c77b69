"""What is known of a camera's mount: a bias in yaw, pitch and height that all tracks of a drive share and teach."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from gnss.types import Array, frozen_array
from perception.camera import CameraModel
from perception.types import CalibrationUpdate


@dataclass(frozen=True, slots=True)
class MountParams:
    """Tuning, all 1 sigma. `grade_deg`: local slope against the car's own plane, which lasts for one stretch."""

    angle_deg: float = 0.5
    guessed_angle_deg: float = 2.0
    height_m: float = 0.03
    guessed_height_m: float = 0.15
    grade_deg: float = 0.15
    walk_deg_per_sqrt_s: float = 0.005
    between_drives_deg: float = 0.1
    knock_chi2: float = 30.0
    knock_deg: float = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class MountBias:
    """Biases to add to the calibration: `mean` (3,) yaw rad, pitch rad, height m, with `cov` (3, 3)."""

    mean: Array
    cov: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", frozen_array(self.mean, (3,)))
        object.__setattr__(self, "cov", frozen_array(self.cov, (3, 3)))

    @classmethod
    def unknown(cls, camera: CameraModel, params: MountParams) -> Self:
        """Before anything was learned."""
        angle = math.radians(params.guessed_angle_deg if camera.guessed else params.angle_deg)
        height = params.guessed_height_m if camera.guessed else params.height_m
        return cls(np.zeros(3), np.diag([angle, angle, height]) ** 2)

    @classmethod
    def learned(cls, event: CalibrationUpdate, camera: CameraModel, params: MountParams) -> Self:
        """From a starting calibration; a height that it does not tell is as unknown as ever.

        Between two drives a car is loaded, washed and driven over kerbs: a little doubt is added.
        """
        height_m = (
            cls.unknown(camera, params).cov[2, 2] ** 0.5 if event.height_sigma_m is None else event.height_sigma_m
        )
        sigma = [math.radians(event.yaw_sigma_deg), math.radians(event.pitch_sigma_deg), height_m]
        mean = [math.radians(event.yaw_deg), math.radians(event.pitch_deg), event.height_m]
        aged = math.radians(params.between_drives_deg) ** 2
        return cls(np.array(mean), np.diag(sigma) ** 2 + np.diag([aged, aged, 0.0]))

    def update(self, stamp_ns: int, camera: str) -> CalibrationUpdate:
        """As an event that may start another drive."""
        yaw, pitch = np.degrees(self.mean[:2])
        sigma = np.sqrt(np.diag(self.cov))
        return CalibrationUpdate(
            stamp_ns, camera, float(yaw), math.degrees(sigma[0]), float(pitch), math.degrees(sigma[1]),
            float(self.mean[2]), float(sigma[2]),
        )  # fmt: skip

    def later(self, elapsed_s: float, params: MountParams) -> MountBias:
        """After a time in which a mount may have crept."""
        walk = math.radians(params.walk_deg_per_sqrt_s) ** 2 * max(elapsed_s, 0.0)
        return MountBias(self.mean, self.cov + np.diag([walk, walk, 0.0]))

    def knocked(self, params: MountParams) -> MountBias:
        """After a blow: where it was, but no longer sure."""
        angle = math.radians(params.knock_deg) ** 2
        return MountBias(self.mean, self.cov + np.diag([angle, angle, 0.0]))

    def stretch(self, heading_var: float, params: MountParams) -> Array:
        """Covariance (3, 3) of what one stretch of road sees: the mount with the pose's heading error and the slope."""
        return self.cov + np.diag([heading_var, math.radians(params.grade_deg) ** 2, 0.0])


@dataclass(frozen=True, slots=True, eq=False)
class MountEvidence:
    """What tracks of one stretch say together: posterior `mean` (3,), `cov` (3, 3), and `information` (3, 3) added."""

    mean: Array
    cov: Array
    information: Array


def pooled(prior_mean: Array, prior_cov: Array, means: Array, covs: Array) -> MountEvidence:
    """Combine tracks' own posteriors `means` (T, 3), `covs` (T, 3, 3), each of which already holds the prior once."""
    prior_information = np.linalg.inv(prior_cov)
    added = gained(prior_cov, covs)
    vectors = np.linalg.solve(covs, means[:, :, None])[:, :, 0] - prior_information @ prior_mean
    information = added.sum(axis=0)
    cov = np.linalg.inv(prior_information + information)
    return MountEvidence(cov @ (prior_information @ prior_mean + vectors.sum(axis=0)), cov, information)


def gained(prior_cov: Array, covs: Array) -> Array:
    """Informations (T, 3, 3) that posteriors `covs` add to a prior; never less than nothing, whatever rounding says."""
    values, vectors = np.linalg.eigh(np.linalg.inv(covs) - np.linalg.inv(prior_cov))
    added: Array = (vectors * np.maximum(values, 0.0)[:, None, :]) @ vectors.transpose(0, 2, 1)
    return added


def taught(mount: MountBias, stretch_cov: Array, evidence: MountEvidence) -> MountBias:
    """The mount after a stretch: what the stretch found, less what belongs to heading and slope."""
    gain = mount.cov @ np.linalg.inv(stretch_cov)
    cov = mount.cov - gain @ (stretch_cov - evidence.cov) @ gain.T
    return MountBias(mount.mean + gain @ (evidence.mean - mount.mean), 0.5 * (cov + cov.T))


def is_knocked(mount: MountBias, stretch_cov: Array, evidence: MountEvidence, params: MountParams) -> bool:
    """Is the stretch's posterior so far from the prior that the mount must have moved?

    Under the prior, posterior mean - prior mean has covariance prior - posterior.
    """
    gap = evidence.mean - mount.mean
    spread = stretch_cov - evidence.cov
    values, vectors = np.linalg.eigh(spread)
    solid = values > 1e-12
    along = vectors[:, solid].T @ gap
    return bool((along**2 / values[solid]).sum() > params.knock_chi2)
