"""How full the store's disk is, and the ballast: a file that is given up so that a full disk can be tidied.

On a full disk SQLite cannot even delete: UPDATE, DELETE and a checkpoint all fail until some space is freed. The
ballast is that space. Both it and the quota scale with the disk, so that a 16 MB one works by the same rules.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from uplink.files import sync_folder

MB = 1024 * 1024
_AMPLE_SHARE, _AMPLE_BYTES = 0.25, 2048 * MB
"""With more than this free nobody needs a ballast yet: a disk does not fill between two commits."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """`quota_bytes` None: only the share of the disk counts. Shares are of the whole disk."""

    quota_bytes: int | None = None
    quota_share: float = 0.5
    ballast_bytes: int = 64 * MB
    ballast_share: float = 0.05


def is_full(error: BaseException) -> bool:
    """Does the error say that the disk has no room?"""
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _FULL


class Disk:
    """The disk below `folder`; `used` tells what the store takes of it."""

    def __init__(
        self,
        folder: Path,
        limits: DiskLimits,
        used: Callable[[], int],
        statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._used = used
        self._statvfs = statvfs
        self._ballast = folder / "ballast"

    def size(self) -> int:
        """Bytes of the whole disk."""
        found = self._statvfs(self._folder)
        return found.f_blocks * found.f_frsize

    def free(self) -> int:
        """Bytes that this user may still write."""
        found = self._statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def quota(self) -> int:
        """Bytes that the store may take."""
        share = round(self.size() * self._limits.quota_share)
        return share if self._limits.quota_bytes is None else min(share, self._limits.quota_bytes)

    def level(self) -> float:
        """Share of what the store may take that is taken, 0 .. 1: of its quota, or of what others leave it."""
        used = self._used()
        return used / max(1, min(self.quota(), used + self.free()))

    def wal_pages(self, page_bytes: int = 4096) -> int:
        """How long the write-ahead log may grow before it is folded back: SQLite's 1000 pages, or 4 % of the quota."""
        return max(32, min(1000, round(self.quota() * 0.04) // page_bytes))

    def _ballast_bytes(self) -> int:
        return min(self._limits.ballast_bytes, round(self.size() * self._limits.ballast_share))

    @property
    def has_ballast(self) -> bool:
        """Does the ballast stand?"""
        return self._ballast.exists()

    def drop_ballast(self) -> bool:
        """Give its space back; False when there was none."""
        if not self._ballast.exists():
            return False
        self._ballast.unlink()
        return True

    def restore_ballast(self) -> bool:
        """Make it when the disk fills to where it may be needed, and has room for two; does it stand?"""
        if self._ballast.exists():
            return True
        wanted, free = self._ballast_bytes(), self.free()
        if free > max(_AMPLE_SHARE * self.size(), _AMPLE_BYTES) or free < 2 * wanted:
            return False
        part = self._ballast.with_suffix(".part")
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, wanted)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(part, self._ballast)
            sync_folder(self._folder)
        except OSError:
            part.unlink(missing_ok=True)
            return False
        return True
