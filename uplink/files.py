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


class Spool:
    """Content-addressed pictures below one folder: `xx/<sha256>.jpg`. All folders are made and synced at the start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = not (folder / "ff").is_dir()
        for number in range(256):
            (folder / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        if made:
            sync_folder(folder)
            sync_folder(folder.parent)

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
        part = final.with_suffix(".part")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(part, final)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        sync_folder(final.parent)

    def remove(self, sha256: str) -> None:
        """Forget a picture, durably; absent is fine."""
        final = self.path(sha256)
        final.unlink(missing_ok=True)
        sync_folder(final.parent)

    def size(self, sha256: str) -> int | None:
        """Bytes of a stored picture, or None."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def drop_parts(self) -> int:
        """Delete unfinished files; how many there were."""
        parts = list(self.folder.glob("*/*.part"))
        for part in parts:
            part.unlink()
        return len(parts)

    def names(self) -> Iterator[str]:
        """Hashes of all stored pictures."""
        return (path.stem for path in self.folder.glob("*/*.jpg"))
