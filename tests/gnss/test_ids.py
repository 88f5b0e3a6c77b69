from __future__ import annotations

import pytest

from gnss.ids import IdError, check_component, check_division, check_grid, check_matter, check_organisation


def test_good_ids() -> None:
    assert check_division("110101") == "110101"
    assert check_grid("420111001002001", "420111") == "420111001002001"
    new = check_component("11010101015000123", "110101")
    assert (new.division, new.type_code, new.sequence, new.legacy) == ("110101", "01015", "000123", False)
    old = check_component("1101010115000123")
    assert (old.type_code, old.sequence, old.legacy) == ("0115", "000123", True)


@pytest.mark.parametrize(
    "bad", ["11010", "1101011", "010101", 110101, None, "11O101", "\uff11\uff11\uff10\uff11\uff10\uff11", "110101\n"]
)
def test_bad_division(bad: object) -> None:
    with pytest.raises(IdError, match="division"):
        check_division(bad)


@pytest.mark.parametrize("bad", ["42011100100200", "4201110010020011", "42011100100200a", 420111001002001, ""])
def test_bad_grid(bad: object) -> None:
    with pytest.raises(IdError, match="15 characters"):
        check_grid(bad)


@pytest.mark.parametrize("bad", ["110101010150001", "110101010150001234", "1101010101500012x", 11010101015000123])
def test_bad_component(bad: object) -> None:
    with pytest.raises(IdError, match="17 digits"):
        check_component(bad)


def test_ids_of_another_division() -> None:
    with pytest.raises(IdError, match="does not begin with the division 110105"):
        check_component("11010101015000123", "110105")
    with pytest.raises(IdError, match="does not begin"):
        check_grid("420111001002001", "110105")


def test_matters_and_organisations() -> None:
    matter = check_matter("33010609009", "330106")
    assert (matter.division, matter.code) == ("330106", "09009")
    assert check_organisation("11330106000000001A") == "11330106000000001A"
    for bad in ("09009", "3301060900", "330106090099", "3301060900X", "03010609009", 33010609009, None):
        with pytest.raises(IdError, match="11 digits"):
            check_matter(bad)
    with pytest.raises(IdError, match="does not begin with the division 330107"):
        check_matter("33010609009", "330107")
    for bad in ("1133010600000001A", "11330106000000001a", 11, None):
        with pytest.raises(IdError, match="18 characters"):
            check_organisation(bad)


def test_an_error_tells_form_length_and_division_apart() -> None:
    with pytest.raises(IdError, match=r"\(14 characters\)") as length:
        check_grid("42011100100200")
    with pytest.raises(IdError) as form:
        check_grid("42011100100200x")
    with pytest.raises(IdError) as division:
        check_grid("420111001002001", "420112")
    assert [error.value.code for error in (length, form, division)] == ["length", "form", "division"]
    with pytest.raises(IdError, match=r"\.\.\.") as long:
        check_component("1" * 10_000)
    assert len(str(long.value)) < 300
