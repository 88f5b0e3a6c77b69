"""Which map tiles the case memory has ever held something of: a file beside the database that outlives its damage.

After a damage these are the tiles whose memory may have holes, until the platform has told what it knows of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from perception.types import Tile
from uplink.files import sync_folder

_LINE = re.compile(rb"(-?\d{1,6}),(-?\d{1,6})")


class TileLog:
    """The file; a line that cannot be read is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known: set[Tile] = set()
        if path.exists():
            matches = (_LINE.fullmatch(line) for line in path.read_bytes().split(b"\n"))
            self.known = {(int(match[1]), int(match[2])) for match in matches if match}

    def add(self, tiles: Iterable[Tile]) -> None:
        """Remember tiles, durably; nothing is written for those that are known."""
        fresh = set(tiles) - self.known
        if not fresh:
            return
        made = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # Begins with a newline: a line that a power cut left half must not swallow the next.
            os.write(descriptor, b"\n" + b"".join(b"%d,%d\n" % tile for tile in sorted(fresh)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if made:
            sync_folder(self._path.parent)
        self.known |= fresh
