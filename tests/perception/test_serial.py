"""Plain-data forms: round trips, rounding, canonical bytes."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from gnss.geodesy import CHI2_95_2D
from perception.serial import (
    canonical_json,
    case_feature,
    case_from_dict,
    case_to_dict,
    change_from_dict,
    change_to_dict,
    landmark_feature,
    rounded,
    utc_ns_of,
    utc_text,
)
from perception.types import Case, CaseChange, CaseState, ChangeKind, ComponentMatch, Picture
from tests.builders import UTC0_NS, make_case, make_landmark

PICTURE = Picture("ab" * 32, "close_up", 5, UTC0_NS, "front", 640, 360, b"jpeg")


def _full_case() -> Case:
    return replace(
        make_case("manhole_open", 3.0, 4.0, dwell_s=180.0), evidence=(PICTURE,), aliases=("old",),
        grid="110101001001001", component=ComponentMatch("11010101010100001", "01001", 0.91, "other", 0.05),
        error_budget=(("gnss_m", 1.5), ("own_m", 0.2)),
    )  # fmt: skip


def test_a_case_survives_the_round_trip_up_to_rounding() -> None:
    plain = case_to_dict(_full_case())
    again = case_from_dict(json.loads(json.dumps(plain)))
    assert case_to_dict(again) == plain
    assert again.state is CaseState.OPEN
    assert again.component == _full_case().component
    assert again.lat_deg == pytest.approx(_full_case().lat_deg, abs=1e-8)


def test_an_unknown_or_missing_field_is_an_error() -> None:
    plain = case_to_dict(_full_case())
    with pytest.raises(TypeError):
        case_from_dict({**plain, "surprise": 1})
    with pytest.raises(TypeError):
        case_from_dict({k: v for k, v in plain.items() if k != "kind"})


def test_a_change_survives_and_may_leave_out_pictures() -> None:
    case = _full_case()
    change = CaseChange(case.id, 0, ChangeKind.OPENED, case, 7, UTC0_NS, "p1", "seen", (PICTURE,))
    plain = change_to_dict(change, with_pictures=True)
    assert change_to_dict(change_from_dict(json.loads(canonical_json(plain))), with_pictures=True) == plain
    assert "sha256" not in canonical_json(change_to_dict(change, with_pictures=False))


def test_rounding_goes_by_the_unit_in_the_name() -> None:
    tree = {"lat_deg": 30.123456789123, "east_m": 1.23456, "x": 0.123456, "rows": [{"semi_m": [1.00049, 2.0]}]}
    assert rounded(tree) == {"lat_deg": 30.12345679, "east_m": 1.235, "x": 0.1235, "rows": [{"semi_m": [1.0, 2.0]}]}


def test_canonical_bytes_do_not_depend_on_order_or_on_the_sign_of_zero() -> None:
    assert canonical_json({"b": -0.00001, "a": 1}) == canonical_json({"a": 1, "b": 0.0}) == '{"a":1,"b":0.0}'


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": math.nan})


def test_times_are_utc_with_milliseconds() -> None:
    assert utc_text(1_780_000_000_123_456_789) == "2026-05-28T20:26:40.123Z"
    assert utc_text(None) is None
    assert utc_ns_of("2026-05-28T20:26:40.123Z") == 1_780_000_000_123_000_000
    assert utc_ns_of("2026-05-29T04:26:40+08:00") == 1_780_000_000_000_000_000
    with pytest.raises(ValueError, match="no zone"):
        utc_ns_of("2026-05-28T20:26:40")


def test_features_hold_lon_lat_and_the_95_percent_ellipse() -> None:
    case = make_case("garbage", 3.0, 4.0, own_m=0.6, common_m=0.8)
    feature = case_feature(case)
    assert feature["geometry"]["coordinates"] == [round(case.lon_deg, 8), round(case.lat_deg, 8)]
    assert feature["properties"]["semi_major_m"] == pytest.approx(math.sqrt(CHI2_95_2D), abs=1e-3)
    m = make_landmark("garbage", 3.0, 4.0, sigma_m=0.6)
    both = landmark_feature(m, 0.64 * (m.cov_own_m2 / 0.36))
    assert both["properties"]["semi_major_m"] == pytest.approx(math.sqrt(CHI2_95_2D), abs=1e-3)
    assert both["properties"]["verdict"] == "static"
