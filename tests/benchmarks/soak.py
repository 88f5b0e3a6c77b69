"""The full forms of the trials of exactly-once: `make soak`, or `python -m tests.benchmarks.soak kills backlog ...`.

Each trial raises when its condition does not hold; its figures go to standard output and, with --write, into the table
of docs/reliability.md with the date. Hours on a slow disk; a temporary folder is used (TMPDIR chooses where).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from gnss.clock import SystemClock, stopwatch
from perception.serial import utc_text
from perception.types import JsonDict
from tests.uplink import trial_crash, trial_delivery, trial_disk, trial_evidence, trial_power
from tests.uplink.crash_child import MUTANTS

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
SEED = 2026


class NotHere(Exception):
    """The machine lacks what a trial needs."""


def _root(what: str) -> None:
    if os.geteuid() != 0:
        raise NotHere(f"{what} needs root")


def kills(folder: Path) -> JsonDict:
    """1,000 random kills."""
    return trial_crash.random_kills(folder, 1000, SEED)


def syscalls(folder: Path) -> JsonDict:
    """A kill at every system call of enqueue, delivery and purge."""
    if shutil.which("strace") is None:
        raise NotHere("strace is not installed")
    return trial_crash.syscall_kills(folder, None, SEED)


def model(folder: Path) -> JsonDict:
    """200 cuts in the model, of a recording in this process and of one by strace; all mutants."""
    figures: JsonDict = {}
    recorders = {"watched": trial_power.recorded}
    if shutil.which("strace") is not None:
        recorders["traced"] = trial_power.recorded_by_strace
    for name, record in recorders.items():
        for mutant in ("", *MUTANTS):
            place = folder / f"{name}-{mutant or 'right'}"
            start, steps = record(place / "run", 120, mutant)
            checked, found = trial_power.model_cuts(start, steps, place, 200, SEED)
            figures[f"{name} {mutant or 'right'}"] = f"{len(found)} violations of {checked} promises"
            assert (found == []) == (mutant == ""), (name, mutant, found[:3])
    return figures


def ext4(folder: Path) -> JsonDict:
    """200 cuts of an ext4 image, 8 for each mutant."""
    _root("an ext4 image")
    figures: JsonDict = {}
    for mutant, cuts in (("", 200), *((mutant, 8) for mutant in MUTANTS)):
        place = folder / (mutant or "right")
        place.mkdir()
        found = trial_power.ext4_in_own_namespace(place, cuts, SEED, mutant)
        figures[mutant or "right"] = f"{found['violations']} violations of {found['promised']} promises in {cuts} cuts"
        assert (found["violations"] == 0) == (mutant == ""), (mutant, found)
    return figures


def proxy(folder: Path) -> JsonDict:
    """10,000 cases, 30 % of the requests fail."""
    return trial_delivery.through_faults(folder, 10_000, SEED)


def poison(folder: Path) -> JsonDict:
    """10,000 cases, 1 % poisoned, a bad hour."""
    return trial_delivery.poisoned(folder, 10_000, SEED)


def disk(folder: Path) -> JsonDict:
    """1,000 cases offline on 16 MB."""
    _root("a small disk")
    return trial_disk.small_disk(folder / "disk", 16, 1000, 30_000)


def backlog(folder: Path) -> JsonDict:
    """200,000 cases wait."""
    figures = trial_disk.backlog(folder, 200_000, 2000)
    assert figures["start_s"] <= 5.0, figures
    assert figures["start_rss_mb"] <= 200, figures
    return figures


def rot(folder: Path) -> JsonDict:
    """500 corruptions."""
    figures = trial_disk.corruptions(folder, 500, SEED)
    assert figures["slowest_start_s"] <= 5.0, figures
    return figures


def clocks(folder: Path) -> JsonDict:
    """1,000 cases, a jump before each."""
    return trial_delivery.clock_jumps(folder, 1000, SEED)


def evidence(folder: Path) -> JsonDict:
    """1,000 flips, 1,000 replays, every single removal."""
    return trial_evidence.tampering(folder, 1000, 1000, SEED)


def fleet(folder: Path) -> JsonDict:
    """200 vehicles after ten minutes."""
    figures = trial_delivery.returning_fleet(folder, 200, SEED)
    assert figures["ratio"] <= 3.0, figures
    return figures


TRIALS: tuple[Callable[[Path], JsonDict], ...] = (
    kills, syscalls, model, ext4, proxy, poison, disk, backlog, rot, clocks, evidence, fleet,
)  # fmt: skip


def run(trial: Callable[[Path], JsonDict]) -> tuple[str, str, float]:
    """Verdict (ok, skipped, FAILED), figures as text, and seconds."""
    watch = stopwatch()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            verdict, told = "ok", json.dumps(trial(Path(folder)), ensure_ascii=False)
        except NotHere as error:
            verdict, told = "NOT TESTED", str(error)
        except Exception as error:
            traceback.print_exc()
            verdict, told = "FAILED", f"{type(error).__name__}: {str(error)[:300]}"
    return verdict, told, watch()


def write(rows: dict[str, str]) -> None:
    """Put rows into the table, keeping those of trials that did not run."""
    text = DOCUMENT.read_text(encoding="utf-8")
    old = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    kept = {match[1]: line for line in old.splitlines() if (match := re.match(r"\| ([a-z0-9]+) \|", line))}
    kept |= rows
    table = ["| trial | what | date | verdict | figures | s |", "|---|---|---|---|---|---|"]
    table += [kept[trial.__name__] for trial in TRIALS if trial.__name__ in kept]
    new = "\n".join(["", *table, ""])
    DOCUMENT.write_text(text.replace(BEGIN + old + END, BEGIN + new + END), encoding="utf-8")


def main() -> int:
    """Run the named trials, or all; exit code 1 when one failed."""
    names = {trial.__name__: trial for trial in TRIALS}
    parser = argparse.ArgumentParser(description="full trials of exactly-once")
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(names))
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    arguments = parser.parse_args()
    unknown = set(arguments.trials) - set(names)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    failed = False
    for name in arguments.trials or names:
        verdict, told, seconds = run(names[name])
        failed |= verdict == "FAILED"
        print(f"{name}: {verdict} in {seconds:.0f} s: {told}", flush=True)
        if arguments.write:
            date = (utc_text(SystemClock().utc_ns()) or "")[:10]
            what = (names[name].__doc__ or "").strip().rstrip(".")
            figures = told.strip("{}").replace('"', "").replace("|", "/")
            write({name: f"| {name} | {what} | {date} | {verdict} | {figures} | {seconds:.0f} |"})
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
