"""Types of time and place. Angles in degrees clockwise from true north, positions WGS-84/CGCS2000, stamps in ns."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


def frozen_array(values: object, shape: tuple[int, ...]) -> Array:
    """Return `values` as a read-only float64 array; raises ValueError naming both shapes when it is not `shape`."""
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"expected an array of shape {shape}, got {array.shape}")
    array.setflags(write=False)
    return array


class FixQuality(enum.IntEnum):
    """NMEA 0183 GGA quality indicator."""

    INVALID = 0
    SINGLE = 1
    DIFFERENTIAL = 2
    PPS = 3
    RTK_FIXED = 4
    RTK_FLOAT = 5
    DEAD_RECKONING = 6
    MANUAL = 7
    SIMULATION = 8


class PoseState(enum.StrEnum):
    """How far a pose can be trusted."""

    GOOD = "GOOD"
    DEGRADED = "DEGRADED"
    DEAD_RECKONING = "DEAD RECKONING"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class Fix:
    """One position of the receiver, valid at `stamp_ns` (monotonic, local to the drive).

    `h_acc_m` is 1 sigma per axis. `None` means the receiver did not say. `course_deg` is the direction of motion.
    """

    stamp_ns: int
    utc_ns: int | None
    lat_deg: float
    lon_deg: float
    alt_m: float | None = None
    h_acc_m: float | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    course_acc_deg: float | None = None
    quality: FixQuality = FixQuality.SINGLE
    satellites: int | None = None
    hdop: float | None = None
    v_acc_m: float | None = None
    speed_acc_mps: float | None = None
    heading_deg: float | None = None
    heading_acc_deg: float | None = None


@dataclass(frozen=True, slots=True)
class Motion:
    """Odometry or IMU sample; `yaw_rate_dps` > 0 turns left (right-handed, z up)."""

    stamp_ns: int
    speed_mps: float | None = None
    yaw_rate_dps: float | None = None
    accel_mps2: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """The vehicle reference point (on the ground) at exactly `stamp_ns`, with its covariance split in two.

    `cov_common_m2` (2, 2) east/north: GNSS error shared by the whole pass (a slow bias).
    `cov_own` (3, 3) east m, north m, heading rad: what is independent of the pass-common part.
    `heading_deg` is where the body points, clockwise from true north. `reason`: why the state is not GOOD.
    """

    stamp_ns: int
    utc_ns: int | None
    lat_deg: float
    lon_deg: float
    alt_m: float
    heading_deg: float
    speed_mps: float
    state: PoseState
    cov_common_m2: Array
    cov_own: Array
    reason: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cov_common_m2", frozen_array(self.cov_common_m2, (2, 2)))
        object.__setattr__(self, "cov_own", frozen_array(self.cov_own, (3, 3)))
