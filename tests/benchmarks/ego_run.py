"""Runs the ego filter over a log as the car would, asking for each pose a fixed lag after its time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gnss.ego import EgoFilter, EgoParams
from gnss.geodesy import CHI2_95_2D
from gnss.types import Array, Fix, Mask, Motion, PoseState, Rows
from tests.benchmarks.ego_logs import EgoLog

STATES = ("NONE", PoseState.GOOD.value, PoseState.DEGRADED.value, PoseState.DEAD_RECKONING.value)
_ORDER = {PoseState.NONE: 0, PoseState.GOOD: 1, PoseState.DEGRADED: 2, PoseState.DEAD_RECKONING: 3}


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Poses at seconds `t_s` (n,): errors (n, 2) east/north m (NaN for NONE), covariances (n, 2, 2), states (n,)."""

    t_s: Array
    error_m: Array
    cov_m2: Array
    state: Rows
    heading_rad: Array
    filter: EgoFilter

    @property
    def off_m(self) -> Array:
        """Horizontal errors (n,), NaN for NONE."""
        return np.hypot(self.error_m[:, 0], self.error_m[:, 1])

    @property
    def known(self) -> Mask:
        """(n,) where there is a pose."""
        return np.asarray(self.state > 0)

    def coverage(self, of: Mask | None = None) -> float:
        """Share of poses (of those chosen) whose 95 % ellipse holds the truth."""
        chosen = self.known if of is None else self.known & of
        e, c = self.error_m[chosen], self.cov_m2[chosen]
        d2 = np.einsum("ni,ni->n", e, np.linalg.solve(c, e[:, :, None])[:, :, 0])
        return float(np.mean(d2 <= CHI2_95_2D)) if len(d2) else float("nan")


def run(log: EgoLog, params: EgoParams, at_s: Array, lag_s: float = 8.0) -> Track:
    """Poses at seconds (n,), each asked for once all events up to `lag_s` later are in (all events: lag inf)."""
    ego = EgoFilter(params)
    events: Iterator[Fix | Motion] = heapq.merge(log.motions, log.fixes, key=lambda e: e.stamp_ns)
    stamps = np.round(at_s * 1e9).astype(np.int64)
    error, cov = np.full((len(at_s), 2), np.nan), np.full((len(at_s), 2, 2), np.nan)
    state, heading = np.zeros(len(at_s), dtype=np.intp), np.full(len(at_s), np.nan)
    east, north = log.truth(at_s)
    asked = 0

    def ask(until_ns: float) -> None:
        nonlocal asked
        while asked < len(stamps) and stamps[asked] <= until_ns:
            pose = ego.pose_at(int(stamps[asked]))
            if pose is not None and pose.state is not PoseState.NONE:
                e, n = log.frame.to_enu(pose.lat_deg, pose.lon_deg)
                error[asked] = e - east[asked], n - north[asked]
                cov[asked] = pose.cov_common_m2 + pose.cov_own[:2, :2]
                state[asked], heading[asked] = _ORDER[pose.state], np.radians(pose.heading_deg)
            asked += 1

    for event in events:
        ask(event.stamp_ns - lag_s * 1e9)
        if isinstance(event, Fix):
            ego.add_fix(event)
        else:
            ego.add_motion(event)
    ask(np.inf)
    return Track(at_s, error, cov, state, heading, ego)


def fit_lever(track: Track, of: Mask) -> tuple[float, float]:
    """(forward, left) metres of a constant offset between estimate and reference, by least squares over `of` (n,).

    The estimate sits at the antenna when the filter has no lever arm: error = R(heading) (forward, left).
    """
    chosen = of & track.known
    h, e = track.heading_rad[chosen], track.error_m[chosen]
    rows = np.stack([np.stack([np.sin(h), -np.cos(h)], -1), np.stack([np.cos(h), np.sin(h)], -1)], 1).reshape(-1, 2)
    found, *_ = np.linalg.lstsq(rows, e.ravel(), rcond=None)
    return float(found[0]), float(found[1])
