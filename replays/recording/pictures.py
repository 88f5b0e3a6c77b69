"""Pictures that stay in their MCAP files: found by place, decoded when a replay comes to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from perception.errors import DriveError
from perception.types import Image
from replays.recording.cdr import compressed_image
from replays.recording.cdr import image as ros_image
from replays.recording.chunks import BrokenError
from replays.recording.records import Place, read_chunk

_COLOURS: dict[str, tuple[int, int | None]] = {
    "bgr8": (3, None), "8uc3": (3, None), "rgb8": (3, cv2.COLOR_RGB2BGR), "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR), "mono8": (1, cv2.COLOR_GRAY2BGR), "8uc1": (1, cv2.COLOR_GRAY2BGR),
    "bayer_rggb8": (1, cv2.COLOR_BayerRGGB2BGR), "bayer_bggr8": (1, cv2.COLOR_BayerBGGR2BGR),
    "bayer_grbg8": (1, cv2.COLOR_BayerGRBG2BGR), "bayer_gbrg8": (1, cv2.COLOR_BayerGBRG2BGR),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2BGR_YUY2), "yuv422": (2, cv2.COLOR_YUV2BGR_UYVY),
}  # fmt: skip
"""Bytes per pixel and the conversion to BGR, by the encoding names of sensor_msgs/image_encodings."""
PICTURE_SCHEMAS = ("foxglove.CompressedImage", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image")
PIXEL_LIMIT = 100_000_000


@dataclass(frozen=True, slots=True)
class Spot:
    """A picture's message: the file it is in and its place there."""

    file: Path
    place: Place


@dataclass(frozen=True, slots=True, eq=False)
class McapPictures:
    """Pictures of one camera; `spots` one per row of its table, None where a frame has no picture.

    `redacted`: a recorder wrote them, behind the redactor. `schema` is one of PICTURE_SCHEMAS.
    """

    source: Path
    size: tuple[int, int]
    spots: tuple[Spot | None, ...]
    schema: str
    redacted: bool = False

    @property
    def present(self) -> NDArray[np.bool_] | None:
        """Rows (N,) that have a picture; None: all."""
        there = np.array([spot is not None for spot in self.spots], np.bool_)
        return None if there.all() else there

    def read(self, wanted: NDArray[np.bool_] | None = None) -> Iterator[tuple[int, Image]]:
        """Yield (row, image uint8 (H, W, 3) BGR) of the wanted rows that have one, in order; raises DriveError."""
        with Reader() as reader:
            for row, spot in enumerate(self.spots):
                if spot is None or (wanted is not None and not wanted[row]):
                    continue
                try:
                    image = decoded(self.schema, reader.data(spot))
                except BrokenError as error:
                    problem = f"frame {row}, in the record at offset {spot.place.offset}: {error}"
                    raise DriveError(problem, file=spot.file, remedy="cut the drive before it with trim") from error
                if (image.shape[1], image.shape[0]) != self.size:
                    problem = f"frame {row} is {image.shape[1]}x{image.shape[0]}, the camera {self.size}"
                    raise DriveError(problem, file=spot.file, remedy="a camera keeps its size within a drive")
                yield row, image


class Reader:
    """Gives the data of messages by their places; keeps the last chunk, so reading in order unpacks each once."""

    def __init__(self) -> None:
        self._streams: dict[Path, BinaryIO] = {}
        self._at: tuple[Path, int] | None = None
        self._chunk = b""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        for stream in self._streams.values():
            stream.close()

    def data(self, spot: Spot) -> bytes:
        """Bytes of one message; raises BrokenError."""
        if self._at != (spot.file, spot.place.offset):
            if spot.file not in self._streams:
                self._streams[spot.file] = spot.file.open("rb")
            self._chunk = read_chunk(self._streams[spot.file], spot.place.offset)
            self._at = (spot.file, spot.place.offset)
        return self._chunk[spot.place.start : spot.place.end]


def encoded(schema: str, data: bytes) -> tuple[str, bytes]:
    """Format and encoded bytes of a compressed picture's message; raises BrokenError."""
    if schema == "sensor_msgs/msg/CompressedImage":
        return compressed_image(data)
    try:
        message = CompressedImage.FromString(data)
    except DecodeError as error:
        raise BrokenError(f"is no {schema}: {error}") from error
    return message.format, message.data


def decoded(schema: str, data: bytes) -> Image:
    """The picture of a message as uint8 (H, W, 3) BGR; raises BrokenError."""
    if schema == "sensor_msgs/msg/Image":
        return _raw(data)
    kind, packed = encoded(schema, data)
    buffer = np.frombuffer(packed, np.uint8)
    image = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if len(buffer) else None
    if image is None:
        raise BrokenError(f"a picture of format {kind!r} cannot be decoded")
    return np.asarray(image, np.uint8)


def _raw(data: bytes) -> Image:
    found = ros_image(data)
    channels, conversion = _COLOURS.get(found.encoding.lower(), (0, None))
    if not channels:
        raise BrokenError(f"encoding {found.encoding!r} is not read; {', '.join(sorted(_COLOURS))} are")
    if not 0 < found.width * found.height <= PIXEL_LIMIT or found.step < found.width * channels:
        raise BrokenError(f"a picture of {found.width}x{found.height} with {found.step} bytes per row")
    if len(found.data) < found.step * found.height:
        raise BrokenError(f"{len(found.data)} bytes for {found.height} rows of {found.step}")
    rows = np.frombuffer(found.data, np.uint8, found.step * found.height).reshape(found.height, found.step)
    pixels = rows[:, : found.width * channels].reshape(found.height, found.width, channels)
    if conversion is None:
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), conversion), np.uint8)
