"""Measures the whole chain against the bare network on the same frames, interleaved in one run (machines are noisy)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gnss.clock import stopwatch
from perception.types import Frame
from replays.drive import open_drive
from replays.source import DriveSource
from vehicle.config import Config
from vehicle.replay import ReplayOptions, replay
from vehicle.setup import equip


def bare(drive_path: Path, config: Config) -> tuple[int, float]:
    """Frames and seconds of `session.run` alone on a drive's frames; decoding and preprocessing are not counted."""
    kit = equip(config, detect=True)
    if kit.detector is None:
        raise RuntimeError("the bench needs a detector")
    frames, seconds = 0, 0.0
    for item in DriveSource(open_drive(drive_path), "model"):
        if isinstance(item, Frame):
            blob = kit.detector.preprocess(item.image)
            elapsed = stopwatch()
            kit.detector.run(blob)
            seconds += elapsed()
            frames += 1
    return frames, seconds


def speed(drive_path: Path, config: Config, rounds: int, work: Path) -> dict[str, Any]:
    """Interleave bare and end-to-end rounds; the best of each gives the ratio (1.0: only the network costs time)."""
    bare_best, whole_best = 0.0, 0.0
    table: list[dict[str, float]] = []
    stages: dict[str, dict[str, float]] = {}
    for nth in range(rounds):
        frames, seconds = bare(drive_path, config)
        result = replay([drive_path], config, work / f"run{nth}", ReplayOptions("model"))
        busy = sum(stage["total_s"] for stage in result.timings.values())
        row = {"bare_fps": frames / seconds, "end_to_end_fps": result.frames / busy}
        table.append(row)
        bare_best = max(bare_best, row["bare_fps"])
        if row["end_to_end_fps"] > whole_best:
            whole_best, stages = row["end_to_end_fps"], result.timings
    return {
        "ratio": whole_best / bare_best,
        "bare_fps": bare_best,
        "end_to_end_fps": whole_best,
        "rounds": table,
        "stages": stages,
    }


def speed_text(result: dict[str, Any]) -> str:
    """The measurement for people."""
    lines = [
        f"end to end {result['end_to_end_fps']:.1f} frames/s, bare network {result['bare_fps']:.1f} frames/s, "
        f"ratio {result['ratio']:.2f} (best of {len(result['rounds'])} interleaved rounds)",
        f"{'stage':<12}{'calls':>8}{'mean ms':>10}{'worst ms':>10}{'total s':>10}",
    ]
    for name, row in result["stages"].items():
        lines.append(
            f"{name:<12}{row['calls']:>8.0f}{row['mean_ms']:>10.3f}{row['worst_ms']:>10.1f}{row['total_s']:>10.2f}"
        )
    return "\n".join(lines)
