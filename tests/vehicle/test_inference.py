"""`[inference]` of CAR.toml: backend, compositions and the second look reach the detector that a run uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception.camera import CameraModel
from perception.detector import OnnxDetector
from perception.errors import ModelError, SetupError
from perception.second_look import SecondLook
from vehicle.config import Config, load_config
from vehicle.setup import equip

CAMERAS = {"front": CameraModel.guess("front", 1280, 720)}


def car(folder: Path, card: Path, text: str) -> Config:
    file = folder / "CAR.toml"
    file.write_text(f'version = 1\nmodel = "{card.as_posix()}"\nthreads = 1\n{text}\n', encoding="utf-8")
    return load_config(file)


def test_the_defaults_look_once_on_what_is_here(tmp_path: Path, card: Path) -> None:
    kit = equip(car(tmp_path, card, ""), detect=True)
    assert isinstance(kit.detector, OnnxDetector)
    assert kit.eyes(CAMERAS) is kit.detector
    assert kit.detector.network.backend in ("cpu", "cuda")
    assert equip(car(tmp_path, card, ""), detect=False).eyes(CAMERAS) is None


def test_a_second_look_is_asked_for_by_name(tmp_path: Path, card: Path) -> None:
    config = car(tmp_path, card, "[inference.second_look]\nevery = 2\nfar_m = 30.0")
    assert config.inference.second_look.far_m == 30.0
    assert isinstance(equip(config, detect=True).eyes(CAMERAS, live=True), SecondLook)


def test_an_unknown_backend_names_file_and_key(tmp_path: Path, card: Path) -> None:
    config = car(tmp_path, card, '[inference]\nbackend = "tpu"')
    with pytest.raises(SetupError, match=r"CAR\.toml: \[inference\] backend is 'tpu'. Remedy: use auto or one of cpu"):
        equip(config, detect=True)


def test_a_backend_that_is_not_here_names_file_key_and_remedy(
    tmp_path: Path, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perception.backends.onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    config = car(tmp_path, card, '[inference]\nbackend = "cuda"')
    words = r"CAR\.toml: \[inference\] backend wants cuda, .* Remedy: cuda: .* install onnxruntime-gpu"
    with pytest.raises(ModelError, match=words):
        equip(config, detect=True)


def test_composing_needs_a_card_that_says_how(tmp_path: Path, card: Path) -> None:
    with pytest.raises(SetupError, match=r"the model has no composition. Remedy: describe one in .*model\.toml"):
        equip(car(tmp_path, card, "[inference]\ncompose = true"), detect=False)


def test_unknown_keys_are_refused(tmp_path: Path, card: Path) -> None:
    with pytest.raises(SetupError, match=r"\[inference\] backends does not exist"):
        car(tmp_path, card, '[inference]\nbackends = "cpu"')
