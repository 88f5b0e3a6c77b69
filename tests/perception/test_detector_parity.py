"""Parity of the detector with the reference implementations, on the same ONNX files and real photos.

The goal: boxes within 1 px and confidences within 0.01 for at least 99 % of boxes.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from perception.card import ModelCard, load_card
from perception.detector import OnnxDetector
from perception.types import Frame, Image
from tests.perception.cards import catalogue, digest, yolox_card
from tests.perception.parity import Table, agreement

NO_ORACLE = "NO ORACLE: install the train extra to compare with ultralytics"


def boxes_of(detector: OnnxDetector, image: Image) -> Table:
    found = detector.detect(Frame(1, "front", 0, image))
    return np.column_stack((found.xyxy, found.confidence, found.class_id)).astype(np.float64)


def lund(shared: Path, count: int) -> list[Image]:
    files = sorted((shared / "drives" / "opensfm-lund-street").glob("*.jpg"))[:count]
    if not files:
        pytest.skip("SHARED MATERIAL ABSENT: no photos in drives/opensfm-lund-street")
    return [np.asarray(cv2.imread(str(file)), np.uint8) for file in files]


def streets(shared: Path, count: int) -> list[Image]:
    """Every so many-th picture of the street data, so that all sources are met."""
    files = sorted((shared / "data" / "street-problems" / "images").rglob("*.jpg"))
    if not files:
        pytest.skip("SHARED MATERIAL ABSENT: no pictures in data/street-problems")
    return [np.asarray(cv2.imread(str(file)), np.uint8) for file in files[:: max(len(files) // count, 1)][:count]]


def yolox_reference(session: onnxruntime.InferenceSession, image: Image, card: ModelCard) -> Table:
    """YOLOX's own demo, step by step: preproc, demo_postprocess, class-aware suppression by OpenCV."""
    ratio = min(416 / image.shape[0], 416 / image.shape[1])
    padded = np.full((416, 416, 3), 114, np.uint8)
    size = (int(image.shape[1] * ratio), int(image.shape[0] * ratio))
    padded[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    rows = session.run(None, {"images": padded.transpose(2, 0, 1)[None].astype(np.float32)})[0][0].astype(np.float64)
    grids = [np.stack(np.meshgrid(np.arange(416 // s), np.arange(416 // s)), 2).reshape(-1, 2) for s in (8, 16, 32)]
    strides = np.concatenate([np.full((len(g), 1), s) for g, s in zip(grids, (8, 16, 32), strict=True)])
    centre, size_px = (rows[:, :2] + np.concatenate(grids)) * strides, np.exp(rows[:, 2:4]) * strides
    boxes = np.concatenate((centre - size_px / 2, centre + size_px / 2), axis=1) / ratio
    scores = rows[:, 4:5] * rows[:, 5:]
    best = scores.argmax(axis=1)
    out = []
    for own in np.unique(best):
        name = card.class_ids[own]
        chosen = np.flatnonzero((best == own) & (scores[:, own] > card.privacy))
        if name < 0 or not len(chosen):
            continue
        rects = np.concatenate((boxes[chosen, :2], boxes[chosen, 2:] - boxes[chosen, :2]), axis=1)
        confidence = scores[chosen, own]
        for i in np.ravel(cv2.dnn.NMSBoxes(rects.tolist(), confidence.tolist(), 0.0, card.nms_iou)):
            box = np.clip(boxes[chosen[i]], 0, [image.shape[1], image.shape[0]] * 2)
            out.append([*box, confidence[i], name])
    return np.array(out, np.float64).reshape(-1, 6)


def test_yolox_equals_its_own_demo_on_real_photos(tmp_path: Path, shared: Path) -> None:
    card = load_card(yolox_card(tmp_path, shared), catalogue())
    detector = OnnxDetector(card, threads=2)
    session = onnxruntime.InferenceSession(str(card.onnx), providers=["CPUExecutionProvider"])
    pictures = lund(shared, 12) + streets(shared, 24)
    pairs = [(boxes_of(detector, p), yolox_reference(session, p, card)) for p in pictures]
    share, boxes = agreement(pairs)
    assert boxes > 50
    assert share >= 0.99, f"{share:.4f} of {boxes} boxes agree"


def export(folder: Path, model: str, size: tuple[int, int], pictures: list[Image], ultralytics: Any) -> Path:
    """An ultralytics model with random, seeded weights, scaled so that it fires some hundred times on `pictures`."""
    torch = importlib.import_module("torch")
    torch.manual_seed(7)
    network = ultralytics.YOLO(model)
    pixels = np.stack([cv2.resize(picture, size[::-1]).transpose(2, 0, 1) for picture in pictures])
    enliven(network.model, torch.from_numpy(pixels.astype(np.float32) / 255), torch)
    # Where there is a head that needs no suppression, `nms=False` exports it; without that, the other head comes out.
    head = {"nms": False} if hasattr(network.model.model[-1], "one2one_cv2") else {}
    file = Path(network.export(format="onnx", imgsz=list(size), simplify=False, verbose=False, **head))
    return file.replace(folder / f"{Path(model).stem}.onnx")


def enliven(network: Any, pictures: Any, torch: Any) -> None:
    """Give norms the statistics of `pictures`, box logits a spread of 2, class logits one of 1 about -5.

    Confidences stay below 1, so that they have an order, and most pictures below 300 boxes, where both sides stop.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    outputs: dict[Any, Any] = {}
    head = network.model[-1]
    # An end-to-end head answers through branches of its own.
    boxes, classes = (getattr(head, f"one2one_{name}", getattr(head, name)) for name in ("cv2", "cv3"))
    for branches in (boxes, classes):
        for branch in branches:
            branch[-1].register_forward_hook(lambda layer, _, output: outputs.__setitem__(layer, output))
    with torch.no_grad():
        network.train()(pictures)
        network.eval()(pictures)
        for branches, spread, centre in ((boxes, 2.0, 0.0), (classes, 1.0, -5.0)):
            for layer in (branch[-1] for branch in branches):
                gain = spread / outputs[layer].std()
                layer.weight.mul_(gain)
                layer.bias.copy_((layer.bias - outputs[layer].mean(dim=(0, 2, 3))) * gain + centre)
                layer._forward_hooks.clear()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("model", "size", "decoder"),
    [
        ("yolov8n.yaml", (384, 640), "yolo"),
        ("yolov5n.yaml", (320, 320), "yolo"),
        ("yolo26n.yaml", (384, 640), "yolo_end2end"),
    ],
)
def test_yolo_equals_ultralytics(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, model: str, size: tuple[int, int], decoder: str
) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("torch", reason=NO_ORACLE)
    pytest.importorskip("onnx", reason=NO_ORACLE)
    network = importlib.import_module("models.network")  # sets ultralytics to work without a network
    ultralytics = pytest.importorskip("ultralytics", reason=NO_ORACLE)
    network.install_torchvision_shim()
    pictures = lund(shared, 6) + streets(shared, 6)
    file = export(tmp_path, model, size, pictures, ultralytics)
    card = load_card(ultralytics_card(tmp_path, file, size, decoder), catalogue())
    share, boxes = agreement(compared(file, card, size, pictures, ultralytics))
    assert boxes > 200
    assert share >= 0.99, f"{share:.4f} of {boxes} boxes agree"


def ultralytics_card(folder: Path, file: Path, size: tuple[int, int], decoder: str) -> Path:
    """A card for an 80-class export, every class aliased to one catalogue name each as long as they last."""
    written = onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map["names"]
    names: dict[int, str] = ast.literal_eval(written)
    targets = list(catalogue().classes)
    aliases = [f'"{name}" = "{targets[i] if i < len(targets) else ""}"' for i, name in names.items()]
    classes = ", ".join(f'"{name}"' for name in names.values())
    lines = {
        "version": "1", "name": '"random"', "onnx": f'"{file.name}"', "sha256": f'"{digest(file)}"',
        "decoder": f'"{decoder}"', "input_wh": f"[{size[1]}, {size[0]}]", "color": '"rgb"',
        "scale": "0.00392156862745098", "letterbox": '"center"', "pad_value": "114", "classes": f"[{classes}]",
        "thresholds": "{confidence = 0.1, privacy = 0.1, nms_iou = 0.6}", "licence": '{weights = "none"}',
    }  # fmt: skip
    card = folder / "random.toml"
    text = "".join(f"{key} = {value}\n" for key, value in lines.items()) + "[aliases]\n" + "\n".join(aliases)
    card.write_text(text, encoding="utf-8")
    return card


def compared(
    file: Path, card: ModelCard, size: tuple[int, int], pictures: list[Image], ultralytics: Any
) -> list[tuple[Table, Table]]:
    """Boxes of both sides per picture; of ultralytics' only the classes that the card keeps."""
    detector = OnnxDetector(card, threads=2)
    oracle = ultralytics.YOLO(str(file), task="detect")
    kept = [own for own, name in enumerate(card.class_ids) if name >= 0]
    settings = {"conf": card.privacy, "iou": card.nms_iou, "imgsz": list(size), "verbose": False, "device": "cpu"}
    pairs = []
    for picture in pictures:
        theirs = oracle.predict(picture, classes=kept, **settings)[0].boxes.data.numpy().astype(np.float64)
        theirs[:, 5] = [card.class_ids[int(own)] for own in theirs[:, 5]]
        pairs.append((boxes_of(detector, picture), theirs))
    return pairs
