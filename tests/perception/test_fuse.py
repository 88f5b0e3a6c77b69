"""Fusion over passes: the absolute place and the one among neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perception.fuse import GNSS_TAU_S, aligned, fuse
from perception.types import PassPosition
from tests.builders import FRAME, UTC0_NS, enu

DAY_NS = 86_400_000_000_000


def _pass(name: str, east: float, utc_ns: int | None, *, own: float = 0.2, common: float = 1.5) -> PassPosition:
    lat, lon = FRAME.to_geo(east, 0.0)
    return PassPosition(name, utc_ns, lat, lon, (own**2, 0.0, own**2), (common**2, 0.0, common**2))


def _sigma(passes: list[PassPosition]) -> float:
    return float(np.sqrt(np.trace(fuse(passes).cov_m2) / 2))


def test_independent_days_shrink_with_the_square_root() -> None:
    one = _sigma([_pass("p0", 0.0, UTC0_NS)])
    assert one == pytest.approx(np.hypot(0.2, 1.5), rel=1e-3)
    assert _sigma([_pass(f"p{i}", 0.0, UTC0_NS + i * DAY_NS) for i in range(9)]) == pytest.approx(one / 3, rel=1e-3)


def test_windows_of_one_pass_share_their_gnss_error() -> None:
    same = [_pass("p0", 0.0, UTC0_NS), _pass("p0", 0.0, UTC0_NS)]
    assert _sigma(same) == pytest.approx(np.hypot(0.2 / np.sqrt(2), 1.5), rel=1e-3)
    soon = [_pass("p0", 0.0, UTC0_NS), _pass("p1", 0.0, UTC0_NS + 10_000_000_000)]
    late = [_pass("p0", 0.0, UTC0_NS), _pass("p1", 0.0, UTC0_NS + int(6 * GNSS_TAU_S * 1e9))]
    assert _sigma(soon) > 1.4
    assert _sigma(late) < 1.12


def test_without_time_passes_are_not_taken_for_independent() -> None:
    assert _sigma([_pass("a", 0.0, None), _pass("b", 0.0, None)]) > 1.49


def test_the_mean_weighs_by_what_is_known() -> None:
    fused = fuse([_pass("a", 0.0, UTC0_NS, common=0.5), _pass("b", 3.0, UTC0_NS + DAY_NS, common=2.0)])
    east, north = enu(fused.lat_deg, fused.lon_deg)
    good, poor = 1 / (0.2**2 + 0.5**2), 1 / (0.2**2 + 2.0**2)
    assert east == pytest.approx(3.0 * poor / (good + poor), abs=1e-3)
    assert north == pytest.approx(0.0, abs=1e-3)


def test_an_offset_found_against_the_case_itself_adds_no_knowledge() -> None:
    days = [_pass(f"p{i}", 2.0 * (i % 2), UTC0_NS + i * DAY_NS) for i in range(2)]
    aligned = [days[0], replace(days[1], offset_e_m=-2.0)]
    assert enu(fuse(aligned).lat_deg, fuse(aligned).lon_deg)[0] == pytest.approx(1.0, abs=1e-3)
    assert _sigma(aligned) == pytest.approx(_sigma(days))


def test_skewed_covariances_stay_positive() -> None:
    skew = replace(_pass("a", 0.0, UTC0_NS, own=0.01), cov_common_m2=(2.0, 1.9, 2.0))
    fused = fuse([skew, replace(skew, pass_id="b", utc_ns=UTC0_NS + 1), replace(skew, pass_id="c", utc_ns=UTC0_NS + 2)])
    assert (np.linalg.eigvalsh(fused.cov_m2) > 0).all()
    assert fused.cov_m2 == pytest.approx(np.array([[2.0, 1.9], [1.9, 2.0]]), abs=0.01)


def test_nothing_to_fuse_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one pass"):
        fuse([])


def test_more_passes_do_not_lower_what_the_register_owes() -> None:
    site = (0.25, 0.0, 0.25)
    days = [replace(_pass(f"p{i}", 0.0, UTC0_NS + i * DAY_NS, common=0.1), cov_site_m2=site) for i in range(30)]
    fused = fuse(days)
    assert fused.site_sigma_m == pytest.approx(0.5, abs=0.01)
    assert np.sqrt(fused.cov_m2[0, 0]) == pytest.approx(0.5, abs=0.02)


def test_aligned_places_are_as_sharp_as_the_things_own_noise() -> None:
    days = [
        replace(_pass(f"p{i}", east, UTC0_NS + i * DAY_NS), offset_e_m=-east) for i, east in enumerate((0.0, 3.0, -2.0))
    ]
    lat, lon, cov = aligned(days)
    assert enu(lat, lon) == pytest.approx((0.0, 0.0), abs=1e-3)
    assert np.sqrt(cov[0, 0]) == pytest.approx(0.2 / np.sqrt(3), rel=0.01)
    with pytest.raises(ValueError, match="at least one pass"):
        aligned([])
