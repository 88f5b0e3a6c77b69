"""The reflection model tuned on one Nagoya solution, from round numbers, and reported on the other.

`python -m tests.benchmarks.ego_tune [--shared FOLDER]` searches one parameter after the other on the RTK
solution alone; the SPP solution is looked at once, at the end. The defaults of `ReflectionParams` are what it found.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from gnss.ego import EgoParams
from gnss.ego_params import ReflectionParams
from tests.benchmarks.ego import at_fixes, quantile, seconds
from tests.benchmarks.ego_logs import EgoLog, nagoya
from tests.benchmarks.ego_run import STATES, run

LAG_S = 8.0
TUNED_ON, REPORTED = "rover_1Hz_rtk", "rover_1Hz_spp"
START = ReflectionParams(
    sigma_m=30.0, white_m=3.0, way_m=30.0, after_s=60.0, clear_after_s=10.0, clear_way_m=30.0, mixed_way_m=10.0,
    rough_tau_s=60.0, rough_sigma=3.0, rough_speed=5.0, good_rough=0.2, few_satellites=6, few_sigma_m=10.0,
    new_fixed_share=0.5, new_fixed_count=3, start_doubt=0.3,
)  # fmt: skip
SEARCHED = (
    "sigma_m", "white_m", "way_m", "after_s", "clear_after_s", "clear_way_m", "mixed_way_m", "rough_tau_s",
    "rough_sigma", "rough_speed", "good_rough", "few_sigma_m", "new_fixed_share", "start_doubt",
)  # fmt: skip
SHARES = ("good_rough", "new_fixed_share", "start_doubt")
FACTORS = (0.5, 0.7, 1.4, 2.0)
SWEEPS, LEAST_GAIN = 3, 0.003


def figures(log: EgoLog, params: ReflectionParams) -> dict[str, float]:
    """p50 and p95 over the input's at its epochs, share in the ellipse, worst GOOD pose (m), share without pose."""
    at = seconds(log)
    track = run(log, replace(EgoParams(), reflections=params), at, LAG_S)
    out, raw = track.off_m[at_fixes(log, at)], log.input_errors()[1]
    good = np.where(track.state == STATES.index("GOOD"), track.off_m, 0.0)
    return {
        "p50": quantile(out, 0.5) / quantile(raw, 0.5), "p95": quantile(out, 0.95) / quantile(raw, 0.95),
        "inside": track.coverage(), "worst_good_m": quantile(good, 1.0), "none": float((~track.known).mean()),
    }  # fmt: skip


def cost(found: dict[str, float]) -> float:
    """Small errors, honest ellipses (92 %: two points to spare), no GOOD pose far off (5 m), few without a pose."""
    proud = 10.0 * max(0.0, 0.92 - found["inside"]) + max(0.0, found["worst_good_m"] / 5.0 - 1.0)
    return found["p50"] + found["p95"] + found["none"] + proud


def tuned(log: EgoLog) -> ReflectionParams:
    """One parameter after the other, to two digits, until nothing helps."""
    best, least = START, cost(figures(log, START))
    for sweep in range(SWEEPS):
        before = least
        for name in SEARCHED:
            value = float(getattr(best, name))
            for factor in FACTORS:
                tried = float(f"{value * factor:.2g}")
                if name in SHARES and tried > 0.9:
                    continue
                params = replace(best, **{name: tried})  # type: ignore[arg-type]
                here = cost(figures(log, params))
                if here < least - LEAST_GAIN:
                    best, least = params, here
        print(f"sweep {sweep + 1}: cost {least:.3f}", flush=True)
        if least == before:
            break
    return best


def main() -> None:
    """Tune, then report the other file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).resolve().parents[3] / "shared"
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("QIJI_SHARED", beside)))
    shared = parser.parse_args().shared
    found = tuned(nagoya(shared, TUNED_ON))
    print(found, "the defaults" if found == ReflectionParams() else "NOT the defaults", sep="\n")
    for name in (TUNED_ON, REPORTED):
        print(name, {key: round(value, 3) for key, value in figures(nagoya(shared, name), found).items()})


if __name__ == "__main__":
    main()
