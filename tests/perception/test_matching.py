"""Costs of track and box pairs, the assignment within the gate, and which edges of boxes can be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from gnss.types import Array
from perception.matching import Expected, Matching, MatchParams, all_known, usable_edges
from perception.types import Detections

PARAMS = MatchParams()
SIZE = (1280, 720)
NAMES = ("car", "garbage", "truck")
Box = tuple[float, float, float, float]
BASE: Box = (600.0, 300.0, 700.0, 400.0)
SIGMA_PX = PARAMS.centre_sigma * 100.0


def _shifted(dx: float = 0.0, dy: float = 0.0, box: Box = BASE) -> Box:
    return (box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy)


def _matching(
    expected: Sequence[Box],
    boxes: Sequence[Box],
    *,
    gap_s: float = 0.0,
    names: Sequence[str] | None = None,
    found: Sequence[str] | None = None,
    movable: bool = True,
    looks: Array | None = None,
    appearance: Array | None = None,
    jitter_px: float = 0.0,
) -> Matching:
    found = ["car"] * len(boxes) if found is None else found
    detections = Detections(
        np.array(boxes, np.float32), np.full(len(boxes), 0.8, np.float32),
        np.array([NAMES.index(name) for name in found], np.int32), NAMES,
        None if appearance is None else appearance.astype(np.float32),
    )  # fmt: skip
    before = Expected(
        np.array(expected), np.full(len(expected), gap_s), ["car"] * len(expected) if names is None else list(names),
        np.full(len(expected), movable), looks,
    )  # fmt: skip
    return Matching(before, detections, SIZE, PARAMS, jitter_px)


def _pairs(matching: Matching, shift: Array | None = None, bump_px: float = 0.0) -> list[tuple[int, int]]:
    tracks, boxes = matching._gap.shape[:2]
    return sorted(matching.pairs(np.arange(tracks), np.arange(boxes), shift, bump_px))


def _reach_px(**how: object) -> float:
    """How far aside a box of BASE's size is still taken for it, by bisection to a tenth of a pixel."""
    low, high = 0.0, 2000.0
    bump_px = float(how.pop("bump_px", 0.0))  # type: ignore[arg-type]
    while high - low > 0.1:
        middle = (low + high) / 2
        matching = _matching([BASE], [_shifted(middle, box=BASE)], **how)  # type: ignore[arg-type]
        low, high = (middle, high) if _pairs(matching, bump_px=bump_px) else (low, middle)
    return low


def test_the_gate_is_four_sigmas_of_the_centre() -> None:
    assert _reach_px() == pytest.approx(math.sqrt(PARAMS.gate) * SIGMA_PX, abs=0.2)


def test_another_class_costs_its_penalty_and_an_unknown_one_as_well() -> None:
    reach = math.sqrt(PARAMS.gate - PARAMS.class_penalty) * SIGMA_PX
    assert _reach_px(found=["truck"]) == pytest.approx(reach, abs=0.2)
    assert _reach_px(names=["tram"]) == pytest.approx(reach, abs=0.2)


@pytest.mark.parametrize(("gap_s", "movable", "wider"), [(1.0, True, 2.0), (2.0, False, 1.5), (9.0, True, 4.0)])
def test_time_unseen_widens_more_for_what_may_move_and_no_more_after_three_seconds(
    gap_s: float, movable: bool, wider: float
) -> None:
    reach = _reach_px(gap_s=gap_s, movable=movable)
    assert reach == pytest.approx(math.sqrt(PARAMS.gate) * SIGMA_PX * wider, abs=0.2)


def test_a_hand_s_jitter_and_a_bump_add_to_the_centre_s_sigma() -> None:
    reach = 4.0 * math.hypot(SIGMA_PX, 50.0)
    assert _reach_px(jitter_px=50.0) == pytest.approx(reach, abs=0.2)
    assert _reach_px(bump_px=50.0) == pytest.approx(reach, abs=0.2)


