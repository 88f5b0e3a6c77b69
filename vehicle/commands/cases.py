"""`qiji cases remerge STORE`: at the end of a shift, cases of one thing become one case."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table

from gnss.clock import SystemClock
from perception.remerge import Remerged
from perception.types import CaseChange, ChangeKind
from uplink.inspection import status
from uplink.store import SqliteStore
from vehicle.commands.replay import configured
from vehicle.setup import equip
from vehicle.shift import end_shift
from vehicle.terminal import print_json, screen


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("cases", help="work on the car's case memory")
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("remerge", help="end of a shift: solve all passes together and merge duplicates")
    v.add_argument(
        "store", type=Path, metavar="STORE", help="the store file (cases.sqlite); the car must not be running"
    )
    v.add_argument("--config", type=Path, metavar="CAR.toml", help="the car's configuration")
    v.add_argument("--dry-run", action="store_true", help="only show what would be merged")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_remerge)


def handle_remerge(arguments: argparse.Namespace) -> int:
    """Merge, commit and tell; the platform hears of it by the next delivery."""
    kit = equip(configured(arguments.config, None), detect=False)
    device = status(arguments.store).device
    with SqliteStore(arguments.store, device, SystemClock(), origin=kit.origin(kit.atlas(None))) as store:
        found = end_shift(store, kit.catalogue, dry_run=arguments.dry_run)
    if arguments.json:
        print_json(remerged_json(found, dry_run=arguments.dry_run))
    else:
        _print(found, dry_run=arguments.dry_run)
    return 0


def _gone(found: Remerged) -> list[CaseChange]:
    return [c for c in found.changes if c.change is ChangeKind.MERGED]


def remerged_json(found: Remerged, *, dry_run: bool) -> dict[str, Any]:
    """What became one and why, and which cases may be two things, for machines."""
    return {
        "dry_run": dry_run,
        "looked_at": sum(len(group) for group in found.groups),
        "merged": [{"case": c.case_id, "into": c.case.merged_into, "why": c.reason} for c in _gone(found)],
        "suspects": [
            {"case": s.case_id, "gap_m": round(s.gap_m, 2), "ln_evidence": round(s.ln_evidence, 2), "passes": s.others}
            for s in found.suspects
        ],
    }


def _print(found: Remerged, *, dry_run: bool) -> None:
    console, gone = screen(), _gone(found)
    if gone:
        table = Table(title="would become one" if dry_run else "became one", title_justify="left")
        for name in ("case", "into", "what", "why"):
            table.add_column(name, no_wrap=name in ("case", "into"))
        for c in gone:
            table.add_row(c.case_id, c.case.merged_into, c.case.class_name, c.reason)
        console.print(table)
    for s in found.suspects:
        console.print(f"{s.case_id}: its passes fall into two places {s.gap_m:.1f} m apart; perhaps two things")
    looked = sum(len(group) for group in found.groups)
    console.print(f"{looked} cases looked at, {len(gone)} {'would be merged' if dry_run else 'merged'}")
