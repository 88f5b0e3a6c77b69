"""The ego filter on the real logs, beside the goals: `python -m tests.benchmarks.ego [--shared FOLDER] [--lag 8]`.

Every pose is asked for a fixed lag after its time, as the car asks for it when it places a thing. Errors are horizontal
and against each log's own reference. See docs/ego.md for what each figure means.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gnss.ego import EgoParams
from gnss.latency import fix_latency
from gnss.types import Array, Mask
from tests.benchmarks.ego_logs import EgoLog, comma, mountain_view, nagoya, with_latency
from tests.benchmarks.ego_run import STATES, Track, fit_lever, run

COMMA_LATENCY_S = 0.09


@dataclass(frozen=True, slots=True)
class Row:
    """One figure with its goal: `at_most` or `at_least`, None when it is only told."""

    log: str
    what: str
    value: float
    unit: str = "m"
    at_most: float | None = None
    at_least: float | None = None

    @property
    def verdict(self) -> str:
        """pass, MISS or nothing."""
        if self.at_most is None and self.at_least is None:
            return ""
        good = (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )
        return "pass" if good else "MISS"


def seconds(log: EgoLog, hz: float = 1.0) -> Array:
    """Whole seconds (or parts) over a log's reference."""
    stamps: Array = np.arange(np.ceil(log.t_s[0] * hz) / hz, log.t_s[-1] + 1e-6, 1.0 / hz)
    return stamps


def at_fixes(log: EgoLog, at_s: Array) -> Mask:
    """(n,) which of the seconds are stamps of fixes."""
    return np.isin(np.round(at_s, 3), np.round(log.input_errors()[0], 3))


def quantile(values: Array, share: float) -> float:
    """Quantile of what is known."""
    return float(np.nanquantile(values, share))


def known_lever(log: EgoLog, lag_s: float) -> tuple[float, float]:
    """(forward, left) m of the lever arm, fitted on the first third's GOOD poses, where the heading is known."""
    at = seconds(log)
    first = at < at[0] + (at[-1] - at[0]) / 3.0
    track = run(log, EgoParams(), at, lag_s)
    return fit_lever(track, first & (track.state == STATES.index("GOOD")))


def mountain_view_rows(shared: Path, lag_s: float) -> list[Row]:
    """All epochs with gaps bridged by a degraded odometer; then without any motion."""
    log = mountain_view(shared, odometer=True)
    at = seconds(log)
    rest = at >= at[0] + (at[-1] - at[0]) / 3.0
    raw = log.input_errors()[1]
    rows = [Row(log.name, "input: p50", quantile(raw, 0.5)), Row(log.name, "input: p95", quantile(raw, 0.95))]
    lever = known_lever(log, lag_s)
    rows += [Row(log.name, "lever arm fitted, forward", lever[0]), Row(log.name, "lever arm fitted, left", lever[1])]
    params = EgoParams(antenna_x_m=lever[0], antenna_y_m=lever[1])
    track = run(log, params, at, lag_s)
    for name, chosen in (("all epochs", np.ones(len(at), dtype=bool)), ("last two thirds", rest)):
        off = track.off_m[chosen]
        rows += [
            Row(log.name, f"{name}: p50", quantile(off, 0.5), at_most=0.25),
            Row(log.name, f"{name}: p95", quantile(off, 0.95), at_most=1.0),
            Row(log.name, f"{name}: max", quantile(off, 1.0)),
        ]
    rows.append(Row(log.name, "epochs without a pose", float((~track.known).sum()), "", at_most=0.0))
    rows.append(Row(log.name, "in the 95 % ellipse", 100.0 * track.coverage(), "%"))
    bare = replace(log, name="google-mtv-f9k, no motion", motions=())
    return rows + gap_rows(bare, run(bare, params, at, lag_s))


def gap_rows(log: EgoLog, track: Track) -> list[Row]:
    """What happens in the gaps of a log without motion."""
    stamps = np.array([f.stamp_ns for f in log.fixes]) * 1e-9
    rows = []
    for start, span in zip(stamps[:-1], np.diff(stamps), strict=True):
        if span < 1.5:
            continue
        inside = (track.t_s > start) & (track.t_s < start + span)
        off, none = track.off_m[inside], int((~track.known[inside]).sum())
        said = ", ".join(f"{n} {STATES[i]}" for i, n in enumerate(np.bincount(track.state[inside], minlength=4)) if n)
        worst = quantile(off, 1.0) if none < len(off) else float("nan")
        rows.append(Row(log.name, f"gap of {span:.0f} s: worst ({said})", worst, at_most=6.0 if span <= 6.0 else None))
    rows.append(Row(log.name, "p50", quantile(track.off_m, 0.5)))
    rows.append(Row(log.name, "p95", quantile(track.off_m, 0.95)))
    return [*rows, Row(log.name, "in the 95 % ellipse", 100.0 * track.coverage(), "%", at_least=90.0)]


