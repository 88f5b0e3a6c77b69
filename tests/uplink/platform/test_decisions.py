"""Officers' decisions: they stand whatever vehicles report, and lose nothing that vehicles see."""

from __future__ import annotations

from dataclasses import replace

import pytest
import requests

from perception.types import Case, CaseState
from tests.uplink.platform.talk import act, deliver, made_of, problem, shown, sighting
from uplink.platform.serve import LocalPlatform

LAT, LON = 30.25, 120.15


def first(name: str = "case-a", vehicle: str = "car-1") -> Case:
    return made_of(name, [sighting("p1", 0.0, LAT, LON)], vehicle)


def test_accept_then_assign_then_close(platform: LocalPlatform) -> None:
    deliver(platform, first(), 1)
    assert act(platform, "case-a", "accept").json() | {"made": None} == {
        "case_id": "case-a", "revision": 2, "state": "open", "decision": "accepted", "made": None,
    }  # fmt: skip
    assert act(platform, "case-a", "assign", assignee="队一").status_code == 200
    assert act(platform, "case-a", "close", note="cleaned").json()["state"] == "resolved"
    found = shown(platform, "case-a")
    assert (found["assignee"], found["decision"], found["revision"]) == ("队一", "closed", 4)
    assert [(d["change"], d["actor"], d["revision"]) for d in found["decisions"]] == [
        ("accept", "local", 2), ("assign", "local", 3), ("close", "local", 4),
    ]  # fmt: skip


def test_a_rejection_stands_whatever_the_car_reports(platform: LocalPlatform) -> None:
    deliver(platform, first(), 1)
    assert act(platform, "case-a", "reject", reason="not_there", note="a shadow").json()["state"] == "rejected"
    again = made_of("case-a", [sighting("p1", 0.0, LAT, LON), sighting("p2", 3.0, LAT, LON)], "car-1", 2)
    receipt = deliver(platform, again, 2).json()
    found = shown(platform, "case-a")
    assert (found["state"], found["decision"]) == ("rejected", "rejected")
    assert len(found["sights"]) == 2
    assert receipt["canonical"] == {"case_id": "case-a", "revision": found["revision"]}
    listed = requests.get(f"{platform.url}/v1/cases", timeout=5).json()["cases"]
    assert listed == []


def test_a_closed_case_is_reopened_only_by_a_later_sight(platform: LocalPlatform) -> None:
    deliver(platform, first(), 1)
    act(platform, "case-a", "close")
    decided_ns = platform.intake.database.value("SELECT decided_ns FROM case_head")
    older = made_of("case-a", [sighting("p1", 0.0, LAT, LON), sighting("p2", 1.0, LAT, LON)], "car-1", 2)
    later = replace(older, revision=3, last_seen_utc_ns=decided_ns + 10**9)
    for seq, (report, state) in enumerate([(older, "resolved"), (later, "reopened")], 2):
        if report is older:
            report = replace(report, last_seen_utc_ns=decided_ns - 10**9)
        assert deliver(platform, report, seq).status_code == 201
        assert shown(platform, "case-a")["state"] == state


def test_merge_by_hand_makes_an_alias_and_later_reports_go_there(platform: LocalPlatform) -> None:
    deliver(platform, first("case-a"), 1)
    deliver(platform, made_of("case-b", [sighting("q1", 1.0, LAT, LON)], "car-2"), 1, "car-2")
    assert act(platform, "case-b", "merge", into="case-a").json()["state"] == "merged"
    kept = shown(platform, "case-a")
    assert (kept["aliases"], len(kept["sights"])) == (["case-b"], 2)
    more = made_of("case-b", [sighting("q1", 1.0, LAT, LON), sighting("q2", 5.0, LAT, LON)], "car-2", 2)
    receipt = deliver(platform, more, 2, "car-2").json()
    assert receipt["canonical"]["case_id"] == "case-a"
    assert [s["pass_id"] for s in shown(platform, "case-a")["sights"]] == ["p1", "q1", "q2"]
    assert problem(act(platform, "case-b", "accept")) == (409, "not-possible")
    assert problem(act(platform, "case-a", "merge", into="case-b")) == (409, "not-possible")
    assert problem(act(platform, "case-a", "merge", into="nowhere")) == (404, "no-such-case")


def test_split_makes_a_case_of_some_passes(platform: LocalPlatform) -> None:
    passes = [sighting("p1", 0.0, LAT, LON), sighting("p2", 2.0, LAT, LON), sighting("p3", 4.0, LAT + 5e-5, LON)]
    deliver(platform, made_of("case-a", passes, "car-1"), 1)
    made = act(platform, "case-a", "split", passes=["p3"]).json()["made"]
    assert [s["pass_id"] for s in shown(platform, "case-a")["sights"]] == ["p1", "p2"]
    assert [s["pass_id"] for s in shown(platform, made)["sights"]] == ["p3"]
    assert shown(platform, made)["position"]["lat_deg"] == pytest.approx(LAT + 5e-5, abs=1e-8)
    assert problem(act(platform, "case-a", "split", passes=["p1", "p2"])) == (409, "not-possible")
    assert platform.app.state.merger.settle() == 0


def test_decisions_on_what_has_changed_meanwhile_are_refused(platform: LocalPlatform) -> None:
    deliver(platform, first(), 1)
    assert act(platform, "case-a", "accept", base_revision=1).status_code == 200
    assert problem(act(platform, "case-a", "close", base_revision=1)) == (409, "stale-revision")
    assert problem(act(platform, "case-a", "reject")) == (422, "invalid-body")
    assert problem(act(platform, "case-a", "reject", reason="because")) == (422, "invalid-body")
    assert problem(act(platform, "nothing", "accept")) == (404, "no-such-case")


def test_a_candidate_that_is_accepted_stays_open(platform: LocalPlatform) -> None:
    candidate = replace(first(), state=CaseState.CANDIDATE)
    deliver(platform, candidate, 1)
    act(platform, "case-a", "accept")
    more = replace(candidate, revision=3, passes=(*candidate.passes, sighting("p2", 1.0, LAT, LON)))
    deliver(platform, more, 2)
    assert shown(platform, "case-a")["state"] == "open"


def test_every_decision_is_in_the_audit_log(platform: LocalPlatform) -> None:
    deliver(platform, first(), 1)
    act(platform, "case-a", "reject", reason="lawful")
    entries = requests.get(f"{platform.url}/v1/audit", timeout=5).json()["entries"]
    assert [(e["actor"], e["action"], e["target"], e["outcome"]) for e in entries] == [
        ("local", "reject", "case-a", "done")
    ]
