"""`qiji demo`: the sample drive through model and platform to a report, in one command."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import replays
from perception.catalogue import Catalogue, load_catalogue
from perception.errors import SetupError
from replays.score import score_run, score_text
from uplink.platform.serve import LocalPlatform
from vehicle.config import MODELS, Config
from vehicle.folders import emptied, platform_beside
from vehicle.replay import ReplayOptions, ReplayResult, replay
from vehicle.terminal import print_result, progress_bar

SAMPLE = Path(replays.__file__).parent / "samples" / "patrol-street"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("demo", help="replay the sample drive into a local platform and write the report")
    p.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder (default runs/demo)")
    p.add_argument("--no-wait", action="store_true", help="do not keep the console open on a terminal")
    p.set_defaults(handle=handle)


def received(url: str) -> dict[str, str]:
    """Cases that the platform lists: id -> state."""
    with urllib.request.urlopen(f"{url}/v1/cases?limit=1000", timeout=10) as reply:  # noqa: S310
        rows = json.load(reply)["cases"]
    return {row["case_id"]: row["state"] for row in rows}


def checked(result: ReplayResult, listed: dict[str, str], catalogue: Catalogue) -> list[str]:
    """What is wrong with a demo's result; empty when it shows what it should."""
    wrong = []
    mine = {case.id: case.state.value for case in result.listed}
    if mine != listed:
        wrong.append(f"the platform lists {len(listed)} cases, the run {len(mine)}; they differ")
    if result.unsent:
        wrong.append(f"{result.unsent} items are not acknowledged")
    families = {row.family for row in catalogue.kinds.values()}
    shown = {catalogue.kinds[case.kind].family for case in result.listed if case.evidence}
    wrong += [f"no case with a picture of the family {name}" for name in sorted(families - shown)]
    return wrong


def handle(arguments: argparse.Namespace) -> int:
    """Exit 0 when all four families were filed with pictures and acknowledged, else 1."""
    if not SAMPLE.exists():
        raise SetupError("is missing", file=SAMPLE, remedy="restore replays/samples from the repository")
    catalogue = load_catalogue(MODELS)
    data = platform_beside(arguments.out)
    with LocalPlatform.start(emptied(data)) as platform:
        print(f"console: {platform.url}/", file=sys.stderr)
        with progress_bar() as tell:
            options = ReplayOptions(platform=platform.url)
            result = replay([SAMPLE], replace(Config(), vehicle="demo-car"), arguments.out, options, tell)
        wrong = checked(result, received(platform.url), catalogue)
        print_result(result, catalogue)
        print(f"acknowledged by the platform: {len(result.listed)} of {len(result.listed)} cases" if not wrong else "")
        print(score_text(score_run(arguments.out, SAMPLE / "truth.geojson")))
        for line in wrong:
            print(f"demo: {line}", file=sys.stderr)
        print(f"report:  {arguments.out / 'report.html'}")
        print(f"console: {platform.url}/   (later: qiji platform serve --data {data})")
        if sys.stdin.isatty() and not arguments.no_wait:
            print("The console stays open until you press Enter.")
            sys.stdin.readline()
    return 1 if wrong else 0
