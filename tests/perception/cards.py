"""Model cards and tiny ONNX networks for the tests, written byte by byte: the dev set has no onnx package."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.catalogue import Catalogue, load_catalogue

ROOT = Path(__file__).resolve().parents[2]
_FLOAT, _INT64, _HALF = 1, 7, 10

Array = NDArray[np.float32]


def catalogue() -> Catalogue:
    """The shipped catalogue."""
    return load_catalogue(ROOT / "models")


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _field(number: int, value: int | str | bytes) -> bytes:
    """One protobuf field: an integer as varint, text and messages by length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _tensor(name: str, array: NDArray[np.float32]) -> bytes:
    dims = b"".join(_field(1, size) for size in array.shape)
    return dims + _field(2, _FLOAT) + _field(8, name) + _field(9, array.astype("<f4").tobytes())


def _value(name: str, shape: Sequence[int | str], kind: int = _FLOAT) -> bytes:
    """A port: sides are sizes, or names where the file leaves them open."""
    dims = b"".join(_field(1, _field(2 if isinstance(size, str) else 1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims)))


def _node(op: str, inputs: tuple[str, ...], output: str, attribute: bytes = b"") -> bytes:
    return b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, op) + attribute


def constant_network(
    file: Path,
    output: Array | Mapping[str, Array],
    input_wh: tuple[int, int],
    names: str | None,
    *,
    opset: int = 17,
    open_sides: bool = False,
    sized: bool = False,
    half: bool = False,
) -> None:
    """Write an ONNX that answers `output` to any picture; `names` goes into its metadata as ultralytics does.

    Several outputs are given by name. `open_sides`: batch, height and width, and all sides of the outputs, are left
    open in the file. `sized`: a second input `orig_target_sizes`, which is not used. `half`:
    pictures go in as float16.
    """
    outputs = output if isinstance(output, Mapping) else {"output0": output}
    width, height = input_wh
    keepdims = _field(5, _field(1, "keepdims") + _field(3, 0) + _field(20, 2))
    to_float = _field(5, _field(1, "to") + _field(3, _FLOAT) + _field(20, 2))
    graph = _field(1, _node("Cast", ("images",), "pictures", to_float))
    graph += _field(1, _node("ReduceSum", ("pictures",), "sum", keepdims))
    graph += _field(1, _node("Mul", ("sum", "zero"), "nothing")) + _field(2, "constant")
    graph += _field(5, _tensor("zero", np.zeros(1, np.float32)))
    sides = ("batch", 3, "h", "w") if open_sides else (1, 3, height, width)
    graph += _field(11, _value("images", sides, _HALF if half else _FLOAT))
    if sized:
        graph += _field(11, _value("orig_target_sizes", (1, 2), _INT64))
    for name, array in outputs.items():
        graph += _field(5, _tensor(f"{name}.fixed", array))
        graph += _field(1, _node("Add", (f"{name}.fixed", "nothing"), name))
        graph += _field(12, _value(name, tuple(f"{name}{i}" for i in range(array.ndim)) if open_sides else array.shape))
    model = _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, opset))
    if names is not None:
        model += _field(14, _field(1, "names") + _field(2, names))
    file.write_bytes(model)


def digest(file: Path) -> str:
    """SHA-256 of a file, or zero when there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "00"


def card_text(network: Path, changes: Mapping[str, str] | None = None) -> str:
    """A card of a two-class model (car, person) with 64 x 32 px input; `changes` replace, add or (empty) drop lines."""
    lines = {
        "version": "1",
        "name": '"tiny"',
        "onnx": f'"{network.name}"',
        "sha256": f'"{digest(network)}"',
        "decoder": '"yolo"',
        "input_wh": "[64, 32]",
        "color": '"rgb"',
        "scale": "0.00392156862745098",
        "letterbox": '"center"',
        "pad_value": "114",
        "classes": '["car", "person"]',
        "thresholds": "{confidence = 0.25, privacy = 0.1, nms_iou = 0.5}",
        "privacy": '{person = ["person"], vehicle = ["car"]}',
        "licence": '{weights = "none"}',
        **(changes or {}),
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items() if value)


def yolo_output(*boxes: tuple[float, float, float, float, float, float]) -> NDArray[np.float32]:
    """Output (1, 6, 8) of the two-class head: rows of centre x, y, width, height, car, person; the rest is empty."""
    output = np.zeros((1, 6, 8), np.float32)
    for i, box in enumerate(boxes):
        output[0, :, i] = box
    return output


def write_card(
    folder: Path,
    output: Array | Mapping[str, Array] | None = None,
    names: str | None = None,
    changes: Mapping[str, str] | None = None,
    **network: Any,
) -> Path:
    """A constant network `tiny.onnx` and its card in `folder`; gives the card's path. `network`: see above."""
    constant_network(folder / "tiny.onnx", yolo_output() if output is None else output, (64, 32), names, **network)
    card = folder / "card.toml"
    card.write_text(card_text(folder / "tiny.onnx", changes), encoding="utf-8")
    return card


def yolox_card(folder: Path, shared: Path) -> Path:
    """The committed YOLOX card with its `onnx` pointing to the shared weights."""
    text = (ROOT / "models/cards/yolox_nano_coco.toml").read_text(encoding="utf-8")
    weights = shared / "weights" / "yolox_nano_coco.onnx"
    card = folder / "yolox.toml"
    card.write_text(text.replace('"yolox_nano_coco.onnx"', f'"{weights.as_posix()}"'), encoding="utf-8")
    return card
