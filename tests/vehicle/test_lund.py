"""The real street: 29 hand-held photos in Lund, where one red parked car shows in about ten of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnss.geodesy import distance_m
from replays.drive import open_drive
from replays.import_photos import import_photos
from vehicle.config import MODELS, SHIPPED_CARD, Config
from vehicle.replay import ReplayOptions, replay

FIRST_PHOTO, LAST_PHOTO = 9, 19
"""Indices of the photos in which the red car is seen from behind, far to near (10.jpg to 20.jpg)."""


def _yolox(shared: Path, folder: Path) -> Path:
    """The YOLOX card beside its weights."""
    folder.mkdir()
    shutil.copy(shared / "weights" / "yolox_nano_coco.onnx", folder)
    return Path(shutil.copy(MODELS / "cards" / "yolox_nano_coco.toml", folder / "model.toml"))


def _vehicles(run: Path) -> list[dict[str, Any]]:
    features = json.loads((run / "landmarks.geojson").read_text(encoding="utf-8"))["features"]
    return [f for f in features if f["properties"]["class"] in ("car", "truck", "bus")]


@pytest.mark.parametrize("model", ["yolox", "shipped"])
def test_the_red_car_is_one_object(shared: Path, tmp_path: Path, model: str) -> None:
    card = _yolox(shared, tmp_path / "yolox") if model == "yolox" else SHIPPED_CARD
    imported = import_photos(shared / "drives" / "opensfm-lund-street", tmp_path / "lund")
    assert "walking pace" in imported.note
    result = replay([tmp_path / "lund"], replace(Config(), card=card), tmp_path / "run", ReplayOptions())
    assert sum(result.ends.values()) > 0
    stamps = open_drive(tmp_path / "lund").members["front"].stamp_ns
    vehicles = _vehicles(tmp_path / "run")
    red = [
        f
        for f in vehicles
        if f["properties"]["last_stamp_ns"] == int(stamps[LAST_PHOTO]) and f["properties"]["closest_range_m"] < 15.0
    ]
    assert len(red) == 1
    assert red[0]["properties"]["first_stamp_ns"] >= int(stamps[FIRST_PHOTO])
    assert red[0]["properties"]["looks"] >= 5
    assert red[0]["properties"]["verdict"] == "static"
    lon, lat = red[0]["geometry"]["coordinates"]
    rest = [f["geometry"]["coordinates"] for f in vehicles if f is not red[0]]
    assert all(distance_m(lat, lon, other[1], other[0]) > 15.0 for other in rest)
