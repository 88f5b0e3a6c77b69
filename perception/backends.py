"""What can run an ONNX file here: ONNX Runtime on the CPU, with CUDA or TensorRT, or OpenVINO. One table entry each."""

from __future__ import annotations

import importlib
import importlib.util
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from perception.errors import ModelError

AUTO = ("cuda", "cpu")
"""Tried in this order where neither card nor configuration names a backend: what gives the same boxes everywhere."""

_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "f32": "float32",
          "f16": "float16", "i64": "int64"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a network; sides that the file leaves open are None. `dtype` is numpy's name for it."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Wish:
    """How to open a network. `threads`: inside one run (None: one per core); `at_once`: runs side by side.

    `exact`: float32 throughout, so that backends agree; else bfloat16 or float16 where the backend has it. `cache`: a
    folder for what a backend compiles (TensorRT engines take minutes to build).
    """

    threads: int | None = None
    at_once: int = 1
    exact: bool = True
    cache: Path | None = None


class BackendMissing(Exception):
    """This backend cannot be used on this machine; the text says what is missing and how to get it."""


class OrtNetwork:
    """A network run by ONNX Runtime; its sessions may be shared by threads."""

    def __init__(self, backend: str, session: onnxruntime.InferenceSession) -> None:
        self.backend = backend
        self._session = session
        self.inputs = tuple(_port(i) for i in session.get_inputs())
        self.outputs = tuple(_port(o) for o in session.get_outputs())
        self.metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """The named outputs for one picture."""
        found: list[NDArray[Any]] = self._session.run(list(outputs), dict(feeds))
        return found


def _port(node: Any) -> Port:
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in node.shape)
    return Port(node.name, shape, _TYPES.get(node.type, node.type))


def open_session(onnx: Path, wish: Wish, providers: Sequence[Any] = ("CPUExecutionProvider",)) -> Any:
    """An ONNX Runtime session, repeatable for one thread count; raises ModelError when the file cannot be run."""
    if not onnx.is_file():
        raise ModelError("the ONNX file is missing", file=onnx, remedy="fetch it, or set `onnx` in the model card")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    # Threads that spin while they wait take the cores that tracking, redaction and decoding need meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if wish.threads is not None:
        options.intra_op_num_threads = wish.threads
    try:
        return onnxruntime.InferenceSession(str(onnx), options, providers=list(providers))
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise unusable(onnx, error) from error


def unusable(onnx: Path, error: Exception) -> ModelError:
    """Why a runtime refuses the file: too new for it, an operator that it lacks, or no network at all."""
    text = " ".join(str(error).split())
    if re.search(r"opset|IR version", text, re.IGNORECASE):
        return ModelError(
            f"was written for another ONNX version than this runtime knows ({text})",
            file=onnx,
            remedy="export the model with opset 17, or install a newer onnxruntime",
        )
    if re.search(r"No Op registered|NOT_IMPLEMENTED|not supported|unsupported operation", text, re.IGNORECASE):
        return ModelError(
            f"uses an operator that this runtime does not have ({text})",
            file=onnx,
            remedy="export the model with standard operators only, or choose another backend",
        )
    return ModelError(
        f"is not an ONNX file that can be run ({text})",
        file=onnx,
        remedy="fetch the file again (a Git LFS pointer or a cut download is not the model), or export the model anew",
    )


def _open_cpu(onnx: Path, wish: Wish) -> Network:
    return OrtNetwork("cpu", open_session(onnx, wish))


def _open_cuda(onnx: Path, wish: Wish) -> Network:
    # The search for the fastest convolution would choose by timing: another algorithm, other bits, at each start.
    options = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0" if wish.exact else "1"}
    return _open_on("cuda", "CUDAExecutionProvider", options, onnx, wish)


def _open_tensorrt(onnx: Path, wish: Wish) -> Network:
    options = {"trt_fp16_enable": "0" if wish.exact else "1"}
    if wish.cache is not None:
        wish.cache.mkdir(parents=True, exist_ok=True)
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(wish.cache)}
    return _open_on("tensorrt", "TensorrtExecutionProvider", options, onnx, wish)


