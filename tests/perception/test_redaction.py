"""Redaction: heads and plate zones are gone, over neighbouring frames too; without its classes there is no picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from perception.card import ModelCard, load_card
from perception.redaction import Redactor, quality
from perception.types import Detections, Frame, Image, Seen
from tests.perception.cards import catalogue, write_card

NAMES = ("car", "person", "bicycle")
Box = tuple[float, float, float, float]
PERIOD_NS = 100_000_000


def card(folder: Path, privacy: str = '{person = ["person"], vehicle = ["car", "bicycle"]}') -> ModelCard:
    changes = {"classes": '["car", "person", "bicycle"]', "privacy": privacy}
    return load_card(write_card(folder, np.zeros((1, 7, 4), np.float32), changes=changes), catalogue())


def noise(seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def found(*boxes: tuple[str, Box]) -> Detections:
    ids = np.array([NAMES.index(name) for name, _ in boxes], np.int32)
    xyxy = np.array([box for _, box in boxes], np.float32).reshape(-1, 4)
    return Detections(xyxy, np.full(len(boxes), 0.2, np.float32), ids, NAMES)


def run(redactor: Redactor, frames: list[Detections], period_ns: int = PERIOD_NS) -> list[Seen]:
    seen = []
    for index, detections in enumerate(frames):
        seen += redactor.push(Frame(index * period_ns, "front", index, noise(index)), detections)
    return seen + redactor.flush()


def changed(seen: Seen) -> NDArray[np.bool_]:
    """Pixels (H, W) that differ from the frame."""
    assert seen.picture is not None
    changes: NDArray[np.bool_] = (seen.picture().image != noise(seen.index)).any(axis=2)
    return changes


def share(mask: NDArray[np.bool_], box: Box) -> float:
    x1, y1, x2, y2 = (round(v) for v in box)
    return float(mask[y1:y2, x1:x2].mean())


def test_heads_and_plates_are_filled_and_the_rest_is_left(tmp_path: Path) -> None:
    detections = found(("person", (20, 40, 60, 140)), ("car", (100, 60, 280, 180)), ("bicycle", (20, 170, 50, 230)))
    mask = changed(run(Redactor(card(tmp_path)), [detections])[0])
    assert share(mask, (20, 40, 60, 68)) > 0.98
    assert share(mask, (100, 110, 280, 180)) > 0.98
    assert share(mask, (20, 170, 50, 225)) > 0.98
    assert share(mask, (20, 75, 60, 140)) == 0
    assert share(mask, (120, 60, 260, 100)) == 0
    assert share(mask, (0, 0, 320, 30)) == 0


@pytest.mark.parametrize("side", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("level", [0.4, 0.7, 0.97])
def test_a_plate_is_covered_wherever_an_oblique_car_shows_it(tmp_path: Path, side: float, level: float) -> None:
    x, y = 60 + side * 200, 60 + level * 120
    mask = changed(run(Redactor(card(tmp_path)), [found(("car", (60, 60, 260, 180)))])[0])
    assert share(mask, (x - 10, y - 2, x + 10, y + 3)) > 0.98


def test_a_car_cut_by_the_upper_edge_is_filled_whole(tmp_path: Path) -> None:
    mask = changed(run(Redactor(card(tmp_path)), [found(("car", (60, 0, 260, 80)))])[0])
    assert share(mask, (60, 0, 260, 80)) > 0.98


def test_small_people_are_filled_whole(tmp_path: Path) -> None:
    mask = changed(run(Redactor(card(tmp_path)), [found(("person", (20, 40, 32, 72)))])[0])
    assert share(mask, (20, 40, 32, 72)) > 0.98


@pytest.mark.parametrize("missed", [0, 1, 2, 3, 4, 5, 6])
def test_a_face_missed_in_one_frame_is_covered_by_its_neighbours(tmp_path: Path, missed: int) -> None:
    boxes: list[Box] = [(40 + 8.0 * i, 60, 80 + 8.0 * i, 160) for i in range(7)]
    frames = [found() if i == missed else found(("person", box)) for i, box in enumerate(boxes)]
    seen = run(Redactor(card(tmp_path)), frames)
    x1, y1, x2, _ = boxes[missed]
    assert share(changed(seen[missed]), (x1 + 5, y1, x2 - 5, y1 + 28)) > 0.98


def test_a_face_seen_once_is_covered_three_frames_each_way_and_no_further(tmp_path: Path) -> None:
    box: Box = (100, 60, 140, 160)
    frames = [found(("person", box)) if i == 4 else found() for i in range(9)]
    seen = run(Redactor(card(tmp_path)), frames)
    covered = [share(changed(s), (100, 60, 140, 88)) > 0.98 for s in seen]
    assert covered == [False, True, True, True, True, True, True, True, False]


def test_slow_pictures_do_not_borrow_boxes(tmp_path: Path) -> None:
    seen = run(Redactor(card(tmp_path)), [found(("person", (100, 60, 140, 160))), found()], 2_000_000_000)
    assert changed(seen[0]).any()
    assert not changed(seen[1]).any()


def test_frames_come_three_late_and_each_once_per_camera(tmp_path: Path) -> None:
    redactor = Redactor(card(tmp_path))
    given = []
    for index in range(6):
        for camera in ("left", "right"):
            given.append([s.index for s in redactor.push(Frame(index, camera, index, noise()), found())])
    assert given == [[]] * 6 + [[0], [0], [1], [1], [2], [2]]
    assert [(s.camera, s.index) for s in redactor.flush()] == [
        (camera, index) for index in (3, 4, 5) for camera in ("left", "right")
    ]
    assert redactor.flush() == []


def test_stamps_that_go_back_are_refused(tmp_path: Path) -> None:
    redactor = Redactor(card(tmp_path))
    redactor.push(Frame(5, "front", 0, noise()), found())
    with pytest.raises(ValueError, match="frame 1 at 5 ns"):
        redactor.push(Frame(5, "front", 1, noise()), found())


@pytest.mark.parametrize("privacy", ["{}", '{person = ["person"]}', '{vehicle = ["car"]}', '{vehicle = ["bicycle"]}'])
def test_without_people_and_vehicles_there_is_no_picture_and_it_says_so(tmp_path: Path, privacy: str) -> None:
    redactor = Redactor(card(tmp_path, privacy))
    seen = run(redactor, [found(("person", (20, 40, 60, 140)))] * 5)
    assert len(seen) == 5
    assert all(s.picture is None for s in seen)
    assert redactor.notice is not None
    assert redactor.notice.startswith("NO PICTURES WILL BE WRITTEN")


def test_seen_keeps_all_boxes_and_the_frame_stays_as_it_was(tmp_path: Path) -> None:
    redactor = Redactor(card(tmp_path))
    assert redactor.notice is None
    frame = Frame(7, "front", 3, noise(3))
    redactor.push(frame, found(("person", (20, 40, 60, 140)), ("car", (100, 60, 280, 180))))
    (seen,) = redactor.flush()
    assert (seen.stamp_ns, seen.index, seen.width, seen.height, len(seen.detections)) == (7, 3, 320, 240, 2)
    assert seen.picture is not None
    assert seen.picture().filled == 2
    np.testing.assert_array_equal(frame.image, noise(3))


def test_a_zone_holds_one_colour_only(tmp_path: Path) -> None:
    (seen,) = run(Redactor(card(tmp_path)), [found(("car", (100, 60, 280, 180)))])
    assert seen.picture is not None
    assert len(np.unique(seen.picture().image[110:170, 110:270].reshape(-1, 3), axis=0)) == 1


def test_sharpness_falls_with_blur_and_exposure_is_mean_grey() -> None:
    sharp = noise().repeat(4, axis=0).repeat(4, axis=1)
    soft = np.asarray((sharp.astype(np.float32) * 0.1 + 115).clip(0, 255), np.uint8)
    assert quality(sharp)[0] > 10 * quality(soft)[0]
    sharpness, exposure = quality(np.full((10, 10, 3), 51, np.uint8))
    assert sharpness == 0.0
    assert exposure == pytest.approx(0.2)
