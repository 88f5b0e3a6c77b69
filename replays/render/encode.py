"""Frames to H.264: OpenCV's wheel cannot encode it, PyAV (extra ``synth``) can."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2

from perception.errors import SetupError


def encode_h264(pictures: Sequence[Path], target: Path, rate_hz: float, crf: int = 24) -> int:
    """Write the pictures as one H.264 mp4 (yuv420p, one encoder thread so that it is repeatable); returns its bytes.

    Raises SetupError when PyAV is not installed or a picture cannot be read.
    """
    try:
        av: Any = importlib.import_module("av")
    except ImportError as error:
        raise SetupError(
            "encoding H.264 needs PyAV (av is not installed)", remedy="pip install 'qiji[synth]'"
        ) from error
    part = target.with_suffix(".part.mp4")
    with av.open(str(part), "w", options={"movflags": "+faststart"}) as container:
        stream: Any = None
        for path in pictures:
            image = cv2.imread(str(path))
            if image is None:
                raise SetupError("the rendered picture cannot be read", file=path, remedy="delete it and render again")
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(rate_hz).limit_denominator(1000))
                stream.height, stream.width, stream.pix_fmt = image.shape[0], image.shape[1], "yuv420p"
                stream.options = {"crf": str(crf), "preset": "slow", "g": "20", "threads": "1"}
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")):
                container.mux(packet)
        if stream is None:
            raise SetupError("there is no picture to encode", file=target)
        for packet in stream.encode():
            container.mux(packet)
    part.replace(target)
    return target.stat().st_size
