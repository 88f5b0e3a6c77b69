"""Camera presets of the simulated cars, and how far a mounted camera is off from what the pipeline believes."""

from __future__ import annotations

from dataclasses import dataclass

from perception.camera import CameraModel
from replays.world.card import NoiseCard
from replays.world.chance import stream

_SIZE = (1920, 1080, 1000.0, 1000.0, 959.5, 539.5)
_BARREL = (-0.10, 0.02, 0.0, 0.0)
"""A mild barrel: 9 % at the corners of these pictures; r + k1 r3 + k2 r5 rises for every r."""

CAMERAS = {
    "front": CameraModel("front", *_SIZE, x_m=1.5, z_m=1.5, pitch_deg=2.0),
    "left": CameraModel("left", *_SIZE, dist=_BARREL, x_m=1.2, y_m=0.5, z_m=1.6, yaw_deg=55.0, pitch_deg=5.0),
    "right": CameraModel("right", *_SIZE, dist=_BARREL, x_m=1.2, y_m=-0.5, z_m=1.6, yaw_deg=-55.0, pitch_deg=5.0),
}
PHASE = {"front": 0.0, "left": 1.0 / 3.0, "right": 2.0 / 3.0}
"""Part of the frame period by which a camera runs behind: rigs are seldom synchronous."""


@dataclass(frozen=True, slots=True)
class Mount:
    """What a camera's true mount has over its calibration: degrees (left > 0, down > 0) and metres up."""

    yaw_deg: float
    pitch_deg: float
    height_m: float


def mount_of(seed: int, vehicle: str, camera: str, card: NoiseCard) -> Mount:
    """Constant of a world's seed, vehicle and camera: every pass of that car has the same."""
    yaw, pitch, height = stream(seed, "mount", vehicle, camera).standard_normal(3)
    return Mount(
        card.mount_yaw_deg * float(yaw), card.mount_pitch_deg * float(pitch), card.mount_height_m * float(height)
    )
