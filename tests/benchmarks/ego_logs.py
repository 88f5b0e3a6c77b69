"""The real logs of the ego benchmark, each as fixes, motion and a reference trajectory in one local frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gnss.geodesy import LocalFrame
from gnss.nmea import NmeaReader, stamped_by_utc
from gnss.nmea_sentence import NmeaError, parse_sentence
from gnss.types import Array, Fix, Motion
from replays.import_rtklib import GPS_EPOCH_UNIX_S, GPS_MINUS_UTC_S, WEEK_S, read_rtklib

S = 1_000_000_000
ODOMETER_SCALE, GYRO_BIAS_DPS = 0.01, 0.1


@dataclass(frozen=True, slots=True, eq=False)
class EgoLog:
    """A drive with its truth: `t_s` (n,) seconds of the fixes' clock, `east`, `north` (n,) m in `frame`."""

    name: str
    fixes: tuple[Fix, ...]
    motions: tuple[Motion, ...]
    frame: LocalFrame
    t_s: Array
    east: Array
    north: Array

    def truth(self, t_s: Array) -> tuple[Array, Array]:
        """East and north (m,) at seconds (m,), linear between the reference's epochs."""
        return np.interp(t_s, self.t_s, self.east), np.interp(t_s, self.t_s, self.north)

    def input_errors(self) -> tuple[Array, Array]:
        """Seconds (m,) of the fixes within the reference and their horizontal errors (m,) as received."""
        t = np.array([f.stamp_ns for f in self.fixes]) * 1e-9
        inside = (t >= self.t_s[0]) & (t <= self.t_s[-1])
        e, n = self.frame.to_enu(np.array([f.lat_deg for f in self.fixes]), np.array([f.lon_deg for f in self.fixes]))
        te, tn = self.truth(t)
        return t[inside], np.hypot(e - te, n - tn)[inside]


def mountain_view(shared: Path, *, odometer: bool, seed: int = 1) -> EgoLog:
    """u-blox F9K at 1 Hz against NovAtel SPAN; `odometer`: the reference's own motion, degraded, at 10 Hz."""
    folder = shared / "gnss-logs" / "google-mtv-f9k"
    reader = NmeaReader()
    raw = reader.feed((folder / "MTV.Local1.ublox-F9K.20200206-181434.nmea").read_bytes(), 0) + reader.flush()
    start = raw[0].utc_ns or 0
    day = start - start % (86_400 * S)
    fixes = tuple(f for f in (stamped_by_utc(fix, start) for fix in raw) if f is not None)
    times, lats, lons = [], [], []
    for line in (folder / "MTV.Local1.SPAN.20200206-181434.gga").read_bytes().split():
        try:
            sentence = parse_sentence(line)
        except NmeaError:
            continue  # the reference's RMC carry no valid checksums
        if sentence.time_ns is not None and sentence.lat_deg is not None and sentence.lon_deg is not None:
            times.append((day + sentence.time_ns - start) * 1e-9)
            lats.append(sentence.lat_deg)
            lons.append(sentence.lon_deg)
    frame = LocalFrame(raw[0].lat_deg, raw[0].lon_deg)
    t = np.array(times)
    inside = (t >= fixes[0].stamp_ns * 1e-9) & (t <= fixes[-1].stamp_ns * 1e-9)
    east, north = frame.to_enu(np.array(lats), np.array(lons))
    motions = odometer_of(t, east, north, seed) if odometer else ()
    name = "google-mtv-f9k" + (" + odometer" if odometer else "")
    return EgoLog(name, fixes, motions, frame, t[inside], east[inside], north[inside])


