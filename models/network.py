"""The one door to torch and ultralytics: building networks, loading weights, reading and writing checkpoints.

ultralytics carries no types; everything it returns is `Any` here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

os.environ.setdefault("YOLO_OFFLINE", "1")
os.environ.setdefault("YOLO_AUTOINSTALL", "0")

_SHIM: list[Any] = []


def install_torchvision_shim() -> None:
    """Make `import torchvision` work beside a CPU torch.

    The torchvision wheel of this torch links to CUDA, so its operators are missing on a CPU build and importing it
    fails. Two operators are declared and its nms replaced by ultralytics' own. With a CUDA torch nothing is touched.
    """
    if torch.version.cuda is not None or _SHIM:
        return
    from torch import library as operators

    library = operators.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _SHIM.append(library)
    import torchvision
    from ultralytics.utils.nms import TorchNMS

    torchvision.ops.nms = TorchNMS.nms


def build_network(architecture: str, class_count: int) -> Any:
    """A new ultralytics DetectionModel (random weights) with `args` set to the default gains."""
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    network: Any = DetectionModel(architecture, nc=class_count, verbose=False)
    network.args = get_cfg()
    return network


def load_matching(network: Any, state: Mapping[str, torch.Tensor]) -> int:
    """Copy the tensors of `state` that match by name and shape; returns how many did."""
    own = network.state_dict()
    chosen = {key: value.float() for key, value in state.items() if key in own and own[key].shape == value.shape}
    network.load_state_dict(chosen, strict=False)
    return len(chosen)


def save_checkpoint(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a power cut leaves the old one or the new one, never half of it."""
    partial = path.with_suffix(".partial")
    torch.save(dict(payload), partial)
    os.replace(partial, path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `save_checkpoint` (tensors and plain values only)."""
    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded
