"""Camera model: where a point of the world falls in the picture, and which ray a pixel sees.

Vehicle frame: x forward, y left, z up, origin on the ground. Optical frame: x right, y down, z forward. Pixel centres
are at integers. Angles are right-handed in the vehicle frame, R = Rz(yaw) Ry(pitch) Rx(roll): yaw > 0 turns left,
pitch > 0 looks down. Distortion follows OpenCV (k1, k2, p1, p2, k3, ...), `model` is pinhole or fisheye.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from gnss.types import Array

_MOUNT_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
GUESSED_FOV_DEG = 70.0
GUESSED_HEIGHT_M = 1.4


def rotation(yaw_rad: float, pitch_rad: float, roll_rad: float) -> Array:
    """Rz(yaw) Ry(pitch) Rx(roll), shape (3, 3)."""
    cy, sy = math.cos(yaw_rad), math.sin(yaw_rad)
    cp, sp = math.cos(pitch_rad), math.sin(pitch_rad)
    cr, sr = math.cos(roll_rad), math.sin(roll_rad)
    rz = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
    ry = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
    rx = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    product: Array = rz @ ry @ rx
    return product


@lru_cache(maxsize=64)
def _vehicle_from_optical(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Array:
    product: Array = rotation(math.radians(yaw_deg), math.radians(pitch_deg), math.radians(roll_deg)) @ (
        _MOUNT_FROM_OPTICAL
    )
    product.setflags(write=False)
    return product


@lru_cache(maxsize=64)
def _widest(dist: tuple[float, ...]) -> float:
    """Largest undistorted radius that a pinhole model with `dist` maps outward; beyond it the polynomial folds back."""
    k = (*dist, *(0.0,) * (8 - len(dist)))[:8]
    radius = np.linspace(0.0, 20.0, 4001)
    r2 = radius**2
    top, bottom = 1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4])), 1 + r2 * (k[5] + r2 * (k[6] + r2 * k[7]))
    shown = radius * top / bottom
    folds = np.flatnonzero((np.diff(shown) <= 0) | (bottom[1:] <= 0))
    return float(radius[folds[0]]) if len(folds) else math.inf


@dataclass(frozen=True, slots=True)
class CameraModel:
    """Intrinsics in px, mount in the vehicle frame (metres, degrees). `guessed`: nobody calibrated it: wide sigmas."""

    name: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    dist: tuple[float, ...] = ()
    model: str = "pinhole"
    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = GUESSED_HEIGHT_M
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    guessed: bool = False

    @staticmethod
    def guess(name: str, width: int, height: int, fx: float | None = None) -> CameraModel:
        """Declared guesses for a camera nobody calibrated: 70 degrees wide, 1.4 m up, level."""
        focal = fx if fx is not None else width / 2 / math.tan(math.radians(GUESSED_FOV_DEG / 2))
        return CameraModel(name, width, height, focal, focal, (width - 1) / 2, (height - 1) / 2, guessed=True)

    @property
    def vehicle_from_optical(self) -> Array:
        """Rotation (3, 3) from the optical to the vehicle frame."""
        return _vehicle_from_optical(self.yaw_deg, self.pitch_deg, self.roll_deg)

    @property
    def position_m(self) -> Array:
        """Optical centre in the vehicle frame, shape (3,)."""
        return np.array([self.x_m, self.y_m, self.z_m])

    @property
    def matrix(self) -> Array:
        """Intrinsic matrix (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def normalise(self, pixels: Array) -> Array:
        """Pixels (N, 2) -> undistorted normalised coordinates (N, 2): x = X/Z right, y = Y/Z down."""
        points = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
        if not self.dist or not len(points):
            plain: Array = (points - (self.cx, self.cy)) / (self.fx, self.fy)
            return plain
        coefficients = np.array(self.dist)
        if self.model == "fisheye":
            out = cv2.fisheye.undistortPoints(points[:, None], self.matrix, coefficients[:4])
        else:
            out = cv2.undistortPoints(points[:, None], self.matrix, coefficients)
        return np.asarray(out, dtype=np.float64).reshape(-1, 2)

    def project(self, points_m: Array) -> tuple[Array, Array]:
        """Vehicle-frame points (N, 3) m -> pixels (N, 2) and depths (N,) m; pixels mean nothing where depth <= 0."""
        optical = (np.asarray(points_m, dtype=np.float64).reshape(-1, 3) - self.position_m) @ self.vehicle_from_optical
        depth = optical[:, 2]
        safe = np.where(depth > 1e-6, depth, 1e-6)
        normal = optical[:, :2] / safe[:, None]
        if not self.dist:
            return normal * (self.fx, self.fy) + (self.cx, self.cy), depth
        ahead = np.concatenate([normal, np.ones((len(normal), 1))], axis=1)[:, None]
        if self.model == "fisheye":
            out, _ = cv2.fisheye.projectPoints(ahead, np.zeros(3), np.zeros(3), self.matrix, np.array(self.dist[:4]))
        else:
            out, _ = cv2.projectPoints(ahead, np.zeros(3), np.zeros(3), self.matrix, np.array(self.dist))
            # Where the polynomial has folded back, a point far aside would land within the picture.
            beyond = np.hypot(normal[:, 0], normal[:, 1]) > _widest(self.dist)
            straight = normal * (self.fx, self.fy) + (self.cx, self.cy)
            out = np.where(beyond[:, None], straight, np.asarray(out, dtype=np.float64).reshape(-1, 2))
        return np.asarray(out, dtype=np.float64).reshape(-1, 2), depth

    def ground_point(self, pixels: Array, height_m: float = 0.0) -> Array:
        """Where rays of `pixels` (N, 2) meet the plane z = height_m, vehicle frame (N, 2) m; NaN above the horizon."""
        normal = self.normalise(pixels)
        rays = np.concatenate([normal, np.ones((len(normal), 1))], axis=1) @ self.vehicle_from_optical.T
        down = rays[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(down < -1e-4, (height_m - self.z_m) / down, np.nan)
        ground: Array = self.position_m[:2] + rays[:, :2] * distance[:, None]
        return ground
