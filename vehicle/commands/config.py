"""`qiji config show [CAR.toml]`: every parameter with its value."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vehicle.commands.replay import configured
from vehicle.params import as_table
from vehicle.terminal import print_json


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("config", help="show the configuration with every default")
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("show", help="print all parameters")
    v.add_argument("config", type=Path, nargs="?", metavar="CAR.toml")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle)


def _lines(table: dict[str, Any], where: str) -> list[str]:
    flat = [f"{key} = {value}" for key, value in table.items() if not isinstance(value, dict)]
    lines = [f"[{where}]", *flat, ""]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{where}.{key}")
    return lines


def handle(arguments: argparse.Namespace) -> int:
    """Print it as TOML-like text or JSON."""
    config = configured(arguments.config, None)
    table, inference = as_table(config.params), as_table(config.inference)
    if arguments.json:
        print_json({"vehicle": config.vehicle, "model": str(config.card), "inference": inference, "params": table})
    else:
        print(f"vehicle = {config.vehicle}\nmodel = {config.card}\ncity = {config.city}\n")
        print("\n".join(_lines(inference, "inference") + _lines(table, "params")))
    return 0
