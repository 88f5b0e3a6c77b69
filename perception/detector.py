"""The detector: a frame in, boxes with catalogue names out. Preprocess, run and postprocess can be timed apart."""

from __future__ import annotations

import threading
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.appearance import appearance
from perception.backends import BACKENDS, Network, Wish
from perception.boxes import Letterbox, letterbox, nms
from perception.card import ModelCard
from perception.decode import DECODERS, Decoded
from perception.network import NetworkFault, ask, try_out, wire
from perception.types import Detections, Frame, Image

MAX_BOXES = 300


class Detector(Protocol):
    """Finds objects: boxes in frame px, catalogue names, confidence above the card's privacy threshold."""

    card: ModelCard

    def detect(self, frame: Frame) -> Detections:
        """Boxes of one frame; may be called by several threads at once.

        Raises NetworkFault when the frame could not be looked at: it is then no frame without boxes.
        """
        ...


def case_threshold(card: ModelCard, class_name: str) -> float:
    """Confidence from which a box of this catalogue class may make a case."""
    return card.thresholds().get(class_name, card.confidence)


class OnnxDetector:
    """Runs a card's network; several threads may share one instance.

    `network`: opened by `backends.open_network`; None opens it on the CPU with `threads` inside an operator (None: one
    per core). The first runs, which are slow, happen at construction, and show whether the network answers at all.
    Raises ModelError when it does not, or does not fit the card.
    """

    def __init__(
        self, card: ModelCard, threads: int | None = None, warm_up: bool = True, network: Network | None = None
    ) -> None:
        self.card = card
        self.network = BACKENDS["cpu"](card.onnx, Wish(threads)) if network is None else network
        self._decoder = DECODERS[card.decoder]
        self._class_ids = np.array(card.class_ids, np.int32)
        self._wiring = wire(card, self.network)
        self._own = threading.local()
        if warm_up:
            width, height = card.input_wh
            empty = np.full((height, width, 3), card.pad_value, np.uint8)
            try_out(card, self.network, self._wiring, self.preprocess(empty))
            self.detect(Frame(0, "warm-up", 0, empty))

    def detect(self, frame: Frame) -> Detections:
        """Boxes of one frame, each with a colour histogram; repeatable for one thread count and backend.

        Raises NetworkFault when the network's answer cannot be used.
        """
        return self.finish(self.whole(frame.image), frame.image)

    def whole(self, image: Image) -> Decoded:
        """Boxes of a whole picture in its own px, with raw confidence."""
        return self.boxes(self.run(self.preprocess(image)), self._fit(image)[0])

    def preprocess(self, image: Image) -> NDArray[np.float32]:
        """BGR uint8 (H, W, 3) -> network input float32 (1, 3, input height, input width)."""
        fit, canvas = self._fit(image)
        fit.place(image, canvas)
        return self.planes(canvas)

    def planes(self, canvas: Image) -> NDArray[np.float32]:
        """A picture of the network's size -> its input: colours as planes, scaled."""
        card, planes = self.card, cv2.split(canvas)
        blob = np.empty((1, 3, *canvas.shape[:2]), np.float32)
        # Plane by plane: half the time that OpenCV 5 takes for its blobFromImage.
        for channel, plane in enumerate(planes[::-1] if card.color == "rgb" else planes):
            target, spread = blob[0, channel], 1.0 if card.std is None else card.std[channel]
            np.multiply(plane, np.float32(card.scale / spread), out=target, dtype=np.float32)
            if card.mean is not None:
                target -= np.float32(card.mean[channel] / spread)
        return blob

    def run(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network alone, its outputs joined into one; raises NetworkFault when they cannot be used."""
        return ask(self.network, self._wiring, self.card, blob)

    def postprocess(self, output: NDArray[np.float32], image: Image) -> Detections:
        """Raw output -> boxes clipped to the frame, highest confidence first, with catalogue names.

        Confidences are calibrated where the card says how. Raises NetworkFault on a class that the card does not have.
        """
        fit, _ = self._fit(image)
        return self.finish(self.boxes(output, fit), image)

    def boxes(self, output: NDArray[np.float32], fit: Letterbox) -> Decoded:
        """Raw output -> boxes in frame px, suppressed, of catalogue classes; confidences are raw."""
        card = self.card
        xyxy, confidence, own = self._decoder.decode(output, card.input_wh, card.privacy)
        if len(own) and not 0 <= own.min() <= own.max() < len(card.classes):
            raise NetworkFault(f"the network names class {own.min()}..{own.max()} of {len(card.classes)}")
        class_id = self._class_ids[own]
        known = class_id >= 0
        made = self._composed(Decoded(xyxy, confidence, own), fit) if card.composes else None
        if not known.all():
            xyxy, confidence, class_id = xyxy[known], confidence[known], class_id[known]
        if made is not None:
            xyxy, confidence, class_id = (
                np.concatenate((xyxy, made.xyxy)),
                np.concatenate((confidence, made.confidence)),
                np.concatenate((class_id, made.class_id)),
            )
        if self._decoder.suppress:
            kept = nms(xyxy, confidence, class_id, card.nms_iou)[:MAX_BOXES]
        else:
            kept = np.argsort(-confidence, kind="stable")[:MAX_BOXES]
        return Decoded(fit.to_frame(xyxy[kept]), confidence[kept], class_id[kept])

    def _composed(self, found: Decoded, fit: Letterbox) -> Decoded:
        """What the card's compositions find among the network's own classes, dropped ones included; input px."""
        parts = np.isin(found.class_id, sorted({own for row in self.card.compositions for own in row.parts}))
        found = Decoded(found.xyxy[parts], found.confidence[parts], found.class_id[parts])
        if self._decoder.suppress:
            kept = nms(found.xyxy, found.confidence, found.class_id, self.card.nms_iou)
            found = Decoded(found.xyxy[kept], found.confidence[kept], found.class_id[kept])
        found = Decoded(fit.to_frame(found.xyxy), found.confidence, found.class_id)  # where width and height compare
        made = [row.find(found, fit.frame_wh[0]) for row in self.card.compositions]
        ids = [self.card.class_names.index(row.target) for row in self.card.compositions]
        return Decoded(
            fit.to_input(np.concatenate([boxes for boxes, _ in made])),
            np.concatenate([confidence for _, confidence in made]),
            np.repeat(np.array(ids, np.int32), [len(boxes) for boxes, _ in made]),
        )

    def finish(self, found: Decoded, image: Image) -> Detections:
        """Boxes in frame px with raw confidence -> detections: calibrated where the card says how, with appearance."""
        card = self.card
        if card.calibration is not None:
            confidence = card.calibration.apply(found.confidence, found.class_id, card.class_names)
            order = np.argsort(-confidence, kind="stable")
            found = Decoded(found.xyxy[order], confidence[order], found.class_id[order])
        look = appearance(image, found.xyxy)
        return Detections(found.xyxy, found.confidence, found.class_id, card.class_names, look)

    def _fit(self, image: Image) -> tuple[Letterbox, Image]:
        """Geometry and padded canvas for frames of this size: made once per thread and size, as sizes rarely change."""
        size = (image.shape[1], image.shape[0])
        fits: dict[tuple[int, int], tuple[Letterbox, Image]] = self._own.__dict__.setdefault("fits", {})
        if size not in fits:
            width, height = self.card.input_wh
            canvas = np.full((height, width, 3), self.card.pad_value, np.uint8)
            fits[size] = (letterbox(size, self.card.input_wh, self.card.letterbox), canvas)
        return fits[size]
