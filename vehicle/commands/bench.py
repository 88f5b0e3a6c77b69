"""`qiji bench cases` and `qiji bench speed`: the published benchmark of cases, and end-to-end frames/s."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from perception.catalogue import load_catalogue
from perception.errors import SetupError
from replays.bench.rig import Rig
from replays.bench.suite import DEFAULT_SEED, EXPERIMENTS, FULL, QUICK, Outcome, run, text, to_dict
from vehicle.bench import speed, speed_text
from vehicle.commands.demo import SAMPLE
from vehicle.commands.replay import configured
from vehicle.config import MODELS, SHIPPED_CARD, Config
from vehicle.terminal import print_json, progress_bar

SIMULATED_THRESHOLD = 0.3
"""Case threshold of every class: the simulated detector says nothing below."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    p = commands.add_parser("bench", help="measure; ratios within one run, never absolute promises")
    verbs = p.add_subparsers(dest="verb", required=True)
    _add_speed(verbs)
    _add_cases(verbs)


def _add_speed(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("speed", help="end to end over bare session.run, and milliseconds per stage")
    v.add_argument("--drive", type=Path, default=SAMPLE)
    v.add_argument("--config", type=Path, metavar="CAR.toml")
    v.add_argument("--model", type=Path, metavar="MODEL.toml")
    v.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    v.add_argument("--threads", type=int, help="threads of the network (default: one per core)")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_speed)


def _add_cases(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("cases", help="simulated streets with truth: places, ellipses, duplicates, resolves, cost")
    v.add_argument("--seed", type=int, default=DEFAULT_SEED, help=f"seed of all worlds (default {DEFAULT_SEED})")
    v.add_argument("--only", metavar="NAME,NAME", help=f"some of: {', '.join(EXPERIMENTS)}")
    v.add_argument("--quick", action="store_true", help="a twentieth of the worlds: a minute instead of ten")
    v.add_argument("--size", type=float, help="share of the full worlds, above 0; overrides --quick")
    v.add_argument("--processes", type=int, default=2, help="worlds at a time (default 2)")
    v.add_argument("--config", type=Path, metavar="CAR.toml", help="tuning to measure (default: the shipped one)")
    v.add_argument("--details", action="store_true", help="print figures by class, grade and camera too")
    v.add_argument("--gate", action="store_true", help="exit 1 when a goal is missed")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_cases)


def handle_speed(arguments: argparse.Namespace) -> int:
    """Print the ratio and the stages."""
    config = configured(arguments.config, arguments.model)
    if arguments.threads is not None:
        config = replace(config, threads=arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = speed(arguments.drive, config, arguments.rounds, Path(folder))
    print_json(result) if arguments.json else print(speed_text(result))
    return 0


def handle_cases(arguments: argparse.Namespace) -> int:
    """Print the page; with `--gate` exit 1 when a goal is missed."""
    outcome = measure_cases(arguments)
    print_json(to_dict(outcome)) if arguments.json else print(text(outcome, details=arguments.details))
    return 1 if arguments.gate and not outcome.passed else 0


def measure_cases(arguments: argparse.Namespace) -> Outcome:
    """Run what was asked for; SetupError for an unknown experiment or a size that is none."""
    names = [name.strip() for name in (arguments.only or "").split(",") if name.strip()]
    for name in names:
        if name not in EXPERIMENTS:
            raise SetupError(f"no experiment is called {name!r}", remedy=f"--only takes {', '.join(EXPERIMENTS)}")
    size = arguments.size if arguments.size is not None else QUICK if arguments.quick else FULL
    if not size > 0:
        raise SetupError(f"--size {size} is no share of the worlds", remedy="give a number above 0")
    if arguments.seed < 0:
        raise SetupError(f"--seed {arguments.seed} is negative", remedy="give 0 or more")
    with progress_bar(quiet=not sys.stderr.isatty()) as tell:
        return run(rig_of(configured(arguments.config, None)), arguments.seed, size, names, arguments.processes, tell)


def rig_of(config: Config) -> Rig:
    """What the benchmark's pipelines are built from: the car's tuning, the whole catalogue, the shipped model."""
    catalogue = load_catalogue(MODELS)
    return Rig(catalogue, dict.fromkeys(catalogue.classes, SIMULATED_THRESHOLD), config.params, SHIPPED_CARD)
