"""The network behind a model card: checked against what the card says of it, and its answers against both."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from perception.backends import Network, OrtNetwork, Port, Wish, open_session
from perception.decode import DECODERS, Decoder, Output
from perception.errors import ModelError

if TYPE_CHECKING:
    from perception.card import ModelCard


class NetworkFault(Exception):
    """The network's answer to one frame cannot be used; the text says why. The frame was not looked at."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """Which ports of a network a card's decoder uses. `size`: the input that takes the size boxes are scaled to."""

    picture: str
    picture_dtype: str
    size: str | None
    outputs: tuple[str, ...]


def check_network(card: ModelCard) -> None:
    """Verify that the card's ONNX opens, has its sha256, its input size, its number of classes and its class names.

    A file that leaves sizes open is run once to learn them. Raises ModelError naming the card or the ONNX file, the
    first difference and the remedy.
    """
    network = OrtNetwork("cpu", open_session(card.onnx, Wish()))
    digest = hashlib.sha256(card.onnx.read_bytes()).hexdigest()
    if digest != card.sha256:
        problem = f"`sha256` is {card.sha256[:16]}... but {card.onnx} has {digest[:16]}..."
        raise ModelError(problem, file=card.file, remedy="fetch the file that the card was written for")
    wiring = wire(card, network)
    if any(None in port.shape for port in (*network.inputs, *network.outputs)):
        width, height = card.input_wh
        try_out(card, network, wiring, np.zeros((1, 3, height, width), np.float32))
    if (names := network.metadata.get("names")) is not None:
        _check_names(card, names)


def wire(card: ModelCard, network: Network) -> Wiring:
    """Find the ports that the card's decoder needs; raises ModelError where they do not fit the card."""
    decoder = DECODERS[card.decoder]
    size = _check_inputs(card, network.inputs, decoder)
    outputs = _find_outputs(card, network.outputs, decoder)
    shapes = [port.shape for port in outputs]
    # A file may leave sides open, and even their number; what it says must fit.
    if any(shape and len(shape) != rank for shape, rank in zip(shapes, decoder.ranks, strict=True)):
        _refuse_shape(card, shapes)
    if all(shape and None not in shape for shape in shapes):
        try:
            joined = decoder.join([np.empty([side or 0 for side in shape], np.float32) for shape in shapes])
        except ValueError:
            _refuse_shape(card, shapes)
        else:
            _check_count(card, joined.shape)
    picture = network.inputs[0]
    return Wiring(picture.name, picture.dtype, size, tuple(port.name for port in outputs))


def ask(network: Network, wiring: Wiring, card: ModelCard, blob: NDArray[np.float32]) -> Output:
    """Run the network and join its outputs, float32; raises NetworkFault when they are not finite or misshapen."""
    feeds: dict[str, NDArray[Any]] = {wiring.picture: blob.astype(wiring.picture_dtype, copy=False)}
    if wiring.size is not None:
        feeds[wiring.size] = np.array([card.input_wh], np.int64)
    found = network.run(feeds, wiring.outputs)
    decoder = DECODERS[card.decoder]
    if tuple(array.ndim for array in found) != decoder.ranks or any(array.shape[0] != 1 for array in found):
        raise NetworkFault(f"the network's answer is misshapen: {[array.shape for array in found]}")
    try:
        output = decoder.join([array.astype(np.float32, copy=False) for array in found])
    except ValueError as error:
        raise NetworkFault(f"the network's answer is misshapen: {error}") from error
    with np.errstate(all="ignore"):
        finite = np.isfinite(output.sum())  # as good as a look at every number, at a tenth of its time
    if not finite:
        raise NetworkFault("the network's answer is not finite")
    return output


def try_out(card: ModelCard, network: Network, wiring: Wiring, blob: NDArray[np.float32]) -> None:
    """Run once at the start; raises ModelError when the network cannot take such a picture or answers nonsense."""
    try:
        output = ask(network, wiring, card, blob)
    except NetworkFault as error:
        problem = f"{error}, and that to an empty picture"
        raise ModelError(problem, file=card.onnx, remedy="export the model anew, and try that file first") from error
    except Exception as error:  # the runtimes' exceptions share no base but Exception
        text = " ".join(str(error).split())
        raise ModelError(
            f"cannot be run on a picture of {card.input_wh[0]} x {card.input_wh[1]} px ({text})",
            file=card.onnx,
            remedy="set `input_wh` to a size that the network was exported for, or export it with a fixed size",
        ) from error
    _check_count(card, output.shape)


