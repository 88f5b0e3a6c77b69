"""Recorded detections: detections.jsonl written with stable rounding, and read frame by frame."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception.errors import DriveError
from perception.types import Detections, Zones
from replays.atomic import part_file
from replays.members import Stamps

_LINE_KEYS = {"camera", "index", "boxes", "sharpness", "exposure", "model", "zones"}
_BOX_KEYS = {"class", "confidence", "xyxy", "appearance", "plate", "sharpness"}


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """What one line holds. `sharpness` and `exposure` are the frame's; `plates` keyed hashes, one per box or None.

    `model` is the sha256 of the network that found the boxes, down to its privacy threshold; None: nobody knows.
    `zones` are the rectangles that are filled in the frame's recorded picture, x1, y1, x2, y2 in px.
    """

    detections: Detections
    sharpness: float | None = None
    exposure: float | None = None
    plates: tuple[str | None, ...] = ()
    model: str | None = None
    zones: Zones = ()


@dataclass(frozen=True, slots=True, eq=False)
class DetectionFile:
    """An indexed detections.jsonl: byte offset and line number of each (camera, index), and all class names."""

    file: Path
    class_names: tuple[str, ...]
    places: Mapping[str, Mapping[int, tuple[int, int]]]

    @property
    def cameras(self) -> frozenset[str]:
        """Cameras that have at least one line."""
        return frozenset(self.places)

    @staticmethod
    def open(file: Path) -> DetectionFile:
        """Validate every line; raises DriveError naming the line."""
        names: set[str] = set()
        places: dict[str, dict[int, tuple[int, int]]] = {}
        offset = 0
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    record = _parse(file, number, line)
                    names.update(box["class"] for box in record["boxes"])
                    frames = places.setdefault(record["camera"], {})
                    if record["index"] in frames:
                        raise _error(
                            file, number, f"camera {record['camera']!r} frame {record['index']} stands there twice"
                        )
                    frames[record["index"]] = (offset, number)
                offset += len(line)
        class_names = tuple(sorted(names))
        found = DetectionFile(file, class_names, places)
        return found

    def check_frames(self, frames: Mapping[str, Stamps]) -> None:
        """Every line must belong to a frame of the drive; raises DriveError at the first that does not."""
        for camera, places in self.places.items():
            if camera not in frames:
                number = min(number for _, number in places.values())
                raise _error(
                    self.file,
                    number,
                    f"camera {camera!r} is not in drive.toml",
                    f"cameras are {', '.join(sorted(frames))}",
                )
            strangers = sorted(set(places) - set(frames[camera].tolist()))
            if strangers:
                number = places[strangers[0]][1]
                raise _error(
                    self.file,
                    number,
                    f"frame {strangers[0]} of camera {camera!r} is not in its CSV",
                    "restore both from one recording",
                )

    def reader(self) -> DetectionReader:
        """Open the file for reading frames; use it as a context manager or close it."""
        return DetectionReader(self)


class DetectionReader:
    """Reads single frames of a DetectionFile in any order; not for use by two threads at once."""

    def __init__(self, source: DetectionFile) -> None:
        self._source = source
        self._stream = source.file.open("rb")
        self._ids = {name: number for number, name in enumerate(source.class_names)}

    def __enter__(self) -> DetectionReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def read(self, camera: str, index: int) -> Recorded | None:
        """Detections of a frame; None: it was not looked at (no line), which differs from looked and empty."""
        place = self._source.places.get(camera, {}).get(index)
        if place is None:
            return None
        self._stream.seek(place[0])
        return _recorded(
            self._source, self._ids, place[1], _parse(self._source.file, place[1], self._stream.readline())
        )


def _error(
    file: Path, number: int, problem: str, remedy: str = "mend or delete the line, or run `qiji drive detect` again"
) -> DriveError:
    return DriveError(problem, file=file, line=number, remedy=remedy)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_zone(zone: object) -> bool:
    return isinstance(zone, list) and len(zone) == 4 and all(type(v) is int for v in zone)


def _parse(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise _error(file, number, f"is not JSON: {error}") from error
    if not isinstance(record, dict) or not {"camera", "index", "boxes"} <= set(record) <= _LINE_KEYS:
        raise _error(
            file, number, 'needs "camera", "index" and "boxes" (further keys: sharpness, exposure, model, zones)'
        )
    index = record["index"]
    if not isinstance(record["camera"], str) or not isinstance(index, int) or not isinstance(record["boxes"], list):
        raise _error(file, number, "camera must be a text, index a whole number, boxes a list")
    for key in ("sharpness", "exposure"):
        if record.get(key) is not None and not _is_number(record[key]):
            raise _error(file, number, f"{key} is {record[key]!r}, not a number")
    if record.get("model") is not None and not isinstance(record["model"], str):
        raise _error(file, number, f"model is {record['model']!r}, not the sha256 of a network")
    zones = record.get("zones", [])
    if not isinstance(zones, list) or not all(_is_zone(zone) for zone in zones):
        raise _error(file, number, "zones is not a list of [x1, y1, x2, y2] in whole pixels")
    for nth, box in enumerate(record["boxes"]):
        problem = _box_problem(box)
        if problem:
            raise _error(file, number, f"box {nth}: {problem}")
    lengths = {len(box.get("appearance", ())) for box in record["boxes"]}
    if len(lengths) > 1:
        raise _error(
            file, number, "appearance vectors must be of one length, and all boxes of a frame carry one or none does"
        )
    return record


def _box_problem(box: object) -> str | None:
    if not isinstance(box, dict) or not {"class", "confidence", "xyxy"} <= set(box) <= _BOX_KEYS:
        return "needs class, confidence and xyxy, and may carry appearance, plate, sharpness"
    xyxy, confidence = box["xyxy"], box["confidence"]
    if not isinstance(box["class"], str) or not box["class"]:
        return "class is not a name"
    if not _is_number(confidence) or not 0 <= confidence <= 1:
        return f"confidence {confidence!r} is not in 0..1"
    if (
        not isinstance(xyxy, list)
        or len(xyxy) != 4
        or not all(_is_number(v) for v in xyxy)
        or xyxy[2] < xyxy[0]
        or xyxy[3] < xyxy[1]
    ):
        return f"xyxy {xyxy!r} is not [x1, y1, x2, y2] with x1 <= x2, y1 <= y2"
    appearance = box.get("appearance", [])
    if not isinstance(appearance, list) or not all(_is_number(v) for v in appearance):
        return "appearance is not a list of numbers"
    return None


def _recorded(source: DetectionFile, ids: Mapping[str, int], number: int, record: Mapping[str, Any]) -> Recorded:
    boxes = record["boxes"]
    strangers = [box["class"] for box in boxes if box["class"] not in ids]
    if strangers:
        raise _error(
            source.file,
            number,
            f"class {strangers[0]!r} appeared after the file was opened",
            "do not change a drive while it is replayed",
        )
    appearance = (
        np.array([box["appearance"] for box in boxes], np.float32) if boxes and "appearance" in boxes[0] else None
    )
    detections = Detections(
        np.array([box["xyxy"] for box in boxes], np.float32).reshape(-1, 4),
        np.array([box["confidence"] for box in boxes], np.float32),
        np.array([ids[box["class"]] for box in boxes], np.int32),
        source.class_names,
        appearance,
    )
    sharpness = record.get("sharpness", max((box["sharpness"] for box in boxes if "sharpness" in box), default=None))
    zones = tuple((int(x1), int(y1), int(x2), int(y2)) for x1, y1, x2, y2 in record.get("zones", ()))
    plates = tuple(box.get("plate") for box in boxes)
    return Recorded(detections, sharpness, record.get("exposure"), plates, record.get("model"), zones)


def detection_line(
    camera: str,
    index: int,
    detections: Detections,
    sharpness: float | None = None,
    exposure: float | None = None,
    model: str | None = None,
) -> str:
    """One line of detections.jsonl; pixels to 0.01, confidence to 1e-4: equal boxes give equal bytes."""
    boxes: list[dict[str, Any]] = []
    for nth, name in enumerate(detections.names()):
        box: dict[str, Any] = {
            "class": name,
            "confidence": round(float(detections.confidence[nth]), 4),
            "xyxy": [round(float(v), 2) + 0.0 for v in detections.xyxy[nth]],
        }
        if detections.appearance is not None:
            box["appearance"] = [round(float(v), 4) + 0.0 for v in detections.appearance[nth]]
        boxes.append(box)
    record: dict[str, Any] = {"camera": camera, "index": index, "boxes": boxes}
    for key, value in (("sharpness", sharpness), ("exposure", exposure)):
        if value is not None:
            record[key] = round(float(value), 4)
    if model is not None:
        record["model"] = model
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True, eq=False)
class DetectedFrame:
    """One detected frame on its way to detections.jsonl."""

    camera: str
    index: int
    detections: Detections
    sharpness: float | None = None
    exposure: float | None = None
    model: str | None = None


def write_detections(file: Path, frames: Iterable[DetectedFrame]) -> int:
    """Write detections.jsonl as a whole or not at all (an old one is replaced at the end); returns the frames."""
    count = 0
    with part_file(file) as stream:
        for frame in frames:
            line = detection_line(
                frame.camera, frame.index, frame.detections, frame.sharpness, frame.exposure, frame.model
            )
            stream.write(line + "\n")
            count += 1
    return count
