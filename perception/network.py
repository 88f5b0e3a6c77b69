"""The ONNX file behind a model card: opened on the CPU, and checked against what the card says of it."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from perception.decode import DECODERS
from perception.errors import ModelError

if TYPE_CHECKING:
    from perception.card import ModelCard


def open_session(onnx: Path, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU, repeatable for one thread count; raises ModelError when that fails."""
    if not onnx.is_file():
        raise ModelError("the ONNX file is missing", file=onnx, remedy="fetch it, or set `onnx` in the model card")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    # Threads that spin while they wait take the cores that tracking, redaction and decoding need meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        problem = f"is not an ONNX file that can be run ({error})"
        remedy = "fetch the file again (a Git LFS pointer or a cut download is not the model), or export the model anew"
        raise ModelError(problem, file=onnx, remedy=remedy) from error


def check_network(card: ModelCard) -> None:
    """Verify that the card's ONNX opens, has its sha256, its input size, its number of classes and its class names.

    Raises ModelError naming the card or the ONNX file, the first difference and the remedy.
    """
    session = open_session(card.onnx)
    digest = hashlib.sha256(card.onnx.read_bytes()).hexdigest()
    if digest != card.sha256:
        problem = f"`sha256` is {card.sha256[:16]}... but {card.onnx} has {digest[:16]}..."
        raise ModelError(problem, file=card.file, remedy="fetch the file that the card was written for")
    _check_input(card, session.get_inputs()[0].shape)
    _check_output(card, session.get_outputs()[0].shape)
    written = session.get_modelmeta().custom_metadata_map.get("names")
    if written is not None:
        _check_names(card, written)


def _check_input(card: ModelCard, shape: list[int | str]) -> None:
    wanted = [1, 3, card.input_wh[1], card.input_wh[0]]
    agrees = len(shape) == 4 and all(isinstance(v, str) or v == w for v, w in zip(shape, wanted, strict=True))
    if not agrees:
        problem = f"the network takes {shape}, but `input_wh` means {wanted}"
        raise ModelError(problem, file=card.file, remedy="set `input_wh` to the network's [width, height]")


def _check_output(card: ModelCard, shape: list[int | str]) -> None:
    decoder = DECODERS[card.decoder]
    if len(shape) != 3:
        problem = f"the network gives {shape}, decoder {card.decoder!r} reads {decoder.layout}"
        raise ModelError(problem, file=card.file, remedy=f"name its decoder, one of {sorted(DECODERS)}")
    known = tuple(v for v in shape if isinstance(v, int))
    count = decoder.class_count(known) if len(known) == 3 else None
    if count is not None and count != len(card.classes):
        problem = f"`classes` lists {len(card.classes)}, but {card.onnx} gives {shape}: {count} for {card.decoder!r}"
        remedy = "list the classes that the network was trained on, in output order, or name its decoder"
        raise ModelError(problem, file=card.file, remedy=remedy)


def _check_names(card: ModelCard, written: str) -> None:
    """Compare with the names that ultralytics writes into an export: a dict literal {0: 'person', ...}."""
    try:
        table = ast.literal_eval(written)
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
