"""The register against what is seen: one thing, a whole shift, and the two editions of Dublin's traffic lights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gnss.atlas import Component
from perception.register import SeenThing, compare_shift
from tests.builders import FRAME

LIGHT = frozenset({"02014"})
SEEN_SIGMA_M = 0.3


def component(name: str, east: float, north: float, code: str = "02014", accuracy: str | None = "A") -> Component:
    return Component(name, "", code, *FRAME.to_geo(east, north), accuracy)


def seen(name: str, east: float, north: float, sigma_m: float = SEEN_SIGMA_M) -> SeenThing:
    return SeenThing(name, LIGHT, *FRAME.to_geo(east, north), sigma_m**2 * np.eye(2))


def test_one_thing_and_one_component() -> None:
    told = compare_shift([component("r", 0.0, 0.0)], [seen("s", 0.3, 0.2)])
    assert told.matched["s"].id == "r"
    assert told.matched["s"].probability > 0.99
    assert (told.added, told.missing, told.ambiguous) == ((), (), ())


def test_not_seen_and_not_in_the_register_are_two_reports() -> None:
    told = compare_shift(
        [component("r", 0.0, 0.0), component("gone", 50.0, 0.0)], [seen("s", 0.1, 0.0), seen("new", 9.0, 9.0)]
    )
    assert (told.added, told.missing) == (("new",), ("gone",))
    assert compare_shift([], [seen("s", 0.0, 0.0)]).added == ("s",)
    assert compare_shift([component("r", 0.0, 0.0)], []).missing == ("r",)


def test_type_decides_where_place_does_not() -> None:
    told = compare_shift([component("lamp", 0.0, 0.0, "01037"), component("light", 0.8, 0.0)], [seen("s", 0.1, 0.0)])
    assert told.matched["s"].id == "light"
    assert told.missing == ("lamp",)


def test_a_match_is_taken_once_and_each_helps_the_other() -> None:
    """Both things are nearer to `a` than to `b`; together there is one way that uses both."""
    told = compare_shift(
        [component("a", 0.0, 0.0), component("b", 1.6, 0.0)], [seen("s", -0.2, 0.0), seen("t", 0.7, 0.0)]
    )
    assert {name: match.id for name, match in told.matched.items()} == {"s": "a", "t": "b"}
    alone = compare_shift([component("a", 0.0, 0.0), component("b", 1.6, 0.0)], [seen("t", 0.7, 0.0)])
    assert alone.matched["t"].id == "a"
    assert 0.5 < alone.matched["t"].probability < 0.9
    assert alone.matched["t"].runner_up == "b"


def test_a_coarse_register_allows_what_an_exact_one_refuses() -> None:
    far = [seen("s", 6.0, 0.0)]
    assert compare_shift([component("r", 0.0, 0.0, accuracy="A")], far).missing == ("r",)
    assert compare_shift([component("r", 0.0, 0.0, accuracy="C")], far).matched["s"].id == "r"


def test_two_components_for_one_thing_are_ambiguous() -> None:
    told = compare_shift([component("a", -0.4, 0.0), component("b", 0.5, 0.0)], [seen("s", 0.0, 0.0)])
    assert told.matched["s"].id == "a"
    assert told.ambiguous == (("b", "s"),)
    assert told.missing == ()


def test_large_shifts_fall_into_groups() -> None:
    rng = np.random.default_rng(5)
    places = rng.random((4000, 2)) * 4000.0
    register = [component(f"r{i}", x, y) for i, (x, y) in enumerate(places.tolist())]
    moved = places[:3900] + rng.normal(0.0, 0.3, (3900, 2))
    told = compare_shift(register, [seen(f"s{i}", x, y) for i, (x, y) in enumerate(moved.tolist())])
    right = sum(match.id[1:] == name[1:] for name, match in told.matched.items())
    assert right >= 3890
    assert len(told.missing) + len(told.ambiguous) in range(95, 110)


def places(file: Path) -> list[tuple[float, float]]:
    """Longitude and latitude of each light of an edition."""
    rows = [line.split() for line in file.read_text().splitlines()[1:] if line.strip()]
    return [(float(lon), float(lat)) for lon, lat in rows]


def test_dublin_2015_against_2017(shared: Path) -> None:
    folder = shared / "drives" / "dublin-traffic-lights"
    old, new = places(folder / "DublinTL_2015.csv"), places(folder / "DublinTL_2017.csv")
    register = [Component(f"r{n}", "", "02014", lat, lon, "A") for n, (lon, lat) in enumerate(old)]
    cov = SEEN_SIGMA_M**2 * np.eye(2)
    things = [SeenThing(f"s{n}", LIGHT, lat, lon, cov) for n, (lon, lat) in enumerate(new)]
    assert (len(register), len(things)) == (192, 209)
    told = compare_shift(register, things)
    assert (len(told.matched), len(told.added), len(told.missing), len(told.ambiguous)) == (191, 18, 0, 1)
    chances = sorted(match.probability for match in told.matched.values())
    # The least sure one is the thing that two components of 2015 share; all others are all but certain.
    doubtful = told.matched[told.ambiguous[0][1]]
    assert doubtful.probability == chances[0]
    assert doubtful.runner_up == told.ambiguous[0][0]
    assert 0.85 < chances[0] < 0.97
    assert chances[1] > 0.99
