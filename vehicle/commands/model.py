"""`qiji model list|check|data|prepare|train|export|evaluate|promote`: the trainer's commands."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from models import commands as trainer
from models.class_list import class_facts, class_text
from models.data_check import check_text
from models.errors import TrainingSetupError
from models.figures import REPLICATES
from models.measure import MeasureParams
from models.precision import PRECISIONS
from models.prepare import PrepareParams
from models.recipe import load_recipe
from models.report import report_text
from models.twins import twins_text
from perception.card import ModelCard, load_card
from perception.catalogue import load_catalogue
from perception.detector import OnnxDetector
from perception.errors import SetupError
from perception.types import Frame
from vehicle.config import MODELS, SHIPPED_CARD, Config, load_config
from vehicle.sample_runs import SAMPLES, found_by, sample_drives
from vehicle.terminal import print_json, progress_bar

RECIPE = SHIPPED_CARD.with_name("recipe.toml")
Verbs = argparse._SubParsersAction


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("model", help="check data, prepare, train, export, evaluate, check and promote detectors")
    verbs = p.add_subparsers(dest="verb", required=True)
    for declare in (
        _add_list,
        _add_check,
        _add_data,
        _add_prepare,
        _add_train,
        _add_export,
        _add_evaluate,
        _add_promote,
    ):
        declare(verbs)


def _recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="classes, sources and sizes (default: shipped)")


def _prepared(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    told = "folders that `model prepare` wrote"
    parser.add_argument("--prepared", type=Path, nargs="+", required=required, default=[], metavar="DIR", help=told)


def _measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--people", type=Path, metavar="FILE.jsonl", help="hand-made boxes of people to be found")
    parser.add_argument("--bootstrap", type=int, default=REPLICATES, help="redraws for intervals (default 1000)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")


def _add_list(verbs: Verbs[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("list", help="shipped models, or every class and what a model knows of it")
    v.add_argument("--classes", action="store_true", help="the catalogue: kinds, aliases, what was learnt from what")
    v.add_argument("--model", type=Path, default=SHIPPED_CARD, metavar="MODEL.toml", help="whose classes")
    _recipe(v)
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_list)


def _add_check(verbs: Verbs[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("check", help="does a card agree with its ONNX file, the catalogue, and another form of it?")
    v.add_argument("card", type=Path, metavar="MODEL.toml")
    v.add_argument("--image", type=Path, help="a picture to look at (default: the first of the sample drive)")
    v.add_argument("--against", type=Path, metavar="CHECKPOINT", help="last.pt or an ONNX file to agree with")
    v.add_argument("--data", type=Path, nargs="+", default=[], metavar="DIR", help="prepared folders, for --against")
    v.add_argument("--recipe", type=Path, help="for --against (default: recipe.toml beside the card)")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_check)


def _add_data(verbs: Verbs[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("data", help="check data sets: broken pictures and labels, leaks, balance, contact sheets")
    _recipe(v)
    v.add_argument("action", choices=("check",))
    v.add_argument("data", type=Path, nargs="+", metavar="DIR", help="images/, labels/, data.yaml; several: together")
    v.add_argument("--sheets", type=Path, metavar="DIR", help="write contact sheets as PNG here")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_data)


def _add_prepare(verbs: Verbs[argparse.ArgumentParser]) -> None:
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


def _add_train(verbs: Verbs[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("train", help="train on prepared folders; may be resumed")
    _recipe(v)
    _prepared(v)
    v.add_argument("--out", type=Path, required=True)
    v.add_argument("--weights", type=Path, help="state dict or checkpoint to start from")
    for name in ("epochs", "batch", "height", "width", "warmup-steps", "frozen-layers", "seed", "threads"):
        v.add_argument(f"--{name}", type=int)
    for name in ("lr", "final-lr-share", "weight-decay", "ema-steps"):
        v.add_argument(f"--{name}", type=float)
    v.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="mixed precision")
    v.add_argument("--resume", action="store_true")
    v.set_defaults(handle=handle_train)


def _add_export(verbs: Verbs[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("export", help="checkpoint (or an fp32 ONNX file) to ONNX")
    _recipe(v)
    v.add_argument("checkpoint", type=Path)
    v.add_argument("--out", type=Path, required=True, metavar="model.onnx")
    v.add_argument("--precision", choices=PRECISIONS, default="fp32", help="int8: convolutions only; fp16: for GPUs")
    _prepared(v, required=False)
    v.set_defaults(handle=handle_export)


def _add_evaluate(verbs: Verbs[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("evaluate", help="figures per class and source, curves as pictures; may write the card")
    _recipe(v)
    v.add_argument("onnx", type=Path)
    _prepared(v)
    v.add_argument("--out", type=Path, metavar="DIR", help="write report.json, report.txt and the curves as PNG here")
    v.add_argument("--card", type=Path, help="write this model card")
    _measuring(v)
    v.set_defaults(handle=handle_evaluate)


def _add_promote(verbs: Verbs[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("promote", help="may it replace the current detector? Then write file, card and recipe")
    _recipe(v)
    v.add_argument("onnx", type=Path)
    _prepared(v)
    v.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the promoted model")
    v.add_argument("--current", type=Path, default=SHIPPED_CARD, metavar="MODEL.toml", help="default: the shipped one")
    v.add_argument("--config", type=Path, metavar="CAR.toml", help="configuration of the replays")
    v.add_argument("--drives", type=Path, default=SAMPLES, metavar="DIR", help="of drives to replay (default: samples)")
    v.add_argument("--no-drives", action="store_true", help="replay none; the card will say so")
    _measuring(v)
    v.set_defaults(handle=handle_promote)


def _show_progress() -> None:
    """The trainer reports how far it is through its log."""
    logging.getLogger("models").setLevel(logging.INFO)


def handle_list(arguments: argparse.Namespace) -> int:
    """Name, licence and classes of every shipped card, or the facts of every catalogue class."""
    catalogue = load_catalogue(MODELS)
    if arguments.classes:
        rows = class_facts(catalogue, load_card(arguments.model, catalogue), load_recipe(arguments.recipe).aliases)
        print_json([row.as_dict() for row in rows]) if arguments.json else print(class_text(rows))
        return 0
    models = []
    for file in sorted(MODELS.glob("*/model.toml")):
        card = load_card(file, catalogue)
        licence = dict(card.notes.get("licence", {})).get("weights", "?")
        models.append({"name": card.name, "card": str(file), "licence": licence, "classes": list(card.class_names)})
    if arguments.json:
        print_json(models)
    else:
        for row in models:
            print(f"{row['name']}  ({row['licence']})  {', '.join(row['classes'])}")
    return 0


def handle_check(arguments: argparse.Namespace) -> int:
    """Load the card, look at a picture; a mistake is a setup error (exit 2), a twin that disagrees a finding (1)."""
    card = load_card(arguments.card, load_catalogue(MODELS))
    found = _look(card, arguments.image)
    facts = {
        "name": card.name, "sha256": card.sha256, "decoder": card.decoder, "classes": list(card.class_names),
        "input_wh": list(card.input_wh), "found": found,
    }  # fmt: skip
    if arguments.against is None:
        told = ", ".join(f"{count} {name}" for name, count in found.items()) or "nothing"
        print_json(facts) if arguments.json else print(
            f"{card.name}: card, network and catalogue agree; on the picture: {told}"
        )
        return 0
    if not arguments.data:
        raise TrainingSetupError("--against needs pictures", remedy="give --data with prepared folders")
    recipe = arguments.recipe or card.file.with_name("recipe.toml")
    with progress_bar(quiet=arguments.json) as tell:
        twins = trainer.compare_model(recipe, card.onnx, arguments.against, arguments.data, tell=tell)
    print_json({**facts, "against": twins.as_dict()}) if arguments.json else print(twins_text(twins))
    return 0 if twins.agree else 1


def _look(card: ModelCard, file: Path | None) -> dict[str, int]:
    """Detections per class above the case thresholds in a picture, or in the first one of the sample drive."""
    named = file or SAMPLES / "patrol-street" / "front.mp4"
    image = cv2.imread(str(named)) if file is not None else cv2.VideoCapture(str(named)).read()[1]
    if image is None:
        raise SetupError("is no picture", file=named, remedy="give --image FILE.jpg")
    seen = OnnxDetector(card).detect(Frame(0, "check", 0, np.asarray(image, np.uint8)))
    least = card.thresholds()
    names = [seen.class_names[i] for i in seen.class_id]
    sure = [name for name, confidence in zip(names, seen.confidence, strict=True) if confidence >= least[name]]
    return {name: sure.count(name) for name in sorted(set(sure))}


def handle_data(arguments: argparse.Namespace) -> int:
    """Exit 1 when something is broken, leaking or unknown."""
    a = arguments
    with progress_bar(quiet=a.json) as tell:
        found = trainer.check_data_sets(a.recipe, a.data, load_catalogue(MODELS), a.sheets, tell)
    print_json(found.as_dict()) if a.json else print(check_text(found))
    return 0 if found.clean else 1


def handle_prepare(arguments: argparse.Namespace) -> int:
    """Write the index."""
    _show_progress()
    a = arguments
    params = PrepareParams(a.calibration_share, a.seed, a.skip_bad)
    print_json(trainer.prepare_data(a.recipe, a.out, a.weights, a.photos, a.renders, params).as_dict())
    return 0


def handle_train(arguments: argparse.Namespace) -> int:
    """Train; prints the checkpoint's path."""
    trainer.require_train_extra()
    from models.train import TrainParams

    _show_progress()
    names = [field.name for field in dataclasses.fields(TrainParams) if field.name != "prepared"]
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    print(trainer.train_model(arguments.recipe, TrainParams(prepared=tuple(arguments.prepared), **given)))
    return 0


