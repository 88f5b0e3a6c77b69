"""JPEG files looked at before anybody decodes them: the header's size first, then a decode that cannot run away."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from threading import Lock

MAX_PIXELS = 25_000_000
_SECONDS = 20.0
# Baseline, extended and progressive, all Huffman: what cameras and browsers speak. Lossless and arithmetic are refused.
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} - _FRAMES


def header_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the frame header (ITU-T T.81, B.2.2), or None when `data` does not begin a usable JPEG."""
    at = 2
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _OTHER_FRAMES or marker in (0xD8, 0xD9, 0xDA, 0x00, 0x01) or 0xD0 <= marker <= 0xD7:
            return None
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return None
        if marker in _FRAMES:
            height, width, parts = (
                int.from_bytes(data[at + 5 : at + 7], "big"),
                int.from_bytes(data[at + 7 : at + 9], "big"),
                data[at + 9 : at + 10],
            )
            return (width, height) if data[at + 4] == 8 and parts in (b"\x01", b"\x03") else None
        at += 2 + length
    return None


class Shrinker:
    """Makes thumbnails in one worker process (`uplink.platform.shrink`), started when first asked for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._worker: subprocess.Popen[bytes] | None = None

    def thumbnail(self, path: Path) -> bytes | None:
        """The picture re-encoded, at most 320 px wide and high; None when it cannot be decoded within the limits."""
        with self._lock:
            if self._worker is None or self._worker.poll() is not None:
                self._end()
                command = [sys.executable, "-m", "uplink.platform.shrink"]
                self._worker = subprocess.Popen(  # noqa: S603 - our own module, no word of a client
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
                )
            try:
                return self._asked(self._worker, path)
            except (OSError, EOFError):
                self._end()
                return None

    @staticmethod
    def _asked(worker: subprocess.Popen[bytes], path: Path) -> bytes | None:
        """The worker's answer: 8 bytes of length, then the JPEG. Raises EOFError when it died or takes too long."""
        if worker.stdin is None or worker.stdout is None:
            raise EOFError
        worker.stdin.write(os.fsencode(path.resolve()) + b"\n")
        size = int.from_bytes(_exactly(worker.stdout.fileno(), 8), "big")
        return _exactly(worker.stdout.fileno(), size) if size else None

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            for pipe in (self._worker.stdin, self._worker.stdout):
                if pipe is not None:
                    pipe.close()
            self._worker.wait()
            self._worker = None

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._end()


def _exactly(descriptor: int, size: int) -> bytes:
    """Read so many bytes; raises EOFError when they do not come."""
    got = b""
    while len(got) < size:
        ready, _, _ = select.select([descriptor], [], [], _SECONDS)
        chunk = os.read(descriptor, size - len(got)) if ready else b""
        if not chunk:
            raise EOFError
        got += chunk
    return got
