"""The catalogue as shipped, and mistakes in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from perception.catalogue import load_catalogue
from perception.errors import CityError
from tests.perception.cards import ROOT, catalogue

CLASSES = (
    "car truck bus motorcycle bicycle person street_stall garbage garbage_bin garbage_bin_overflow pothole road_crack "
    "manhole_open manhole_broken manhole_closed guardrail_damaged sign_damaged pole_fallen bin_damaged lamp_damaged "
    "pole traffic_sign traffic_light"
)
CODES = {
    "illegal_parking": "09009", "illegal_parking_bike": "09010", "fire_lane_blocked": "09012",
    "accessible_path_blocked": "09019", "street_vending": "09001", "shop_spill_out": "09005",
    "exposed_garbage": "06010", "bin_overflow": "06042", "road_damage": "06013", "manhole_damage": "01023",
    "guardrail_damage": "02017", "sign_damage": "02010", "pole_damage": "01034", "lamp_damage": "01037",
    "bin_damage": "03005", "road_vending": "09006",
}  # fmt: skip


def test_the_shipped_catalogue_has_the_names_and_codes_of_the_contract() -> None:
    shipped = catalogue()
    assert set(CLASSES.split()) <= set(shipped.classes)
    assert {name: kind.code for name, kind in shipped.kinds.items()} == CODES


def test_healthy_pairs_are_one_identity() -> None:
    shipped = catalogue()
    assert shipped.identity_of("manhole_open") == shipped.identity_of("manhole_closed") == "manhole_closed"
    assert shipped.identity_of("garbage_bin_overflow") == "garbage_bin"
    assert shipped.identity_of("car") == "car"


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("classes.toml", "version = 1", "version = 2", "version is 2"),
        ("classes.toml", 'role = "person"', 'role = "people"', "[class.person] has a role"),
        ("classes.toml", 'kind = "road_damage"', 'kind = "hole"', "names kind 'hole'"),
        ("classes.toml", 'healthy = "pole"', 'healthy = "mast"', "names healthy class 'mast'"),
        ("classes.toml", 'title = "person"', 'titel = "person"', "unknown key 'titel'"),
        ("classes.toml", 'title = "person"', "", "[class.person] is incomplete"),
        ("kinds.toml", 'code = "09009"', "", "[kind.illegal_parking] lacks 'code'"),
        ("kinds.toml", 'code = "09009"', "code = ", "cannot be read"),
    ],
)
def test_a_mistake_names_file_and_remedy(tmp_path: Path, file: str, old: str, new: str, words: str) -> None:
    for name in ("classes.toml", "kinds.toml"):
        shutil.copy(ROOT / "models" / name, tmp_path / name)
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CityError) as caught:
        load_catalogue(tmp_path)
    assert words in str(caught.value)
    assert str(tmp_path / file) in str(caught.value)
    assert "Remedy: " in str(caught.value)