def nagoya_rows(shared: Path, solution: str, lag_s: float, *, goals: bool = True) -> list[Row]:
    """An urban canyon: input against output at the input's epochs, honesty everywhere."""
    log = nagoya(shared, solution)
    at = seconds(log)
    track = run(log, EgoParams(), at, lag_s)
    fixed, raw = at_fixes(log, at), log.input_errors()[1]
    out = track.off_m[fixed]
    gain = 100.0 * (1.0 - quantile(out, 0.95) / quantile(raw, 0.95))
    good = np.where(track.state == STATES.index("GOOD"), track.off_m, 0.0)
    limit = (quantile(raw, 0.5), 30.0, 90.0, 10.0) if goals else (None, None, None, None)
    counts = np.bincount(track.state, minlength=4)
    return [
        Row(log.name, "input: p50", quantile(raw, 0.5)),
        Row(log.name, "input: p95", quantile(raw, 0.95)),
        Row(log.name, "at input epochs: p50", quantile(out, 0.5), at_most=limit[0]),
        Row(log.name, "at input epochs: p95", quantile(out, 0.95)),
        Row(log.name, "p95 better than the input by", gain, "%", at_least=limit[1]),
        Row(log.name, "input epochs without a pose", float((~track.known & fixed).sum()), f"of {int(fixed.sum())}"),
        Row(log.name, "every second: p50", quantile(track.off_m, 0.5)),
        Row(log.name, "every second: p95", quantile(track.off_m, 0.95)),
        Row(log.name, "in the 95 % ellipse, not NONE", 100.0 * track.coverage(), "%", at_least=limit[2]),
        Row(log.name, "worst GOOD pose", quantile(good, 1.0), at_most=limit[3]),
        *(Row(log.name, f"seconds {name}", float(n), f"of {len(at)}") for name, n in zip(STATES, counts, strict=True)),
    ]


def comma_rows(shared: Path, lag_s: float) -> list[Row]:
    """u-blox and CAN: as stamped, with the declared latency, and with the one that wheels tell."""
    log = comma(shared)
    raw = log.input_errors()[1]
    found = fix_latency(log.fixes, log.motions)
    rows = [Row(log.name, "input: p50", quantile(raw, 0.5))]
    told: list[tuple[str, float]] = [("as stamped", 0.0), (f"declared latency {COMMA_LATENCY_S} s", COMMA_LATENCY_S)]
    if found is not None:
        told.append((f"estimated latency {found.late_s:.3f} +- {found.sigma_s:.3f} s", found.late_s))
    for name, latency in told:
        moved = with_latency(log, latency)
        off = run(moved, EgoParams(), seconds(moved, 10.0), lag_s).off_m
        goal = 0.7 if latency else None
        rows += [
            Row(log.name, f"{name}: p50", quantile(off, 0.5), at_most=goal),
            Row(log.name, f"{name}: p95", quantile(off, 0.95)),
        ]
    return rows


def all_rows(shared: Path, lag_s: float) -> list[Row]:
    """Every figure of every log."""
    rows = mountain_view_rows(shared, lag_s)
    for solution in ("rover_1Hz_rtk", "rover_1Hz_spp"):
        rows += nagoya_rows(shared, solution, lag_s)
    # 5 Hz without any velocity: no goal is set for it, and none would be met.
    rows += nagoya_rows(shared, "rover_rtk", lag_s, goals=False)
    return rows + comma_rows(shared, lag_s)


def text(rows: Sequence[Row]) -> str:
    """The table for people."""
    lines, last = [], ""
    for row in rows:
        if row.log != last:
            lines.append(f"-- {row.log}")
            last = row.log
        goal = "" if row.at_most is None else f"<= {row.at_most:.2f}"
        goal = f">= {row.at_least:.2f}" if row.at_least is not None else goal
        lines.append(f"{row.what:<58}{row.value:>9.2f} {row.unit:<8}{goal:>10}  {row.verdict}".rstrip())
    misses = sum(row.verdict == "MISS" for row in rows)
    set_ = sum(bool(row.verdict) for row in rows)
    return "\n".join([*lines, "", f"{set_ - misses} of {set_} goals met"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).resolve().parents[3] / "shared"
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("QIJI_SHARED", beside)))
    parser.add_argument("--lag", type=float, default=8.0, help="seconds of later fixes that a pose may use")
    arguments = parser.parse_args()
    print(text(all_rows(arguments.shared, arguments.lag)))


if __name__ == "__main__":
    main()
