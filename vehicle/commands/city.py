"""`qiji city check CITY.toml`: does the atlas read, and what is in it?"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from gnss.atlas import load_atlas
from vehicle.terminal import print_json


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("city", help="the atlas a city provides")
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("check", help="read and validate a city.toml with its members")
    v.add_argument("city", type=Path, metavar="city.toml")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Print what is there; a broken member is a setup error (exit 2)."""
    atlas = load_atlas(arguments.city)
    zones = Counter(zone.kind for zone in atlas.zones)
    facts = {"name": atlas.name, "division": atlas.division, "zones": dict(sorted(zones.items()))}
    print_json(facts) if arguments.json else print("\n".join(f"{k}: {v}" for k, v in facts.items()))
    return 0
