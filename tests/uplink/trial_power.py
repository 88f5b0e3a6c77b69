"""Power cuts: the model of recorded writes (always), the same from real system calls (strace), and a real file system
that is shut down under the writer (root). After each cut: nothing promised is lost, no row without good evidence."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from gnss.clock import SystemClock
from perception.types import JsonDict
from tests.uplink.crash_child import break_order, seen_again
from tests.uplink.powercut import Step, Watcher, files_below, put_files, state_at, traced
from tests.uplink.trial_crash import ROOT, child, child_environment, promises
from uplink.folder import FolderTransport
from uplink.sender import Sender
from uplink.store import SqliteStore

_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


def violations(car: Path, promised: dict[str, int]) -> list[str]:
    """What a start after a cut finds that should not be: lost promises, rows without good evidence, damage."""
    with SqliteStore(car / "store.sqlite", "car-1", SystemClock()) as store:
        kept = {c.id: c.revision for c in store.cases()}
        found = [f"lost {name} {revision}" for name, revision in promised.items() if kept.get(name, 0) < revision]
        found += [f"{count} x {what}" for what, count in store.outbox.losses().items()]
        rows = store._database.rows("SELECT sha256 FROM blob WHERE state IN ('held', 'ready')")
        found += [f"bad evidence {r['sha256'][:8]}" for r in rows if not store.spool.holds(r["sha256"])]
        if store._database.value("PRAGMA integrity_check") != "ok":
            found.append("database")
    return found


def _start(folder: Path) -> None:
    """A store and a receiver with their folders, closed in order."""
    SqliteStore(folder / "car" / "store.sqlite", "car-1", SystemClock()).close()
    FolderTransport(folder / "platform")


def recorded(folder: Path, count: int, mutant: str) -> tuple[dict[str, bytes], list[Step]]:
    """The steps of `count` commits with deliveries in this process."""
    _start(folder)
    start = files_below(folder)
    rng, watcher = random.Random(count), Watcher(folder)
    with pytest.MonkeyPatch.context() as patch, watcher.watch(patch):
        store = SqliteStore(folder / "car" / "store.sqlite", "car-1", SystemClock())
        fsync = os.fsync
        break_order(store, mutant)
        sender = Sender(store, FolderTransport(folder / "platform"), SystemClock(), rng)
        for number in range(count):
            made = seen_again(store, number % 40)
            store.commit([made])
            watcher.say(f"case {made.case_id} {made.case.revision}\n")
            for _ in range(rng.randrange(3)):
                sender.step()
        os.fsync = fsync
        store.close()
    return start, watcher.steps


def recorded_by_strace(folder: Path, count: int, mutant: str) -> tuple[dict[str, bytes], list[Step]]:
    """The same from the system calls of a child."""
    _start(folder)
    start = files_below(folder)
    command = child("stream", str(folder), str(count), mutant)
    steps = traced(command, folder, folder.with_suffix(".log"), cwd=ROOT, env=child_environment())
    return start, steps


def model_cuts(start: dict[str, bytes], steps: list[Step], folder: Path, cuts: int, seed: int) -> tuple[int, list[str]]:
    """Cut at `cuts` moments, every second time with torn writes; (promises checked, violations)."""
    rng = random.Random(seed)
    found: list[str] = []
    checked = 0
    for number in range(cuts):
        cut = rng.randrange(1, len(steps) + 1)
        torn = random.Random(f"{seed} {number}") if number % 2 else None
        files, said = state_at(start, steps, cut, torn)
        place = folder / f"cut-{number}"
        put_files(place, {path: content for path, content in files.items() if path.startswith("car/")})
        promised = promises("".join(said))
        checked += sum(promised.values())
        found += [f"cut {cut}{' torn' if torn else ''}: {what}" for what in violations(place / "car", promised)]
        shutil.rmtree(place)
    return checked, found


def mount(image: Path, at: Path) -> None:
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(at)], check=True, capture_output=True)


def ext4_cuts(folder: Path, cuts: int, seed: int, mutant: str = "") -> JsonDict:
    """Cuts on a real file system in a file: the writer is frozen, then the file system is shut down without a flush.

    Needs root and a mount namespace of its own (`unshare -m`); raises CalledProcessError without.
    """
    rng, clock = random.Random(seed), SystemClock()
    image, at = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(256 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
    found: list[str] = []
    checked = 0
    for number in range(cuts):
        mount(image, at)
        _start(at)
        os.sync()
        command = child("stream", str(at), "100000", mutant)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=child_environment()) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "begin\n"
            clock.sleep(rng.uniform(0.05, 0.6))
            writer.send_signal(signal.SIGSTOP)
            _wait_stopped(writer.pid)
            descriptor = os.open(at, os.O_RDONLY)
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
            os.close(descriptor)
            writer.kill()
            promised = promises(writer.stdout.read())
        subprocess.run(["umount", str(at)], check=True, capture_output=True)
        mount(image, at)
        checked += sum(promised.values())
        found += [f"cut {number}: {what}" for what in violations(at / "car", promised)]
        shutil.rmtree(at / "car")
        shutil.rmtree(at / "platform")
        subprocess.run(["umount", str(at)], check=True, capture_output=True)
    return {"cuts": cuts, "promised": checked, "violations": len(found), "first": found[:3]}


def _wait_stopped(pid: int) -> None:
    while f"{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]}" != "T":
        SystemClock().sleep(0.001)


def ext4_in_own_namespace(folder: Path, cuts: int, seed: int, mutant: str = "") -> JsonDict:
    """`ext4_cuts` in a child with a mount namespace of its own, so that nothing stays mounted."""
    import json

    code = (
        "import json, sys; from pathlib import Path; from tests.uplink.trial_power import ext4_cuts;"
        "print(json.dumps(ext4_cuts(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))"
    )
    command = ["unshare", "-m", sys.executable, "-c", code, str(folder), str(cuts), str(seed), mutant]
    ran = subprocess.run(command, cwd=ROOT, env=child_environment(), check=True, capture_output=True, text=True)
    result: JsonDict = json.loads(ran.stdout.splitlines()[-1])
    return result
