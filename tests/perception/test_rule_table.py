"""The rules row by row: `rule_table.csv` is meant to be read, and corrected, by an officer of the city."""

from __future__ import annotations

import csv
import datetime
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gnss.atlas import Atlas, Component, Zone
from gnss.calendar import day_of, parse_calendar
from perception.grade import GAT832, LEAD, FullView, evidence_grade
from perception.rulebook import RuleBook, parse_rules
from perception.rules import DOUBLE_PARKED, Decision, RuleParams, Rules
from perception.types import Landmark, TrackEnd, Verdict
from tests.builders import CATALOGUE, FRAME, make_landmark, make_zone
from tests.perception.cards import ROOT

TABLE = Path(__file__).with_name("rule_table.csv")
EDGE_M = 2.0
"""The kerb zone begins 2 m east of the origin and is 10 m wide."""

SHIPPED = ROOT / "models" / "directory" / "rules.toml"
CITY_RULES = """
version = 1
[double_parking]
dwell_s = 300
[[near]]
name = "bus stop"
codes = ["02004"]
within_m = 30
kind = "illegal_parking"
dwell_s = 0
[[near]]
name = "hydrant"
codes = ["01013"]
within_m = 5
kind = "illegal_parking"
dwell_s = 60
[[vending.place]]
zone = "carriageway"
kind = "road_vending"
[garbage]
least_m = 0.3
pile_m = 0.6
persist_s = 3600
beside_kind = "bin_overflow"
[code.street_vending]
matter_kind = "matter"
code = "09006"
"""
CALENDAR = parse_calendar(
    'version = 1\nworkdays = [2026-10-10]\n[[holiday]]\nname = "x"\nfrom = 2026-10-01\nto = 2026-10-07\n'
    '[[term]]\nname = "x"\nfrom = 2026-09-01\nto = 2027-01-20\n'
)
SAYS = {"file": Decision.ACCEPT, "wait": Decision.HOLD, "no": Decision.REFUSE}
STATES = {
    "stands": (Verdict.STATIC, "", False),
    "kerb": (Verdict.STATIC, "", True),
    "unsure": (Verdict.UNKNOWN, "", False),
    "moves": (Verdict.MOVING, "", False),
    "queue": (Verdict.STATIC, "in line with a vehicle that moves", False),
    "row2": (Verdict.STATIC, DOUBLE_PARKED, False),
}


def rows() -> list[dict[str, str]]:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def utc_ns(local: str) -> int | None:
    """`MM-DD HH:MM[:SS]` of 2026 in Shanghai."""
    if local == "unknown":
        return None
    stamp = datetime.datetime.fromisoformat(f"2026-{local}").replace(tzinfo=datetime.UTC)
    return int((stamp - datetime.timedelta(hours=8)).timestamp()) * 10**9


def zone_of(text: str, hours: str, dwell: str, edge_m: tuple[float, float], name: str) -> Zone:
    """`kind[classes]`."""
    kind, _, classes = text.rstrip("]").partition("[")
    made = make_zone(kind, edge_m, (0.0, 100.0), id=name, hours=hours or None)
    return replace(made, dwell_s=float(dwell) if dwell else None, classes=tuple(classes.split("|")) if classes else ())


