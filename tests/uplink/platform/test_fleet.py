"""Fleet memory: a second car updates instead of opening, and what two cars opened apart becomes one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import requests

from perception.store import tile_of, tiles_around
from tests.uplink.builders import UTC_NS
from tests.uplink.platform.talk import HOUR_NS, act, deliver, made_of, shown, sighting
from uplink.casememory import case_memory, case_of_body
from uplink.platform.client import SyncFailed, fetch_delta
from uplink.platform.serve import LocalPlatform

LAT, LON = 30.25, 120.15
METRE_DEG = 1 / 111_195


def test_a_car_gets_the_very_case_that_another_car_holds(platform: LocalPlatform) -> None:
    mine = made_of("case-a", [sighting("p1", 0.0, LAT, LON)], "car-1", appearance=(0.25, 0.75), clear_misses=1)
    deliver(platform, mine, 1)
    delta = fetch_delta(platform.url, "car-2", tiles_around(LAT, LON))
    assert (len(delta.cases), delta.exact, delta.more) == (1, frozenset({"case-a"}), False)
    got = delta.cases[0]
    assert case_memory(got) == case_memory(mine)
    assert (got.id, got.kind, got.state, got.vehicle) == (mine.id, mine.kind, mine.state, "car-1")


def test_deltas_come_by_area_and_only_once(platform: LocalPlatform) -> None:
    for k in range(5):
        deliver(platform, made_of(f"case-{k}", [sighting("p1", 0.0, LAT + 0.02 * k, LON)], "car-1"), k + 1)
    everywhere = fetch_delta(platform.url, "car-2", ())
    assert [c.id for c in everywhere.cases] == [f"case-{k}" for k in range(5)]
    here = fetch_delta(platform.url, "car-2", tiles_around(LAT, LON))
    assert [c.id for c in here.cases] == ["case-0"]
    assert fetch_delta(platform.url, "car-2", (), everywhere.cursor).cases == ()
    act(platform, "case-3", "reject", reason="lawful")
    after = fetch_delta(platform.url, "car-2", (), everywhere.cursor)
    assert [(c.id, c.state.value) for c in after.cases] == [("case-3", "rejected")]
    assert after.decisions == {"case-3": "rejected"}
    pages = fetch_delta(platform.url, "car-2", (), limit=2)
    assert (len(pages.cases), pages.more) == (2, True)


def test_a_bad_question_is_an_error_of_its_own(platform: LocalPlatform) -> None:
    with pytest.raises(SyncFailed, match="422"):
        fetch_delta(platform.url, "car-2", (), "yesterday")
    with pytest.raises(SyncFailed):
        fetch_delta("http://127.0.0.1:9", "car-2", ())


def test_an_update_from_an_older_state_loses_nothing(platform: LocalPlatform) -> None:
    """Two cars update the same revision at once: both passes count."""
    one = sighting("p1", 0.0, LAT, LON)
    deliver(platform, made_of("case-a", [one], "car-1"), 1)
    deliver(platform, made_of("case-a", [one, sighting("p2", 1.0, LAT, LON)], "car-1", 2), 2)
    late = made_of("case-a", [one, sighting("q1", 2.0, LAT, LON)], "car-2", 2)
    receipt = deliver(platform, late, 1, "car-2", base=1).json()
    found = shown(platform, "case-a")
    assert [s["pass_id"] for s in found["sights"]] == ["p1", "p2", "q1"]
    assert receipt["canonical"]["revision"] == found["revision"] == 3
    assert [step["canonical"] for step in found["history"]] == [True, True, False]


def test_one_thing_filed_by_two_cars_becomes_one_case(platform: LocalPlatform) -> None:
    """Sixteen heaps along a street, each filed by two cars with offsets of their own; neighbours stay apart."""
    rng = np.random.default_rng(7)
    offsets = {"car-1": rng.normal(0.0, 0.8, 2), "car-2": rng.normal(0.0, 0.8, 2)}
    for number, (car, offset) in enumerate(offsets.items()):
        for k in range(16):
            east, north = rng.normal(0.0, 0.1, 2) + offset + (0.0, 12.0 * k)
            lat, lon = LAT + north * METRE_DEG, LON + east * METRE_DEG / np.cos(np.radians(LAT))
            seen = sighting(f"{car}-w1", 3.0 * number, lat, lon, own_m2=0.02)
            deliver(platform, made_of(f"{car}-{k:02d}", [seen], car), k + 1, car)
    merged = sum(platform.app.state.merger.settle() for _ in range(5))
    assert merged == 16
    states = [shown(platform, f"car-2-{k:02d}") for k in range(16)]
    assert [(s["state"], s["merged_into"]) for s in states] == [("merged", f"car-1-{k:02d}") for k in range(16)]
    assert platform.app.state.merger.settle() == 0
    listed = requests.get(f"{platform.url}/v1/cases?state=open", timeout=5).json()
    assert listed["total"] == 16


def test_what_officers_split_is_never_merged_by_machine(platform: LocalPlatform) -> None:
    passes = [sighting(f"p{k}", 2.0 * k, LAT, LON) for k in range(4)]
    deliver(platform, made_of("case-a", passes, "car-1"), 1)
    made = act(platform, "case-a", "split", passes=["p2", "p3"]).json()["made"]
    assert platform.app.state.merger.settle() == 0
    assert shown(platform, made)["state"] == "open"


def test_a_body_without_memory_makes_a_coarse_case(platform: LocalPlatform) -> None:
    made = made_of("case-a", [sighting("p1", 0.0, LAT, LON)], "car-1")
    deliver(platform, made, 1, exact=False)
    delta = fetch_delta(platform.url, "car-2", [tile_of(LAT, LON)])
    assert delta.exact == frozenset()
    assert len(delta.cases[0].passes) == 1
    assert delta.cases[0].lat_deg == pytest.approx(LAT)


def test_case_of_body_is_the_inverse_of_what_is_sent() -> None:
    import json

    from tests.uplink.builders import change
    from tests.uplink.platform.talk import body

    made = made_of("case-a", [sighting("p1", 0.0, LAT, LON), sighting("p2", 5.0, LAT, LON)], "car-1")
    back, exact = case_of_body(json.loads(body(change(made), 1, "car-1")))
    assert exact
    assert replace(back, lat_deg=made.lat_deg, lon_deg=made.lon_deg, cov_m2=made.cov_m2) == replace(
        made, passes=back.passes, error_budget=tuple(sorted(made.error_budget))
    )
    assert [p.pass_id for p in back.passes] == ["p1", "p2"]


def test_many_cars_at_once_lose_nothing(platform: LocalPlatform) -> None:
    """Eight devices report passes of the same case at the same time."""
    one = sighting("p0", 0.0, LAT, LON)
    deliver(platform, made_of("case-a", [one], "car-0"), 1, "car-0")

    def report(k: int) -> int:
        made = made_of("case-a", [one, sighting(f"c{k}", 1.0 + k, LAT, LON)], f"car-{k}", 2)
        return deliver(platform, made, 1, f"car-{k}", base=1).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(report, range(1, 9))) == {201}
    found = shown(platform, "case-a")
    assert {s["pass_id"] for s in found["sights"]} == {"p0", *(f"c{k}" for k in range(1, 9))}
    delta = fetch_delta(platform.url, "car-9", ())
    assert [(c.id, len(c.passes)) for c in delta.cases] == [("case-a", 9)]
    assert delta.cases[0].last_seen_utc_ns == UTC_NS + 9 * HOUR_NS
