"""`qiji`: one command line for the car, the engineer, the trainer and the platform.

Exit codes: 0 ok, 1 a gate found something (score, compare, check), 2 usage or setup.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import cv2

from perception.errors import SetupError
from vehicle.commands import (
    bench,
    cases,
    city,
    config,
    demo,
    drive,
    evidence,
    model,
    outbox,
    platform,
    replay,
    rules,
    run,
    score,
    simulate,
)

OK, FOUND, USAGE = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="qiji", description="Patrol perception: from frames to filed cases.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs = (demo, run, replay, score, simulate, drive, bench)
    for module in (*runs, model, city, rules, cases, outbox, evidence, platform, config):
        module.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; setup mistakes become one clear message and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # OpenCV's threads would take cores from the network for pictures that one thread resizes in a fraction of a ms.
    cv2.setNumThreads(1)
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.handle(arguments)
    except SetupError as error:
        print(f"qiji: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        # Whoever read our output (`| head`) has enough; what Python would still flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return USAGE
    except KeyboardInterrupt:
        print("qiji: stopped", file=sys.stderr)
        return USAGE
    return code


if __name__ == "__main__":
    sys.exit(main())
