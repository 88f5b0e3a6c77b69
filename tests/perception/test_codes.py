"""The code directory of GB/T 47678.5-2026 and its agreement with the case kinds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from perception.anchors import REGISTER_CLASSES
from perception.codes import load_codes, load_crosswalk
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


def test_the_directory_is_complete_and_its_gaps_are_those_of_the_standard() -> None:
    entries = load_codes(FILE).entries.values()
    counts = Counter((e.matter_kind, e.category_code) for e in entries)
    components = {"01": 76, "02": 44, "03": 16, "04": 14, "05": 3}
    matters = components | {"06": 51, "07": 7, "08": 16, "09": 21, "10": 2}
    assert counts == {("component", c): n for c, n in components.items()} | {
        ("matter", c): n for c, n in matters.items()
    }
    assert (sum(components.values()), sum(matters.values())) == (153, 250)
    gaps = {
        kind: {
            f"{category}{n:03d}"
            for category in {e.category_code for e in entries if e.matter_kind == kind} - {"05"}
            for n in range(
                1, max(int(e.code[2:]) for e in entries if e.category_code == category and e.matter_kind == kind)
            )
            if (kind, f"{category}{n:03d}") not in load_codes(FILE).entries
        }
        for kind in ("component", "matter")
    }
    assert gaps == {"component": {"01016"}, "matter": {"01016", "06031", "07005", "09007"}}
    fifth = {e.code for e in entries if e.category_code == "05"}
    assert fifth == {"05002", "05003", "05009"}
    assert {e.confidence for e in entries} == {"M+"}
    assert all("GB/T 47678.5-2026 附录" in e.source for e in entries)


def test_every_component_has_its_matter() -> None:
    codes = load_codes(FILE)
    for (kind, code), entry in codes.entries.items():
        if kind == "component" and code != "01066":
            assert codes.lookup("matter", code).name == f"{entry.name}异常"
    assert codes.lookup("matter", "01066").name == "紧急报警点异常SOS"


def test_every_shipped_class_and_state_maps_to_a_code() -> None:
    shipped, codes = catalogue(), load_codes(FILE)
    problems = [c for c in shipped.classes.values() if c.kind is not None]
    assert len(problems) >= 15
    for row in problems:
        kind = shipped.kinds[row.kind or ""]
        assert codes.lookup(kind.matter_kind, kind.code).name
    for codes_of in REGISTER_CLASSES.values():
        assert all(codes.lookup("component", code) for code in codes_of if code != "01016")


def test_a_city_adds_codes_and_changes_none() -> None:
    codes = load_codes(FILE)
    own = HEADER + "matter,06999,共享充电宝乱放,06,市容环境,杭州市补充,L\n"
    assert codes.extended(own, Path("codes.csv")).lookup("matter", "06999").name == "共享充电宝乱放"
    for row, says in (
        ("matter,09009,别的,09,街面秩序,x,L\n", "is 机动车乱停放 in the directory"),
        ("matter,06999,甲,06,市容,x,L\nmatter,06999,乙,06,市容,x,L\n", "stands twice"),
        ("matter,06999,甲,07,市容,x,L\n", "another category"),
        ("matter,6999,甲,06,市容,x,L\n", "no matter kind with a code of five digits"),
    ):
        with pytest.raises(CityError, match=rf"codes.csv:[23]: .*{says}.*Remedy"):
            codes.extended(HEADER + row, Path("codes.csv"))


def test_older_codes_are_looked_up_and_never_computed() -> None:
    walk = load_crosswalk(FILE.with_name("crosswalk.csv"), load_codes(FILE))
    assert walk.lookup("cjt214", "05-05").code == "09009"
    assert walk.lookup("2013", "04-09").code == "09009"
    assert walk.lookup("cjt214-beijing", "03-06").code == walk.lookup("cjt214", "01-10").code == "06013"
    assert walk.lookup("cjt214", "04-01").code is None
    # The same number means two things in two lists of that time.
    assert walk.lookup("cjt214", "03-04").title == "施工占道"
    assert walk.lookup("cjt214-beijing", "03-04").title == "道路遗撒"
    # 14 of 16 codes follow a shift of numbers; the next one in the row would too, but nobody has read it.
    for generation, old in (("2013", "04-11"), ("cjt214", "05-12"), ("1999", "05-05"), ("2013", "unknown")):
        with pytest.raises(CityError, match=r"crosswalk.csv: .*Remedy"):
            walk.lookup(generation, old)
    assert {crossing.confidence for crossing in walk.rows.values()} == {"M", "L"}
