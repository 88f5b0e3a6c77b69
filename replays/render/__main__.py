"""`python -m replays.render drive|train`: make the sample drive, or training pictures of other streets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from perception.errors import SetupError
from replays.render.drive import write_drive
from replays.render.frames import box_lines, render_video
from replays.render.patrol import patrol
from replays.render.training import render_training


def main(argv: Sequence[str] | None = None) -> int:
    """Run a rendering command; returns 0, or 2 after a setup mistake was named on stderr."""
    args = _parser().parse_args(argv)
    try:
        if args.command == "train":
            render_training(args.out, args.seed, args.count, args.split, args.samples, args.threads, _say)
        else:
            _drive(args)
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="replays.render", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="pictures of random streets with YOLO labels")
    train.add_argument("--count", type=int, required=True, help="number of pictures")
    train.add_argument("--split", choices=("train", "val"), default="train")
    drive = commands.add_parser("drive", help="the sample drive: folder, truth, atlas, H.264 video")
    drive.add_argument(
        "--frames",
        type=Path,
        help="folder of the PNG frames (default: OUT/../<name>-frames); kept, so a render resumes",
    )
    drive.add_argument("--boxes", type=Path, help="also write the true boxes of every frame to this file")
    drive.add_argument("--no-video", action="store_true", help="write everything but the pixels; needs no Blender")
    for sub, samples in ((train, 3), (drive, 2)):
        sub.add_argument("--seed", type=int, required=True)
        sub.add_argument("--out", type=Path, required=True)
        sub.add_argument("--samples", type=int, default=samples, help="rays per pixel before denoising")
        sub.add_argument("--threads", type=int, default=2)
    return parser


def _drive(args: argparse.Namespace) -> None:
    made = patrol(args.seed)
    write_drive(made, args.out, args.seed, args.out.name)
    if args.boxes is not None:
        args.boxes.write_text(box_lines(made), encoding="utf-8")
    if not args.no_video:
        frames = args.frames or args.out.with_name(args.out.name + "-frames")
        size = render_video(made, frames, args.out / "front.mp4", args.samples, args.threads, _say)
        _say(f"front.mp4: {size} bytes")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
