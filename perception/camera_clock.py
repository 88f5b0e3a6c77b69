"""How late a camera's stamps are against the receiver's clock, from bearings of things that stand.

A thing that stands is seen at a bearing that the car's turning and driving explain, if the pose is that of the moment
of the picture. Taken at another time, the pose has turned and driven too little or too much. On a straight at constant
speed that looks like a thing some metres on and tells nothing; a turn, braking or pulling away tells it apart. So for
each offset every track is fitted with a place of its own (bearings only, by least squares), and the offset is the one
that leaves least: turn rate against image flow, with the flow of the near things taken for what it is. The sigma is
that of an estimate with errors shared by neighbouring frames (a sandwich over blocks of time, White 1980).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gnss.odometry import Travel
from gnss.types import Array
from perception.camera import CameraModel
from perception.types import CalibrationUpdate, Observation, Track

Driven = Callable[[int, int], Travel | None]

_GRID_STEP_S = 0.08
_ROUNDS = 5
_FASTEST_RPS = 1.5
"""No thing that a case is about passes a camera at a higher rate."""


@dataclass(frozen=True, slots=True)
class ClockParams:
    """An offset is used once its sigma is below `use_sigma_s` and it is `use_sigmas` of them; sought within `reach_s`.

    A window tells nothing where speed (m/s) and turn rate (deg/s) vary by less than `least_change` in all
    (`least_change_sure` once the offset is used); the `most_tracks` with most change are asked. Tracks need `looks`
    boxes, over at least `bearing_deg` of bearing. Box centres are off by `px` and `of_width` of the box's width, all of
    a track by `bias_deg`, which drifts by `drift_dps`. Errors are shared within `block_s`; the sigma that this gives,
    at least `floor_s`, is taken `caution` times: boxes of one thing err alike for longer. From drive to drive the
    offset changes by `carried_s`.
    """

    use_sigma_s: float = 0.025
    use_sigmas: float = 3.0
    carried_s: float = 0.005
    reach_s: float = 0.4
    least_change: float = 0.3
    least_change_sure: float = 0.8
    most_tracks: int = 16
    looks: int = 8
    bearing_deg: float = 5.0
    px: float = 3.0
    of_width: float = 0.05
    block_s: float = 0.6
    floor_s: float = 0.005
    most_chi2: float = 4.0
    bias_deg: float = 1.0
    drift_dps: float = 0.05
    caution: float = 1.5


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """`late_s` > 0: stamps are later than the moment of the picture; 1 sigma. `tracks`: how many told it."""

    late_s: float
    sigma_s: float
    tracks: int


@dataclass(frozen=True, slots=True, eq=False)
class Bearings:
    """One track: stamps (n,) s of its frames and world-free bearings (n,) rad in the vehicle, left > 0, and sigmas."""

    t_s: Array
    left_rad: Array
    sigma_rad: Array
    eye_m: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """The car's way over a window by wheels and gyro: seconds (n,), east, north (m), heading (rad, clockwise).

    Where it began and to what side is of no matter: only turning and driving are compared. Poses would not do: their
    small steps at fixes look like motion that no camera saw.
    """

    t_s: Array
    east: Array
    north: Array
    psi: Array

    @staticmethod
    def of(travel: Travel, start_ns: int) -> Way:
        """A way that begins at `start_ns` in the direction of north."""
        return Way(start_ns * 1e-9 + travel.t_s, -travel.y, travel.x, -travel.turn_rad)

    def change(self, start_s: float, end_s: float) -> float:
        """How much speed (m/s) and turn rate (deg/s) vary over a while: an even way tells nothing of time."""
        i, k = np.searchsorted(self.t_s, [start_s, end_s])
        step = max((k - i) // 16, 1)
        t = self.t_s[i:k:step]
        if len(t) < 4:
            return 0.0
        dt = np.diff(t)
        speed = np.hypot(np.diff(self.east[i:k:step]), np.diff(self.north[i:k:step])) / dt
        return float(np.std(speed) + np.std(np.degrees(np.diff(self.psi[i:k:step]) / dt)))


def bearings_of(observations: Sequence[Observation], camera: CameraModel, params: ClockParams) -> Bearings | None:
    """Bearings of the middles of a track's boxes; None when they are too few. A box cut at a side has no middle."""
    whole = [o for o in observations if o.edges[0] and o.edges[2]]
    if len(whole) < params.looks:
        return None
    boxes = np.array([o.xyxy for o in whole], dtype=np.float64)
    middle = 0.5 * (boxes[:, :2] + boxes[:, 2:])
    optical = np.column_stack([camera.normalise(middle), np.ones(len(middle))])
    rays = optical @ camera.vehicle_from_optical.T
    sigma = np.hypot(params.px, params.of_width * (boxes[:, 2] - boxes[:, 0])) / camera.fx
    left = np.arctan2(rays[:, 1], rays[:, 0])
    return Bearings(np.array([o.stamp_ns for o in whole]) * 1e-9, left, sigma, (camera.x_m, camera.y_m))


