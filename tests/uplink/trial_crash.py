"""kill -9 at random moments and at every system call: nothing promised is lost, nothing arrives twice."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from gnss.clock import SystemClock
from perception.types import JsonDict
from tests.uplink.crash_child import LoggedFolder
from uplink.sender import Sender
from uplink.store import SqliteStore

ROOT = Path(__file__).parents[2]
CALLS = ("openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "ftruncate")
_CALL = re.compile(r"^(?:\d+ +)?([a-z0-9_]+)\(")


def child(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.uplink.crash_child", *arguments]


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}


def promises(text: str) -> dict[str, int]:
    """Newest promised revision of each case."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        if line.startswith("case "):
            _, name, revision = line.split()
            found[name] = max(found.get(name, 0), int(revision))
    return found


def check(folder: Path, promised: dict[str, int]) -> JsonDict:
    """Deliver what is left, and compare promises, memory and receiver. Figures; raises AssertionError."""
    with SqliteStore(folder / "car" / "store.sqlite", "car-1", SystemClock()) as store:
        store.wait_checked()
        assert list(store.spool.folder.glob("*/*.part")) == [], "unfinished files are left"
        assert store.outbox.losses() == {}
        kept = {c.id: c.revision for c in store.cases()}
        lost = {name for name, revision in promised.items() if kept.get(name, 0) < revision}
        assert not lost, f"promised and lost: {lost}"
        assert Sender(store, LoggedFolder(folder / "platform"), SystemClock(), random.Random(1)).drain(900.0)
    bodies = [json.loads(path.read_bytes()) for path in (folder / "platform" / "events").glob("*.json")]
    arrived = Counter((body["case_id"], body["revision"]) for body in bodies)
    doubled = {what for what, count in arrived.items() if count > 1}
    assert not doubled, f"arrived twice: {doubled}"
    missing = {(n, r) for n, newest in kept.items() for r in range(1, newest + 1)} - set(arrived)
    assert not missing, f"never arrived: {missing}"
    digests: dict[str, set[str]] = {}
    for line in (folder / "platform" / "log").read_text().splitlines():
        uid, digest = line.split()
        digests.setdefault(uid, set()).add(digest)
    assert all(len(found) == 1 for found in digests.values()), "a uid came with two bodies"
    return {"cases": len(kept), "events": len(bodies), "lost": 0, "doubled": 0}


def random_kills(folder: Path, rounds: int, seed: int) -> JsonDict:
    """Kill a worker `rounds` times at a random moment of its work, always on the same store."""
    rng = random.Random(seed)
    clock = SystemClock()
    folder.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        child("serve", str(folder)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=child_environment(),
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        for number in range(rounds):
            server.stdin.write(f"{seed + number}\n")
            server.stdin.flush()
            pid = int(server.stdout.readline())
            clock.sleep(rng.uniform(0.0, 0.4))
            os.kill(pid, signal.SIGKILL)
            assert server.stdout.readline().strip() == "killed", "the worker ended by itself"
        server.stdin.close()
    promised = promises((folder / "said").read_text())
    return {"kills": rounds, "promised": sum(promised.values()), **check(folder, promised)}


def _prepared(folder: Path) -> None:
    """A store with some history, closed in order: the start of each syscall run."""
    with SqliteStore(folder / "car" / "store.sqlite", "car-1", SystemClock()) as store:
        LoggedFolder(folder / "platform")
        assert store.last_seq == 0


def calls_between_marks(folder: Path) -> dict[str, tuple[int, int]]:
    """By system call: numbers of the first and the last one between the marks of a run."""
    log = folder / "strace.log"
    command = [
        "strace",
        "-f",
        "-s",
        "12",
        "-e",
        f"trace={','.join(CALLS)}",
        "-o",
        str(log),
        *child("once", str(folder)),
    ]
    subprocess.run(command, cwd=ROOT, env=child_environment(), check=True, capture_output=True)
    counts: Counter[str] = Counter()
    before: Counter[str] | None = None
    for line in log.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        counts[match[1]] += 1
        if '"begin\\n"' in line:
            before = counts.copy()
        elif '"end\\n"' in line:
            break
    assert before is not None, "the marks are not in the trace"
    return {name: (before[name] + 1, counts[name]) for name in CALLS if counts[name] > before[name]}


def syscall_kills(folder: Path, most: int | None, seed: int) -> JsonDict:
    """Kill at every system call of one enqueue, delivery and purge; `most`: only that many of them, chosen by seed."""
    template = folder / "template"
    _prepared(template)
    shutil.copytree(template, folder / "reference")
    ranges = calls_between_marks(folder / "reference")
    moments = [(name, number) for name, (first, last) in ranges.items() for number in range(first, last + 1)]
    chosen = moments if most is None else random.Random(seed).sample(moments, min(most, len(moments)))
    killed = 0
    for name, number in chosen:
        place = folder / f"{name}-{number}"
        shutil.copytree(template, place)
        inject = f"inject={name}:signal=KILL:when={number}"
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={name}", "-e", inject]
        ran = subprocess.run(
            [*command, *child("once", str(place))], cwd=ROOT, env=child_environment(), check=False, capture_output=True
        )
        killed += ran.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        # Seen again by the next start: an update when the commit stood, else a new case.
        again = subprocess.run(
            child("once", str(place)), cwd=ROOT, env=child_environment(), check=True, capture_output=True, text=True
        )
        promised = promises(ran.stdout.decode()) | promises(again.stdout)
        check(place, promised)
        shutil.rmtree(place)
    return {"calls": len(moments), "tried": len(chosen), "killed": killed, "violations": 0}
