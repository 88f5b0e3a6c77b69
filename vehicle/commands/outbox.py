"""`qiji outbox status|retry|export|enrol`: what waits on the car, what the platform refused, and who the car is."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.table import Table

from gnss.clock import SystemClock
from uplink.errors import StoreError
from uplink.export import STATES, export
from uplink.inspection import OutboxStatus, retry_dead, status
from uplink.keys import device_key
from uplink.transport import HttpTransport
from vehicle.terminal import print_json, screen

_PRIORITIES = {"0": "urgent", "1": "listed", "2": "candidates"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("outbox", help="look into the car's outbox")
    verbs = p.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("status", "counts by state, losses, last errors"),
        ("retry", "make refused events ready again (the car must not be running)"),
        ("export", "write undelivered events, pictures and the evidence chain into a folder"),
        ("enrol", "bring the car's public key to a platform"),
    ):
        v = verbs.add_parser(verb, help=text)
        v.add_argument("store", type=Path, metavar="STORE", help="the store file (cases.sqlite)")
        v.add_argument("--json", action="store_true")
        if verb == "status":
            v.add_argument("--check", action="store_true", help="exit code 1 when something was refused or lost")
        elif verb == "retry":
            v.add_argument("--uid", metavar="UID", help="only this event")
        elif verb == "export":
            v.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
            v.add_argument(
                "--state", action="append", choices=STATES, help="events in this state (default: ready and dead)"
            )
        else:
            v.add_argument("--platform", required=True, metavar="URL")
            v.add_argument("--code", required=True, help="the code of the platform's invitation")
        v.set_defaults(handle=globals()[f"handle_{verb}"])


def handle_status(arguments: argparse.Namespace) -> int:
    """Print the state of the outbox."""
    state = status(arguments.store)
    if arguments.json:
        print_json(state.to_dict())
    else:
        _print(state)
    return 1 if arguments.check and state.needs_attention else 0


def _print(state: OutboxStatus) -> None:
    console = screen()
    console.print(f"device {state.device}, epoch {state.epoch}, newest event {state.last_seq}")
    table = Table(title="outbox", title_justify="left")
    for name in ("what", "state", "count"):
        table.add_column(name, justify="right" if name == "count" else "left", no_wrap=True)
    for what, counts in (("events", state.events), ("pictures", state.blobs), ("cases", state.cases)):
        for name, count in counts.items():
            table.add_row(what, name, str(count))
    for prio, count in state.waiting.items():
        table.add_row("waiting", _PRIORITIES.get(prio, prio), str(count))
    for what, count in state.losses.items():
        table.add_row("loss", what, str(count), style="red")
    console.print(table)
    console.print(f"{state.blob_bytes_ready / 1e6:.1f} MB of pictures wait")
    for why, count in state.refusals.items():
        console.print(f"still here: {count} x {why}")
    if state.holes:
        console.print(f"[red]memory damaged[/] in {state.holes} tiles; the platform has not completed it yet")
    for row in state.dead:
        console.print(f"[red]refused[/] {row['uid']} (case {row['case_uid']}): {row['last_error']}")
    if state.dead:
        console.print("mend the cause, then: qiji outbox retry STORE", markup=False)


def handle_retry(arguments: argparse.Namespace) -> int:
    """Requeue the dead letters."""
    count = retry_dead(arguments.store, SystemClock(), arguments.uid)
    print_json({"requeued": count}) if arguments.json else print(f"{count} items are ready again")
    return 0


def handle_export(arguments: argparse.Namespace) -> int:
    """Copy what is undelivered."""
    count = export(arguments.store, arguments.out, tuple(arguments.state or ("ready", "dead")))
    print_json({"exported": count}) if arguments.json else print(f"{count} events written to {arguments.out}")
    return 0


def handle_enrol(arguments: argparse.Namespace) -> int:
    """Make the car's key where there is none, and bring its public half to the platform."""
    device = status(arguments.store).device
    key = device_key(arguments.store.parent / "keys").public
    reply = HttpTransport(arguments.platform).enrol(device, arguments.code, key.raw_base64())
    if reply.status != 201:
        why = reply.error or f"{reply.status} {reply.body[:200].decode(errors='replace')}"
        raise StoreError(f"the platform did not take the key: {why}", remedy="ask for a new invitation")
    print_json({"device": device, "keyid": key.id}) if arguments.json else print(f"{device} is enrolled: {key.id}")
    return 0
