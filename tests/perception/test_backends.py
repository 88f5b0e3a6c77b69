"""Backends: what is wanted and missing is named with its remedy; what is here gives the same boxes."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import perception.backends
from perception.backends import AUTO, BACKENDS, BackendMissing, Network, Wish, open_network
from perception.card import load_card
from perception.detector import OnnxDetector
from perception.errors import ModelError
from tests.perception.cards import ROOT, catalogue, write_card

SHIPPED = ROOT / "models" / "qiji-street-n" / "model.toml"


def missing(onnx: Path, wish: Wish) -> Network:
    raise BackendMissing("no such device")


def test_the_first_that_is_here_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = load_card(write_card(tmp_path), catalogue())
    monkeypatch.setattr(perception.backends, "BACKENDS", {**BACKENDS, "cuda": missing})
    assert open_network(card.onnx, AUTO, Wish(1), card.file, "backends").backend == "cpu"


def test_a_wanted_backend_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = load_card(write_card(tmp_path), catalogue())
    monkeypatch.setattr(perception.backends, "BACKENDS", {**BACKENDS, "tensorrt": missing})
    with pytest.raises(ModelError) as caught:
        open_network(card.onnx, ["tensorrt"], Wish(1), Path("CAR.toml"), "[inference] backend")
    assert str(caught.value).startswith("CAR.toml: [inference] backend wants tensorrt, which cannot be used here")
    assert 'Remedy: tensorrt: no such device; or name "cpu"' in str(caught.value)


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_an_accelerator_that_this_build_lacks_says_what_to_install(tmp_path: Path, name: str) -> None:
    provider = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}[name]
    if provider in onnxruntime.get_available_providers():
        pytest.skip(f"this build has {provider}")
    card = load_card(write_card(tmp_path), catalogue())
    with pytest.raises(BackendMissing, match=f"has no {provider}: install onnxruntime-gpu"):
        BACKENDS[name](card.onnx, Wish(1))


def test_a_card_names_only_backends_that_exist(tmp_path: Path) -> None:
    assert load_card(write_card(tmp_path, changes={"backends": '["cpu"]'}), catalogue()).backends == ("cpu",)
    with pytest.raises(ModelError, match="`backends` names 'tpu'"):
        load_card(write_card(tmp_path, changes={"backends": '["tpu"]'}), catalogue())


@pytest.mark.parametrize("name", sorted(set(BACKENDS) - {"cpu"}))
def test_backends_agree(name: str) -> None:
    """The shipped network's boxes within 1 px of the CPU's, confidences within 0.01, also when run side by side."""
    card = load_card(SHIPPED, catalogue())
    try:
        network = BACKENDS[name](card.onnx, Wish(1, at_once=2))
    except BackendMissing as error:
        pytest.skip(f"NO {name.upper()}: {error}")
    ours, theirs = OnnxDetector(card, threads=1), OnnxDetector(card, network=network)
    rng = np.random.default_rng(6)
    images = [np.repeat(np.repeat(rng.integers(0, 255, (45, 80, 3), np.uint8), 16, 0), 16, 1) for _ in range(6)]
    blobs = [ours.preprocess(image) for image in images]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(theirs.run, blobs))
    for blob, answer in zip(blobs, answers, strict=True):
        wanted = ours.run(blob)
        assert np.abs(answer[0, :4] - wanted[0, :4]).max() < 1.0
        assert np.abs(answer[0, 4:] - wanted[0, 4:]).max() < 0.01


def test_openvino_that_is_not_installed_is_named(tmp_path: Path) -> None:
    if importlib.util.find_spec("openvino") is not None:
        pytest.skip("openvino is installed")
    card = load_card(write_card(tmp_path), catalogue())
    with pytest.raises(BackendMissing, match=r"pip install 'qiji\[openvino\]'"):
        BACKENDS["openvino"](card.onnx, Wish(1))
