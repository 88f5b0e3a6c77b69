"""State, noise and equations of the ego filter: an extended Kalman filter with a Rauch-Tung-Striebel smoother.

State (8): E, N (m, of the vehicle reference point), psi (rad, clockwise from north), v (m/s, forward), gyro bias
(rad/s), odometer scale error, and the GNSS bias bE, bN (m). A fix reads position + bias + white noise; the bias is a
Gauss-Markov process, so it is kept apart from what odometry makes precise: that is the covariance split of a pose.
"""

from __future__ import annotations

import math

import numpy as np

from gnss.ego_params import EgoParams
from gnss.odometry import Travel
from gnss.types import Array, Fix, FixQuality

E, N, PSI, V, GYRO, SCALE, BE, BN = range(8)
SIZE = 8


def fix_sigma(fix: Fix, params: EgoParams, least_m: float = 0.0) -> tuple[float, float]:
    """(bias, white) 1-sigma per axis in metres of a fix, not below `least_m`; from few satellites it is coarse."""
    table = params.qualities.get(fix.quality, params.qualities[FixQuality.SINGLE])
    if fix.h_acc_m is not None:
        total = fix.h_acc_m
    else:
        total = table.per_hdop_m * max(1.0 if fix.hdop is None else fix.hdop, 0.5)
    total = max(total, table.floor_m)
    if fix.satellites is not None and fix.satellites < params.reflections.few_satellites:
        total = max(total, params.reflections.few_sigma_m)
    total = max(total, least_m)
    # What reflections add stays for a while: it is no white noise.
    clear = min(total, table.open_m)
    return math.sqrt(total**2 - clear**2 + (params.bias_share * clear) ** 2), params.white_share * clear


def driven_m(x: Array, travel: Travel) -> float:
    """Way driven, metres, by wheels or by the filter's speed."""
    return travel.distance_m if travel.wheel else abs(float(x[V])) * float(travel.t_s[-1])


def reflected_share(fix: Fix, sigma_m: float, params: EgoParams) -> float:
    """Share (0..1) of a fix's variance that reflections make, when `sigma_m` per axis is believed of it."""
    table = params.qualities.get(fix.quality, params.qualities[FixQuality.SINGLE])
    return 1.0 - min(1.0, (table.open_m / max(sigma_m, 1e-6)) ** 2)


def start_state(
    east: float, north: float, psi: float, psi_sigma: float, speed: float, sigma: tuple[float, float], params: EgoParams
) -> tuple[Array, Array]:
    """State (8,) and covariance (8, 8) from a first fix at (east, north); its bias is part of the position error."""
    bias, white = sigma
    x = np.array([east, north, psi, speed, 0.0, 0.0, 0.0, 0.0])
    p = np.diag(
        [
            bias**2 + white**2,
            bias**2 + white**2,
            psi_sigma**2,
            1.0,
            math.radians(params.gyro_bias_sigma_dps) ** 2,
            params.odometer_scale_sigma**2,
            bias**2,
            bias**2,
        ]
    )
    p[E, BE] = p[BE, E] = p[N, BN] = p[BN, N] = -(bias**2)
    return x, p


def predict(
    x: Array, p: Array, travel: Travel, params: EgoParams, *, halted: bool = False
) -> tuple[Array, Array, Array]:
    """Carry state and covariance along `travel`; returns (x, p, transition matrix). The GNSS bias stays as it was.

    `halted`: without wheels, Doppler says that the car stands.
    """
    dt = float(travel.t_s[-1])
    sin, cos = math.sin(x[PSI]), math.cos(x[PSI])
    unit_e = travel.x[-1] * sin - travel.y[-1] * cos
    unit_n = travel.x[-1] * cos + travel.y[-1] * sin
    factor = 1.0 + x[SCALE] if travel.wheel else x[V]
    f = np.eye(SIZE)
    f[E, PSI], f[N, PSI] = factor * unit_n, -factor * unit_e
    column = SCALE if travel.wheel else V
    f[E, column], f[N, column] = unit_e, unit_n
    out = x.copy()
    out[E] += factor * unit_e
    out[N] += factor * unit_n
    out[PSI] -= travel.turn_rad[-1]
    if travel.gyro and not travel.still:
        f[PSI, GYRO] = dt
        f[E, GYRO] = factor * (travel.x_bias * sin - travel.y_bias * cos)
        f[N, GYRO] = factor * (travel.x_bias * cos + travel.y_bias * sin)
    if travel.wheel:
        f[V, V], f[V, SCALE] = 0.0, travel.speed_mps[-1]
        out[V] = (1.0 + x[SCALE]) * travel.speed_mps[-1]
    p_new = f @ p @ f.T + _process_noise(x, travel, dt, params, halted)
    return out, 0.5 * (p_new + p_new.T), f


def age_bias(x: Array, p: Array, f: Array, keep: float, grown_m2: float) -> tuple[Array, Array, Array]:
    """A prediction (x, p, f) whose GNSS bias keeps the share `keep` of its value and gains variance `grown_m2`."""
    x, p, f = x.copy(), p.copy(), f.copy()
    x[BE:] *= keep
    p[BE:, :] *= keep
    p[:, BE:] *= keep
    p[BE, BE] += grown_m2
    p[BN, BN] += grown_m2
    f[BE, BE] = f[BN, BN] = keep
    return x, p, f


