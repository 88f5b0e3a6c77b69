"""The detector: a frame in, boxes with catalogue names out. Preprocess, run and postprocess can be timed apart."""

from __future__ import annotations

import threading
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.appearance import appearance
from perception.boxes import Letterbox, letterbox, nms
from perception.card import ModelCard
from perception.decode import DECODERS
from perception.network import open_session
from perception.types import Detections, Frame, Image

MAX_BOXES = 300


class Detector(Protocol):
    """Finds objects: boxes in frame px, catalogue names, confidence above the card's privacy threshold."""

    card: ModelCard

    def detect(self, frame: Frame) -> Detections:
        """Boxes of one frame; may be called by several threads at once."""
        ...


def case_threshold(card: ModelCard, class_name: str) -> float:
    """Confidence from which a box of this catalogue class may make a case."""
    return card.class_confidence.get(class_name, card.confidence)


class OnnxDetector:
    """Runs a card's network with ONNX Runtime on the CPU; several threads may share one instance.

    `threads` limits the threads inside an operator (None: one per core). The first runs, which are slow, happen at
    construction. Raises ModelError when the file cannot be opened.
    """

    def __init__(self, card: ModelCard, threads: int | None = None, warm_up: bool = True) -> None:
        self.card = card
        self._decoder = DECODERS[card.decoder]
        self._class_ids = np.array(card.class_ids, np.int32)
        self._session = open_session(card.onnx, threads)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self._own = threading.local()
        if warm_up:
            width, height = card.input_wh
            self.detect(Frame(0, "warm-up", 0, np.full((height, width, 3), card.pad_value, np.uint8)))

    def detect(self, frame: Frame) -> Detections:
        """Boxes of one frame, each with a colour histogram; repeatable for one thread count."""
        output = self.run(self.preprocess(frame.image))
        return self.postprocess(output, frame.image)

    def preprocess(self, image: Image) -> NDArray[np.float32]:
        """BGR uint8 (H, W, 3) -> network input float32 (1, 3, input height, input width)."""
        fit, canvas = self._fit(image)
        fit.place(image, canvas)
        planes = cv2.split(canvas)
        blob = np.empty((1, 3, *canvas.shape[:2]), np.float32)
        # Plane by plane: a tenth of the time that OpenCV 5 takes for its blobFromImage.
        for channel, plane in enumerate(planes[::-1] if self.card.color == "rgb" else planes):
            np.multiply(plane, np.float32(self.card.scale), out=blob[0, channel], dtype=np.float32)
        return blob

    def run(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network alone."""
        output: NDArray[np.float32] = self._session.run([self._output], {self._input: blob})[0]
        return output

    def postprocess(self, output: NDArray[np.float32], image: Image) -> Detections:
        """Raw output -> boxes clipped to the frame, highest confidence first, with catalogue names."""
        card = self.card
        xyxy, confidence, own = self._decoder.decode(output, card.input_wh, card.privacy)
        class_id = self._class_ids[own]
        known = class_id >= 0
        xyxy, confidence, class_id = xyxy[known], confidence[known], class_id[known]
        if self._decoder.suppress:
            kept = nms(xyxy, confidence, class_id, card.nms_iou)[:MAX_BOXES]
        else:
            kept = np.argsort(-confidence, kind="stable")[:MAX_BOXES]
        fit, _ = self._fit(image)
        boxes = fit.to_frame(xyxy[kept])
        return Detections(boxes, confidence[kept], class_id[kept], card.class_names, appearance(image, boxes))

    def _fit(self, image: Image) -> tuple[Letterbox, Image]:
        """Geometry and padded canvas for frames of this size: made once per thread and size, as sizes rarely change."""
        size = (image.shape[1], image.shape[0])
        fits: dict[tuple[int, int], tuple[Letterbox, Image]] = self._own.__dict__.setdefault("fits", {})
        if size not in fits:
            width, height = self.card.input_wh
            canvas = np.full((height, width, 3), self.card.pad_value, np.uint8)
            fits[size] = (letterbox(size, self.card.input_wh, self.card.letterbox), canvas)
        return fits[size]
