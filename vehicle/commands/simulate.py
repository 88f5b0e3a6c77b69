"""`qiji simulate`: drives through a made-up street, with the truth, to replay and score."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perception.card import load_card
from perception.catalogue import load_catalogue
from replays.world.rig import CAMERAS
from replays.world.sets import WORLDS, Plan, SetWritten, only, planned, write_set
from vehicle.config import MODELS, SHIPPED_CARD
from vehicle.terminal import print_json, progress_bar


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("simulate", help="drives through a simulated street, with truth, to replay and score")
    p.add_argument("--seed", type=int, required=True, metavar="N", help="the same number gives the same bytes")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty folder; one drive folder each")
    p.add_argument("--world", choices=WORLDS, default=WORLDS[0], help=f"generator (default {WORLDS[0]})")
    p.add_argument("--passes", type=int, default=3, metavar="N", help="passes (default 3; nasty worlds have their own)")
    p.add_argument("--days", type=int, default=2, metavar="N", help="days they are spread over (default 2)")
    p.add_argument("--vehicles", type=int, default=2, metavar="N", help="cars that take turns (default 2)")
    p.add_argument("--camera", action="append", choices=sorted(CAMERAS), help="may be given again (default front)")
    p.add_argument("--model", type=Path, default=SHIPPED_CARD, metavar="MODEL.toml", help="whose classes there may be")
    p.add_argument("--json", action="store_true")
    p.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Write the set and say what is in it."""
    cameras = tuple(dict.fromkeys(arguments.camera or ["front"]))
    plan = Plan(arguments.passes, arguments.vehicles, arguments.days, cameras)
    world, rides, card = planned(arguments.world, arguments.seed, plan)
    # Recorded boxes are judged by a card's thresholds: what the card has no class for would only count as missed.
    known = load_card(arguments.model, load_catalogue(MODELS)).thresholds()
    left_out = sorted({t.class_name for t in world.things} - set(known))
    with progress_bar(quiet=arguments.json) as tell:
        written = write_set(only(world, known), rides, card, arguments.seed, arguments.out, tell)
    if arguments.json:
        print_json(_tree(written, arguments.out, left_out))
    else:
        print(_text(written, arguments.out, left_out))
    return 0


def _tree(written: SetWritten, out: Path, left_out: list[str]) -> dict[str, Any]:
    return {
        "world": written.world.name,
        "seed": written.world.seed,
        "out": str(out),
        "card": written.card.to_dict(),
        "things": len(written.world.things),
        "problems": written.problems,
        "left_out_classes": left_out,
        "drives": [asdict(drive) for drive in written.drives],
    }


def _text(written: SetWritten, out: Path, left_out: list[str]) -> str:
    world, card = written.world, written.card
    problems = ", ".join(f"{count} {name}" for name, count in written.problems.items()) or "none"
    lines = [f"world {world.name}, seed {world.seed}: {len(world.things)} things; problems in view: {problems}"]
    if left_out:
        lines.append(f"left out, because the model has no such class: {', '.join(left_out)}")
    lines += [
        f"  {out / d.name}: {d.vehicle}, {d.start_utc}, {d.duration_s:.0f} s, {d.frames} frames, "
        f"{d.boxes} boxes, {d.clutter} of them clutter"
        for d in written.drives
    ]
    numbers = ", ".join(f"{key} {value}" for key, value in card.to_dict().items() if key != "name")
    lines.append(f"noise card {card.name}: {numbers}")
    truth = out / written.drives[0].name / "truth.geojson"
    lines.append(f"next: qiji replay {out}/* --out RUN --detections recorded; qiji score RUN --truth {truth}")
    return "\n".join(lines)
