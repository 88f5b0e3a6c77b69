"""`qiji bench speed`: end-to-end frames/s of a replay over frames/s of the bare network on the same frames."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from vehicle.bench import speed, speed_text
from vehicle.commands.demo import SAMPLE
from vehicle.commands.replay import configured
from vehicle.terminal import print_json


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("bench", help="measure; ratios within one run, never absolute promises")
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("speed", help="end to end over bare session.run, and milliseconds per stage")
    v.add_argument("--drive", type=Path, default=SAMPLE)
    v.add_argument("--config", type=Path, metavar="CAR.toml")
    v.add_argument("--model", type=Path, metavar="MODEL.toml")
    v.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    v.add_argument("--threads", type=int, help="threads of the network (default: one per core)")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Print the ratio and the stages."""
    config = configured(arguments.config, arguments.model)
    if arguments.threads is not None:
        config = replace(config, threads=arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = speed(arguments.drive, config, arguments.rounds, Path(folder))
    print_json(result) if arguments.json else print(speed_text(result))
    return 0
