"""`qiji model list|check|prepare|train|export|evaluate`: the trainer's commands."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

from models.commands import (
    check_data_sets,
    evaluate_model,
    export_model,
    prepare_data,
    require_train_extra,
    train_model,
)
from models.data_check import check_text
from models.figures import REPLICATES
from models.measure import MeasureParams
from models.prepare import PrepareParams
from models.report import report_text
from perception.card import load_card
from perception.catalogue import load_catalogue
from perception.detector import OnnxDetector
from vehicle.config import MODELS, SHIPPED_CARD
from vehicle.terminal import print_json, progress_bar

RECIPE = SHIPPED_CARD.with_name("recipe.toml")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("model", help="prepare data, train, export, evaluate and check detectors")
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("list", help="shipped models")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_list)
    v = verbs.add_parser("check", help="does a card agree with its ONNX file and the catalogue?")
    v.add_argument("card", type=Path, metavar="MODEL.toml")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_check)
    v = verbs.add_parser("data", help="check data sets: broken pictures and labels, leaks, balance, contact sheets")
    _recipe(v)
    v.add_argument("action", choices=("check",))
    v.add_argument("data", type=Path, nargs="+", metavar="DIR", help="images/, labels/, data.yaml; several: together")
    v.add_argument("--sheets", type=Path, metavar="DIR", help="write contact sheets as PNG here")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_data)
    v = verbs.add_parser("prepare", help="index photos (with teacher labels) or renders for training")
    _recipe(v)
    v.add_argument("--out", type=Path, required=True)
    v.add_argument("--weights", type=Path, help="COCO state dict of the teacher")
    v.add_argument("--photos", type=Path, nargs="+", default=[], help="folders with images/, labels/, data.yaml")
    v.add_argument("--renders", type=Path, help="folder of rendered pictures with data.yaml")
    v.add_argument("--calibration-share", type=float, default=0.1, help="of the training scenes (default 0.1)")
    v.add_argument("--seed", type=int, default=1, help="of the choice of those scenes (default 1)")
    v.add_argument("--skip-bad", action="store_true", help="leave broken pictures out and count them")
    v.set_defaults(handle=handle_prepare)
    v = verbs.add_parser("train", help="train on prepared folders; may be resumed")
    _recipe(v)
    v.add_argument("--prepared", type=Path, nargs="+", required=True)
    v.add_argument("--out", type=Path, required=True)
    v.add_argument("--weights", type=Path, help="state dict or checkpoint to start from")
    for name in ("epochs", "batch", "height", "width", "warmup-steps", "frozen-layers", "seed", "threads"):
        v.add_argument(f"--{name}", type=int)
    for name in ("lr", "final-lr-share", "weight-decay", "ema-steps"):
        v.add_argument(f"--{name}", type=float)
    v.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="mixed precision")
    v.add_argument("--resume", action="store_true")
    v.set_defaults(handle=handle_train)
    v = verbs.add_parser("export", help="checkpoint to ONNX")
    _recipe(v)
    v.add_argument("checkpoint", type=Path)
    v.add_argument("--out", type=Path, required=True, metavar="model.onnx")
    v.set_defaults(handle=handle_export)
    v = verbs.add_parser("evaluate", help="figures per class and source, curves as pictures; may write the card")
    _recipe(v)
    v.add_argument("onnx", type=Path)
    v.add_argument("--prepared", type=Path, nargs="+", required=True)
    v.add_argument("--out", type=Path, metavar="DIR", help="write report.json, report.txt and the curves as PNG here")
    v.add_argument("--card", type=Path, help="write this model card")
    v.add_argument("--people", type=Path, metavar="FILE.jsonl", help="hand-made boxes of people to be found")
    v.add_argument("--bootstrap", type=int, default=REPLICATES, help="redraws for intervals (default 1000)")
    v.add_argument("--threads", type=int, default=2)
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_evaluate)


def _recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="classes, sources and sizes (default: shipped)")


def _show_progress() -> None:
    """The trainer reports how far it is through its log."""
    logging.getLogger("models").setLevel(logging.INFO)


def handle_list(arguments: argparse.Namespace) -> int:
    """Name, licence and classes of every shipped card."""
    catalogue = load_catalogue(MODELS)
    rows = []
    for file in sorted(MODELS.glob("*/model.toml")):
        card = load_card(file, catalogue)
        licence = dict(card.notes.get("licence", {})).get("weights", "?")
        rows.append({"name": card.name, "card": str(file), "licence": licence, "classes": list(card.class_names)})
    if arguments.json:
        print_json(rows)
    else:
        for row in rows:
            print(f"{row['name']}  ({row['licence']})  {', '.join(row['classes'])}")
    return 0


def handle_check(arguments: argparse.Namespace) -> int:
    """Load the card, run the network once; a mistake is a setup error (exit 2)."""
    card = load_card(arguments.card, load_catalogue(MODELS))
    OnnxDetector(card)
    facts = {"name": card.name, "sha256": card.sha256, "decoder": card.decoder, "classes": list(card.class_names)}
    print_json(facts) if arguments.json else print(f"{card.name}: card, network and catalogue agree")
    return 0


def handle_data(arguments: argparse.Namespace) -> int:
    """Exit 1 when something is broken, leaking or unknown."""
    a = arguments
    with progress_bar(quiet=a.json) as tell:
        found = check_data_sets(a.recipe, a.data, load_catalogue(MODELS), a.sheets, tell)
    print_json(found.as_dict()) if a.json else print(check_text(found))
    return 0 if found.clean else 1


def handle_prepare(arguments: argparse.Namespace) -> int:
    """Write the index."""
    _show_progress()
    params = PrepareParams(arguments.calibration_share, arguments.seed, arguments.skip_bad)
    a = arguments
    result = prepare_data(a.recipe, a.out, a.weights, a.photos, a.renders, params)
    print_json(result.as_dict())
    return 0


def handle_train(arguments: argparse.Namespace) -> int:
    """Train; prints the checkpoint's path."""
    require_train_extra()
    from models.train import TrainParams

    _show_progress()
    names = [field.name for field in dataclasses.fields(TrainParams) if field.name != "prepared"]
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    print(train_model(arguments.recipe, TrainParams(prepared=tuple(arguments.prepared), **given)))
    return 0


def handle_export(arguments: argparse.Namespace) -> int:
    """Export; prints the hash."""
    print(export_model(arguments.recipe, arguments.checkpoint, arguments.out))
    return 0


def handle_evaluate(arguments: argparse.Namespace) -> int:
    """Print every figure; write the report folder and the card when asked."""
    a = arguments
    params = MeasureParams(replicates=a.bootstrap, threads=a.threads, hand=a.people)
    with progress_bar(quiet=a.json) as tell:
        result = evaluate_model(a.recipe, a.onnx, a.prepared, a.card, a.out, params, tell)
    print_json(result.as_dict()) if a.json else print(report_text(result))
    return 0
