"""Whole or not at all: files and folders are written beside their place and renamed at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from perception.errors import DriveError


@contextmanager
def part_file(file: Path) -> Iterator[TextIO]:
    """A text stream that becomes `file` when the block ends well, and leaves nothing when it does not."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.chmod(0o644)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Write `text` to `file` as a whole or not at all."""
    with part_file(file) as stream:
        stream.write(text)


def part_folder(folder: Path) -> Path:
    """A new empty folder beside `folder`; `move_folder` puts it in place, `drop_folder` removes it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        remedy = "name a folder that you may write to"
        raise DriveError(f"cannot be made ({error.strerror})", file=folder, remedy=remedy) from error


def refuse_foreign(folder: Path, marker: str, what: str) -> None:
    """Raise DriveError when `folder` exists, is not empty and holds no `marker`: nobody's own files are replaced."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / marker).exists():
        raise DriveError(f"exists and is no {what}", file=folder, remedy="name an empty or a new folder")
    if folder.exists() and not folder.is_dir():
        raise DriveError("exists and is no folder", file=folder, remedy="name an empty or a new folder")


def move_folder(part: Path, folder: Path) -> None:
    """Put a finished part folder in the place of `folder`; an old one is moved aside first and removed last."""
    part.chmod(0o755)
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
        folder.replace(old)
        part.replace(folder)
        shutil.rmtree(old)
    else:
        part.replace(folder)


def drop_folder(part: Path) -> None:
    """Remove a part folder that will not be finished."""
    if part.exists():
        shutil.rmtree(part)


@contextmanager
def new_folder(folder: Path, marker: str, what: str) -> Iterator[Path]:
    """A folder to write into that becomes `folder` when the block ends well, and leaves nothing when it does not."""
    refuse_foreign(folder, marker, what)
    part = part_folder(folder)
    try:
        yield part
        move_folder(part, folder)
    finally:
        drop_folder(part)
