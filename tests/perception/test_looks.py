"""Best looks: one held frame per track and per watched case, encoded on demand from redacted pixels only."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from perception.looks import Looks, look_quality
from perception.types import Observation, PictureOnDemand, Redacted, Seen
from tests.builders import FRONT, UTC0_NS, make_case, make_pose, make_seen


def _observation(size: float, index: int, edges: tuple[bool, bool, bool, bool] = (True,) * 4) -> Observation:
    xyxy = (600.0 - size, 400.0 - size, 600.0 + size, 400.0 + size)
    return Observation(index * 10**8, "front", index, xyxy, 0.8, "garbage", 1280, 720, edges)


def _seen(index: int, made: list[int] | None = None) -> Seen:
    def picture() -> Redacted:
        if made is not None:
            made.append(index)
        return Redacted(np.full((720, 1280, 3), 90 + index, np.uint8), 0)

    return replace(make_seen([], index, index * 10**8), picture=PictureOnDemand(picture, tuple))


def test_larger_whole_and_sharp_is_better() -> None:
    whole = _observation(40.0, 0)
    assert look_quality(_observation(60.0, 0), None) > look_quality(whole, None)
    assert look_quality(whole, 100.0) > look_quality(whole, 5.0)
    assert look_quality(whole, None) > 2 * look_quality(_observation(45.0, 0, (False, True, True, True)), None)


def test_only_the_best_look_is_encoded_and_once() -> None:
    looks, made = Looks(), list[int]()
    for index, size in enumerate((20.0, 60.0, 30.0)):
        looks.see(_seen(index, made), make_pose(utc_ns=UTC0_NS), [(1, _observation(size, index))])
    pictures = looks.take("front", 1, encode=True)
    assert made == [1]
    assert [(p.role, p.stamp_ns) for p in pictures] == [("close_up", 10**8), ("context", 10**8)]
    assert all(p.jpeg[:2] == b"\xff\xd8" and len(p.sha256) == 64 for p in pictures)
    assert looks.take("front", 1, encode=True) == ()


def test_what_does_not_matter_is_never_encoded() -> None:
    looks, made = Looks(), list[int]()
    looks.see(_seen(0, made), make_pose(), [(1, _observation(40.0, 0))])
    assert looks.take("front", 1, encode=False) == ()
    assert made == []


def test_without_a_redactor_there_is_no_picture() -> None:
    looks = Looks()
    looks.see(make_seen([]), make_pose(), [(1, _observation(40.0, 0))])
    assert looks.take("front", 1, encode=True) == ()


def test_a_track_not_seen_in_the_frame_gets_no_look() -> None:
    looks = Looks()
    looks.see(_seen(5), make_pose(), [(1, _observation(40.0, 3))])
    assert looks.take("front", 1, encode=True) == ()


def test_the_place_of_a_known_case_is_watched_when_ahead_and_in_the_picture() -> None:
    ahead, behind = make_case("garbage", 2.0, 15.0, id="ahead"), make_case("garbage", 2.0, -15.0, id="behind")
    looks = Looks()
    looks.watch(_seen(0), make_pose(), FRONT, [ahead, behind])
    taken = dict(looks.take_cases({"ahead", "behind"}))
    assert set(taken) == {"ahead"}
    assert taken["ahead"].role == "gone"
    assert looks.take_cases({"ahead"}) == ()


def test_a_look_that_redaction_covers_gives_way_to_an_earlier_one() -> None:
    looks = Looks()
    for index, size, covered in ((0, 60.0, False), (10, 90.0, True)):
        observation = _observation(size, index)
        x1, y1, x2, y2 = (int(v) for v in observation.xyxy)
        zones = ((x1 - 5, y1 - 5, x2 + 5, y2 + 5),) if covered else ()
        picture = partial(Redacted, np.zeros((720, 1280, 3), np.uint8), len(zones), zones)
        seen = replace(_seen(index), picture=PictureOnDemand(picture, partial(tuple, zones)))
        looks.see(seen, make_pose(), [(1, observation)])
    assert {p.stamp_ns for p in looks.take("front", 1, encode=True)} == {0}
