"""`qiji run CAR.toml` and `qiji run --simulate DRIVE`: the car, live."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from perception.catalogue import load_catalogue
from perception.errors import SetupError
from replays.recording.shelf import Limits, target_of
from uplink.platform.serve import LocalPlatform
from vehicle.commands.replay import configured
from vehicle.config import MODELS, Config
from vehicle.folders import emptied, platform_beside, store_beside
from vehicle.run import LiveOptions, LiveResult, run_live
from vehicle.signals import Stopper, stop_on_signals
from vehicle.simulate import Simulation, simulate
from vehicle.terminal import print_json


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("run", help="run live on cameras and a receiver, or simulate it with a recorded drive")
    p.add_argument("config", type=Path, nargs="?", metavar="CAR.toml")
    p.add_argument("--simulate", type=Path, metavar="DRIVE", help="play this drive in real time instead of devices")
    add_record(p)
    p.add_argument("--out", type=Path, metavar="DIR", help="write a run folder at the end")
    p.add_argument("--platform", metavar="URL", help="deliver cases to this platform")
    p.add_argument("--model", type=Path, metavar="MODEL.toml")
    p.add_argument("--json", action="store_true")
    p.set_defaults(handle=handle)


def add_record(p: argparse.ArgumentParser) -> None:
    """Options of a run that may be recorded."""
    what = "record what the pipeline saw, redacted, as MCAP: a new file, or a folder that holds one recording per run"
    p.add_argument("--record", type=Path, metavar="FILE.mcap|DIR", help=what)
    add_limits(p)


def add_limits(p: argparse.ArgumentParser) -> None:
    """How much disk recordings may take."""
    p.add_argument(
        "--record-quota-gb", type=positive, default=64.0, metavar="GB", help="all recordings of DIR take at most this"
    )
    p.add_argument("--record-floor-gb", type=positive, default=2.0, metavar="GB", help="the disk keeps this much free")


def positive(text: str) -> float:
    """A number above zero; ValueError, which the parser turns into a usage error."""
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError(text)
    return value


def limits_of(arguments: argparse.Namespace) -> Limits:
    """Quota and floor in bytes."""
    quota, floor = (round(gb * 1e9) for gb in (arguments.record_quota_gb, arguments.record_floor_gb))
    return Limits(quota_bytes=quota, floor_bytes=floor)


def handle(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or the end of the played files."""
    if arguments.config is None and arguments.simulate is None:
        raise SetupError("nothing to run", remedy="give a CAR.toml, or --simulate DRIVE")
    config = configured(arguments.config, arguments.model)
    say = _to_stderr if sys.stderr.isatty() else None
    with stop_on_signals() as stopper:
        if arguments.simulate is None:
            config = replace(config, platform_url=arguments.platform or config.platform_url)
            result = run_live(
                config, LiveOptions(arguments.record, arguments.out, say=say, limits=limits_of(arguments)), stopper
            )
        else:
            result = _simulate(arguments, config, say, stopper)
    return _tell(result, arguments.json)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def _simulate(
    arguments: argparse.Namespace, config: Config, say: Callable[[str], None] | None, stopper: Stopper
) -> LiveResult:
    """A simulation has a memory and, unless one is named, a platform of its own: the car's are never written."""
    base: Path = arguments.out or Path("runs") / f"live-{arguments.simulate.resolve().name}"
    own = base.with_name(base.name + ".drive")
    record: Path = arguments.record or own
    limits = limits_of(arguments)
    target_of(record, limits)
    simulation = Simulation.prepare(arguments.simulate, config)
    if arguments.record is None:
        emptied(own)
    with ExitStack() as stack:
        url = arguments.platform
        if url is None:
            url = stack.enter_context(LocalPlatform.start(emptied(platform_beside(base)))).url
            print(f"console: {url}/", file=sys.stderr)
        config = replace(config, data_dir=emptied(store_beside(base)), platform_url=url)
        result = simulate(simulation, config, LiveOptions(record, base, say=say, limits=limits), stopper)
    print(f"recorded: {record}   (qiji replay {record} --detections recorded: the same cases)", file=sys.stderr)
    return result


def _tell(result: LiveResult, as_json: bool) -> int:
    if as_json:
        print_json({"cases": result.cases, "kinds": result.kinds, "counts": result.counts, "unsent": result.unsent})
        return 0
    kinds = load_catalogue(MODELS).kinds
    for name, state in sorted(result.cases.items(), key=lambda case: (result.kinds[case[0]], case[0])):
        kind = kinds[result.kinds[name]]
        print(f"{name}  {state:<10} {kind.title} {kind.title_zh}")
    for name, count in result.counts.items():
        print(f"{name}: {count}")
    print("the outbox is empty" if result.unsent == 0 else f"{result.unsent} items wait in the outbox")
    return 0
