"""Other number formats of an exported detector: 8-bit convolutions, and 16-bit floats throughout.

Only convolutions become 8-bit: with every operator, boxes and confidences share one scale at the last Concat, and
nothing is found any more (measured: mAP 0.75 -> 0.0). The last convolutions, whose outputs are the answer, stay as they
are. Value ranges leave out the outermost 0.01 %: SiLU's rare peaks would stretch the steps of all others (measured on
qiji-street-n: full ranges lose 0.9 points of AP50, these 0.4). They come from pictures that do not validate. The
metadata (names, stride, stages) is carried over, which the converters forget.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.dataset import Picture
from models.errors import TrainingSetupError
from models.pictures import read_picture
from models.predictor import network_input, sha256_of

LOG = logging.getLogger(__name__)
PRECISIONS = ("fp32", "fp16", "int8")
RANGE_PICTURES = 48
"""Enough for a percentile; all their intermediate values are in memory at once, some 50 MB each."""
PERCENTILE = 99.99
PRECISION_KEY = "qiji_precision"


def to_int8(source: Path, out: Path, pictures: Sequence[Picture], seed: int = 0) -> str:
    """Write `out`, an 8-bit twin of the fp32 file `source` (QDQ, per channel, Conv only); returns its sha256.

    Value ranges are those of up to RANGE_PICTURES of `pictures`, drawn by `seed`. Raises TrainingSetupError when there
    are none, or one is of the validation split.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    if not pictures:
        raise TrainingSetupError("no pictures to measure value ranges on", remedy="give --prepared folders")
    if any(picture.split == "val" for picture in pictures):
        raise TrainingSetupError("validation pictures may not shape the model", remedy="use calibration or train ones")
    order = np.random.default_rng(seed).permutation(len(pictures))[:RANGE_PICTURES]
    model = _plain(_load(source))
    known = _metadata(model)
    inlet = model.graph.input[0]
    height, width = (inlet.type.tensor_type.shape.dim[i].dim_value for i in (2, 3))
    reader = _reader(inlet.name, [pictures[i] for i in order], (width, height))
    with tempfile.TemporaryDirectory() as folder:
        plain, made = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        _save(model, plain, {})
        quantize_static(
            str(plain), str(made), reader, quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"],
            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_exclude=_last_convolutions(model), calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )  # fmt: skip
        result = _load(made)
    return _finish(result, known, out, "int8, convolutions only")


def to_half(source: Path, out: Path) -> str:
    """Write `out`, the fp32 file `source` computing in 16-bit floats, in and out float32; returns its sha256.

    Meant for GPUs: a CPU without 16-bit arithmetic converts back and forth and gains nothing.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = _plain(_load(source))
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)
    known = _metadata(model)
    return _finish(convert_float_to_float16(model, keep_io_types=True), known, out, "fp16")


def _reader(name: str, pictures: Sequence[Picture], input_wh: tuple[int, int]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Pictures as the runtime feeds them."""

        def __init__(self) -> None:
            self._blobs = self._make()

        def _make(self) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
            for picture in pictures:
                yield {name: network_input(read_picture(picture.path), input_wh)[0]}

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            return next(self._blobs, None)

    return Reader()


def _load(path: Path) -> Any:
    import onnx

    if not path.is_file():
        raise TrainingSetupError("no such ONNX file", file=path, remedy="run the export command first")
    return onnx.load(path)


def _plain(model: Any) -> Any:
    """Undo the halved storage of `models.export`: weights as float32, no Cast before them."""
    import onnx

    table = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        stored = table.get(node.input[0]) if node.op_type == "Cast" and len(node.input) else None
        if stored is None:
            kept.append(node)
            continue
        array = onnx.numpy_helper.to_array(stored).astype(np.float32)
        stored.CopyFrom(onnx.numpy_helper.from_array(array, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def _last_convolutions(model: Any) -> list[str]:
    """Names of convolutions with no other behind them, single-channel ones (the mean of a box side) aside."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    last: list[str] = []
    followed: set[str] = set()  # values that a convolution further on depends on
    for node in reversed(model.graph.node):
        ahead = any(value in followed for value in node.output)
        if node.op_type == "Conv":
            single = weights.get(node.input[1], (0,))[0] == 1
            last += [node.name] if single or not ahead else []
            ahead = ahead or not single
        if ahead:
            followed.update(node.input)
    return last


def _metadata(model: Any) -> dict[str, str]:
    return {p.key: p.value for p in model.metadata_props}


def _finish(model: Any, known: dict[str, str], out: Path, told: str) -> str:
    out.parent.mkdir(parents=True, exist_ok=True)
    _save(model, out, {**known, PRECISION_KEY: told})
    LOG.info("%s: %s, %.1f MB", out.name, told, out.stat().st_size / 1e6)
    return sha256_of(out)


def _save(model: Any, out: Path, metadata: dict[str, str]) -> None:
    import onnx

    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, out)
