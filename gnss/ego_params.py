"""Every number of the ego filter."""

from __future__ import annotations

from dataclasses import dataclass, field

from gnss.types import FixQuality


@dataclass(frozen=True, slots=True)
class QualitySigma:
    """1-sigma per axis of one class: `per_hdop_m` x HDOP when the receiver gives no accuracy; at least `floor_m`.

    What a fix claims above `open_m` comes from reflections, which change with the way driven, not with time.
    """

    per_hdop_m: float
    floor_m: float
    open_m: float = 2.5


@dataclass(frozen=True, slots=True)
class ReflectionParams:
    """Fixes among high houses (see gnss.ego_guess).

    A reflection lies off by `sigma_m` per axis and scatters by `white_m` more than it claims; it fades over `way_m`,
    begins every `after_s` seconds at most, and clears after `clear_after_s` or `clear_way_m`. The milder ones that
    a receiver's own sigma tells of change over `mixed_way_m`.

    The share of reflections among the last fixes (over `rough_tau_s`) widens what the others claim by up to 1 +
    `rough_sigma`, Doppler of a moving car by up to 1 + `rough_speed`; above `good_rough` no pose is GOOD. A solution
    from fewer than `few_satellites` is not believed below `few_sigma_m`, the first `new_fixed_count` fixed integers
    after floats not below the floats' sigma times `new_fixed_share`, halved with each. After a loss the first fix is a
    reflection with probability `start_doubt`, where the last fixes were. `most_guesses` live, each for `guess_s`.
    """

    sigma_m: float = 15.0
    white_m: float = 6.0
    way_m: float = 21.0
    after_s: float = 60.0
    clear_after_s: float = 20.0
    clear_way_m: float = 30.0
    mixed_way_m: float = 2.4
    rough_tau_s: float = 42.0
    rough_sigma: float = 2.1
    rough_speed: float = 2.5
    good_rough: float = 0.2
    few_satellites: int = 6
    few_sigma_m: float = 5.0
    new_fixed_share: float = 0.7
    new_fixed_count: int = 3
    start_doubt: float = 0.42
    most_guesses: int = 6
    guess_s: float = 60.0


def _quality_table() -> dict[FixQuality, QualitySigma]:
    return {
        FixQuality.SINGLE: QualitySigma(1.5, 0.5),
        FixQuality.DIFFERENTIAL: QualitySigma(1.0, 0.4),
        FixQuality.PPS: QualitySigma(1.5, 0.5),
        FixQuality.RTK_FIXED: QualitySigma(0.05, 0.02, 0.2),
        FixQuality.RTK_FLOAT: QualitySigma(0.4, 0.2, 1.0),
        FixQuality.DEAD_RECKONING: QualitySigma(5.0, 2.0),
        FixQuality.SIMULATION: QualitySigma(1.0, 0.02),
    }


@dataclass(frozen=True, slots=True)
class EgoParams:
    """Sigmas are 1 sigma; planning values of the literature for kinematic receivers, and of real logs (docs/ego.md).

    `antenna_x_m` forward and `antenna_y_m` left of the reference point; `latency_s` > 0: a fix is older than its stamp.
    A pose is NONE when its sigma per axis exceeds `none_sigma_m`, or `none_after_s` from the nearest fix. Fixes that
    jumped win after `believe_s` (where neither wheels nor Doppler tell the way: `believe_blind_s`) and
    `believe_way_m`, if they lie off by the same within `believe_spread_m`. A smoothed pose looks ahead over at most
    `smooth_nodes` fixes.
    """

    antenna_x_m: float = 0.0
    antenna_y_m: float = 0.0
    latency_s: float = 0.0
    qualities: dict[FixQuality, QualitySigma] = field(default_factory=_quality_table)
    reflections: ReflectionParams = field(default_factory=ReflectionParams)
    bias_share: float = 0.8
    white_share: float = 0.6
    bias_tau_s: float = 60.0
    time_sigma_s: float = 0.01
    speed_sigma_mps: float = 0.1
    course_velocity_sigma_mps: float = 0.1
    course_floor_deg: float = 0.5
    course_min_speed_mps: float = 1.5
    course_stated_min_mps: float = 0.3
    accel_noise_mps2: float = 1.2
    turn_noise_rps: float = 0.22
    turn_full_mps: float = 1.0
    halt_mps: float = 0.3
    halt_accel_mps2: float = 0.7
    gyro_noise_dps: float = 0.1
    gyro_bias_sigma_dps: float = 0.5
    gyro_bias_walk_dps: float = 0.003
    odometer_noise: float = 0.03
    odometer_slip: float = 0.02
    odometer_scale_sigma: float = 0.02
    odometer_scale_walk: float = 1e-4
    gate_floor_m: float = 0.5
    gate_chi2: float = 16.0
    huber_chi2: float = 5.99
    near_fix_s: float = 1.5
    good_sigma_m: float = 2.0
    good_heading_deg: float = 5.0
    none_sigma_m: float = 15.0
    none_after_s: float = 120.0
    believe_s: float = 10.0
    believe_blind_s: float = 3.0
    believe_way_m: float = 20.0
    believe_spread_m: float = 0.75
    max_h_acc_m: float = 50.0
    smooth_nodes: int = 600
    keep_s: float = 300.0
