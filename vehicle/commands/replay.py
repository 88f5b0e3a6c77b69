"""`qiji replay DRIVE...`"""

from __future__ import annotations

import argparse
from pathlib import Path

from perception.catalogue import load_catalogue
from vehicle.config import MODELS, Config, load_config
from vehicle.replay import ReplayOptions, replay
from vehicle.terminal import print_json, print_result, progress_bar, result_json


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("replay", help="replay recorded drives into cases, a run folder and a report")
    p.add_argument(
        "drives", nargs="+", type=Path, metavar="DRIVE", help="drive folders or *.mcap; several share one memory"
    )
    p.add_argument("--config", type=Path, metavar="CAR.toml", help="the car's configuration")
    p.add_argument("--out", type=Path, help="run folder (default: runs/NAME)")
    p.add_argument("--detections", choices=("recorded", "model"), help="default: model when the drive has pixels")
    p.add_argument("--known", choices=("store", "recorded"), default="store", help="where known cases come from")
    p.add_argument("--store", type=Path, metavar="DIR", help="case memory to use and keep (default: a fresh one)")
    p.add_argument("--end-shift", action="store_true", help="after the last drive, merge cases that are of one thing")
    p.add_argument("--platform", metavar="URL", help="deliver cases to this platform")
    p.add_argument(
        "--record", type=Path, metavar="FILE.mcap|DIR", help="record what the pipeline saw, redacted, as MCAP"
    )
    p.add_argument("--model", type=Path, metavar="MODEL.toml", help="model card (default: the shipped one)")
    p.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    p.set_defaults(handle=handle)


def configured(config: Path | None, model: Path | None) -> Config:
    """The configuration of a command with `--config` and `--model`."""
    from dataclasses import replace

    base = Config() if config is None else load_config(config)
    return base if model is None else replace(base, card=model)


def handle(arguments: argparse.Namespace) -> int:
    """Replay; exit code 0 also when cases are filed."""
    config = configured(arguments.config, arguments.model)
    out = arguments.out or Path("runs") / arguments.drives[0].resolve().name
    options = ReplayOptions(
        arguments.detections, arguments.known, arguments.store, arguments.platform,
        end_shift=arguments.end_shift, record=arguments.record,
    )  # fmt: skip
    with progress_bar(quiet=arguments.json) as tell:
        result = replay(arguments.drives, config, out, options, tell)
    if arguments.json:
        print_json(result_json(result))
    else:
        print_result(result, load_catalogue(MODELS))
    return 0
