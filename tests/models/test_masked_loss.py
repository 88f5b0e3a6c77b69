"""The mask: a class that a picture says nothing about gets no gradient from it; what is labelled counts in full."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

pytest.importorskip("torch", reason="NO TRAIN EXTRA: the masked loss needs torch")
pytest.importorskip("ultralytics", reason="NO TRAIN EXTRA: the masked loss needs ultralytics")

import torch

from models.masked_loss import MaskedDetectionLoss, background_weights
from models.network import build_network

CAR, PERSON, GARBAGE = 0, 1, 2
ALL_KNOWN = torch.ones(2, 3)
NOTHING = torch.zeros(0, 6)


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return build_network("yolov5n.yaml", 3).train()


def score_gradient(network: Any, background: torch.Tensor, ignore: torch.Tensor, criterion: Any = None) -> torch.Tensor:
    """Gradient of the loss in the class scores, (B, classes, anchors), for a car in picture 0, none in 1."""
    torch.manual_seed(1)
    loss = criterion or MaskedDetectionLoss(network)
    output = network(torch.rand(2, 3, 64, 64))
    scores = output["scores"].detach().requires_grad_(True)
    batch = {
        "batch_idx": torch.tensor([0.0]),
        "cls": torch.tensor([[float(CAR)]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.5, 0.5]]),
        "background": background,
        "ignore": ignore,
    }
    loss({**output, "scores": scores}, batch)[0].sum().backward()
    assert scores.grad is not None
    return scores.grad


def test_a_masked_class_gets_no_gradient(network: Any) -> None:
    background = ALL_KNOWN.clone()
    background[1, GARBAGE] = 0.0
    gradient = score_gradient(network, background, NOTHING)
    assert torch.count_nonzero(gradient[1, GARBAGE]) == 0
    assert (gradient[1, CAR] > 0).all()  # known and empty: every anchor is pushed down
    assert (gradient[0, GARBAGE] > 0).all()  # the other picture knows it


def test_without_the_mask_the_class_would_be_taught_as_absent(network: Any) -> None:
    """The mutant: ultralytics' own loss on the same batch does push the unlabelled class down."""
    plain = importlib.import_module("ultralytics.utils.loss").v8DetectionLoss(network)
    gradient = score_gradient(network, torch.zeros(2, 3), NOTHING, plain)
    assert (gradient[1, GARBAGE] > 0).all()
    assert torch.equal(gradient, score_gradient(network, ALL_KNOWN, NOTHING))  # all known: the very same loss


def test_a_labelled_object_counts_even_where_its_class_is_masked(network: Any) -> None:
    gradient = score_gradient(network, torch.zeros(2, 3), NOTHING)
    assert (gradient[0, CAR] < 0).any()  # pulled up where the car is
    assert not (gradient[0, CAR] > 0).any()  # and nowhere pushed down
    assert torch.count_nonzero(gradient[:, PERSON]) == 0


def test_a_doubtful_background_counts_less(network: Any) -> None:
    full = score_gradient(network, ALL_KNOWN, NOTHING)
    part = score_gradient(network, ALL_KNOWN * 0.3, NOTHING)
    assert torch.allclose(part[1], full[1] * 0.3, atol=1e-7)


def test_an_ignore_box_silences_its_class_inside_it_only(network: Any) -> None:
    ignore = torch.tensor([[1.0, PERSON, 0.0, 0.0, 24.0, 24.0]])
    gradient = score_gradient(network, ALL_KNOWN, ignore)
    fine = gradient[1, PERSON, :64].reshape(8, 8)  # stride 8: anchor centres at 4, 12, 20, ...
    assert torch.count_nonzero(fine[:3, :3]) == 0
    assert torch.count_nonzero(fine) == 64 - 9
    assert (gradient[1, CAR] > 0).all()


def test_a_small_ignore_box_reaches_the_coarse_levels() -> None:
    centres = torch.tensor([[4.0, 4.0], [12.0, 4.0], [16.0, 16.0], [48.0, 16.0]])
    strides = torch.tensor([[8.0], [8.0], [32.0], [32.0]])
    weights = background_weights(torch.ones(1, 3), torch.tensor([[0.0, 2.0, 2.0, 2.0, 5.0, 5.0]]), centres, strides)
    assert weights[0, :, 2].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert weights[0, :, :2].min() == 1.0
