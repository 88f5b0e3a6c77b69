"""The code directory of GB/T 47678.5-2026 and its agreement with the case kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perception.codes import load_codes
from perception.errors import CityError
from tests.perception.cards import ROOT, catalogue

FILE = ROOT / "models" / "directory" / "gbt47678_5_2026.csv"
HEADER = "matter_kind,code,name,category_code,category_name,source,confidence\n"


def test_every_case_kind_has_a_code_that_exists() -> None:
    load_codes(FILE).check(catalogue())


def test_lookup_needs_the_matter_kind_too() -> None:
    codes = load_codes(FILE)
    assert codes.lookup("matter", "09009").name == "机动车乱停放"
    assert codes.lookup("component", "01023").name == "不明井盖"
    assert sum(key[0] == "component" for key in codes.entries) == 153
    with pytest.raises(CityError, match="no component code '09009'"):
        codes.lookup("component", "09009")


def test_a_kind_with_a_code_that_does_not_exist_is_named() -> None:
    shipped = catalogue()
    kinds = {**shipped.kinds, "bin_damage": replace(shipped.kinds["bin_damage"], code="03999")}
    with pytest.raises(CityError, match=r"'bin_damage' .*'03999'.*Remedy"):
        load_codes(FILE).check(replace(shipped, kinds=kinds))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("code,name\n", ":1: the header is wrong"),
        ("", ":1: the header is wrong"),
        (HEADER + "matter,09009,x,09\n", ":2: 4 columns"),
        (HEADER + "event,09009,x,09,y,z,H\n", ":2: 'event', '09009'"),
        (HEADER + "matter,9009,x,09,y,z,H\n", ":2: 'matter', '9009'"),
        (HEADER + "matter,09009,x,09,y,z,H\nmatter,09009,x,09,y,z,H\n", ":3: matter 09009 stands twice"),
    ],
)
def test_a_broken_directory_names_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "codes.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CityError) as caught:
        load_codes(file)
    assert f"codes.csv{words}" in str(caught.value)
