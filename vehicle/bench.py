"""Measures the whole chain against the bare network on the same frames, interleaved in one run (machines are noisy).

End to end is `qiji replay` of the drive: decoding, preprocessing, network, decoding of boxes, redaction, ego filter,
tracking, localisation, association, evidence, store, run folder and report; not the loading of the model.
Bare is `session.run` alone on the same preprocessed frames, one after the other, with ONNX Runtime's own defaults (all
cores on one frame, threads that spin while they wait: the fastest it gets) and nothing else at work in the process.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime

from gnss.clock import stopwatch
from perception.detector import OnnxDetector
from perception.errors import SetupError
from perception.types import Image
from replays.drive import Drive, open_drive
from vehicle.config import Config
from vehicle.replay import ReplayOptions, replay
from vehicle.setup import equip


def images(drive: Drive) -> Iterator[Image]:
    """Every picture of a drive, decoded in the caller's thread: no decoder works while something else is timed."""
    for member in drive.members.values():
        if member.pictures is None:
            raise SetupError(
                "has no pictures to measure with", file=drive.path, remedy="name a drive with camera files"
            )
        for _, image in member.pictures.read():
            yield image


def bare(drive: Drive, detector: OnnxDetector, threads: int | None) -> tuple[int, float]:
    """Frames and seconds of `session.run` alone; decoding and preprocessing are not counted."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: ONNX Runtime chooses, one per core
    session = onnxruntime.InferenceSession(str(detector.card.onnx), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    session.run(None, {name: detector.preprocess(next(images(drive)))})
    frames, seconds = 0, 0.0
    for image in images(drive):
        blob = detector.preprocess(image)
        elapsed = stopwatch()
        session.run(None, {name: blob})
        seconds += elapsed()
        frames += 1
    return frames, seconds


def speed(path: Path, config: Config, rounds: int, work: Path) -> dict[str, Any]:
    """Interleave bare and end-to-end rounds; the best of each gives the ratio (1.0: only the network costs time)."""
    drive = open_drive(path)
    detector = equip(config, detect=True).detector
    if detector is None:
        raise RuntimeError("the bench needs a detector")
    table: list[dict[str, float]] = []
    stages: dict[str, dict[str, float]] = {}
    for nth in range(rounds):
        frames, seconds = bare(drive, detector, config.threads)
        result = replay([path], config, work / f"run{nth}", ReplayOptions("model"))
        row = {"bare_fps": frames / seconds, "end_to_end_fps": frames / result.run_s}
        row["ratio"] = row["end_to_end_fps"] / row["bare_fps"]
        if row["end_to_end_fps"] > max((r["end_to_end_fps"] for r in table), default=0.0):
            stages = result.timings
        table.append(row)
    best = {key: max(row[key] for row in table) for key in ("bare_fps", "end_to_end_fps")}
    return {
        "frames": frames,
        "ratio": best["end_to_end_fps"] / best["bare_fps"],
        "median_ratio": statistics.median(row["ratio"] for row in table),
        **best,
        "rounds": table,
        "stages": stages,
    }


def speed_text(result: dict[str, Any]) -> str:
    """The measurement for people."""
    lines = [
        f"end to end {result['end_to_end_fps']:.1f} frames/s, bare session.run {result['bare_fps']:.1f} frames/s: "
        f"ratio {result['ratio']:.2f} (best of {len(result['rounds'])} rounds, each of {result['frames']} frames; "
        f"median of the rounds' ratios {result['median_ratio']:.2f})",
        "end to end: decode, detect, redact, pipeline, evidence, store, run folder and report; loading is left out",
        f"{'stage':<12}{'calls':>8}{'mean ms':>10}{'worst ms':>10}{'total s':>10}",
    ]
    for name, row in result["stages"].items():
        lines.append(
            f"{name:<12}{row['calls']:>8.0f}{row['mean_ms']:>10.3f}{row['worst_ms']:>10.1f}{row['total_s']:>10.2f}"
        )
    lines.append("read and detect run beside the other stages: their times overlap")
    return "\n".join(lines)
