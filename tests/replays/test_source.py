"""A drive as a stream: order, forms of a frame, decoding ahead, and errors met while reading."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from gnss.types import Fix, Motion
from perception.errors import DriveError
from perception.types import CalibrationUpdate, Detections, Frame, KnownObjects, Seen, Shed
from replays.detections import DetectedFrame, write_detections
from replays.drive import open_drive
from replays.events import write_events
from replays.source import DriveSource, Item, RecordedFrame

Boxes = Callable[[Path, dict[int, list[tuple[str, float]]]], None]


def stamp_of(item: Item) -> int:
    return item.frame.stamp_ns if isinstance(item, RecordedFrame) else item.stamp_ns


def test_model_replay_is_in_order_with_all_pictures(tiny: Path) -> None:
    source = DriveSource(open_drive(tiny))
    items = list(source)
    assert source.mode == "model"
    assert [stamp_of(i) for i in items] == sorted(stamp_of(i) for i in items)
    assert [type(i) for i in items[:3]] == [Fix, Motion, Frame]
    frames = [i for i in items if isinstance(i, Frame)]
    assert [f.index for f in frames] == list(range(12))
    assert [round(float(f.image.mean()) / 10) for f in frames] == list(range(12))
    assert (source.totals.frames, source.totals.fixes, source.totals.motions) == (12, 2, 12)
    assert len(items) == 26
    assert len(list(source)) == 26


def test_recorded_replay_without_pixels(tiny: Path, write_boxes: Boxes) -> None:
    write_boxes(tiny, {5: [("car", 0.5), ("bus", 0.9)], 2: []})
    (tiny / "front.mp4").unlink()
    source = DriveSource(open_drive(tiny))
    seen = [i for i in source if isinstance(i, Seen)]
    assert source.mode == "recorded"
    assert [(s.index, s.stamp_ns, s.detections.names(), s.picture) for s in seen] == [
        (2, 200_000_000, [], None),
        (5, 500_000_000, ["car", "bus"], None),
    ]
    assert (seen[0].width, seen[0].height) == (160, 120)
    assert source.totals.frames == 2


def test_recorded_replay_with_pixels_pairs_them(tiny: Path, write_boxes: Boxes) -> None:
    write_boxes(tiny, {3: [("car", 0.5)], 7: []})
    frames = [i for i in DriveSource(open_drive(tiny), "recorded") if isinstance(i, RecordedFrame)]
    assert [(f.frame.index, len(f.detections), round(float(f.frame.image.mean()) / 10)) for f in frames] == [
        (3, 1, 3),
        (7, 0, 7),
    ]


def test_detections_survive_a_round_trip_and_bytes_are_stable(tiny: Path) -> None:
    boxes = Detections(
        np.array([[1.23456, 2, 30, 40.5]], np.float32),
        np.array([0.87654], np.float32),
        np.array([1], np.int32),
        ("bus", "car"),
        np.array([[0.25, 0.75]], np.float32),
    )
    file = tiny / "detections.jsonl"
    assert write_detections(file, [DetectedFrame("front", 4, boxes, 120.55554, 0.5)]) == 1
    first = file.read_bytes()
    (tiny / "front.mp4").unlink()
    seen = next(i for i in DriveSource(open_drive(tiny)) if isinstance(i, Seen))
    assert (seen.sharpness, seen.exposure) == (120.5555, 0.5)
    assert seen.detections.appearance is not None
    assert seen.detections.appearance.tolist() == [[0.25, 0.75]]
    write_detections(file, [DetectedFrame("front", 4, seen.detections, seen.sharpness, seen.exposure)])
    assert file.read_bytes() == first


def test_what_the_drive_lacks_cannot_be_asked_for(tiny: Path, write_boxes: Boxes) -> None:
    with pytest.raises(DriveError, match=r"detections\.jsonl"):
        DriveSource(open_drive(tiny), "recorded")
    with pytest.raises(DriveError, match=r"events\.jsonl"):
        DriveSource(open_drive(tiny), known="recorded")
    write_boxes(tiny, {3: []})
    (tiny / "front.mp4").unlink()
    with pytest.raises(DriveError, match="recorded"):
        DriveSource(open_drive(tiny), "model")


def test_events_come_first_at_their_stamp(tiny: Path) -> None:
    known = KnownObjects(1_000_000_000, (6200, 24200))
    shed = Shed(100_000_000, "front", 1, "queue full")
    calibration = CalibrationUpdate(0, "front", 0.5, 0.1, -0.2, 0.1)
    write_events(tiny / "events.jsonl", [calibration, shed, known])
    items = list(DriveSource(open_drive(tiny), known="recorded"))
    assert items[0] == calibration
    at = items.index(known)
    assert isinstance(items[at + 1], Fix)
    assert shed in items
    assert not any(isinstance(i, KnownObjects) for i in DriveSource(open_drive(tiny)))


def test_a_consumer_that_stops_leaves_no_thread(tiny: Path) -> None:
    stream = iter(DriveSource(open_drive(tiny)))
    next(item for item in stream if isinstance(item, Frame))
    assert any(thread.name == "decode-front" for thread in threading.enumerate())
    stream.close()  # type: ignore[attr-defined]
    assert not any(thread.name == "decode-front" for thread in threading.enumerate())


def test_broken_and_misfit_pictures_are_named_while_reading(tiny: Path) -> None:
    (tiny / "front.mp4").unlink()
    text = (tiny / "drive.toml").read_text().replace('"front.mp4"', '"front"')
    (tiny / "drive.toml").write_text(text)
    (tiny / "front").mkdir()
    for number in range(12):
        cv2.imwrite(str(tiny / "front" / f"{number:06d}.jpg"), np.zeros((120, 160, 3), np.uint8))
    drive = open_drive(tiny)
    cv2.imwrite(str(tiny / "front" / "000008.jpg"), np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(DriveError, match=r"80x60.*says 160x120"):
        list(DriveSource(drive))
    (tiny / "front" / "000003.jpg").write_bytes(b"no picture")
    with pytest.raises(DriveError, match=r"000003\.jpg"):
        list(DriveSource(drive))


def test_a_broken_event_line_is_named(tiny: Path) -> None:
    (tiny / "events.jsonl").write_text('{"event":"rain","stamp_ns":0}\n')
    with pytest.raises(DriveError, match=r"events\.jsonl:1: .*rain"):
        list(DriveSource(open_drive(tiny)))


def test_a_video_whose_data_is_torn_is_named_while_reading(tiny: Path) -> None:
    video = tiny / "front.mp4"
    data = bytearray(video.read_bytes())
    media = data.index(b"mdat") + 4
    end = int.from_bytes(data[media - 8 : media - 4], "big") + media - 8
    data[media + (end - media) // 2 : end] = bytes(end - media - (end - media) // 2)
    video.write_bytes(data)
    drive = open_drive(tiny)
    with pytest.raises(DriveError, match=r"front\.mp4: the video is truncated: \d+ frames can be read"):
        list(DriveSource(drive))
