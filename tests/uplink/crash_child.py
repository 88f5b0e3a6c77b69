"""A car's process that is killed: it commits, sends and acknowledges, and says what is durable. Three ways to run it.

`serve`: imports everything once, then forks a fresh worker for each line on standard input (how test_crash kills a
thousand of them). `once`: one commit and its delivery between two marks (for kills at every system call). `stream`:
commits until it is killed or has done `count` (for power cuts); `mutant` breaks the order on purpose.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from gnss.clock import SystemClock
from perception.types import CaseChange, CaseState
from tests.uplink.builders import case, change, picture
from uplink.envelope import Envelope
from uplink.folder import FolderTransport
from uplink.retry import Reply
from uplink.sender import Sender
from uplink.store import SqliteStore

PROBLEMS = 40
MUTANTS = ("no_file_sync", "normal", "row_before_file")


class LoggedFolder(FolderTransport):
    """A receiver that writes down every event it is given, also those that come again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def put_event(self, device: str, envelope: Envelope) -> Reply:
        os.write(self._log, f"{envelope.key} {envelope.digest}\n".encode())
        return super().put_event(device, envelope)


def say(descriptor: int, text: str) -> None:
    """One line in one write: a kill cannot cut it."""
    os.write(descriptor, text.encode() + b"\n")


def seen_again(store: SqliteStore, number: int) -> CaseChange:
    """What the pipeline does with a problem: known to the memory, an update; else a new case."""
    known = {c.id: c for c in store.cases()}.get(f"case-{number:05d}")
    revision = 1 if known is None else known.revision + 1
    state = CaseState.OPEN if known is None else CaseState.MONITORING
    return change(case(number, state, revision), (picture(number * 1000 + revision),))


def work(folder: Path, seed: int, said: int) -> None:
    """Commit and deliver for ever."""
    rng = random.Random(seed)
    with SqliteStore(folder / "car" / "store.sqlite", "car-1", SystemClock()) as store:
        sender = Sender(store, LoggedFolder(folder / "platform"), SystemClock(), rng)
        while True:
            made = seen_again(store, rng.randrange(PROBLEMS))
            store.commit([made])
            say(said, f"case {made.case_id} {made.case.revision}")
            for _ in range(rng.randrange(4)):
                sender.step()
            store.tidy(keep_events=5)


def serve(folder: Path) -> None:
    """Fork a worker for each line (its seed), tell its pid, and tell when it has ended."""
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                work(folder, int(line), said)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        print(pid, flush=True)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("killed" if ended == -signal.SIGKILL else f"ended {ended}", flush=True)


def once(folder: Path) -> None:
    """One commit and its delivery."""
    with SqliteStore(folder / "car" / "store.sqlite", "car-1", SystemClock()) as store:
        sender = Sender(store, LoggedFolder(folder / "platform"), SystemClock(), random.Random(1))
        say(2, "begin")
        made = seen_again(store, 1)
        store.commit([made])
        say(1, f"case {made.case_id} {made.case.revision}")
        while sender.step():
            pass
        store.tidy(keep_events=0)
        say(2, "end")


def break_order(store: SqliteStore, mutant: str) -> None:
    """Leave out what makes a commit survive a power cut."""
    if mutant == "no_file_sync":
        real = os.fsync

        def only_folders(descriptor: Any) -> None:
            if Path(os.readlink(f"/proc/self/fd/{descriptor}")).suffix != ".part":
                real(descriptor)

        os.fsync = only_folders  # type: ignore[assignment]
    elif mutant == "normal":
        store._database.connection.execute("PRAGMA synchronous=NORMAL")
        # The journal alone would bring such commits back.
        store.journal.append = lambda *_: None  # type: ignore[method-assign]
    elif mutant == "row_before_file":
        write = store._write_evidence

        def late(changes: Any, anchors: Any, calibrations: Any, *, spare: bool) -> None:
            store._enqueue(changes, anchors, calibrations, set())
            write(changes, spare=spare)

        store._commit = late  # type: ignore[method-assign]


def stream(folder: Path, count: int, mutant: str) -> None:
    """Commit and deliver `count` changes, saying each."""
    rng = random.Random(count)
    store = SqliteStore(folder / "car" / "store.sqlite", "car-1", SystemClock())
    break_order(store, mutant)
    sender = Sender(store, FolderTransport(folder / "platform"), SystemClock(), rng)
    say(1, "begin")
    for number in range(count):
        made = seen_again(store, number % PROBLEMS)
        store.commit([made])
        say(1, f"case {made.case_id} {made.case.revision}")
        for _ in range(rng.randrange(3)):
            sender.step()
    say(1, "end")


if __name__ == "__main__":
    place = Path(sys.argv[2])
    if sys.argv[1] == "serve":
        serve(place)
    elif sys.argv[1] == "once":
        once(place)
    else:
        stream(place, int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "")