def window_offset(
    tracks: Sequence[Bearings], way: Way, params: ClockParams, *, sure: bool = False
) -> ClockOffset | None:
    """The offset that tracks of standing things tell over one window; None where they tell nothing.

    `sure`: the offset is known well already, and a window that tells little of it is not asked.
    """
    reach = params.reach_s
    inside = [_within(b, way.t_s[0] + reach, way.t_s[-1] - reach) for b in tracks]
    wide = [
        b for b in inside if len(b.t_s) >= params.looks and float(np.ptp(b.left_rad)) > math.radians(params.bearing_deg)
    ]
    used = sorted(wide, key=lambda b: -way.change(b.t_s[0], b.t_s[-1]))[: params.most_tracks]
    least = params.least_change_sure if sure else params.least_change
    if len(used) < 2 or way.change(used[0].t_s[0], used[0].t_s[-1]) < least:
        return None
    fits = [_Fit(b, way, params) for b in used]
    grid = np.arange(-reach, reach + 1e-9, _GRID_STEP_S)
    late = _lowest(fits, grid)
    if late is None:
        return None
    for fit in fits:
        fit.trust(late)
    late = _lowest(fits, late + np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) * 0.5 * _GRID_STEP_S)
    return None if late is None or abs(late) > reach else _judged(fits, late, params)


def _lowest(fits: Sequence[_Fit], grid: Array) -> float | None:
    """Where the sum of squares is least, by a parabola through the three lowest points; None at an edge."""
    cost = np.array([sum(float((fit.left(g) ** 2).sum()) for fit in fits) for g in grid.tolist()])
    k = int(np.argmin(cost))
    if not 0 < k < len(grid) - 1:
        return None
    bend = float(cost[k - 1] - 2.0 * cost[k] + cost[k + 1])
    step = float(grid[1] - grid[0])
    return float(grid[k]) - step * 0.5 * float(cost[k + 1] - cost[k - 1]) / bend if bend > 0.0 else None


def _judged(fits: Sequence[_Fit], late: float, params: ClockParams) -> ClockOffset | None:
    """The offset refined by one Newton step, with its sigma by blocks of time."""
    step = 0.25 * _GRID_STEP_S
    scores: dict[int, float] = {}
    information, told = 0.0, 0
    for fit in fits:
        left = fit.left(late)
        slope = (fit.left(late + step) - fit.left(late - step)) / (2.0 * step)
        fast = float(np.max(np.abs(slope[:-2]) * fit.track.sigma_rad))
        if fast > _FASTEST_RPS or float(left @ left) > params.most_chi2 * len(left):
            continue  # no place explains it, or it jumps from one to another: a wrong track
        told += 1
        information += float(slope @ slope)
        blocks = np.floor(fit.track.t_s / params.block_s).astype(int).tolist()
        for block, part in zip(blocks, (slope * left).tolist(), strict=False):
            scores[block] = scores.get(block, 0.0) + part
    if information <= 0.0 or len(scores) < 5:
        return None
    spread = sum(score * score for score in scores.values()) * len(scores) / (len(scores) - 1)
    sigma = params.caution * math.hypot(math.sqrt(max(spread, information)) / information, params.floor_s)
    return ClockOffset(late - sum(scores.values()) / information, sigma, told)


def _within(b: Bearings, start_s: float, end_s: float) -> Bearings:
    inside = (b.t_s >= start_s) & (b.t_s <= end_s)
    return replace(b, t_s=b.t_s[inside], left_rad=b.left_rad[inside], sigma_rad=b.sigma_rad[inside])


