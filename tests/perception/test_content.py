"""What a case says in the city's words: attributes of the standard, place in two languages, department."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import shapely

from gnss.atlas import Atlas, Place, Road
from perception.codes import load_codes
from perception.content import LENGTHS, Desk
from perception.departments import parse_departments
from perception.errors import CityError
from perception.types import ComponentMatch
from perception.whereabouts import describe
from tests.builders import FRAME, make_case
from tests.perception.cards import ROOT

DIRECTORY = load_codes(ROOT / "models" / "directory" / "gbt47678_5_2026.csv")
TABLE = """grid,code,department_code,department_name
*,*,11330106000000001A,城市管理局
330106001*,09,11330106000000002B,文新街道综合执法队
330106001002*,09009,11330106000000003C,交警大队
330106001002005,*,11330106000000004D,物业
"""


def line(*metres: tuple[float, float]) -> shapely.LineString:
    return shapely.LineString([FRAME.to_geo(x, y)[::-1] for x, y in metres])


WENSAN = Road("r1", "文三路", "Wensan Road", line((-500.0, 0.0), (500.0, 0.0)))
XUEYUAN = Road("r2", "学院路", "", line((0.0, 5.0), (0.0, 400.0)))
SCHOOL = Place("p1", "文三街小学", "Wensan Street School", "gate", *FRAME.to_geo(200.0, 30.0))
GRID = shapely.box(*FRAME.to_geo(-300.0, -300.0)[::-1], *FRAME.to_geo(400.0, 400.0)[::-1])


def city(*roads: Road, places: tuple[Place, ...] = (), **texts: str) -> Atlas:
    grids = [("330106001002005", GRID)]
    return Atlas("杭州", "330106", 8.0, 180.0, grids, [], [], roads, places, None, texts)


@pytest.mark.parametrize(
    ("east", "north", "zh", "en"),
    [
        (36.0, 8.0, "文三路北侧，距学院路路口以东约35米", "north side of Wensan Road, about 35 m east of"),
        (-100.0, -6.0, "文三路南侧，距学院路路口以西约100米", "south side of Wensan Road, about 100 m west of"),
        (17.0, 0.5, "文三路路面，距学院路路口以东约17米", "on Wensan Road, about 17 m east of"),
        (8.0, 4.0, "文三路与学院路路口", "junction of Wensan Road and 学院路"),
        (-9.0, 120.0, "学院路西侧，距文三路路口以北约115米", "west side of 学院路, about 115 m north of"),
    ],
)
def test_roads_sides_and_junctions(east: float, north: float, zh: str, en: str) -> None:
    told = describe(city(WENSAN, XUEYUAN), *FRAME.to_geo(east, north))
    assert told.zh == zh
    other = "Wensan Road" if told.road == "学院路" else "学院路"
    assert told.en == (f"{en} the junction with {other}" if en.endswith(" of") else en)


def test_places_where_there_is_no_junction_and_coordinates_where_there_is_nothing() -> None:
    near = FRAME.to_geo(190.0, 20.0)
    told = describe(city(WENSAN, places=(SCHOOL,)), *near)
    assert told.zh == "文三路北侧，文三街小学西南方向约14米"
    assert told.en == "north side of Wensan Road, about 14 m south-west of Wensan Street School"
    assert describe(city(places=(SCHOOL,)), *near).zh == "文三街小学西南方向约14米"
    assert describe(city(places=(SCHOOL,)), *FRAME.to_geo(200.0, 31.0)).en == "at Wensan Street School"
    assert describe(city(), *near).zh.startswith("经度120.")


def test_the_attributes_of_a_matter() -> None:
    case = replace(make_case("car", 36.0, 8.0), grid="330106001002005")
    told = Desk(city(WENSAN, XUEYUAN, departments=TABLE), DIRECTORY).content(case)
    assert dict(told.fields) == {
        "SXDM": "33010609009", "SXMC": "机动车乱停放", "ZGBMDM": "11330106000000004D", "ZGBMMC": "物业",
        "SFWZ": "文三路北侧，距学院路路口以东约35米", "SZDYWGBSM": "330106001002005",
    }  # fmt: skip
    assert (told.missing, told.datum, told.standard) == ((), "CGCS2000", "GB/T 47678.5-2026")


def test_the_attributes_of_a_component_and_what_nobody_told() -> None:
    case = replace(
        make_case("manhole_open", 5.0, 5.0), code="01002", component=ComponentMatch("33010601002000001", "01002", 0.97)
    )
    told = Desk(city(), DIRECTORY).content(case)
    assert (told.fields["SXMC"], told.fields["GLBJMC"]) == ("污水井盖异常", "污水井盖")
    assert (told.fields["GLBJBSM"], told.fields["GLBJZT"]) == ("33010601002000001", "丢失")
    assert told.fields["SZDYWGBSM"] == "330106001002005"
    assert told.missing == ("ZGBMDM", "ZGBMMC")
    nowhere = Desk(Atlas.empty(), DIRECTORY).content(case)
    assert nowhere.missing == ("SXDM", "ZGBMDM", "ZGBMMC", "SZDYWGBSM")
    assert all(value is None or len(value) <= LENGTHS[name] for name, value in told.fields.items())


def test_a_code_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CityError, match="no matter code '09999'"):
        Desk(city(), DIRECTORY).content(replace(make_case("car"), code="09999"))


@pytest.mark.parametrize(
    ("grid", "code", "name"),
    [
        ("330106001002005", "06010", "物业"),
        ("330106001002001", "09009", "交警大队"),
        ("330106001002001", "09010", "文新街道综合执法队"),
        ("330106001003001", "09009", "文新街道综合执法队"),
        ("330106002001001", "09009", "城市管理局"),
        (None, "09009", "城市管理局"),
    ],
)
def test_the_most_exact_department_wins(grid: str | None, code: str, name: str) -> None:
    found = parse_departments(TABLE, Path("departments.csv")).suggest(grid, code)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("3301,*,11330106000000001A,x", "neither whole nor a part"),
        ("*,090,11330106000000001A,x", "neither whole nor a part"),
        ("*,*,123,x", "18 characters"),
        ("*,*,11330106000000001A,", "name is missing"),
        ("*,*", "2 columns"),
    ],
)
def test_mistakes_in_the_table_name_the_line(row: str, says: str) -> None:
    head = TABLE.splitlines()[0]
    with pytest.raises(CityError, match=rf"departments.csv:2: .*{says}.*Remedy"):
        parse_departments(f"{head}\n{row}\n", Path("departments.csv"))
