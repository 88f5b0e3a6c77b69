"""Measures of the benchmark against small examples made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from perception.types import CaseState
from replays.bench.figures import Figure, Goal, least, most, page, plain
from replays.bench.link import Feeds
from replays.bench.metrics import (
    Estimate,
    bootstrap,
    calibration_error,
    count_fusion,
    coverage95,
    nees,
    nees_per_dimension,
    quantile,
    rate,
    rmse,
    rmse_ratio,
)
from replays.bench.plan import Experiment, Results
from replays.bench.spread import spread
from tests.builders import make_case


def test_coverage_and_nees_of_known_gaussians() -> None:
    rng = np.random.default_rng(3)
    cov = np.array([[2.0, 0.6], [0.6, 0.5]])
    errors = rng.standard_normal((20_000, 2)) @ np.linalg.cholesky(cov).T
    honest = np.array([nees(e, cov) for e in errors])
    assert coverage95(honest) == pytest.approx(0.95, abs=0.005)
    assert nees_per_dimension(honest) == pytest.approx(1.0, abs=0.02)
    proud = np.array([nees(e, cov / 4) for e in errors])
    # P(chi2_2 < 5.991 / 4) = 1 - exp(-5.991 / 8)
    assert coverage95(proud) == pytest.approx(1 - math.exp(-5.991 / 8), abs=0.01)
    assert nees_per_dimension(proud) == pytest.approx(4.0, abs=0.1)


def test_duplicates_and_false_merges_are_counted() -> None:
    feeds = {
        "a": {"car": 3},
        "b": {"car": 1},  # a second case of the car
        "c": {"bin": 2, "heap": 1},  # one case of two things: the bin's, and the heap has none
        "d": {},  # clutter alone
        "e": {"gone": 2},  # not asked for
    }
    counted = count_fusion(feeds, ["car", "bin", "heap", "stall"])
    assert (counted.objects, counted.found, counted.duplicates, counted.false_merges) == (4, 2, 1, 1)


def test_a_case_fed_equally_belongs_to_the_first_by_name() -> None:
    counted = count_fusion({"x": {"b": 1, "a": 1}, "y": {"b": 1}}, ["a", "b"])
    assert (counted.found, counted.duplicates, counted.false_merges) == (2, 0, 1)


def test_bootstrap_is_the_same_every_time_and_over_worlds() -> None:
    rng = np.random.default_rng(0)
    # Things of one world are alike: 40 worlds of 50 copies tell no more than 40 numbers.
    means = rng.standard_normal(40)
    worlds = [np.full(50, m) for m in means]
    found = bootstrap(worlds, lambda v: float(np.mean(v)), 7)
    assert found == bootstrap(worlds, lambda v: float(np.mean(v)), 7)
    assert found != bootstrap(worlds, lambda v: float(np.mean(v)), 8)
    assert found.count == 2000
    width = (found.high - found.low) / 2
    assert width == pytest.approx(1.96 * means.std() / math.sqrt(40), rel=0.2)
    assert found.low < found.value < found.high


def test_nothing_measured_is_no_number_and_meets_no_goal() -> None:
    nothing = bootstrap([np.zeros(0)], rmse, 1)
    assert math.isnan(nothing.value)
    assert nothing.count == 0
    assert Figure("x", "y", nothing, goal=most(5.0)).passed is False
    assert Figure("x", "y", nothing).passed is None


def test_a_rate_without_events_keeps_an_upper_end() -> None:
    none = rate([np.array([[0, 300]]), np.array([[0, 300]])], 1)
    assert (none.value, none.low, none.count) == (0.0, 0.0, 600)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 600))
    every = rate([np.array([[10, 10]])], 1)
    assert every.value == 1.0
    assert every.low == pytest.approx(0.025**0.1)
    mixed = rate([np.array([[1, 10]]), np.array([[3, 10]])], 1)
    assert mixed.value == pytest.approx(0.2)
    assert mixed.low == pytest.approx(0.1)
    assert mixed.high == pytest.approx(0.3)


def test_ratios_and_quantiles() -> None:
    rows = np.array([[4.0, 1.0], [0.0, 1.0]])
    assert rmse_ratio(rows) == pytest.approx(math.sqrt(2.0))
    assert quantile(0.5)(np.array([1.0, 2.0, 30.0])) == 2.0
    half = np.column_stack([np.full(100, 0.75), np.repeat([0.0, 1.0], 50)])
    assert calibration_error(half) == pytest.approx(0.25)


def test_goals_have_one_end_or_two() -> None:
    assert most(1.0).met(1.0)
    assert not most(1.0).met(1.01)
    assert least(0.9).met(0.95)
    assert Goal(0.93, 0.97).met(0.95)
    assert not Goal(0.93, 0.97).met(0.98)


def test_the_page_is_aligned_and_counts_goals() -> None:
    figures = [
        Figure("one", "short", Estimate(0.0123, 0.01, 0.02, 50), "%", most(0.02), 0.01),
        Figure("one", "a much longer name", Estimate(1.5, 1.0, 2.0, 9), "m", most(1.0), note="why"),
    ]
    lines = page(figures, {"one": "first"}, ["head"]).splitlines()
    assert lines[3] == "-- first"
    assert lines[4].index("1.23") + 4 == lines[5].index("1.500") + 5
    assert lines[4].endswith("pass")
    assert lines[5].endswith("MISS why")
    assert lines[-1] == "1 of 2 goals met"
    assert plain(figures[0])["passed"] is True


def test_feeds_follow_a_merge_to_where_it_went() -> None:
    feeds = Feeds()
    feeds.count("old", "heap")
    feeds.count("new", "heap")
    feeds.count("new", None)
    case = make_case(id="new")
    cases = {"old": replace(case, id="old", state=CaseState.MERGED, merged_into="new"), "new": case}
    found = feeds.of(cases, frozenset({CaseState.OPEN}))
    assert {name: dict(things) for name, things in found.items()} == {"new": {"heap": 2}}
    assert feeds.owner("new") == "heap"
    assert feeds.owner("unknown") is None
    assert feeds.clutter == {"new": 1}


def test_worlds_have_seeds_of_their_own_at_every_size() -> None:
    plan = Experiment("x", "X", {"a": (10, 1), "b": (4, 2)}, lambda r, c, s: {}, lambda r, s: [])
    full, small = plan.jobs(1, 1.0), plan.jobs(1, 0.2)
    assert [j.case for j in small] == ["a", "a", "b", "b"]
    assert {j.seed for j in small} <= {j.seed for j in full}
    assert len({j.seed for j in full}) == 14
    assert {j.seed for j in full}.isdisjoint(j.seed for j in plan.jobs(2, 1.0))


def test_results_fill_in_worlds_without_samples() -> None:
    results = Results({"a": [{"rows": np.ones((2, 3))}, {}]})
    assert [len(w) for w in results.worlds("a", "rows", 3)] == [2, 0]
    assert results.worlds("b", "rows", 3) == []


def test_spread_keeps_the_order_and_tells() -> None:
    told: list[tuple[str, int, int]] = []
    found = spread(abs, [-3, 2, -1], 1, lambda *said: told.append(said))
    assert found == [3, 2, 1]
    assert told[-1] == ("worlds", 3, 3)


@pytest.mark.slow
def test_processes_give_the_same() -> None:
    assert spread(abs, list(range(-5, 5)), 2) == [abs(n) for n in range(-5, 5)]
