"""The noise card: every number of what the simulated sensors do wrong. It is printed with every result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

JsonValue = str | float | int | bool | None


@dataclass(frozen=True, slots=True)
class NoiseCard:
    """All 1 sigma unless it says otherwise. Values of section 1.3, 5 and 6 of the project's geolocation reference.

    Boxes: each edge errs by hypot(edge_px, edge_rel x side), of which `edge_share` of the variance is Gauss-Markov with
    `edge_tau_s`, the rest white. `pitch_deg`, `yaw_deg`, `roll_deg` shake the body (Gauss-Markov, `attitude_tau_s`) and
    no pose knows it; braking adds a dip of `dip_deg` per m/s2. The mount errs by constants of vehicle and camera.
    `grade_percent` is the largest slope of the road, a smooth curve of the world's seed.
    """

    name: str = "card-1"
    edge_px: float = 3.0
    edge_rel: float = 0.02
    edge_share: float = 0.5
    edge_tau_s: float = 0.3
    pitch_deg: float = 0.3
    yaw_deg: float = 0.2
    roll_deg: float = 0.1
    attitude_tau_s: float = 0.25
    dip_deg: float = 0.25
    mount_pitch_deg: float = 0.5
    mount_yaw_deg: float = 0.5
    mount_height_m: float = 0.03
    grade_percent: float = 0.3
    # The detector finds a fully visible thing of good size with `pd` per frame; a share `miss_share` of the misses
    # comes in runs (correlation time `miss_tau_s`). Of boxes with sqrt(width x height) = `size_mid_px`, half are found.
    pd: float = 0.9
    miss_tau_s: float = 0.3
    miss_share: float = 0.5
    size_mid_px: float = 14.0
    size_soft_px: float = 2.5
    range_m: float = 80.0
    # A share `clutter` of all boxes is no thing; `phantom_share` of those stand on the road for a geometric number of
    # frames with mean `phantom_frames`, the others flash for one.
    clutter: float = 0.1
    phantom_share: float = 0.3
    phantom_frames: float = 3.0
    confusion: float = 0.02
    # Colour histograms: log-normal noise per bin, constant over a pass and fresh per frame. Squared Hellinger distance
    # of track means: one thing in two passes 0.08 (5-95 %: 0.02-0.22), of two things 0.52 (0.22-0.77), measured.
    looks: bool = True
    look_pass: float = 0.8
    look_frame: float = 0.4
    # Cars touch the road with wheels set back from the bumpers, instead of standing on it with their whole outline.
    wheels: bool = False
    # Receiver: bias is Gauss-Markov with `gnss_tau_s`, drawn afresh per pass; per axis. h_acc_m says their hypot.
    gnss_bias_m: float = 0.8
    gnss_white_m: float = 0.6
    gnss_tau_s: float = 60.0
    gnss_hz: float = 1.0
    quality: int = 1
    speed_mps: float = 0.05
    course_mps: float = 0.05
    clock_offset_s: float = 0.0
    # Wheels and gyro; `motion_hz` None: the car has neither.
    odometer_scale: float = 0.005
    odometer_mps: float = 0.03
    gyro_bias_dps: float = 0.1
    gyro_dps: float = 0.05
    motion_hz: float | None = 20.0

    def graded(self, sigma_m: float, quality: int = 1) -> NoiseCard:
        """The card with another receiver: `sigma_m` per axis, split into bias 0.8 and white 0.6 (hypot 1)."""
        name = f"{self.name}, GNSS {sigma_m:g} m"
        return replace(self, name=name, gnss_bias_m=0.8 * sigma_m, gnss_white_m=0.6 * sigma_m, quality=quality)

    def to_dict(self) -> dict[str, JsonValue]:
        """All fields as plain data."""
        return dict(asdict(self))


CARD = NoiseCard()
RTK = CARD.graded(0.03, 4)
QUIET = NoiseCard(
    "quiet", edge_px=0.0, edge_rel=0.0, pitch_deg=0.0, yaw_deg=0.0, roll_deg=0.0, dip_deg=0.0, mount_pitch_deg=0.0,
    mount_yaw_deg=0.0, mount_height_m=0.0, grade_percent=0.0, pd=1.0, clutter=0.0, confusion=0.0, look_pass=0.0,
    look_frame=0.0, gnss_bias_m=0.0, gnss_white_m=0.01, speed_mps=0.0, course_mps=0.0, odometer_scale=0.0,
    odometer_mps=0.0, gyro_bias_dps=0.0, gyro_dps=0.0,
)  # fmt: skip
"""Nothing errs (the receiver by 1 cm, because an accuracy of 0 cannot be said): for tests of the geometry."""
