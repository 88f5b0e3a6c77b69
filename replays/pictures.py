"""Pictures of one camera of a drive: a video file or a folder of JPEGs, checked at opening and again at every frame."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.camera import CameraModel
from perception.errors import DriveError
from perception.types import Image
from replays.members import Stamps

_ISO_MEDIA = {".mp4", ".m4v", ".mov", ".3gp"}
_COUNTED = _ISO_MEDIA | {".avi"}
"""Containers whose frame count is a table and not an estimate."""


@dataclass(frozen=True, slots=True, eq=False)
class FilePictures:
    """The pictures of `rows` frames. `files` are the JPEGs of a folder; None: `source` is a video."""

    source: Path
    size: tuple[int, int]
    rows: int
    files: tuple[Path, ...] | None
    redacted: bool = False

    @property
    def present(self) -> None:
        """All rows have a picture."""
        return None

    def read(self, wanted: NDArray[np.bool_] | None = None) -> Iterator[tuple[int, Image]]:
        """Yield (row, image uint8 (H, W, 3) BGR) of the wanted rows (N,) in order.

        Raises DriveError when a frame cannot be decoded, is missing, or has another size than drive.toml says.
        """
        yield from self._from_video(wanted) if self.files is None else self._from_files(self.files, wanted)

    def _from_files(self, files: tuple[Path, ...], wanted: NDArray[np.bool_] | None) -> Iterator[tuple[int, Image]]:
        for row, file in enumerate(files):
            if wanted is None or wanted[row]:
                yield row, self._checked(read_image(file), file, row)

    def _from_video(self, wanted: NDArray[np.bool_] | None) -> Iterator[tuple[int, Image]]:
        capture = _open_video(self.source)
        try:
            for row in range(self.rows):
                if not capture.grab():
                    raise _truncated(self.source, row, self.rows)
                if wanted is not None and not wanted[row]:
                    continue
                good, image = capture.retrieve()
                if not good:
                    raise _truncated(self.source, row, self.rows)
                yield row, self._checked(np.asarray(image, np.uint8), self.source, row)
            if capture.grab():
                raise _too_long(self.source, self.rows)
        finally:
            capture.release()

    def _checked(self, image: Image, file: Path, row: int) -> Image:
        _check_size(file, (image.shape[1], image.shape[0]), self.size, f"frame {row}")
        return image


def open_pictures(source: Path, model: CameraModel, index: Stamps) -> FilePictures:
    """Check cheaply that `source` holds one picture of the camera's size per row of its CSV; raises DriveError."""
    size = (model.width, model.height)
    if source.is_dir():
        files = tuple(source / f"{number:06d}.jpg" for number in index)
        for row, file in enumerate(files):
            if not file.exists():
                remedy = f"restore it, or delete the row of index {int(index[row])} in the camera's CSV"
                raise DriveError("is missing", file=file, remedy=remedy)
        first = read_image(files[0])
        _check_size(files[0], (first.shape[1], first.shape[0]), size, "frame 0")
        return FilePictures(source, size, len(index), files)
    if source.suffix.lower() in _ISO_MEDIA:
        check_boxes(source)
    capture = _open_video(source)
    try:
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    _check_size(source, (int(width), int(height)), size, "the video")
    if source.suffix.lower() in _COUNTED and count > 0:
        if count < len(index):
            raise _truncated(source, count, len(index))
        if count > len(index):
            raise _too_long(source, len(index), count)
    return FilePictures(source, size, len(index), None)


def read_image(file: Path) -> Image:
    """Decode one picture to BGR as stored: an EXIF turn is not applied, calibration belongs to the stored pixels."""
    data = np.frombuffer(file.read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if len(data) else None
    if image is None:
        raise DriveError(
            "is no picture that can be decoded", file=file, remedy="restore it, or delete it and its CSV row"
        )
    return np.asarray(image, np.uint8)


def check_boxes(file: Path) -> None:
    """Walk the top-level boxes of an ISO media file (ISO/IEC 14496-12, 4.2); DriveError when one runs past its end."""
    total = file.stat().st_size
    with file.open("rb") as stream:
        position, kinds = 0, set[bytes]()
        while position + 8 <= total:
            size, kind = _box_at(stream, position, total)
            if size < 8 or position + size > total:
                raise DriveError(
                    f"the video is truncated: it needs {position + size} bytes, the file has {total}",
                    file=file, remedy="copy it again from the recorder",
                )  # fmt: skip
            kinds.add(kind)
            position += size
    if b"moov" not in kinds:
        remedy = "copy it again from the recorder, or repair it with the recorder's tool"
        raise DriveError("the video is truncated: its index (box 'moov') is missing", file=file, remedy=remedy)


def _box_at(stream: BinaryIO, position: int, total: int) -> tuple[int, bytes]:
    stream.seek(position)
    head = stream.read(16)
    size, kind = struct.unpack(">I4s", head[:8])
    if size == 1 and len(head) == 16:
        size = struct.unpack(">Q", head[8:])[0]
    return (total - position if size == 0 else size), kind


def _open_video(file: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        capture.release()
        raise DriveError(
            "is no video that can be opened", file=file, remedy="restore it, or convert it to H.264 in MP4"
        )
    return capture


def _check_size(file: Path, found: tuple[int, int], wanted: tuple[int, int], what: str) -> None:
    if found != wanted:
        problem = f"{what} is {found[0]}x{found[1]}, drive.toml says {wanted[0]}x{wanted[1]}"
        raise DriveError(problem, file=file, remedy="correct width and height (and the calibration) in drive.toml")


def _truncated(file: Path, found: int, rows: int) -> DriveError:
    problem = f"the video is truncated: {found} frames can be read, the camera's CSV has {rows} rows"
    remedy = f"copy it again, or cut the CSV after its first {found} rows"
    return DriveError(problem, file=file, remedy=remedy)


def _too_long(file: Path, rows: int, count: int | None = None) -> DriveError:
    problem = f"the video holds {'more' if count is None else count} frames, the camera's CSV only {rows} rows"
    return DriveError(problem, file=file, remedy="one CSV row per frame: restore the CSV of this recording")
