"""Evidence pictures: only redacted pixels are encoded, and what was planted in a plate or a face is not in them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

import perception.redaction
from perception.card import ModelCard, load_card
from perception.evidence import close_up, context, encode
from perception.redaction import Redactor
from perception.types import Detections, Frame, Image, Redacted
from tests.perception.cards import ROOT, catalogue, write_card

CAR = (80.0, 60.0, 280.0, 180.0)
PLATE = (150, 130, 206, 146)
PERSON = (20.0, 40.0, 60.0, 140.0)
FACE = (30, 44, 50, 64)
Look = tuple[int, Detections]


def card(folder: Path) -> ModelCard:
    return load_card(write_card(folder), catalogue())


def pattern(seed: int, box: tuple[int, int, int, int]) -> Image:
    """Blocks of 4 px that survive JPEG: the secret that must not be found again."""
    width, height = (box[2] - box[0]) // 4, (box[3] - box[1]) // 4
    blocks = np.random.default_rng(seed).choice([0, 255], (height, width)).astype(np.uint8)
    return np.repeat(blocks.repeat(4, axis=0).repeat(4, axis=1)[..., None], 3, axis=2)


def street() -> Image:
    image = np.full((240, 320, 3), 128, np.uint8)
    for seed, box in enumerate((PLATE, FACE)):
        image[box[1] : box[3], box[0] : box[2]] = pattern(seed, box)
    return image


def redacted(folder: Path) -> Redacted:
    boxes = Detections(np.array([CAR, PERSON]), np.array([0.9, 0.2]), np.array([0, 1]), ("car", "person"))
    redactor = Redactor(card(folder))
    redactor.push(Frame(0, "front", 0, street()), boxes)
    (seen,) = redactor.flush()
    assert seen.picture is not None
    return seen.picture()


def visible(jpeg: bytes) -> float:
    """Highest correlation of a decoded picture with either secret, anywhere: about 1 where one is left."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    secrets = [pattern(seed, box)[..., 0] for seed, box in enumerate((PLATE, FACE))]
    # A flat picture has no correlation at all; a little grain gives it one, of chance.
    grainy = picture + np.random.default_rng(9).normal(0, 2, picture.shape)
    return max(
        float(cv2.matchTemplate(grainy.astype(np.float32), s.astype(np.float32), cv2.TM_CCOEFF_NORMED).max())
        for s in secrets
    )


def pictures(redacted: Redacted) -> list[bytes]:
    boxes = (CAR, PERSON)
    whole = [encode(redacted), *(context(redacted, box, "car 0.9")[0] for box in boxes)]
    return whole + [close_up(redacted, box)[0] for box in boxes]


def test_secrets_in_plate_and_face_are_not_found_after_decode(tmp_path: Path) -> None:
    assert all(visible(jpeg) < 0.6 for jpeg in pictures(redacted(tmp_path)))


def fills_nothing(frame: Frame, looks: Sequence[Look], classes: object) -> Redacted:
    return Redacted(frame.image, 0)


def fills_people_only(frame: Frame, looks: Sequence[Look], classes: object) -> Redacted:
    image = frame.image.copy()
    image[:80, :70] = 128
    return Redacted(image, 1)


@pytest.mark.parametrize("mutant", [fills_nothing, fills_people_only])
def test_a_redactor_that_leaves_something_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: object
) -> None:
    monkeypatch.setattr(perception.redaction, "redact", mutant)
    assert visible(encode(redacted(tmp_path))) > 0.9


@pytest.mark.parametrize("thing", [street(), b"jpeg", None, Frame(0, "front", 0, street())])
def test_anything_but_redacted_pixels_is_refused(thing: object) -> None:
    with pytest.raises(TypeError, match="only redacted pictures are encoded"):
        encode(thing)  # type: ignore[arg-type]


def test_close_up_is_the_box_with_its_surroundings(tmp_path: Path) -> None:
    jpeg, width, height = close_up(redacted(tmp_path), CAR, margin=0.1)
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert (width, height) == (240, 160) == picture.shape[1::-1]


def test_a_box_outside_the_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside the picture of 320 x 240"):
        close_up(redacted(tmp_path), (400, 10, 500, 60), margin=0.0)


def test_large_pictures_are_scaled_down() -> None:
    large = Redacted(np.zeros((1080, 1920, 3), np.uint8), 0)
    assert context(large, (0, 0, 100, 100))[1:] == (1280, 720)
    assert close_up(large, (0, 0, 1900, 1000))[1:] == (960, 540)


def test_context_draws_the_box_and_keeps_its_label_in_the_picture(tmp_path: Path) -> None:
    plain = Redacted(np.zeros((240, 320, 3), np.uint8), 0)
    jpeg, _, _ = context(plain, (300, 0, 319, 40), "a long label")
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture[20, 300, 2] > 150
    assert picture[:30, 200:300, 2].max() > 150
    assert plain.image.max() == 0


def test_no_exif_is_written(tmp_path: Path) -> None:
    assert all(b"Exif" not in jpeg and jpeg[:2] == b"\xff\xd8" for jpeg in pictures(redacted(tmp_path)))


def test_only_redaction_makes_redacted_and_only_evidence_encodes() -> None:
    makers, encoders = set(), set()
    for package in ("gnss", "perception", "uplink", "vehicle"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Redacted":
                    makers.add(file.name)
                if isinstance(node, ast.Attribute) and node.attr in ("imencode", "imwrite"):
                    encoders.add(file.name)
    assert makers == {"redaction.py"}
    assert encoders == {"evidence.py"}
