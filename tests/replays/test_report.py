"""The report: one file without links outward, everything in it, nothing unescaped."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from perception.catalogue import load_catalogue
from perception.errors import CityError
from perception.types import TrackEnd, TrackEnded
from replays.report import ReportFacts, city_features

KINDS = load_catalogue(Path(__file__).parents[2] / "models").kinds
ZONE = {
    "type": "Feature",
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[121.4, 31.2], [121.4001, 31.2], [121.4001, 31.2005], [121.4, 31.2]]],
    },
    "properties": {"id": "Z1", "kind": 'no_parking"><script>', "name": "<b>kerb</b>", "dwell_s": 0},
}
TRUTH = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [121.40005, 31.2003]},
    "properties": {"id": "t1", "kind": "illegal_parking"},
}


class Checker(HTMLParser):
    """Collects tags and addresses, and sees that elements close in order."""

    VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [str(v) for k, v in attrs if k in ("src", "href")]
        self.scripts += tag == "script"
        if values.get("id"):
            self.ids.add(str(values["id"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def test_report_is_whole_and_self_contained(tmp_path: Path, fakes: Any) -> None:
    facts = ReportFacts("Run <1>", KINDS, [("Drive", "tiny")], [ZONE], [ZONE], [TRUTH], ["no calibration: @@title@@"])
    cases = [
        fakes.case("c1"),
        fakes.case("c2", kind="street_vending", north_m=45, reason="<script>alert(1)</script>"),
        fakes.case("held", state="candidate", north_m=12),
    ]
    ends = [TrackEnded(1, "front", "car", TrackEnd.NO_PROBLEM, "moving", 0)]
    run = fakes.run(tmp_path / "run", cases, ends, facts)
    page = (run / "report.html").read_text()
    checker = read(page)
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in checker.links)
    assert {link[1:] for link in checker.links if link.startswith("#")} <= checker.ids
    assert not re.search(r"https?://", page)
    assert checker.scripts == 1
    assert page.count("data:image/jpeg;base64,") == 6
    assert page.count('<article class="card') == 3
    assert 'id="case-c1"' in page
    assert page.index('id="case-2"') < page.index("待确认线索") < page.index('id="case-c1"')
    for text in (
        "Illegal parking",
        "机动车乱停放",
        "09009",
        "95 % ellipse",
        "no calibration: @@title@@",
        "moving",
        "detect_ms",
    ):
        assert text in page
    assert "Run &lt;1&gt;" in page
    assert 'class="zone no-parking---script"' in page


def test_report_of_an_empty_run(tmp_path: Path, fakes: Any) -> None:
    run = fakes.run(tmp_path / "run", [], report=ReportFacts("Nothing", KINDS))
    page = (run / "report.html").read_text()
    read(page)
    assert "None in this run." in page


def test_zones_and_grids_of_a_city(tmp_path: Path) -> None:
    (tmp_path / "zones.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [ZONE]}))
    city = tmp_path / "city.toml"
    city.write_text('version = 1\nzones = "zones.geojson"\ngrids = "grids.gpkg"\n')
    assert city_features(city) == ([ZONE], [])
    city.write_text("version = ")
    with pytest.raises(CityError, match=r"city\.toml"):
        city_features(city)
