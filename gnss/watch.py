"""Notices that the city's file was replaced, and opens the new version; the old one stays in force on any error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gnss.atlas import Atlas, load_atlas
from gnss.cityfile import named_members
from gnss.errors import AtlasError, SetupError

_Signature = tuple[tuple[str, int, int, int], ...]


class AtlasWatch:
    """Looks at one file (an `.atlas`, or a city.toml with its members) whenever it is asked.

    `reloads` and `refused` count what happened; `refusal` is the last complaint, "" while the newest version holds.
    """

    def __init__(self, file: Path, current: Atlas, open_file: Callable[[Path], Atlas] = load_atlas) -> None:
        self._file = file
        self._current = current
        self._open = open_file
        self._seen = self._signature()
        self.reloads = 0
        self.refused = 0
        self.refusal = ""

    def poll(self) -> Atlas | None:
        """The new atlas when the file holds another version that can be used; else None."""
        found = self._signature()
        if found == self._seen:
            return None
        self._seen = found
        try:
            fresh = self._open(self._file)
            fresh.grid_at(0.0, 0.0)
            fresh.zones_near(0.0, 0.0, 1.0)
            fresh.components_near(0.0, 0.0, 1.0)
        except SetupError as error:
            self.refused += 1
            self.refusal = str(error)
            return None
        self.refusal = ""
        if fresh.version and fresh.version == self._current.version:
            return None
        self.reloads += 1
        self._current = fresh
        return fresh

    def _signature(self) -> _Signature:
        """What tells a file from the one before it: place on the disk, size and time."""
        files = [self._file]
        if self._file.suffix.lower() == ".toml":
            try:
                files += named_members(self._file)
            except AtlasError:
                pass  # a city.toml that is being written: opening it will say what is wrong
        found = []
        for file in files:
            try:
                told = file.stat()
                found.append((file.name, told.st_ino, told.st_size, told.st_mtime_ns))
            except OSError:
                found.append((file.name, 0, -1, 0))
        return tuple(found)