def setting(row: dict[str, str]) -> tuple[Landmark, Atlas]:
    """The thing of a row, and the city around it."""
    east = EDGE_M + float(row["in_m"])
    verdict, doubt, kerb = STATES[row["it"]]
    words = row["also"].split()
    mark = make_landmark(row["thing"], east, 50.0, sigma_m=0.7 if words == ["poor"] else 0.2, verdict=verdict)
    mark = replace(mark, doubt=doubt, kerbside=kerb, last_utc_ns=utc_ns(row["time"]))
    zones = [] if row["zone"] == "-" else [zone_of(row["zone"], row["hours"], row["dwell_s"], (2.0, 12.0), "kerb")]
    components = []
    match words:
        case ["margin", metres]:
            zones = [replace(zones[0], margin_m=float(metres))]
        case ["bay", kind, *hours]:
            zones.append(zone_of(kind, " ".join(hours), "", (2.0, 12.0), "bay"))
        case ["permit", kind, *days]:
            made = replace(zone_of("permit", "", "", (2.0, 12.0), "permit"), permits=(kind,))
            given = [day_of(f"2026-{day}") for day in re.findall(r"\d\d-\d\d", " ".join(days))]
            zones.append(replace(made, from_day=given[0], to_day=given[1]) if given else made)
        case ["size", metres]:
            mark = replace(mark, extent_m=(float(metres), 0.1, 0.1))
        case [("stop" | "hydrant" | "bin") as what, metres]:
            code = {"stop": "02004", "hydrant": "01013", "bin": "03005"}[what]
            components.append(Component(f"{what}-1", "", code, *FRAME.to_geo(east, 50.0 + float(metres)), "A"))
        case [] | ["poor"]:
            pass
        case _:
            pytest.fail(f"nobody knows what {row['also']!r} is")
    return mark, Atlas("test", None, 8.0, 180.0, [], zones, components, calendar=CALENDAR)


def book(name: str) -> RuleBook:
    return RuleBook() if name == "default" else parse_rules(CITY_RULES, Path("rules.toml"))


@pytest.mark.parametrize("row", rows(), ids=lambda row: "|".join(v for v in list(row.values())[:10] if v))
def test_row(row: dict[str, str]) -> None:
    mark, atlas = setting(row)
    found = Rules(CATALOGUE, atlas, RuleParams(), book(row["rules"])).judge(mark, np.zeros((2, 2)))
    told = "; ".join(f"{c.what} {c.value} {c.limit} {c.holds}" for c in found.checks)
    assert found.decision is SAYS[row["says"]], f"{found.reason} ({told})"
    assert (found.kind or "") == row["kind"], found.reason
    assert row["because"] in found.reason, found.reason
    if row["wait_s"]:
        assert found.dwell_s == float(row["wait_s"])
    if row["because"] == "nothing is stored":
        assert found.end is TrackEnd.SUPPRESSED


def test_the_table_is_long_enough_and_has_no_row_twice() -> None:
    found = [tuple(row.values()) for row in rows()]
    assert len(found) >= 150
    assert len(set(found)) == len(found)


def test_every_judgement_of_a_vehicle_carries_its_numbers() -> None:
    for row in rows():
        mark, atlas = setting(row)
        found = Rules(CATALOGUE, atlas, RuleParams(), book(row["rules"])).judge(mark, np.zeros((2, 2)))
        if row["thing"] in ("car", "truck", "bus", "bicycle", "garbage") and row["zone"] != "sensitive":
            assert found.checks


def test_the_shipped_file_says_what_the_code_does() -> None:
    shipped = parse_rules(SHIPPED.read_text(encoding="utf-8"), SHIPPED)
    assert replace(shipped, name="") == RuleBook()
    shipped.check(CATALOGUE, SHIPPED)


def test_the_citys_code_reaches_the_catalogue_of_the_rules() -> None:
    rules = Rules(CATALOGUE, Atlas.empty(), RuleParams(), book("city"))
    assert rules.catalogue.kinds["street_vending"].code == "09006"
    assert CATALOGUE.kinds["street_vending"].code == "09001"
    told = Atlas("x", None, 8.0, 180.0, [], [], [], texts={"rules": CITY_RULES})
    assert Rules(CATALOGUE, told, RuleParams()).book == book("city")


@pytest.mark.parametrize(
    ("apart_s", "whole", "width", "grade"),
    [
        (9.9, True, 1280, LEAD),
        (10.0, True, 1280, GAT832),
        (10.1, True, 1280, GAT832),
        (600.0, False, 1280, LEAD),
        (600.0, True, 1279, LEAD),
    ],
)
def test_grade_of_evidence(apart_s: float, whole: bool, width: int, grade: str) -> None:
    views = [FullView(0, 1280, 720, True), FullView(round(apart_s * 1e9), width, 720, whole)]
    assert evidence_grade(views) == grade
    assert evidence_grade(views[:1]) == LEAD
    assert evidence_grade([]) == LEAD