def handle_export(arguments: argparse.Namespace) -> int:
    """Export; prints the hash."""
    a = arguments
    print(trainer.export_model(a.recipe, a.checkpoint, a.out, a.precision, a.prepared))
    return 0


def handle_evaluate(arguments: argparse.Namespace) -> int:
    """Print every figure; write the report folder and the card when asked."""
    a = arguments
    params = MeasureParams(replicates=a.bootstrap, threads=a.threads, hand=a.people)
    with progress_bar(quiet=a.json) as tell:
        result = trainer.evaluate_model(a.recipe, a.onnx, a.prepared, a.card, a.out, params, tell)
    print_json(result.as_dict()) if a.json else print(report_text(result))
    return 0


def handle_promote(arguments: argparse.Namespace) -> int:
    """Exit 1 when the candidate is rejected; then nothing is written."""
    a = arguments
    params = MeasureParams(replicates=a.bootstrap, threads=a.threads, hand=a.people)
    config = Config() if a.config is None else load_config(a.config)
    drives = [] if a.no_drives else sample_drives(a.drives)
    if not drives and not a.no_drives:
        raise SetupError("holds no drive with a truth", file=a.drives, remedy="give --drives DIR, or --no-drives")
    with progress_bar(quiet=a.json) as tell:
        runner = partial(found_by, drives=drives, config=config, tell=tell) if drives else None
        catalogue = load_catalogue(MODELS)
        made = trainer.promote_model(a.recipe, a.onnx, a.prepared, a.current, catalogue, a.out, runner, params, tell)
    print_json(made.as_dict()) if a.json else print("\n".join([*made.gate.lines(), f"card: {made.card or 'none'}"]))
    return 0 if made.gate.accepted else 1
