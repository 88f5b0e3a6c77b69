"""Evidence files that survive a power cut: written to `.part`, synced, renamed, the folder synced.

rename is atomic but not durable, and a file's name is durable only when its folder has been synced.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from uplink.errors import EvidenceMismatch

SHA256 = re.compile(r"[0-9a-f]{64}")


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_BLOCK = 4096


def on_disk(size: int) -> int:
    """What a file of `size` bytes takes, in whole blocks."""
    return -(-size // _BLOCK) * _BLOCK


class Spool:
    """Content-addressed pictures below one folder: `xx/<sha256>.jpg`. All folders are made and synced at the start.

    `pending`: written, but their transaction has not committed yet. `used`: bytes that the pictures take.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pending: set[str] = set()
        self.used = 0
        self._make_folders()

    def _make_folders(self) -> None:
        if (self.folder / "ff").is_dir():
            return
        for number in range(256):
            (self.folder / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        sync_folder(self.folder)
        sync_folder(self.folder.parent)

    def path(self, sha256: str) -> Path:
        """Where a picture lies; raises ValueError when `sha256` is not 64 hex digits (names come from outside too)."""
        if SHA256.fullmatch(sha256) is None:
            raise ValueError(f"not a sha256: {sha256!r}")
        return self.folder / sha256[:2] / f"{sha256}.jpg"

    def write(self, sha256: str, content: bytes) -> None:
        """Durable when it returns. Raises EvidenceMismatch, or OSError with nothing left behind.

        After a failed fsync Linux marks the pages clean, so it is never retried: the file is dropped, and the caller
        comes again with the bytes from memory.
        """
        if hashlib.sha256(content).hexdigest() != sha256:
            raise EvidenceMismatch(f"the picture filed as {sha256} has other bytes")
        final = self.path(sha256)
        if not final.parent.is_dir():
            # Somebody has tidied: what lay there is found missing when it is due.
            final.parent.mkdir(parents=True)
            sync_folder(self.folder)
            sync_folder(self.folder.parent)
        part = final.with_suffix(".part")
        part.unlink(missing_ok=True)
        # Before the first byte: a look at the spool beside the work must not take it for a leftover.
        self.pending.add(sha256)
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(part, final)
            sync_folder(final.parent)
        except OSError:
            part.unlink(missing_ok=True)
            self.pending.discard(sha256)
            raise
        self.used += on_disk(len(content))

    def remove(self, sha256: str) -> None:
        """Forget a picture, durably; absent is fine."""
        self.unlink(sha256)
        if self.path(sha256).parent.is_dir():
            sync_folder(self.path(sha256).parent)

    def unlink(self, sha256: str) -> None:
        """Forget a picture; a power cut may bring the file back, and the next start removes it again."""
        size = self.size(sha256)
        if size is not None:
            self.path(sha256).unlink(missing_ok=True)
            self.used -= on_disk(size)

    def holds(self, sha256: str) -> bool:
        """Is the picture there with the very bytes of its name?"""
        try:
            with self.path(sha256).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False

    def move(self, sha256: str, folder: Path) -> None:
        """Put a picture's file aside, into `folder`."""
        size = self.size(sha256)
        if size is not None:
            folder.mkdir(parents=True, exist_ok=True)
            os.rename(self.path(sha256), folder / f"{sha256}.jpg")
            self.used -= on_disk(size)

    def size(self, sha256: str) -> int | None:
        """Bytes of a stored picture, or None."""
        try:
            return self.path(sha256).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def listing(self, number: int) -> tuple[dict[str, int], list[Path]]:
        """Of folder `number` (0 .. 255): sizes of its pictures by hash, and unfinished files."""
        pictures: dict[str, int] = {}
        parts: list[Path] = []
        folder = self.folder / f"{number:02x}"
        if folder.is_dir():
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".part"):
                        parts.append(Path(entry.path))
                        continue
                    name = entry.name.removesuffix(".jpg")
                    size = self.size(name) if SHA256.fullmatch(name) else None
                    if size is not None:
                        pictures[name] = size
        return pictures, parts

    def drop_parts(self) -> int:
        """Delete unfinished files; how many there were."""
        parts = list(self.folder.glob("*/*.part"))
        for part in parts:
            part.unlink()
        return len(parts)

    def names(self) -> Iterator[str]:
        """Hashes of all stored pictures."""
        return (path.stem for path in self.folder.glob("*/*.jpg"))
