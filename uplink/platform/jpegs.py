"""JPEG files looked at before anybody decodes them: the header's size first, then a decode that cannot run away."""

from __future__ import annotations

import io
import resource
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from threading import Lock

MAX_PIXELS = 25_000_000
THUMBNAIL_PX = 320
_SECONDS = 5.0
_MEMORY = 1 << 30
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


def _limit() -> None:
    """In the worker: bounded memory; a decode that takes too long kills the worker, not the platform."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _shrunk(path: str) -> bytes | None:
    from PIL import Image

    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.draft("RGB", (THUMBNAIL_PX * 2, THUMBNAIL_PX * 2))
            small = image.convert("RGB")
            small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=78)
            return out.getvalue()
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError):
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


class Shrinker:
    """Makes thumbnails in one worker process, started when first asked for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pool: ProcessPoolExecutor | None = None

    def thumbnail(self, path: Path) -> bytes | None:
        """The picture re-encoded, at most 320 px wide and high; None when it cannot be decoded within the limits."""
        with self._lock:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(1, get_context("spawn"), _limit, max_tasks_per_child=500)
            try:
                return self._pool.submit(_shrunk, str(path)).result(timeout=_SECONDS * 4)
            except (BrokenProcessPool, TimeoutError):
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None
                return None

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)
                self._pool = None
