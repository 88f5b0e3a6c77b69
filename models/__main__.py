"""`python -m models`: the trainer's commands where only this room is wanted. Exit code 2: a setup mistake."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from models import commands
from perception.errors import SetupError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        _run(chosen)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _run(chosen: argparse.Namespace) -> None:
    if chosen.command == "prepare":
        made = commands.prepare_data(chosen.recipe, chosen.data, chosen.out, chosen.weights, chosen.source)
        print(json.dumps(made.as_dict(), indent=1))
    elif chosen.command == "train":
        commands.require_train_extra()
        from models.train import TrainParams

        given = {k: v for k, v in vars(chosen).items() if k not in ("command", "recipe") and v is not None}
        print(commands.train_model(chosen.recipe, TrainParams(**{**given, "prepared": tuple(chosen.prepared)})))
    elif chosen.command == "export":
        print(commands.export_model(chosen.recipe, chosen.checkpoint, chosen.out))
    else:
        result = commands.evaluate_model(chosen.recipe, chosen.onnx, chosen.prepared, chosen.card, chosen.threads)
        print(json.dumps(result.as_dict(), indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description=__doc__)
    commands_of = parser.add_subparsers(dest="command", required=True)
    for name, add in (("prepare", _prepare), ("train", _train), ("export", _export), ("evaluate", _evaluate)):
        command = commands_of.add_parser(name)
        command.add_argument("--recipe", type=Path, required=True)
        add(command)
    return parser


def _prepare(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, required=True, help="folder of the index")
    command.add_argument("--data", type=Path, required=True, help="folder with images/, labels/ and data.yaml")
    command.add_argument("--source", help="the one source of all pictures; else file names start with theirs")
    command.add_argument("--weights", type=Path, help="YOLOv5n COCO state dict: the teacher of photos")


def _train(command: argparse.ArgumentParser) -> None:
    command.add_argument("--prepared", type=Path, action="append", required=True, help="repeatable")
    command.add_argument("--out", type=Path, required=True, help="folder of last.pt")
    command.add_argument("--weights", type=Path, default=None)
    for name in ("epochs", "batch", "height", "width", "warmup-steps", "frozen-layers", "seed", "threads"):
        command.add_argument(f"--{name}", type=int, default=None)
    for name in ("lr", "final-lr-share", "weight-decay", "ema-steps"):
        command.add_argument(f"--{name}", type=float, default=None)
    command.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=None)
    command.add_argument("--resume", action="store_true", help="continue an existing last.pt")


def _export(command: argparse.ArgumentParser) -> None:
    command.add_argument("--checkpoint", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True, help="the ONNX file to write")


def _evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument("--onnx", type=Path, required=True)
    command.add_argument("--prepared", type=Path, action="append", required=True, help="repeatable")
    command.add_argument("--card", type=Path, default=None, help="model card to write")
    command.add_argument("--threads", type=int, default=2)


if __name__ == "__main__":
    sys.exit(main())