def odometer_of(t_s: Array, east: Array, north: Array, seed: int, hz: float = 10.0) -> tuple[Motion, ...]:
    """What wheels and a gyro would have read along a 1 Hz trajectory: 1 % scale, 0.1 deg/s bias, and noise.

    Speed and turn rate come from cubic splines through the positions; where the car creeps below 0.3 m/s the direction
    is not told by the positions and the turn rate is zero.
    """
    from scipy.interpolate import CubicSpline

    rng = np.random.default_rng(seed)
    way_e, way_n = CubicSpline(t_s, east), CubicSpline(t_s, north)
    t = np.arange(t_s[0], t_s[-1], 1.0 / hz)
    ve, vn, ae, an = way_e(t, 1), way_n(t, 1), way_e(t, 2), way_n(t, 2)
    speed = np.hypot(ve, vn)
    moving = speed > 0.3
    left = np.where(moving, (ve * an - vn * ae) / np.maximum(speed, 0.3) ** 2, 0.0)
    scale, bias = 1.0 + ODOMETER_SCALE * rng.choice((-1, 1)), GYRO_BIAS_DPS * rng.choice((-1, 1))
    still = np.convolve(speed > 0.05, np.ones(5), "same") == 0
    read = np.where(still, 0.0, np.maximum(scale * speed + rng.normal(0.0, 0.02, len(t)), 0.0))
    rate = np.degrees(left) + bias + rng.normal(0.0, 0.1, len(t))
    return tuple(Motion(round(float(s) * 1e9), float(v), float(r)) for s, v, r in zip(t, read, rate, strict=True))


def nagoya(shared: Path, solution: str) -> EgoLog:
    """An RTKLIB solution (`rover_1Hz_spp`, `rover_1Hz_rtk`, `rover_rtk`) in dense Nagoya against its reference."""
    folder = shared / "gnss-logs" / "nagoya-urban-kinematic"
    table = np.loadtxt(folder / "reference.csv", delimiter=",", skiprows=1)
    start = (GPS_EPOCH_UNIX_S + int(table[0, 1]) * WEEK_S - GPS_MINUS_UTC_S) * S
    frame = LocalFrame(float(table[0, 2]), float(table[0, 3]))
    t0 = float(table[0, 0])
    fixes = read_rtklib(folder / f"{solution}.pos", start + round(t0 * 1e9))
    east, north = frame.to_enu(table[:, 2], table[:, 3])
    return EgoLog(f"nagoya {solution}", tuple(fixes), (), frame, table[:, 0] - t0, east, north)


def comma(shared: Path) -> EgoLog:
    """comma2k19: u-blox live fixes at 10 Hz with wheels and gyro; the reference is the camera's place."""
    folder = shared / "drives" / "comma2k19-sf-example"

    def load(name: str) -> tuple[Array, Array]:
        return np.load(folder / name / "t.npy"), np.load(folder / name / "value.npy")

    pose_t = np.load(folder / "global_pose" / "frame_times.npy")
    lat, lon = geographic(np.load(folder / "global_pose" / "frame_positions.npy"))
    t0 = float(pose_t[0])
    t, rows = load("GNSS/live_gnss_ublox")
    fixes = tuple(
        Fix(round((s - t0) * 1e9), round(r[3] * 1e6), r[0], r[1], r[4], speed_mps=r[2], course_deg=r[5] % 360.0)
        for s, r in zip(t.tolist(), rows.tolist(), strict=True)
    )
    wheel_t, wheels = load("CAN/wheel_speed")
    gyro_t, gyro = load("IMU/gyro")
    # The gyro's axes are forward, right, down: its z turns right.
    motions = [
        Motion(round((s - t0) * 1e9), speed_mps=float(v)) for s, v in zip(wheel_t, wheels.mean(axis=1), strict=True)
    ]
    motions += [
        Motion(round((s - t0) * 1e9), yaw_rate_dps=-math.degrees(v)) for s, v in zip(gyro_t, gyro[:, 2], strict=True)
    ]
    frame = LocalFrame(float(lat[0]), float(lon[0]))
    east, north = frame.to_enu(lat, lon)
    inside = pose_t - t0 <= fixes[-1].stamp_ns * 1e-9
    return EgoLog(
        "comma2k19", fixes, tuple(sorted(motions, key=lambda m: m.stamp_ns)), frame,
        (pose_t - t0)[inside], east[inside], north[inside],
    )  # fmt: skip


def geographic(ecef_m: Array) -> tuple[Array, Array]:
    """Latitude and longitude (n,) in degrees of ECEF positions (n, 3), WGS-84."""
    from pyproj import Transformer

    x, y, z = ecef_m.T
    found = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True).transform(x, y, z)
    return np.asarray(found[1]), np.asarray(found[0])


def with_latency(log: EgoLog, latency_s: float) -> EgoLog:
    """The same with fixes that are taken as valid `latency_s` before their stamps."""
    shift = round(latency_s * 1e9)
    return replace(log, fixes=tuple(replace(f, stamp_ns=f.stamp_ns - shift) for f in log.fixes))