def test_size_counts_in_logarithms() -> None:
    most = math.exp(math.sqrt(PARAMS.gate / PARAMS.size_weight) * PARAMS.log_size_sigma / math.sqrt(2.0))
    for factor, taken in ((most * 0.98, True), (most * 1.02, False), (1.02 / most, True), (0.98 / most, False)):
        half = 50.0 * factor
        box = (650.0 - half, 350.0 - half, 650.0 + half, 350.0 + half)
        assert bool(_pairs(_matching([BASE], [box]))) is taken
    tiny = (600.0, 300.0, 604.0, 304.0)
    floor = _matching([tiny], [_shifted(PARAMS.centre_floor_px * 3.9, box=tiny)])
    assert _pairs(floor) == [(0, 0)]


def test_pairs_are_the_cheapest_together_and_not_the_nearest_first() -> None:
    first, second = BASE, _shifted(60.0)
    # The first box is nearer to the second track, but the second box reaches no other.
    boxes = [_shifted(50.0), _shifted(125.0)]
    assert _pairs(_matching([first, second], boxes)) == [(0, 0), (1, 1)]
    assert _pairs(_matching([first, second], boxes[:1])) == [(1, 0)]
    chosen = _matching([first, second], boxes).pairs(np.array([1]), np.array([0, 1]))
    assert chosen == [(1, 0)]
    assert _matching([first], boxes).pairs(np.array([0]), np.zeros(0, np.intp)) == []


def test_a_pair_outside_the_gate_does_not_cost_another_its_own() -> None:
    boxes = [_shifted(3.0), _shifted(500.0)]
    assert _pairs(_matching([BASE, _shifted(0.0, 350.0)], boxes)) == [(0, 0)]


def test_the_class_decides_between_two_at_the_same_place() -> None:
    matching = _matching([BASE, BASE], [BASE, BASE], names=["car", "garbage"], found=["garbage", "car"])
    assert _pairs(matching) == [(0, 1), (1, 0)]


def test_looks_tell_twins_apart_and_a_track_without_one_pays_nothing() -> None:
    red, blue = np.array([0.9, 0.1, 0.0]), np.array([0.0, 0.1, 0.9])
    boxes = [_shifted(10.0), _shifted(-10.0)]
    looks = np.stack([red, blue])
    near = [_shifted(-6.0), _shifted(6.0)]
    assert _pairs(_matching(near, boxes)) == [(0, 1), (1, 0)]
    assert _pairs(_matching(near, boxes, looks=looks, appearance=looks)) == [(0, 0), (1, 1)]
    apart = 1.0 - 0.1
    reach = math.sqrt(PARAMS.gate - PARAMS.look_weight * apart) * SIGMA_PX
    assert _reach_px(looks=red[None], appearance=blue[None]) == pytest.approx(reach, abs=0.2)
    full = math.sqrt(PARAMS.gate) * SIGMA_PX
    assert _reach_px(looks=red[None], appearance=red[None]) == pytest.approx(full, abs=0.2)
    assert _reach_px(looks=np.zeros((1, 3)), appearance=blue[None]) == pytest.approx(full, abs=0.2)


@pytest.mark.parametrize(
    "leaving",
    [
        (0.0, 300.0, 60.0, 400.0),
        (1220.0, 300.0, 1280.0, 400.0),
        (600.0, 0.0, 700.0, 60.0),
        (600.0, 660.0, 700.0, 720.0),
    ],
)
def test_what_the_border_cuts_is_not_found_whole_further_in(leaving: Box) -> None:
    x, y = (leaving[0] + leaving[2]) / 2, (leaving[1] + leaving[3]) / 2
    inward = (np.sign(640.0 - x) * (abs(x - 640.0) > 550.0), np.sign(360.0 - y) * (abs(y - 360.0) > 300.0))
    sigma = PARAMS.centre_sigma * math.sqrt(6000.0)
    # Three sigmas further in: within the gate, were it not for the penalty.
    away = _shifted(3.0 * sigma * inward[0], 3.0 * sigma * inward[1], leaving)
    sideways = _shifted(3.0 * sigma * inward[1], 3.0 * sigma * inward[0], leaving)
    assert _pairs(_matching([leaving], [away])) == []
    assert _pairs(_matching([leaving], [sideways])) == [(0, 0)]
    assert _pairs(_matching([away], [leaving])) == [(0, 0)]


