"""By how much a receiver's fixes are late, from the way between them against the way of the wheels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnss.geodesy import LocalFrame
from gnss.shift import Shift, find_shift
from gnss.types import Fix, Motion

SPAN_S = 1.0
"""Fixes this far apart give a speed: nearer ones have more noise than way between them."""


def fix_latency(fixes: Sequence[Fix], motions: Sequence[Motion], reach_s: float = 0.5) -> Shift | None:
    """How much later than their stamps the fixes' positions are old, against wheel speeds on the same clock.

    None without wheels, or where the speed hardly changes. Positions are compared, not the receiver's own speeds: those
    pass through other filters (on one car 0.16 s late where its positions were 0.09 s).
    """
    wheels = [(m.stamp_ns * 1e-9, m.speed_mps) for m in motions if m.speed_mps is not None]
    if len(wheels) < 20 or len(fixes) < 20:
        return None
    t = np.array([f.stamp_ns for f in fixes]) * 1e-9
    frame = LocalFrame(fixes[0].lat_deg, fixes[0].lon_deg)
    east, north = frame.to_enu(np.array([f.lat_deg for f in fixes]), np.array([f.lon_deg for f in fixes]))
    first = np.arange(len(t))
    second = np.searchsorted(t, t + SPAN_S - 1e-3)
    first, second = first[second < len(t)], second[second < len(t)]
    span = t[second] - t[first]
    near = span < 1.5 * SPAN_S
    first, second, span = first[near], second[near], span[near]
    speed = np.hypot(east[second] - east[first], north[second] - north[first]) / span
    table = np.array(wheels)
    # Samples a span apart share a fix; all within about two spans share their errors.
    shared = 2.0 * SPAN_S / max(float(np.median(np.diff(t))), 1e-3)
    return find_shift(
        (table[:, 0], table[:, 1]), (0.5 * (t[first] + t[second]), speed), None, reach_s=reach_s, correlated=shared
    )