def _check_inputs(card: ModelCard, inputs: Sequence[Port], decoder: Decoder) -> str | None:
    """Check the picture's port; gives the name of the one for the size, if the family has it."""
    wanted = (1, 3, card.input_wh[1], card.input_wh[0])
    shape = inputs[0].shape
    if len(shape) != 4 or any(have not in (None, want) for have, want in zip(shape, wanted, strict=True)):
        problem = f"the network takes {list(shape)}, but `input_wh` means {list(wanted)}"
        raise ModelError(problem, file=card.file, remedy="set `input_wh` to the network's [width, height]")
    if inputs[0].dtype not in ("float32", "float16"):
        problem = f"the network takes {inputs[0].dtype} pictures, not float32 or float16"
        raise ModelError(problem, file=card.onnx, remedy="export it with a float input")
    names = [port.name for port in inputs]
    if len(inputs) != (2 if decoder.sized else 1):
        problem = f"the network has inputs {names}, decoder {card.decoder!r} feeds {2 if decoder.sized else 1}"
        raise ModelError(problem, file=card.file, remedy=f"name its decoder, one of {sorted(DECODERS)}")
    return names[1] if decoder.sized else None


def _find_outputs(card: ModelCard, outputs: Sequence[Port], decoder: Decoder) -> tuple[Port, ...]:
    """The ports in the order in which the decoder joins them: by the card's `outputs`, else by names it knows."""
    by_name = {port.name: port for port in outputs}
    wanted = decoder.outputs or ((outputs[0].name,),)
    if card.outputs:
        if len(card.outputs) != len(wanted) or not set(card.outputs) <= set(by_name):
            problem = f"`outputs` is {list(card.outputs)}, the network has {sorted(by_name)}"
            remedy = f"name those that decoder {card.decoder!r} reads, in this order: {decoder.layout}"
            raise ModelError(problem, file=card.file, remedy=remedy)
        return tuple(by_name[name] for name in card.outputs)
    found = [next((by_name[name] for name in known if name in by_name), None) for known in wanted]
    if any(port is None for port in found):
        problem = f"decoder {card.decoder!r} reads {decoder.layout}; the network has outputs {sorted(by_name)}"
        remedy = f"name its decoder, one of {sorted(DECODERS)}, or write `outputs` = their names in this order"
        raise ModelError(problem, file=card.file, remedy=remedy)
    return tuple(port for port in found if port is not None)


def _check_count(card: ModelCard, shape: tuple[int, ...]) -> None:
    count = DECODERS[card.decoder].class_count(shape)
    if count is not None and count != len(card.classes):
        gives = f"{card.onnx} gives {list(shape)}: {count} for {card.decoder!r}"
        problem = f"`classes` lists {len(card.classes)}, but {gives}"
        remedy = "list the classes that the network was trained on, in output order, or name its decoder"
        raise ModelError(problem, file=card.file, remedy=remedy)
    if count is None and shape[-1] != 6:
        _refuse_shape(card, [shape])


def _refuse_shape(card: ModelCard, shapes: Sequence[Sequence[int | None]]) -> NoReturn:
    layout = DECODERS[card.decoder].layout
    gives = " and ".join(str(list(shape)) for shape in shapes)
    problem = f"the network gives {gives}, decoder {card.decoder!r} reads {layout}"
    raise ModelError(problem, file=card.file, remedy=f"name its decoder, one of {sorted(DECODERS)}")


def _check_names(card: ModelCard, written: str) -> None:
    """Compare with the names that ultralytics writes into an export: a dict literal {0: 'person', ...}."""
    try:
        table: Mapping[int, Any] = ast.literal_eval(written)
        names = [str(table[i]) for i in range(len(table))]
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        problem = "the class names inside the file cannot be read"
        raise ModelError(problem, file=card.onnx, remedy="export the model anew") from error
    for i in range(max(len(names), len(card.classes))):
        own = card.classes[i] if i < len(card.classes) else None
        inside = names[i] if i < len(names) else None
        if own != inside:
            problem = f"output {i} is {own!r} in `classes` but {inside!r} inside {card.onnx}"
            raise ModelError(problem, file=card.file, remedy="list the names in the order of the network's outputs")