class _Fit:
    """A track with a place of its own; the place at the last offset is where the next fit starts.

    Unknown: east, north, a bearing bias (mount, shape), and a drift of it (what is left of the gyro's bias).
    """

    def __init__(self, track: Bearings, way: Way, params: ClockParams) -> None:
        self.track = track
        self._way = way
        self._robust: Array = np.ones(len(track.t_s))
        self._since: Array = track.t_s - track.t_s.mean()
        self._prior: Array = 1.0 / np.radians([params.bias_deg, params.drift_dps])
        self._found: Array | None = None

    def trust(self, late_s: float) -> None:
        """Weigh down what does not fit at this offset (Huber)."""
        off = np.abs(self.left(late_s)[:-2])
        self._robust = np.sqrt(np.minimum(1.0, 2.0 / np.maximum(off, 1e-9)))

    def left(self, late_s: float) -> Array:
        """Weighted residuals (n + 2,) at the best place for this offset; the last two are those of the priors."""
        b, way = self.track, self._way
        t = b.t_s - late_s
        psi = np.interp(t, way.t_s, way.psi)
        sin, cos = np.sin(psi), np.cos(psi)
        eye_e = np.interp(t, way.t_s, way.east) + b.eye_m[0] * sin - b.eye_m[1] * cos
        eye_n = np.interp(t, way.t_s, way.north) + b.eye_m[0] * cos + b.eye_m[1] * sin
        seen = psi - b.left_rad  # clockwise from north
        across = np.column_stack([np.cos(seen), -np.sin(seen)])
        place = np.linalg.lstsq(across, across[:, 0] * eye_e + across[:, 1] * eye_n, rcond=None)[0]
        starts = [np.array([place[0], place[1], 0.0, 0.0])]
        if self._found is not None:
            starts.append(self._found)
        tries = [(self._off(start, seen, eye_e, eye_n), start) for start in starts]
        left, found = min(tries, key=lambda pair: float(pair[0] @ pair[0]))
        damping = 1e-3
        for _ in range(_ROUNDS):
            slope = self._slope(found, eye_e, eye_n)
            normal = slope.T @ slope
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), slope.T @ left)
            new = self._off(found - step, seen, eye_e, eye_n)
            gain = float(left @ left) - float(new @ new)
            if gain > 0.0:
                left, found, damping = new, found - step, 0.2 * damping
                if gain < 1e-6 * float(left @ left):
                    break
            else:
                damping *= 10.0
        self._found = found
        return left

    def _off(self, found: Array, seen: Array, eye_e: Array, eye_n: Array) -> Array:
        off = seen + found[2] + self._since * found[3] - np.arctan2(found[0] - eye_e, found[1] - eye_n)
        off = (off + math.pi) % (2.0 * math.pi) - math.pi
        return np.append(self._robust / self.track.sigma_rad * off, self._prior * found[2:])

    def _slope(self, found: Array, eye_e: Array, eye_n: Array) -> Array:
        """Derivatives (n + 2, 4) of the residuals."""
        de, dn = found[0] - eye_e, found[1] - eye_n
        weight, range2 = self._robust / self.track.sigma_rad, np.maximum(de**2 + dn**2, 1.0)
        slope = np.zeros((len(de) + 2, 4))
        slope[:-2, 0], slope[:-2, 1] = -weight * dn / range2, weight * de / range2
        slope[:-2, 2], slope[:-2, 3] = weight, weight * self._since
        slope[-2, 2], slope[-1, 3] = self._prior
        return slope


class CameraClock:
    """What all windows of a drive told so far; `late_ns` is what to take off a camera's stamps, 0 until it is sure."""

    def __init__(self, params: ClockParams | None = None) -> None:
        self.params = params or ClockParams()
        self._information = 0.0
        self._weighted = 0.0
        self._tracks = 0

    def begin(self, update: CalibrationUpdate) -> None:
        """Start with what an earlier drive of the car learned; hardware keeps it, but not to the millisecond."""
        if self._information == 0.0 and update.late_s is not None and update.late_sigma_s is not None:
            self._information = 1.0 / (update.late_sigma_s**2 + self.params.carried_s**2)
            self._weighted = update.late_s * self._information

    def learn(self, tracks: Sequence[Track], cameras: Mapping[str, CameraModel], driven: Driven) -> ClockOffset | None:
        """Take the tracks of the standing things of one window; `driven` gives the way between two stamps."""
        bearings = [
            b for t in tracks if (b := bearings_of(t.observations, cameras[t.observations[0].camera], self.params))
        ]
        if not bearings:
            return None
        start = min(round(b.t_s[0] * 1e9) for b in bearings)
        travel = driven(start, max(round(b.t_s[-1] * 1e9) for b in bearings))
        if travel is None:
            return None
        known = self.offset
        sure = known is not None and known.sigma_s <= self.params.use_sigma_s
        return self.take(window_offset(bearings, Way.of(travel, start), self.params, sure=sure))

    def take(self, found: ClockOffset | None) -> ClockOffset | None:
        """Add what one window told."""
        if found is None:
            return None
        weight = 1.0 / found.sigma_s**2
        known = self.offset
        if known is not None:
            # Windows that contradict each other leave the offset less sure than each says.
            chi2 = (found.late_s - known.late_s) ** 2 / (found.sigma_s**2 + known.sigma_s**2)
            weight /= max(1.0, chi2)
        self._information += weight
        self._weighted += weight * found.late_s
        self._tracks += found.tracks
        return found

    @property
    def offset(self) -> ClockOffset | None:
        """The offset with its sigma, None before anything told it."""
        if self._information == 0.0:
            return None
        return ClockOffset(self._weighted / self._information, self._information**-0.5, self._tracks)

    @property
    def late_ns(self) -> int:
        """Nanoseconds to take off a camera's stamps: the offset where it is sure and not zero within its sigma."""
        known = self.offset
        if known is None or known.sigma_s > self.params.use_sigma_s:
            return 0
        return round(known.late_s * 1e9) if abs(known.late_s) > self.params.use_sigmas * known.sigma_s else 0

    def report(self, update: CalibrationUpdate) -> CalibrationUpdate:
        """A camera's calibration with the offset in it."""
        known = self.offset
        if known is None:
            return update
        return replace(update, late_s=round(known.late_s, 4), late_sigma_s=round(known.sigma_s, 4))
