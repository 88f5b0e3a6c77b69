"""Replays of the sample drives for the trainer's gate: how many true objects of each kind a detector's cases find."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import replays
from replays.score import score_run
from vehicle.config import Config
from vehicle.replay import Progress, ReplayOptions, replay

SAMPLES = Path(replays.__file__).parent / "samples"
RADIUS_M = 3.0


def sample_drives(folder: Path = SAMPLES) -> list[Path]:
    """Drives with a truth to score against, in order of name."""
    return sorted(file.parent for file in folder.glob("*/drive.toml") if (file.parent / "truth.geojson").is_file())


def found_by(card: Path, drives: list[Path], config: Config, tell: Progress | None = None) -> dict[str, dict[str, int]]:
    """Drive name -> case kind -> true objects that the cases of a replay with this model find within 3 m."""
    found: dict[str, dict[str, int]] = {}
    for drive in drives:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            replay([drive], replace(config, card=card), out, ReplayOptions(detections="model"), tell)
            score = score_run(out, drive / "truth.geojson", RADIUS_M)
            found[drive.name] = {kind: one.matched for kind, one in score.kinds.items() if one.matched}
    return found