def _process_noise(x: Array, travel: Travel, dt: float, params: EgoParams, halted: bool) -> Array:
    q = np.zeros((SIZE, SIZE))
    speed = travel.distance_m / dt if travel.wheel and dt > 0 else abs(float(x[V]))
    distance = speed * dt
    psi = float(x[PSI]) - 0.5 * float(travel.turn_rad[-1])
    ahead, right = np.array([math.sin(psi), math.cos(psi)]), np.array([math.cos(psi), -math.sin(psi)])
    heading = heading_noise(speed, travel.gyro, travel.still or halted, params)
    if travel.wheel:
        along = params.odometer_noise**2 * distance + 1e-6 * dt
        q[V, V] = 0.05**2
    else:
        accel = (params.halt_accel_mps2 if halted else params.accel_noise_mps2) ** 2
        along = accel * dt**3 / 3.0
        q[V, V] = accel * dt
        q[:2, V] = q[V, :2] = ahead * accel * dt**2 / 2.0
    across = params.odometer_slip**2 * distance + 1e-6 * dt + distance**2 * heading * dt / 3.0
    q[:2, :2] = along * np.outer(ahead, ahead) + across * np.outer(right, right)
    q[PSI, PSI] = heading * dt
    q[:2, PSI] = q[PSI, :2] = right * distance * heading * dt / 2.0
    q[GYRO, GYRO] = math.radians(params.gyro_bias_walk_dps) ** 2 * dt
    q[SCALE, SCALE] = params.odometer_scale_walk**2 * dt
    return q


def heading_noise(speed: float, gyro: bool, still: bool, params: EgoParams) -> float:
    """Variance of the heading per second, rad2/s: a car that stands cannot turn, one without gyro may turn at will."""
    if still:
        return math.radians(0.02) ** 2
    if gyro:
        return math.radians(params.gyro_noise_dps) ** 2
    return (params.turn_noise_rps * min(1.0, speed / params.turn_full_mps)) ** 2 + math.radians(0.1) ** 2


def update(x: Array, p: Array, h: Array, innovation: Array, r: Array) -> tuple[Array, Array]:
    """Kalman update in Joseph form: h (m, 8), innovation (m,), r (m, m)."""
    s = h @ p @ h.T + r
    gain = np.linalg.solve(s, h @ p).T
    left = np.eye(SIZE) - gain @ h
    p_new = left @ p @ left.T + gain @ r @ gain.T
    return x + gain @ innovation, 0.5 * (p_new + p_new.T)


def mahalanobis2(p: Array, h: Array, innovation: Array, r: Array) -> float:
    """Squared Mahalanobis distance of an innovation."""
    return float(innovation @ np.linalg.solve(h @ p @ h.T + r, innovation))


def position_reading(
    x: Array, east: float, north: float, params: EgoParams, *, aligned: bool = True
) -> tuple[Array, Array]:
    """(h, innovation) of a fix of the antenna at (east, north), lever arm and bias included.

    Where the heading is unknown the lever arm is left out (`position_noise` has it then): it would teach a heading.
    """
    sin, cos = math.sin(x[PSI]), math.cos(x[PSI])
    lever_e = params.antenna_x_m * sin - params.antenna_y_m * cos if aligned else 0.0
    lever_n = params.antenna_x_m * cos + params.antenna_y_m * sin if aligned else 0.0
    h = np.zeros((2, SIZE))
    h[0, E] = h[0, BE] = h[1, N] = h[1, BN] = 1.0
    h[0, PSI], h[1, PSI] = lever_n, -lever_e
    return h, np.array([east - x[E] - lever_e - x[BE], north - x[N] - lever_n - x[BN]])


def position_noise(x: Array, white: float, params: EgoParams, *, aligned: bool = True) -> Array:
    """White noise (2, 2) of a fix: its own, that of its stamp along the motion, a lever arm that points nowhere."""
    if not aligned:
        white = math.hypot(white, params.antenna_x_m, params.antenna_y_m)
    along = x[V] * params.time_sigma_s * np.array([math.sin(x[PSI]), math.cos(x[PSI])])
    noise: Array = white**2 * np.eye(2) + np.outer(along, along)
    return noise


def smooth_step(
    x: Array, p: Array, f: Array, x_pred: Array, p_pred: Array, xs: Array, ps: Array
) -> tuple[Array, Array]:
    """One Rauch-Tung-Striebel step back: the smoothed (x, p) of a node from those of the next one."""
    gain = np.linalg.solve(p_pred, f @ p).T
    p_new = p + gain @ (ps - p_pred) @ gain.T
    return x + gain @ (xs - x_pred), 0.5 * (p_new + p_new.T)


def split(p: Array) -> tuple[Array, Array]:
    """(common (2, 2), own (3, 3)): what the GNSS bias explains of the position, and what is left of E, N, psi."""
    cross = p[:3, BE:]
    shared = cross @ np.linalg.solve(p[BE:, BE:], cross.T)
    own = p[:3, :3] - shared
    own[2, 2] = p[2, 2]  # the bias also explains a sliver of the heading: it stays in `own`
    return shared[:2, :2], 0.5 * (own + own.T)