def test_a_shift_of_the_whole_picture_is_the_median_and_is_taken_out() -> None:
    tracks = [_shifted(150.0 * k - 450.0) for k in range(6)]
    boxes = [_shifted(3.0, 80.0, box) for box in tracks[:5]] + [_shifted(60.0, 0.0, tracks[5])]
    matching = _matching(tracks, boxes)
    wide = _pairs(matching, bump_px=30.0)
    assert wide == [(k, k) for k in range(6)]
    shift = matching.shift(wide, 4)
    assert shift is not None
    np.testing.assert_allclose(shift, [3.0, 80.0])
    assert matching.shift(wide, 7) is None
    far = _matching(tracks, [_shifted(0.0, 95.0, box) for box in tracks])
    assert _pairs(far) == []
    assert len(_pairs(far, np.array([0.0, 95.0]))) == 6


def _edges(box: Box, *others: Box, unseen: Sequence[Box] = ()) -> tuple[bool, bool, bool, bool]:
    hidden = np.array(unseen).reshape(-1, 4)
    return usable_edges(np.array([box, *others]), *SIZE, 3.0, 4.0, hidden)[0]


def test_a_whole_box_in_the_open_has_four_edges() -> None:
    assert _edges(BASE) == (True, True, True, True)
    assert usable_edges(np.zeros((0, 4)), *SIZE, 3.0) == []


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((2.0, 300.0, 102.0, 400.0), (False, False, True, False)),
        ((1178.0, 300.0, 1278.0, 400.0), (True, False, False, False)),
        ((600.0, 618.0, 700.0, 718.0), (True, True, True, False)),
        ((100.0, 2.0, 200.0, 102.0), (False, False, True, True)),
        ((1100.0, 2.0, 1200.0, 102.0), (True, False, False, True)),
        ((10.9, 300.0, 110.9, 400.0), (False, False, True, False)),
        ((11.1, 300.0, 111.1, 400.0), (True, True, True, True)),
        ((2.0, 300.0, 1278.0, 600.0), (False, False, False, False)),
    ],
    ids=["left", "right", "foot", "top-left", "top-right", "share", "clear", "both"],
)
def test_edges_at_the_border(box: Box, expected: tuple[bool, bool, bool, bool]) -> None:
    assert _edges(box) == expected


@pytest.mark.parametrize(
    ("nearer", "expected"),
    [
        ((695.0, 250.0, 800.0, 450.0), (True, True, False, True)),
        ((500.0, 250.0, 605.0, 450.0), (False, True, True, True)),
        ((550.0, 395.0, 750.0, 500.0), (True, True, True, False)),
        ((712.0, 250.0, 800.0, 450.0), (True, True, True, True)),
        ((695.0, 250.0, 800.0, 403.0), (True, True, True, True)),
        ((645.0, 200.0, 800.0, 450.0), (True, False, False, False)),
    ],
    ids=["right", "left", "foot", "beside", "as-near", "over-half"],
)
def test_edges_that_end_at_a_nearer_box(nearer: Box, expected: tuple[bool, bool, bool, bool]) -> None:
    assert _edges(BASE, nearer) == expected
    # What was there a moment ago hides as well.
    assert _edges(BASE, unseen=[nearer]) == expected


def test_the_nearer_of_two_keeps_its_edges() -> None:
    edges = usable_edges(np.array([BASE, (695.0, 250.0, 800.0, 450.0)]), *SIZE, 3.0, 4.0)
    assert edges[1] == (True, True, True, True)


def test_thresholds_by_class_and_what_has_none() -> None:
    limits, known = all_known(NAMES, {"car": 0.3, "truck": 0.5, "tram": 0.1})
    assert known.tolist() == [True, False, True]
    assert limits[[0, 2]].tolist() == [0.3, 0.5]
    assert limits[1] > 1.0