def _open_on(name: str, provider: str, options: Mapping[str, str], onnx: Path, wish: Wish) -> Network:
    """Open on an accelerator, and make sure that it is one: ONNX Runtime falls back to the CPU without a word."""
    install = f"install onnxruntime-gpu in place of onnxruntime, with the libraries that {name} needs"
    if provider not in onnxruntime.get_available_providers():
        raise BackendMissing(f"this build of onnxruntime has no {provider}: {install}")
    preload = getattr(onnxruntime, "preload_dlls", None)  # CUDA libraries that came as Python packages
    if callable(preload):
        preload()
    session = open_session(onnx, wish, [(provider, dict(options)), "CPUExecutionProvider"])
    if session.get_providers()[0] != provider:
        raise BackendMissing(f"{provider} could not start: no such device, or a library is missing; {install}")
    return OrtNetwork(name, session)


class OpenVinoNetwork:
    """A network run by OpenVINO on the CPU; each thread has a request of its own."""

    backend = "openvino"

    def __init__(self, compiled: Any, metadata: Mapping[str, str]) -> None:
        self._compiled = compiled
        self._own = threading.local()
        self.inputs = tuple(_openvino_port(p) for p in compiled.inputs)
        self.outputs = tuple(_openvino_port(p) for p in compiled.outputs)
        self.metadata = metadata
        self._place = {port.name: i for i, port in enumerate(self.outputs)}

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """The named outputs for one picture."""
        request = self._own.__dict__.get("request")
        if request is None:
            request = self._own.__dict__.setdefault("request", self._compiled.create_infer_request())
        request.infer(dict(feeds), share_inputs=True)
        # The request's own memory is written again by the next run.
        return [request.get_output_tensor(self._place[name]).data.copy() for name in outputs]


Network = OrtNetwork | OpenVinoNetwork
"""An opened ONNX file. `run` gives the named outputs for one picture, and may be called by several threads at once."""


def _openvino_port(port: Any) -> Port:
    shape = tuple(side.get_length() if side.is_static else None for side in port.get_partial_shape())
    kind = port.get_element_type().get_type_name()
    return Port(port.get_any_name(), shape, _TYPES.get(kind, kind))


def _open_openvino(onnx: Path, wish: Wish) -> Network:
    if importlib.util.find_spec("openvino") is None:
        raise BackendMissing("the package openvino is not installed: pip install 'qiji[openvino]'")
    openvino = importlib.import_module("openvino")
    settings: dict[str, Any] = {"NUM_STREAMS": str(wish.at_once)}
    if wish.exact:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    if wish.threads is not None:
        settings["INFERENCE_NUM_THREADS"] = wish.threads * wish.at_once
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(str(onnx)), "CPU", settings)
    except Exception as error:  # OpenVINO raises RuntimeError, and others where a plugin is missing
        raise unusable(onnx, error) from error
    metadata = open_session(onnx, Wish(1)).get_modelmeta().custom_metadata_map
    return OpenVinoNetwork(compiled, metadata)


BACKENDS: Mapping[str, Callable[[Path, Wish], Network]] = {
    "cpu": _open_cpu,
    "cuda": _open_cuda,
    "tensorrt": _open_tensorrt,
    "openvino": _open_openvino,
}


def open_network(onnx: Path, names: Sequence[str], wish: Wish, where: Path, key: str) -> Network:
    """Open with the first of `names` (keys of BACKENDS) that works here.

    Raises ModelError when none does, naming the file `where` and the `key` that ask for them, and what is missing.
    """
    missing = []
    for name in names:
        try:
            return BACKENDS[name](onnx, wish)
        except BackendMissing as error:
            missing.append(f"{name}: {error}")
    remedy = f'{"; or ".join(missing)}; or name "cpu", which is always here'
    raise ModelError(f"{key} wants {' or '.join(names)}, which cannot be used here", file=where, remedy=remedy)
