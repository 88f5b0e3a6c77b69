"""Folders that a run keeps beside its run folder: its case memory and, locally, the platform's data."""

from __future__ import annotations

import shutil
from pathlib import Path

from replays.atomic import refuse_foreign

STORE_FILE = "cases.sqlite"
PLATFORM_FILE = "platform.sqlite"


def store_beside(out: Path) -> Path:
    """OUT.store; raises SetupError when something else has that name."""
    folder = out.with_name(out.name + ".store")
    refuse_foreign(folder, STORE_FILE, "store")
    return folder


def platform_beside(out: Path) -> Path:
    """OUT.platform; raises SetupError when something else has that name."""
    folder = out.with_name(out.name + ".platform")
    refuse_foreign(folder, PLATFORM_FILE, "platform's folder")
    return folder


def emptied(folder: Path) -> Path:
    """The folder without what an earlier run left in it; give it a name that was checked."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder
