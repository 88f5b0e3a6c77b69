"""A short street driven once, on disk, and a model card whose network needs no training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.perception.cards import digest
from tests.vehicle.drives import sign, write_card, write_drive


@pytest.fixture(scope="session")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card for all catalogue classes; its network finds the same two things in every picture."""
    return write_card(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="session")
def filmed_original(tmp_path_factory: pytest.TempPathFactory, card: Path) -> Path:
    """A street with video and recorded detections that the card's network is said to have made; do not change it."""
    drive = write_drive(tmp_path_factory.mktemp("filmed") / "street", pixels=True)
    sign(drive / "detections.jsonl", digest(card.with_name("all.onnx")))
    return drive


@pytest.fixture
def filmed(filmed_original: Path, tmp_path: Path) -> Path:
    """A copy of the filmed street to change."""
    return Path(shutil.copytree(filmed_original, tmp_path / "street"))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The street as recorded detections, without a pixel; do not change it."""
    return write_drive(tmp_path_factory.mktemp("recorded") / "street")
