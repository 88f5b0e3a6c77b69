"""`qiji score RUN_DIR --truth truth.geojson` and `qiji compare RUN_A RUN_B`: the engineer's gates."""

from __future__ import annotations

import argparse
from pathlib import Path

from replays.compare import compare_runs, comparison_text, comparison_to_dict
from replays.score import score_run, score_text, score_to_dict
from vehicle.terminal import print_json


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare both commands."""
    p = commands.add_parser("score", help="compare a run with the truth: precision, recall, distances")
    p.add_argument("run", type=Path, metavar="RUN_DIR")
    p.add_argument("--truth", type=Path, required=True, metavar="truth.geojson")
    p.add_argument("--radius", type=float, default=3.0, metavar="M", help="matching radius in metres (default 3)")
    p.add_argument("--min-recall", type=float, default=0.0, help="exit 1 below this recall")
    p.add_argument("--min-precision", type=float, default=0.0, help="exit 1 below this precision")
    p.add_argument("--json", action="store_true")
    p.set_defaults(handle=handle_score)
    p = commands.add_parser("compare", help="what differs between two runs")
    p.add_argument("run_a", type=Path, metavar="RUN_A")
    p.add_argument("run_b", type=Path, metavar="RUN_B")
    p.add_argument("--json", action="store_true")
    p.set_defaults(handle=handle_compare)


def handle_score(arguments: argparse.Namespace) -> int:
    """Exit 1 when a wanted rate is not reached."""
    score = score_run(arguments.run, arguments.truth, arguments.radius)
    print_json(score_to_dict(score)) if arguments.json else print(score_text(score))
    return 0 if score.passes(arguments.min_recall, arguments.min_precision) else 1


def handle_compare(arguments: argparse.Namespace) -> int:
    """Exit 1 when the runs differ."""
    comparison = compare_runs(arguments.run_a, arguments.run_b)
    print_json(comparison_to_dict(comparison)) if arguments.json else print(comparison_text(comparison))
    return 0 if comparison.equal else 1
