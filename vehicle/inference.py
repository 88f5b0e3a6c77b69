"""How the car runs its model: the backend, a second look at the road, things composed of parts. `[inference]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gnss.clock import stopwatch
from perception.backends import AUTO, BACKENDS, Network, Wish, open_network
from perception.camera import CameraModel
from perception.card import ModelCard
from perception.catalogue import Catalogue
from perception.detector import Detector, OnnxDetector
from perception.errors import SetupError
from perception.second_look import SecondLook, SecondLookParams

AUTOMATIC = "auto"


@dataclass(frozen=True, slots=True)
class InferenceParams:
    """`backend`: auto (as the card says, else the first of `backends.AUTO` that is here) or one of `BACKENDS`.

    `exact`: float32, so that backends agree; false allows bfloat16 or float16. `compose`: use the card's compositions.
    """

    backend: str = AUTOMATIC
    exact: bool = True
    compose: bool = False
    second_look: SecondLookParams = field(default_factory=SecondLookParams)


def fitted(card: ModelCard, params: InferenceParams, file: Path | None) -> ModelCard:
    """The card as this car uses it; raises SetupError, naming the configuration `file`, where they do not agree."""
    if not params.compose:
        return card
    if not card.compositions:
        remedy = f"describe one in {card.file} as [composition.street_stall], or set compose = false"
        raise SetupError("[inference] compose is true, but the model has no composition", file=file, remedy=remedy)
    return card.composing()


def opened(card: ModelCard, params: InferenceParams, file: Path | None, wish: Wish) -> Network:
    """The card's network on the backend that configuration or card want; raises ModelError when it is not here."""
    if params.backend != AUTOMATIC:
        if params.backend not in BACKENDS:
            remedy = f"use {AUTOMATIC} or one of {', '.join(sorted(BACKENDS))}"
            raise SetupError(f"[inference] backend is {params.backend!r}", file=file, remedy=remedy)
        return open_network(card.onnx, [params.backend], wish, file or card.file, "[inference] backend")
    return open_network(card.onnx, card.backends or AUTO, wish, card.file, "`backends`")


def eyes(
    detector: OnnxDetector | None,
    cameras: Mapping[str, CameraModel],
    catalogue: Catalogue,
    params: InferenceParams,
    *,
    live: bool,
) -> Detector | None:
    """The detector as it looks through these cameras; `live` lets the second look keep to its budget of time."""
    if detector is None or params.second_look.every <= 0:
        return detector
    return SecondLook(detector, cameras, catalogue, params.second_look, stopwatch if live else None)
