"""`qiji outbox status|retry|export`: what waits on the car, what the platform refused."""

from __future__ import annotations

import argparse
from pathlib import Path

from gnss.clock import SystemClock
from uplink.inspection import export, retry_dead, status
from vehicle.terminal import print_json


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("outbox", help="look into the car's outbox")
    verbs = p.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("status", "counts by state, losses, last errors"),
        ("retry", "make refused events ready again"),
        ("export", "write undelivered events and pictures into a folder"),
    ):
        v = verbs.add_parser(verb, help=text)
        v.add_argument("store", type=Path, metavar="STORE", help="the store file (cases.sqlite)")
        v.add_argument("--json", action="store_true")
        if verb == "export":
            v.add_argument("--out", type=Path, required=True)
        v.set_defaults(handle=globals()[f"handle_{verb}"])


def handle_status(arguments: argparse.Namespace) -> int:
    """Print the state of the outbox."""
    state = status(arguments.store).to_dict()
    if arguments.json:
        print_json(state)
    else:
        for key, value in state.items():
            print(f"{key}: {value}")
    return 0


def handle_retry(arguments: argparse.Namespace) -> int:
    """Requeue the dead letters."""
    count = retry_dead(arguments.store, SystemClock())
    print_json({"requeued": count}) if arguments.json else print(f"{count} events are ready again")
    return 0


def handle_export(arguments: argparse.Namespace) -> int:
    """Copy what is undelivered."""
    count = export(arguments.store, arguments.out)
    print_json({"exported": count}) if arguments.json else print(f"{count} events written to {arguments.out}")
    return 0
