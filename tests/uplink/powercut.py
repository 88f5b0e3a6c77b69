"""A power cut as a model: what was written and not synced is gone, wherever the cut falls.

A recording is a list of steps; `state_at` replays it up to a cut and returns what a disk would hold afterwards that
keeps nothing but what was synced (or, with `rng`, also some of the rest, in any order: torn writes). A file's content
is durable after a sync of the file, its name after a sync of its folder. Two recorders: `traced` reads the system calls
of a child from strace; `watched` watches this process and knows of SQLite only what it promises.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from uplink.database import Database


@dataclass(frozen=True, slots=True)
class Step:
    """What happened: create, write, truncate, replace, sync, sync_folder, rename, unlink or said."""

    what: str
    path: str = ""
    offset: int = 0
    data: bytes = b""
    to: str = ""


@dataclass(slots=True)
class _File:
    """Bytes as programs see them, as they are durable, and the writes in between."""

    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    loose: list[Step] = field(default_factory=list)

    def apply(self, step: Step) -> None:
        if step.what == "replace":
            self.now[:] = step.data
        elif step.what == "truncate":
            del self.now[step.offset :]
            self.now.extend(bytes(step.offset - len(self.now)))
        else:
            self.now.extend(bytes(max(0, step.offset - len(self.now))))
            self.now[step.offset : step.offset + len(step.data)] = step.data
        self.loose.append(step)

    def after_cut(self, rng: random.Random | None) -> bytes:
        if rng is None:
            return self.durable
        torn = _File(bytearray(self.durable))
        for step in self.loose:
            if rng.random() < 0.5:
                torn.apply(step)
        return bytes(torn.now)


def state_at(
    start: dict[str, bytes], steps: list[Step], cut: int, rng: random.Random | None = None
) -> tuple[dict[str, bytes], list[str]]:
    """Files by path after a cut before step number `cut`, and what had been said by then."""
    files = {path: _File(bytearray(content), content) for path, content in start.items()}
    durable_names = dict(files)
    said: list[str] = []
    for step in steps[:cut]:
        if step.what == "said":
            said.append(step.data.decode())
        elif step.what == "create":
            files.setdefault(step.path, _File())
        elif step.what == "rename" and step.path in files:
            files[step.to] = files.pop(step.path)
        elif step.what == "unlink":
            files.pop(step.path, None)
        elif step.what == "sync" and step.path in files:
            file = files[step.path]
            file.durable, file.loose = bytes(file.now), []
        elif step.what == "sync_folder":
            inside = {path for path in (*files, *durable_names) if os.path.dirname(path) == step.path}
            for path in inside:
                if path in files:
                    durable_names[path] = files[path]
                else:
                    durable_names.pop(path, None)
        elif step.what == "replace":
            file = files.setdefault(step.path, _File())
            file.apply(step)
            if step.to == "synced":
                file.durable, file.loose = bytes(file.now), []
                durable_names[step.path] = file
        elif step.what in ("write", "truncate"):
            files.setdefault(step.path, _File()).apply(step)
    names = durable_names
    if rng is not None:
        # Names that were not synced may have reached the disk too.
        names = {**durable_names, **{path: file for path, file in files.items() if rng.random() < 0.5}}
    return {path: file.after_cut(rng) for path, file in names.items()}, said


def files_below(folder: Path) -> dict[str, bytes]:
    """Content of all files, by path relative to `folder`."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def put_files(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder with these files."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        (folder / path).chmod(0o600)


