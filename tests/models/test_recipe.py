"""Recipes: the shipped one, and mistakes in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import TrainingSetupError
from models.recipe import load_recipe
from tests.models.worlds import RECIPE, write_recipe
from tests.perception.cards import catalogue

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "qiji-street-n" / "recipe.toml"


def test_what_has_no_licence_is_only_reported_on() -> None:
    recipe = load_recipe(SHIPPED)
    licensed = ["garbage_street_cn", "vehicles_vn_cctv", "potholes_mixed", "highway_br", "renders"]
    assert [source.name for source in recipe.trained] == licensed
    assert {source.name for source in recipe.sources if source.licence == "none"} == {
        source.name for source in recipe.sources if source.report_only
    }
    assert [source.name for source in recipe.sources if source.rendered] == ["renders"]
    assert len(recipe.classes) == 16


FOREIGN = {
    "e-bike": "motorcycle",
    "cart": "street_stall",
    "heap": "garbage",
    "damaged_sign": "sign_damaged",
    "fallen_pole": "pole_fallen",
}


def test_foreign_names_are_aliases_of_the_catalogue() -> None:
    recipe = load_recipe(SHIPPED)
    assert dict(recipe.aliases) == FOREIGN
    assert set(FOREIGN.values()) <= set(catalogue().classes)
    assert recipe.own_name("heap") == "garbage"
    assert recipe.own_name("garbage") == "garbage"
    assert recipe.own_name("fallen_pole") is None  # the catalogue has it, this detector does not
    assert recipe.own_name("umbrella") is None


def test_background_counts_only_where_a_source_can_be_trusted() -> None:
    recipe = load_recipe(SHIPPED)
    weights = dict(zip(recipe.classes, recipe.source("highway_br").background_weights(recipe.classes), strict=True))
    assert weights["pothole"] == 1.0  # exhaustive
    assert weights["car"] == 1.0  # the teacher labelled it
    assert 0.0 < weights["road_crack"] < 1.0  # partly labelled
    assert weights["pole"] == weights["traffic_sign"] == 0.0  # nobody looked


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "tiny"\n', "", "'name' is missing"),
        ('exhaustive = ["garbage"]', 'exhaustive = ["trash"]', "'trash'"),
        ("input_wh = [96, 64]", "input_wh = [100, 64]", "multiples of 32"),
        ('"person", "garbage"]', '"person", "person"]', "twice"),
        ("version = 1", "version = = 1", "not valid TOML"),
        ("[privacy]", '[aliases]\ncar = "person"\n[privacy]', "'car', which is a class of its own"),
        ('doubts = ""', 'doubts = ""\nscene = "("', "no regular expression"),
    ],
)
def test_a_wrong_recipe_is_named_with_file_and_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in RECIPE
    path = write_recipe(tmp_path, RECIPE.replace(old, new, 1))
    with pytest.raises(TrainingSetupError, match="Remedy") as caught:
        load_recipe(path)
    assert said in str(caught.value)
    assert caught.value.file == path


def test_a_missing_recipe_and_an_unknown_source_are_setup_mistakes(tmp_path: Path) -> None:
    with pytest.raises(TrainingSetupError, match="no such recipe"):
        load_recipe(tmp_path / "recipe.toml")
    with pytest.raises(TrainingSetupError, match="'rivers'"):
        load_recipe(write_recipe(tmp_path)).source("rivers")
