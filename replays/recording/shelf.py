"""Where recordings go: a single file, or a shelf of numbered recordings with rotation, a quota and preserved parts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from perception.errors import DriveError

KEEP = ".keep"
"""A part with a file of its name and this ending beside it is never deleted by the recorder."""
_MIB, _GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """When a part ends, and how much disk a shelf may take.

    `quota_bytes` bounds all recordings of the shelf; `floor_bytes` stay free on the disk whatever the quota says.
    """

    part_bytes: int = 256 * _MIB
    part_s: float = 300.0
    quota_bytes: int = 64 * _GIB
    floor_bytes: int = 2 * _GIB


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(slots=True)
class SingleFile:
    """One file that never ends before the drive does; it must not exist. With `whole` it appears only when complete."""

    file: Path
    whole: bool = False
    floor_bytes: int = 0
    free: Callable[[Path], int] = _free

    @property
    def name(self) -> str:
        """Name of the drive that is recorded."""
        return self.file.stem

    def check(self) -> SingleFile:
        """Raise DriveError when the file could not be written; for the start, before anything runs."""
        if self.file.is_dir() or (self.file.exists() and not self.whole):
            remedy = "name a new file, or a folder for numbered recordings"
            raise DriveError("exists", file=self.file, remedy=remedy)
        return self

    def next_file(self) -> Path:
        """A new place for the next part; raises DriveError when it cannot be made."""
        self.check()
        _make(self.file.parent)
        part = self.file.with_name(f".{self.file.name}.part") if self.whole else self.file
        part.unlink(missing_ok=True)
        return part

    def full(self, file: Path, size: int, seconds: float) -> bool:
        """The part `file` of `size` bytes and `seconds` should end now."""
        return False

    def room(self, file: Path) -> bool:
        """There is room to go on with pictures; may delete old parts, never `file`."""
        return self.free(file.parent) >= self.floor_bytes

    def keep(self, files: list[Path]) -> None:
        """Nothing is ever deleted here."""

    def finish(self, file: Path) -> Path:
        """The last part is complete; returns what to call the recording."""
        if file != self.file:
            file.replace(self.file)
        return self.file


@dataclass(slots=True)
class Shelf:
    """A folder of recordings 0001, 0002, ..., one per run, each in parts 0001.mcap, 0002.mcap, ...

    When the quota or the floor is reached, the oldest parts that nothing preserves go first, of whatever recording.
    """

    root: Path
    limits: Limits = field(default_factory=Limits)
    free: Callable[[Path], int] = _free
    deleted: int = 0
    _folder: Path | None = None

    @property
    def whole(self) -> bool:
        """A recording that was not completed is to leave nothing behind."""
        return False

    @property
    def name(self) -> str:
        """Name of the drive that is recorded."""
        return self.root.name if self._number() == 1 else f"{self.root.name}-{self._number()}"

    @property
    def folder(self) -> Path:
        """Folder of this run's recording."""
        return self._folder or self.root / f"{self._number():04d}"

    def check(self) -> Shelf:
        """Raise DriveError when the folder is somebody's own; for the start, before anything runs."""
        if self.root.exists() and not self.root.is_dir():
            raise DriveError("exists and is no folder", file=self.root, remedy="name a folder, or a file *.mcap")
        strangers = [p.name for p in self.root.iterdir() if not _is_recording(p)] if self.root.is_dir() else []
        if strangers:
            remedy = "name a new folder, or one of recordings"
            raise DriveError(f"holds {strangers[0]}, which is no recording", file=self.root, remedy=remedy)
        return self

    def next_file(self) -> Path:
        """A new place for the next part; raises DriveError when it cannot be made."""
        if self._folder is None:
            self.check()
            folder = self.folder
            _make(folder)
            self._folder = folder
        taken = [int(p.stem) for p in self._folder.glob("[0-9]*.mcap")]
        return self._folder / f"{max(taken, default=0) + 1:04d}.mcap"

    def full(self, file: Path, size: int, seconds: float) -> bool:
        """The part `file` of `size` bytes and `seconds` should end now."""
        return size >= self.limits.part_bytes or seconds >= self.limits.part_s

    def room(self, file: Path) -> bool:
        """There is room to go on with pictures; may delete old parts, never `file`."""
        parts = sorted(self.root.glob("[0-9]*/[0-9]*.mcap"))
        sizes = {part: part.stat().st_size for part in parts}
        free = self.free(self.root)
        for part in parts:
            if sum(sizes.values()) <= self.limits.quota_bytes and free >= self.limits.floor_bytes:
                return True
            if part == file or part.with_name(part.name + KEEP).exists():
                continue
            part.unlink()
            self.deleted += 1
            free += sizes.pop(part)
            if not any(part.parent.iterdir()):
                part.parent.rmdir()
        return sum(sizes.values()) <= self.limits.quota_bytes and free >= self.limits.floor_bytes

    def keep(self, files: list[Path]) -> None:
        """These parts show something that must not be deleted."""
        for file in files:
            if file.exists():
                file.with_name(file.name + KEEP).touch()

    def finish(self, file: Path) -> Path:
        """The last part is complete; returns what to call the recording."""
        return file.parent

    def _number(self) -> int:
        """Number of this run's recording: one more than the last that is there."""
        if self._folder is not None:
            return int(self._folder.name)
        folders = [int(p.name) for p in self.root.glob("[0-9]*") if p.name.isdigit()] if self.root.is_dir() else []
        return max(folders, default=0) + 1


def _is_recording(path: Path) -> bool:
    return path.is_dir() and path.name.isdigit()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "name a place that you may write to"
        raise DriveError(f"cannot be made ({error.strerror})", file=folder, remedy=remedy) from error


Target = SingleFile | Shelf
"""Where the recorder's parts go."""


def target_of(path: Path, limits: Limits) -> Target:
    """Where `--record PATH` of a live run goes: a new file *.mcap, else a shelf. Raises DriveError when it cannot."""
    if path.suffix.lower() == ".mcap":
        return SingleFile(path, floor_bytes=limits.floor_bytes).check()
    return Shelf(path, limits).check()
