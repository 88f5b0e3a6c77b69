"""`qiji run CAR.toml` and `qiji run --simulate DRIVE`: the car, live."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from perception.errors import SetupError
from uplink.platform.serve import LocalPlatform
from vehicle.commands.replay import configured
from vehicle.replay import fresh_store
from vehicle.run import LiveOptions, LiveResult, run_live
from vehicle.simulate import simulate
from vehicle.terminal import print_json


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("run", help="run live on cameras and a receiver, or simulate it with a recorded drive")
    p.add_argument("config", type=Path, nargs="?", metavar="CAR.toml")
    p.add_argument("--simulate", type=Path, metavar="DRIVE", help="play this drive in real time instead of devices")
    p.add_argument("--record", type=Path, metavar="DIR", help="record the drive that the pipeline saw")
    p.add_argument("--out", type=Path, metavar="DIR", help="write a run folder at the end")
    p.add_argument("--platform", metavar="URL", help="deliver cases to this platform")
    p.add_argument("--model", type=Path, metavar="MODEL.toml")
    p.add_argument("--json", action="store_true")
    p.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or the end of the played files."""
    if arguments.config is None and arguments.simulate is None:
        raise SetupError("nothing to run", remedy="give a CAR.toml, or --simulate DRIVE")
    config = configured(arguments.config, arguments.model)
    config = replace(config, platform_url=arguments.platform or config.platform_url)
    options = LiveOptions(arguments.record, arguments.out)
    if arguments.simulate is None:
        return _tell(run_live(config, options), arguments.json)
    base = arguments.out or Path("runs") / f"live-{arguments.simulate.resolve().name}"
    data = fresh_store(base) if arguments.config is None else config.data_dir
    record = arguments.record or base.with_name(base.name + ".drive")
    with ExitStack() as stack:
        if config.platform_url is None:
            platform = stack.enter_context(LocalPlatform.start(base.with_name(base.name + ".platform")))
            config = replace(config, platform_url=platform.url)
            print(f"console: {platform.url}/")
        result = simulate(arguments.simulate, replace(config, data_dir=data), LiveOptions(record, base))
    print(f"recorded: {record}   (qiji replay {record} --detections recorded ends with the same cases)")
    return _tell(result, arguments.json)


def _tell(result: LiveResult, as_json: bool) -> int:
    if as_json:
        print_json({"cases": result.cases, "counts": result.counts, "unsent": result.unsent})
        return 0
    for name, state in sorted(result.cases.items()):
        print(f"{name}  {state}")
    for name, count in result.counts.items():
        print(f"{name}: {count}")
    print("everything was acknowledged" if result.unsent == 0 else f"unsent: {result.unsent}")
    return 0
