"""Broken pictures and labels come out by reason; leaks, unknown names and few boxes are told; nothing is mended."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from models.data_check import check_data, check_text
from models.dataset import read_index
from models.errors import TrainingSetupError
from models.pictures import BadExample, Reason, read_labels, read_picture
from models.prepare import DataSet, PrepareParams, prepare
from models.recipe import load_recipe
from models.sheets import write_sheets
from tests.models.worlds import NAMES, write_data_set, write_recipe
from vehicle.__main__ import main

KNOWN = {name: name for name in NAMES}


def jpeg(mode: str = "RGB", size: tuple[int, int] = (96, 64), orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    out = io.BytesIO()
    Image.new(mode, size, None).save(out, "JPEG", exif=exif)
    return out.getvalue()


def deep_png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((64, 96), 40_000, np.uint16)).save(out, "PNG")
    return out.getvalue()


PICTURES = {
    Reason.EMPTY_FILE: b"",
    Reason.NO_PICTURE: b"this is no picture at all, but it is long enough to look like one",
    Reason.CUT: jpeg(size=(960, 640))[:3000],
    Reason.CMYK: jpeg("CMYK"),
    Reason.DEEP: deep_png(),
    Reason.TURNED: jpeg(orientation=6),
    Reason.TINY: jpeg(size=(12, 40)),
}
LABELS = {
    Reason.NO_BOX: "0 0.5 0.5 0.1",
    Reason.STRANGE_CLASS: "7 0.5 0.5 0.1 0.1",
    Reason.OUTSIDE: "0 0.98 0.5 0.2 0.2",
    Reason.NO_AREA: "0 0.5 0.5 0 0.2",
    Reason.TWICE: "1 0.5 0.5 0.25 0.25\n1 0.5 0.5 0.25 0.25",
}


@pytest.mark.parametrize("reason", PICTURES)
def test_an_odd_picture_is_refused_with_its_reason(tmp_path: Path, reason: Reason) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(PICTURES[reason])
    with pytest.raises(BadExample) as caught:
        read_picture(path)
    assert caught.value.finding.reason is reason
    assert caught.value.finding.file == path


@pytest.mark.parametrize("orientation", [None, 1])
def test_a_plain_picture_is_read_as_stored(tmp_path: Path, orientation: int | None) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(jpeg(orientation=orientation))
    assert read_picture(path).shape == (64, 96, 3)


@pytest.mark.parametrize("reason", LABELS)
def test_a_broken_label_is_found_with_its_line(tmp_path: Path, reason: Reason) -> None:
    path = tmp_path / "label.txt"
    path.write_text("0 0.5 0.5 0.1 0.1\n\n" + LABELS[reason] + "\n", encoding="utf-8")
    boxes, findings = read_labels(path, dict(enumerate(NAMES)), 96, 64)
    assert [finding.reason for finding in findings] == [reason]
    assert findings[0].line == (4 if reason is Reason.TWICE else 3)
    assert boxes[0].xyxy == pytest.approx((43.2, 28.8, 52.8, 35.2))


@pytest.mark.parametrize(
    "text", ["nan 0.5 0.5 0.1 0.1", "0 inf 0.5 0.1 0.1", "0.5 0.5 0.5 0.1 0.1", "-1 0.5 0.5 0.1 0.1"]
)
def test_numbers_that_are_none_make_no_box(tmp_path: Path, text: str) -> None:
    path = tmp_path / "label.txt"
    path.write_text(text, encoding="utf-8")
    boxes, findings = read_labels(path, dict(enumerate(NAMES)), 96, 64)
    assert boxes == []
    assert len(findings) == 1


def test_rounding_over_the_edge_is_clipped(tmp_path: Path) -> None:
    path = tmp_path / "label.txt"
    path.write_text("0 0.9001 0.5 0.2 1.0\n", encoding="utf-8")
    boxes, findings = read_labels(path, dict(enumerate(NAMES)), 100, 50)
    assert not findings
    assert boxes[0].xyxy == pytest.approx((80.01, 0, 100, 50))


def spoil(data: Path) -> Counter[str]:
    """One broken picture or label of each kind in a sound data set; returns the reasons."""
    for number, (reason, content) in enumerate(PICTURES.items()):
        stem = f"streets_bad{number}"
        (data / "images" / "train" / f"{stem}.jpg").write_bytes(content)
        (data / "labels" / "train" / f"{stem}.txt").write_text("", encoding="utf-8")
        assert reason.value
    for number, text in enumerate(LABELS.values()):
        stem = f"streets_odd{number}"
        shutil.copy(data / "images" / "train" / "streets_0.png", data / "images" / "train" / f"{stem}.png")
        (data / "labels" / "train" / f"{stem}.txt").write_text(text + "\n", encoding="utf-8")
    (data / "labels" / "train" / "streets_3.txt").unlink()
    (data / "labels" / "val" / "nobody.txt").write_text("", encoding="utf-8")
    return Counter(r.value for r in (*PICTURES, *LABELS, Reason.NO_LABEL, Reason.ORPHAN))


def test_every_fault_is_counted_by_reason(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data")
    reasons = spoil(data)
    found = check_data([data], KNOWN)
    assert not found.clean
    assert Counter(finding.reason.value for finding in found.findings) == reasons
    text = check_text(found)
    for reason in reasons:
        assert f"    1 {reason}" in text
    assert "fewer than 80" in text


def test_the_trainer_stops_at_the_first_fault_or_leaves_them_out(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    data = write_data_set(tmp_path / "data")
    reasons = spoil(data)
    with pytest.raises(TrainingSetupError, match="data check"):
        prepare(recipe, [DataSet(data)], tmp_path / "out", None)
    assert not (tmp_path / "out").exists()
    made = prepare(recipe, [DataSet(data)], tmp_path / "out", None, PrepareParams(skip_bad=True))
    assert made.bad == reasons - Counter({Reason.ORPHAN.value: 1})
    assert made.pictures["streets train"] == 5
    assert len(read_index(tmp_path / "out", "train", recipe.classes)) == 11


def test_a_validation_picture_that_is_trained_on_is_a_leak(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    data = write_data_set(tmp_path / "data")
    for split, kept in (("train", ("a", "b")), ("val", ("c",))):
        for path in (data / "images" / split).iterdir():
            path.unlink()
        for path in (data / "labels" / split).iterdir():
            path.unlink()
        for name in kept:
            image = cv2.resize(
                rng.integers(0, 255, (4, 4, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC
            )
            cv2.imwrite(str(data / "images" / split / f"{name}.png"), image)
            (data / "labels" / split / f"{name}.txt").write_text("", encoding="utf-8")
    assert check_data([data], KNOWN).leaks == ()
    again = read_picture(data / "images" / "val" / "c.png")
    cv2.imwrite(str(data / "images" / "train" / "again.jpg"), cv2.resize(again, (200, 150)))
    (data / "labels" / "train" / "again.txt").write_text("", encoding="utf-8")
    (leak,) = check_data([data], KNOWN).leaks
    assert (leak.train.name, leak.val.name) == ("again.jpg", "c.png")


def test_aliases_are_known_and_other_names_are_not(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data")
    found = check_data([data], {"person": "person", "car": "truck"})
    assert found.strange == ("garbage",)
    assert found.boxes["truck"]["train"] == 12
    assert not found.clean


def test_the_command_ends_with_1_on_findings_and_draws_sheets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data_set(tmp_path / "data")
    sheets = tmp_path / "sheets"
    arguments = ["model", "data", "check", str(data), "--json"]
    code = main([*arguments, "--sheets", str(sheets)])
    tree = json.loads(capsys.readouterr().out)
    assert tree["findings"] == []
    assert code == (0 if tree["clean"] else 1)  # flat rectangles may look alike: then they are leaks
    assert tree["boxes"]["car"] == {"train": 12, "val": 4}
    assert {path.name for path in sheets.iterdir()} >= {"train-car.png", "val-garbage.png"}
    first = (sheets / "train-car.png").read_bytes()
    write_sheets(check_data([data], KNOWN).sound, sheets)
    assert (sheets / "train-car.png").read_bytes() == first
    (data / "labels" / "train" / "streets_0.txt").write_text("9 0.5 0.5 0.1 0.1\n", encoding="utf-8")
    assert main(arguments) == 1
    assert json.loads(capsys.readouterr().out)["reasons"] == {"class id out of range": 1}
    shutil.rmtree(data / "images" / "val")
    assert main(arguments) == 2
    assert "Remedy" in capsys.readouterr().err
