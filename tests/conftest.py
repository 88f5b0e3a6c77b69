"""Fixtures for every room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared material (real logs, drives, weights): `QIJI_SHARED`, or `shared` beside the repository."""
    named = os.environ.get("QIJI_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"SHARED MATERIAL ABSENT: {folder} is no folder; set QIJI_SHARED to test on the real data")
    return folder
