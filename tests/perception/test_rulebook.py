"""Mistakes in a rule file name the table, the key and the remedy; a dwell is kept to the tenth of a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perception.associate import AssociateParams, associate
from perception.errors import CityError
from perception.rulebook import checked_rules, parse_rules
from perception.rules import DOUBLE_PARKED, RuleParams, Rules
from perception.types import Case, CaseState, ChangeKind
from tests.builders import CATALOGUE, FRONT, UTC0_NS, make_atlas, make_landmark, make_record, make_zone

FILE = Path("rules.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version = ", "no TOML"),
        ("version = 2", "version is 2"),
        ("version = 1\n[parking]\n", "unknown key 'parking'"),
        ("version = 1\n[general]\ndwell = 1\n", r"\[general\] has unknown key 'dwell'"),
        ("version = 1\n[general]\nunsure_dwell_s = -1\n", r"\[general\] unsure_dwell_s is -1"),
        ("version = 1\n[general]\nunsure_dwell_s = inf\n", r"unsure_dwell_s is inf"),
        ("version = 1\n[general]\nunsure_dwell_s = nan\n", r"unsure_dwell_s is nan"),
        ("version = 1\n[general]\nunsure_dwell_s = true\n", r"unsure_dwell_s is True"),
        ("version = 1\n[general]\nsensitive = 'x'\n", r"\[general\] sensitive is 'x'"),
        ("version = 1\n[ban]\nzone = 'x'\n", r"write \[\[ban\]\]"),
        ("version = 1\n[[ban]]\nzone = 'x'\n", r"\[\[ban\]\] 1 is incomplete: .*'kind'"),
        ("version = 1\n[[ban]]\nzone = 'x'\nkind = 'k'\nclass = []\n", "unknown key 'class'"),
        ("version = 1\n[[ban]]\nzone = ''\nkind = 'k'\n", r"\[\[ban\]\] 1 zone is ''"),
        ("version = 1\nnear = [1]\n", r"\[\[near\]\] 1 is no table"),
        ("version = 1\nvending = 1\n", "vending is no table"),
        ("version = 1\n[component.manhole_open]\nstate = 'kaputt'\n", "component.manhole_open"),
        ("version = 1\n[code.street_vending]\ncode = '09006'\n", "must have matter_kind and code"),
    ],
)
def test_a_mistake_names_table_key_and_remedy(text: str, says: str) -> None:
    with pytest.raises(CityError, match=says) as error:
        parse_rules(text, FILE)
    assert "rules.toml: " in str(error.value)
    assert "Remedy: " in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[ban]]\nzone = 'x'\nkind = 'flying'\n", "no case kind 'flying'"),
        ("[[ban]]\nzone = 'x'\nkind = 'illegal_parking'\nclasses = ['ufo']\n", "no class 'ufo'"),
        ("[[bay]]\nzone = 'x'\nclasses = ['ufo']\n", "no class 'ufo'"),
        ("[double_parking]\nkind = 'flying'\n", "no case kind 'flying'"),
        ("[component.ufo]\nstate = '破损'\n", "no class 'ufo'"),
        ("[code.flying]\nmatter_kind = 'matter'\ncode = '09006'\n", "no case kind 'flying'"),
    ],
)
def test_rules_are_held_against_the_catalogue(text: str, says: str) -> None:
    with pytest.raises(CityError, match=says):
        checked_rules({"rules": f"version = 1\n{text}"}, CATALOGUE, FILE)


@pytest.mark.parametrize(
    ("dwell_s", "after_s", "state"),
    [
        (700.0, 699.9, CaseState.CANDIDATE),
        (700.0, 700.0, CaseState.OPEN),
        (700.0, 700.1, CaseState.OPEN),
        (180.0, 599.9, CaseState.CANDIDATE),  # long enough, but the same approach: no second look
        (180.0, 3600.0, CaseState.OPEN),
        (7200.0, 3600.0, CaseState.CANDIDATE),
    ],
)
def test_a_second_look_files_it_when_the_dwell_is_over(dwell_s: float, after_s: float, state: CaseState) -> None:
    """`after_s` from the first sight to the last moment of the second one, 2 s long."""
    atlas = make_atlas([make_zone("no_parking", (2.0, 8.0), (0.0, 100.0), dwell_s=dwell_s)])
    rules = Rules(CATALOGUE, atlas, RuleParams())
    first = make_record([make_landmark("car", 5.0, 50.0)])
    born = associate([], [], first, rules, {"front": FRONT}, AssociateParams())
    assert [c.change for c in born.changes] == [ChangeKind.CANDIDATE]
    later_ns = UTC0_NS + round((after_s - 2.0) * 1e9)
    mark = make_landmark("car", 5.0, 50.0, pass_id="p2", utc_ns=later_ns)
    second = make_record([mark], pass_id="p2", utc_ns=later_ns)
    seen = associate([born.changes[0].case], [], second, rules, {"front": FRONT}, AssociateParams())
    assert [c.case.state for c in seen.changes] == [state]


@pytest.mark.parametrize(("rules_text", "state"), [("", CaseState.CANDIDATE), ("[double_parking]\n", CaseState.OPEN)])
def test_the_second_row_is_filed_only_where_the_city_says_so(rules_text: str, state: CaseState) -> None:
    """The doubt that holds every other vehicle is what this rule asks for."""
    atlas = make_atlas([make_zone("no_parking", (2.0, 8.0), (0.0, 100.0))])
    rules = Rules(CATALOGUE, atlas, RuleParams(), parse_rules(f"version = 1\n{rules_text}", FILE))
    known: list[Case] = []
    later_ns = UTC0_NS
    for name in ("p1", "p2"):
        mark = replace(make_landmark("car", 5.0, 50.0, pass_id=name, utc_ns=later_ns), doubt=DOUBLE_PARKED)
        record = make_record([mark], pass_id=name, utc_ns=later_ns)
        result = associate(known, [], record, rules, {"front": FRONT}, AssociateParams())
        known, later_ns = [c.case for c in result.changes], later_ns + 3600 * 10**9
    assert [case.state for case in known] == [state]
