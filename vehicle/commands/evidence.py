"""`qiji evidence verify DIR --key device.pub`: does exported evidence hold? Needs nothing but the public key."""

from __future__ import annotations

import argparse
from pathlib import Path

from uplink.errors import StoreError
from uplink.keys import PublicKey
from uplink.verify import Verdict, verify_folder
from vehicle.terminal import print_json, screen

_SHOWN = 50


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("evidence", help="check the chain of signed evidence")
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("verify", help="check an exported folder with the device's public key")
    v.add_argument("folder", type=Path, metavar="DIR", help="written by `qiji outbox export`")
    v.add_argument("--key", type=Path, required=True, metavar="device.pub", help="got from the device, not from DIR")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_verify)


def handle_verify(arguments: argparse.Namespace) -> int:
    """Exit code 0: everything holds. 1: something was changed, removed, repeated or never signed."""
    try:
        key = PublicKey.from_pem(arguments.key.read_bytes())
    except OSError as error:
        raise StoreError(
            f"cannot be read: {error.strerror}", file=arguments.key, remedy="name the key's file"
        ) from error
    except ValueError as error:
        raise StoreError(str(error), file=arguments.key, remedy="give the device's device.pub") from error
    verdict = verify_folder(arguments.folder, key)
    print_json(verdict.to_dict()) if arguments.json else _print(verdict)
    return 0 if verdict.ok else 1


def _print(verdict: Verdict) -> None:
    console = screen()
    for problem in verdict.problems[:_SHOWN]:
        console.print(f"{problem.where}: {problem.what}", style="red", markup=False)
    if len(verdict.problems) > _SHOWN:
        console.print(f"... and {len(verdict.problems) - _SHOWN} more")
    console.print(
        f"{verdict.links} links, {verdict.signed} signed; {verdict.bodies} bodies and {verdict.pictures} pictures "
        f"hold; {verdict.absent_pictures} signed pictures are not in the folder"
    )
    if verdict.memory_lost:
        console.print(f"{verdict.memory_lost} were filed while the car's memory was incomplete")
    told = "everything holds" if verdict.ok else f"{len(verdict.problems)} problems"
    console.print(told if verdict.signed else "nothing here is signed")
