"""End-to-end frames/s of a replay over frames/s of the bare network, and milliseconds per stage: printed.

    python -m tests.benchmarks.speed [DRIVE] [MODEL.toml]

Without arguments: the sample drive through the shipped model. Close other programs: the network takes every core.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from vehicle.bench import speed, speed_text
from vehicle.commands.demo import SAMPLE
from vehicle.config import SHIPPED_CARD, Config

ROUNDS = 3


def main(arguments: list[str]) -> None:
    """Measure and print."""
    drive = Path(arguments[0]) if arguments else SAMPLE
    card = Path(arguments[1]) if len(arguments) > 1 else SHIPPED_CARD
    with tempfile.TemporaryDirectory() as folder:
        print(speed_text(speed(drive, Config(card=card), ROUNDS, Path(folder))))


if __name__ == "__main__":
    main(sys.argv[1:])
