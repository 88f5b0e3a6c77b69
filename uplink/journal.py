"""A second copy of what is not yet delivered, beside the database: if that is damaged, events are rebuilt from here.

Segments `journal/<epoch>-<first seq>.log` hold one line per event: 16 hex digits of the payload's sha256, a space, the
payload (base64 of zlib of JSON). A damaged line spoils itself only. A line is durable before its transaction commits.
After a crash the lines that follow the newest committed event are committed too: either their commit was under way, or
SQLite has dropped it, because a damaged write-ahead log ends for it, silently, at the first bad checksum.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from perception.types import JsonDict
from uplink.files import sync_folder

SEGMENT_RECORDS = 256
_SEGMENT = re.compile(r"([0-9a-f]{8,32})-(\d{12})\.log")


def _line(tree: JsonDict) -> bytes:
    payload = base64.b64encode(zlib.compress(json.dumps(tree, ensure_ascii=False).encode(), 1))
    return hashlib.sha256(payload).hexdigest()[:16].encode() + b" " + payload + b"\n"


def _parsed(line: bytes) -> JsonDict | None:
    mark, _, payload = line.partition(b" ")
    if hashlib.sha256(payload).hexdigest()[:16].encode() != mark:
        return None
    try:
        tree = json.loads(zlib.decompress(base64.b64decode(payload, validate=True)))
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None


def _read(path: Path) -> list[JsonDict]:
    """Good lines of a segment."""
    return [tree for line in path.read_bytes().split(b"\n") if line and (tree := _parsed(line)) is not None]


class Journal:
    """The segments of one store; one writer. `used`: bytes of all segments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            folder.mkdir(parents=True)
            sync_folder(folder.parent)
        self._path: Path | None = None
        self._records = 0
        self._descriptor = -1
        self._end = 0
        self.used = sum(path.stat().st_size for _, _, path in self.segments())

    def segments(self) -> list[tuple[str, int, Path]]:
        """(epoch, first seq, file) of every segment, by age within an epoch."""
        found = [(m, path) for path in self.folder.iterdir() if (m := _SEGMENT.fullmatch(path.name))]
        return sorted((m[1], int(m[2]), path) for m, path in found)

    def append(self, epoch: str, first_seq: int, records: Sequence[JsonDict]) -> None:
        """Write and sync `records`, the first of which has `first_seq`. Raises OSError with nothing half-written.

        After a failed sync the file is never synced again (Linux has marked its pages clean): the next call begins a
        new segment.
        """
        if self._descriptor < 0 or self._records >= SEGMENT_RECORDS:
            self._open(epoch, first_seq)
        content = b"".join(_line(record) for record in records)
        try:
            written = os.write(self._descriptor, content)
            if written != len(content):
                written += os.write(self._descriptor, content[written:])
            os.fdatasync(self._descriptor)
        except OSError:
            self._give_up()
            raise
        self._end += len(content)
        self.used += len(content)
        self._records += len(records)

    def _give_up(self) -> None:
        os.ftruncate(self._descriptor, self._end)
        self.close()

    def _open(self, epoch: str, seq: int) -> None:
        self.close()
        path = self.folder / f"{epoch}-{seq:012d}.log"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._path = path
        self._end = os.fstat(self._descriptor).st_size
        self._records = 0
        if self._end:
            # A line cut by a power failure must not swallow the one that follows it.
            self._end += os.write(self._descriptor, b"\n")
        sync_folder(self.folder)

    def rewind(self, end: tuple[Path | None, int]) -> None:
        """Take back what was appended since `mark()` gave `end`: its transaction did not commit.

        Where that fails the lines stay, and the next start sees that they do not follow what was committed.
        """
        path, size = end
        if self._descriptor < 0 or (path is not None and path != self._path):
            return
        size = size if path is not None else 0
        try:
            os.ftruncate(self._descriptor, size)
            os.fdatasync(self._descriptor)
        except OSError:
            self.close()
            return
        self.used -= self._end - size
        self._end = size

    def mark(self) -> tuple[Path | None, int]:
        """Where the journal ends now."""
        return self._path, self._end

    def tail(self, epoch: str, above: int) -> list[JsonDict]:
        """Good lines of events above a sequence number, in the order in which they were written."""
        mine = [(first, path) for name, first, path in self.segments() if name == epoch]
        begin = max((index for index, (first, _) in enumerate(mine) if first <= above + 1), default=0)
        rows = [tree for _, path in mine[begin:] for tree in _read(path)]
        return [tree for tree in rows if isinstance(tree.get("seq"), int) and tree["seq"] > above]

    def records(self) -> Iterator[JsonDict]:
        """The newest good line of every event; damaged lines are passed over."""
        found: dict[tuple[str, int], JsonDict] = {}
        for epoch, _, path in self.segments():
            for tree in _read(path):
                if isinstance(tree.get("seq"), int):
                    found[epoch, tree["seq"]] = tree
        yield from (found[key] for key in sorted(found))

    def find(self, epoch: str, seq: int) -> JsonDict | None:
        """The line of one event, or None."""
        for name, first, path in reversed(self.segments()):
            if name == epoch and first <= seq:
                match = [tree for tree in _read(path) if tree.get("seq") == seq]
                if match:
                    return match[-1]
        return None

    def forget(self, is_settled: Callable[[str, int, int], bool], limit: int = 4) -> int:
        """Delete closed segments whose events (epoch, first seq, last seq) are all settled; how many files."""
        segments = self.segments()
        gone = 0
        for index, (epoch, first, path) in enumerate(segments):
            if path == self._path or gone == limit:
                continue
            following = segments[index + 1] if index + 1 < len(segments) else None
            last = following[1] - 1 if following and following[0] == epoch else 2**62
            if is_settled(epoch, first, last):
                self._delete(path)
                gone += 1
        if gone:
            sync_folder(self.folder)
        return gone

    def drop_closed(self) -> int:
        """Delete every segment but the one in use: the copy is given up before anything that has no other."""
        closed = [path for _, _, path in self.segments() if path != self._path]
        for path in closed:
            self._delete(path)
        if closed:
            sync_folder(self.folder)
        return len(closed)

    def _delete(self, path: Path) -> None:
        self.used -= path.stat().st_size
        path.unlink()

    def close(self) -> None:
        """Close the segment in use."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._path = -1, None
