"""Declared datums: Gauss-Kruger zones with and without prefix, and nothing guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gnss.atlas import load_atlas
from gnss.datums import GEOGRAPHIC, to_degrees

PLACE = (120.159, 30.267)
"""Longitude and latitude of the test vector below (computed with PROJ 9.5.1)."""


@pytest.mark.parametrize(
    ("datum", "easting", "northing"),
    [("EPSG:4528", 40515300.094, 3349722.302), ("EPSG:4549", 515300.094, 3349722.302)],
)
def test_gauss_kruger_vectors(datum: str, easting: float, northing: float) -> None:
    convert = to_degrees(datum)
    assert convert is not None
    # A millimetre is 1e-8 degrees.
    assert convert(np.array([[easting, northing]]))[0] == pytest.approx(PLACE, abs=2e-8)


def test_geographic_datums_need_no_conversion() -> None:
    assert [to_degrees(name) for name in GEOGRAPHIC] == [None] * len(GEOGRAPHIC)


@pytest.mark.parametrize("datum", ["GCJ-02", "EPSG:3857", "EPSG:4555", ""])
def test_others_are_refused(datum: str) -> None:
    with pytest.raises(ValueError, match="is not one of"):
        to_degrees(datum)


def test_a_city_in_gauss_kruger_lies_where_it_should(tmp_path: Path) -> None:
    east, north = 515300.094, 3349722.302
    ring = [[east + x, north + y] for x, y in ((-20, -20), (20, -20), (20, 20), (-20, 20), (-20, -20))]
    properties = {"id": "zone-1", "kind": "no_parking"}
    zone = {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    collection = {"type": "FeatureCollection", "features": [zone]}
    (tmp_path / "zones.geojson").write_text(json.dumps(collection), encoding="utf-8")
    city = 'version = 1\nname = "x"\ndatum = "EPSG:4549"\nzones = "zones.geojson"\n'
    (tmp_path / "city.toml").write_text(city, encoding="utf-8")
    found = load_atlas(tmp_path / "city.toml").zones[0]
    assert found.contains(PLACE[1], PLACE[0])
    assert not found.contains(PLACE[1] + 0.0005, PLACE[0])