_LINE = re.compile(r"^(?:\d+ +)?(?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)", re.DOTALL)
_FD = re.compile(r"^(\d+)<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
TRACED = "openat,write,pwrite64,fsync,fdatasync,rename,unlink,ftruncate"


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _path(text: str) -> str:
    return _bytes(text).decode() if text.startswith("\\x") else text


class _Trace:
    """Turns lines of strace into steps below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = str(root) + "/"
        self._ends: dict[str, int] = {path: len(content) for path, content in files_below(root).items()}
        self._positions: dict[int, int] = {}

    def _inside(self, path: str) -> str | None:
        return path[len(self._root) :] if path.startswith(self._root) else None

    def step(self, line: str) -> Step | None:
        match = _LINE.match(line)
        if match is None or int(match["result"]) < 0:
            return None
        call, arguments = match["call"], match["arguments"]
        texts = [_bytes(found) for found in _TEXT.findall(arguments)]
        if call in ("rename", "unlink"):
            paths = [self._inside(text.decode()) for text in texts]
            if call == "rename" and paths[0] is not None and paths[1] is not None:
                self._ends[paths[1]] = self._ends.pop(paths[0], 0)
                return Step("rename", paths[0], to=paths[1])
            return Step("unlink", paths[0]) if call == "unlink" and paths[0] is not None else None
        if call == "openat":
            return self._opened(texts[0].decode(), arguments, int(match["result"]))
        found = _FD.match(arguments)
        return None if found is None else self._on_file(call, int(found[1]), _path(found[2]), arguments, texts)

    def _opened(self, name: str, arguments: str, descriptor: int) -> Step | None:
        path = self._inside(name)
        self._positions[descriptor] = 0
        if path is None or "O_CREAT" not in arguments:
            return None
        if "O_TRUNC" in arguments or path not in self._ends:
            self._ends[path] = 0
        if "O_APPEND" in arguments:
            self._positions[descriptor] = self._ends[path]
        return Step("create", path)

    def _on_file(self, call: str, descriptor: int, name: str, arguments: str, texts: list[bytes]) -> Step | None:
        if call == "write" and descriptor == 1:
            return Step("said", data=texts[0])
        path = self._inside(name)
        if call in ("fsync", "fdatasync"):
            folder = self._inside(name + "/")
            if path is not None and path not in self._ends and folder is not None:
                return Step("sync_folder", folder.rstrip("/"))
            return None if path is None else Step("sync", path)
        if path is None:
            return None
        last = int(arguments.rpartition(",")[2])
        if call == "ftruncate":
            self._ends[path] = last
            return Step("truncate", path, last)
        offset = last if call == "pwrite64" else self._positions[descriptor]
        self._positions[descriptor] = offset + len(texts[0])
        self._ends[path] = max(self._ends.get(path, 0), offset + len(texts[0]))
        return Step("write", path, offset, texts[0])


def traced(command: list[str], root: Path, log: Path, **options: object) -> list[Step]:
    """Run `command` under strace and return what it did below `root` between saying begin and end."""
    trace = _Trace(root)
    strace = ["strace", "-f", "-y", "-xx", "-s", "20000000", "-e", f"trace={TRACED}", "-o", str(log)]
    subprocess.run([*strace, *command], check=True, capture_output=True, **options)  # type: ignore[call-overload]
    steps = [step for line in log.read_text().splitlines() if (step := trace.step(line)) is not None]
    log.unlink()
    return steps


class Watcher:
    """Steps of this process below `root`; SQLite's are what it promises: with FULL a commit is durable when it returns,
    with NORMAL nothing of the log is until a checkpoint."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.steps: list[Step] = []

    def _below(self, path: str | Path) -> str | None:
        text, root = str(path), str(self._root) + "/"
        return text[len(root) :] if text.startswith(root) else None

    def say(self, text: str) -> None:
        self.steps.append(Step("said", data=text.encode()))

    def snapshot(self, path: Path, *, synced: bool) -> None:
        name = self._below(path)
        if name is None or not path.is_file():
            return
        # One step: SQLite's own writes are not seen here, so no cut can fall between them.
        self.steps.append(Step("replace", name, data=path.read_bytes(), to="synced" if synced else ""))

    @contextmanager
    def watch(self, patch: pytest.MonkeyPatch) -> Iterator[Watcher]:
        """Until the end of the block, all syncs, renames, deletions and commits are written down."""
        sync, rename, unlink, transaction = os.fsync, os.rename, Path.unlink, Database.transaction

        def noted_sync(descriptor: int) -> None:
            sync(descriptor)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            name = self._below(path)
            if name is not None and path.is_dir():
                self.steps.append(Step("sync_folder", name))
            elif name is not None:
                self.snapshot(path, synced=False)
                self.steps.append(Step("sync", name))

        def noted_rename(old: str | Path, new: str | Path) -> None:
            before, after = self._below(old), self._below(new)
            if before is not None and after is not None:
                if not any(step.path == before for step in self.steps[-8:]):
                    self.snapshot(Path(old), synced=False)
                self.steps.append(Step("rename", before, to=after))
            rename(old, new)

        def noted_unlink(path: Path, missing_ok: bool = False) -> None:
            if (name := self._below(path)) is not None:
                self.steps.append(Step("unlink", name))
            unlink(path, missing_ok=missing_ok)

        @contextmanager
        def noted_transaction(database: Database) -> Iterator[object]:
            with transaction(database) as tx:
                yield tx
            full = database.value("PRAGMA synchronous") == 2
            for suffix in ("", "-wal"):
                self.snapshot(database.path.with_name(database.path.name + suffix), synced=full)

        with patch.context() as inner:
            inner.setattr(os, "fsync", noted_sync)
            inner.setattr(os, "fdatasync", noted_sync)
            inner.setattr(os, "rename", noted_rename)
            inner.setattr(Path, "unlink", noted_unlink)
            inner.setattr(Database, "transaction", noted_transaction)
            yield self
