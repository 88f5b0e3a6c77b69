"""`qiji demo`: the sample drive through model and platform to a report, in one command."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import replays
from perception.catalogue import Catalogue, load_catalogue
from perception.errors import SetupError
from replays.score import Score, score_run
from uplink.platform.serve import LocalPlatform
from vehicle.config import MODELS, Config
from vehicle.folders import emptied, platform_beside
from vehicle.replay import ReplayOptions, ReplayResult, replay
from vehicle.terminal import print_result, progress_bar, screen

SAMPLE = Path(replays.__file__).parent / "samples" / "patrol-street"
RADIUS_M = 3.0
LEAST_RATE = 0.8


@dataclass(frozen=True, slots=True)
class Shown:
    """One case as the platform lists it: state, how many pictures it was told of, and whether it has all of them."""

    state: str
    pictures: int
    complete: bool


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("demo", help="replay the sample drive into a local platform and write the report")
    p.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder (default runs/demo)")
    p.add_argument("--model", type=Path, metavar="MODEL.toml", help="model card (default: the shipped one)")
    p.add_argument("--no-wait", action="store_true", help="do not keep the console open on a terminal")
    p.set_defaults(handle=handle)


def received(url: str) -> dict[str, Shown]:
    """Cases that the platform lists, by id."""
    with urllib.request.urlopen(f"{url}/v1/cases?limit=1000", timeout=10) as reply:  # noqa: S310
        rows = json.load(reply)["cases"]
    return {
        row["case_id"]: Shown(row["state"], len(row["evidence"]), row["evidence_state"] == "complete") for row in rows
    }


def checks(
    result: ReplayResult, shown: Mapping[str, Shown], catalogue: Catalogue, score: Score
) -> list[tuple[bool, str]]:
    """What the demo claims to show, and whether it holds."""
    mine = {case.id: case.state.value for case in result.listed}
    theirs = {name: case.state for name, case in shown.items()}
    filed = sum(shown[name].state == state for name, state in mine.items() if name in shown)
    pictures = sum(case.pictures for case in shown.values())
    rows = [
        (mine == theirs and bool(mine), f"the platform lists {filed} of the run's {len(mine)} cases, and no other"),
        (
            result.unsent == 0 and all(case.complete for case in shown.values()),
            f"everything is acknowledged, {pictures} pictures of these cases with it",
        ),
    ]
    with_picture = {catalogue.kinds[case.kind].family for case in result.listed if case.evidence}
    for family in sorted({kind.family for kind in catalogue.kinds.values()}):
        rows.append((family in with_picture, f"a case of family {family} was filed with a picture"))
    for name, rate in (("recall", score.total.recall), ("precision", score.total.precision)):
        said = "none" if rate is None else f"{rate:.2f}"
        rows.append(((rate or 0.0) >= LEAST_RATE, f"{name} {said} at {RADIUS_M:.0f} m, wanted {LEAST_RATE}"))
    return rows


def handle(arguments: argparse.Namespace) -> int:
    """Exit 0 when every check holds, else 1."""
    if not SAMPLE.exists():
        raise SetupError("is missing", file=SAMPLE, remedy="restore replays/samples from the repository")
    catalogue = load_catalogue(MODELS)
    config = Config() if arguments.model is None else Config(card=arguments.model)
    data = emptied(platform_beside(arguments.out))
    with LocalPlatform.start(data) as platform:
        with progress_bar() as tell:
            result = replay([SAMPLE], config, arguments.out, ReplayOptions(platform=platform.url), tell)
        print_result(result, catalogue)
        score = score_run(arguments.out, SAMPLE / "truth.geojson", RADIUS_M)
        rows = checks(result, received(platform.url), catalogue, score)
        _say(rows, score, arguments.out, platform.url, data)
        if sys.stdin.isatty() and not arguments.no_wait:
            print("The console stays open until you press Enter.")
            sys.stdin.readline()
    return 0 if all(holds for holds, _ in rows) else 1


def _say(rows: list[tuple[bool, str]], score: Score, out: Path, url: str, data: Path) -> None:
    console: Console = screen()
    if score.matches:
        off = sorted(match.distance_m for match in score.matches)
        console.print(
            f"against the truth: {len(score.matches)} found, {len(score.missed)} missed, {len(score.false)} false; "
            f"median {off[len(off) // 2]:.2f} m off, worst {off[-1]:.2f} m"
        )
    for spot in score.missed:
        console.print(f"  missed {spot.kind} {spot.id}")
    for spot in score.false:
        console.print(f"  false {spot.kind} {spot.id}")
    for holds, text in rows:
        console.print(f"[green]✓[/] {text}" if holds else f"[red]✗ {text}[/]")
    console.print(f"report   {out / 'report.html'}", soft_wrap=True)
    console.print(f"console  {url}/   (later: qiji platform serve --data {data})", soft_wrap=True)
