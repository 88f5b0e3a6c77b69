"""The tracker in a noisy street: identities, gaps, classes, hidden edges, slow cameras."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from gnss.types import Pose
from perception.matching import usable_edges
from perception.tracking import Tracker, TrackerParams
from perception.types import Seen, Track
from tests.builders import FRAME, FRONT, THRESHOLDS, Noise, Thing, World, make_pose, make_seen


def _poses(world: World, stamp_ns: int) -> Pose:
    east, north, _ = world.true_pose(stamp_ns * 1e-9)
    return make_pose(east, north, world.heading_deg, stamp_ns)


def _follow(world: World, frames: list[Seen] | None = None) -> tuple[list[Track], Tracker]:
    tracker = Tracker(FRONT, dict(THRESHOLDS), TrackerParams())
    tracks = []
    for seen in [e for e in world.events() if isinstance(e, Seen)] if frames is None else frames:
        tracks += tracker.step(seen, _poses(world, seen.stamp_ns))
    return tracks + tracker.flush(), tracker


def _owners(world: World, track: Track) -> Counter[str]:
    """Which things the boxes of a track are of, by the best overlap with the true projections."""
    owners: Counter[str] = Counter()
    for o in track.observations:
        best, most = "nothing", 0.2
        for thing in world.things:
            box = world.project(thing, o.stamp_ns * 1e-9)
            if box is None or thing.class_name != o.class_name:
                continue
            box = np.clip(box, 0, (1280, 720, 1280, 720))
            low, high = np.maximum(box[:2], o.xyxy[:2]), np.minimum(box[2:], o.xyxy[2:])
            shared = float(np.prod(np.maximum(high - low, 0)))
            whole = float(np.prod(box[2:] - box[:2])) + (o.xyxy[2] - o.xyxy[0]) * (o.xyxy[3] - o.xyxy[1]) - shared
            if shared / max(whole, 1.0) > most:
                best, most = thing.name, shared / whole
        owners[best] += 1
    return owners


def _parked(count: int = 10) -> list[Thing]:
    return [Thing(f"car{i}", "car", 5.0 if i % 2 else -4.5, 20.0 + 9.0 * i) for i in range(count)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ten_parked_cars_are_ten_tracks(seed: int) -> None:
    world = World(_parked(), seed=seed, length_m=110.0)
    tracks, tracker = _follow(world)
    assert len(tracks) == tracker.begun
    long = [t for t in tracks if t.confirmed and len(t.observations) >= 8]
    pieces: dict[str, int] = defaultdict(int)
    strange = 0
    for track in long:
        owners = _owners(world, track)
        pieces[owners.most_common(1)[0][0]] += 1
        strange += sum(owners.values()) - owners.most_common(1)[0][1]
    boxes = sum(len(t.observations) for t in long)
    assert {f"car{i}" for i in range(10)} <= set(pieces)
    assert sum(pieces.values()) - 10 <= 3
    assert strange < 0.12 * boxes


def test_a_gap_of_1_4_s_does_not_break_a_track_and_one_of_2_s_does() -> None:
    world = World([Thing("x", "car", 4.5, 50.0)], noise=Noise(miss=0.0))
    frames = [e for e in world.events() if isinstance(e, Seen)]
    for gap_s, count in ((1.4, 1), (2.0, 2)):
        kept = [f for f in frames if not 2.0 < f.stamp_ns * 1e-9 < 2.0 + gap_s]
        blind = [make_seen([], f.index, f.stamp_ns) for f in frames if 2.0 < f.stamp_ns * 1e-9 < 2.0 + gap_s]
        tracks, _ = _follow(world, sorted(kept + blind, key=lambda f: f.stamp_ns))
        assert len([t for t in tracks if len(t.observations) > 3]) == count


def test_two_classes_in_turn_stay_one_track_and_the_surer_class_wins() -> None:
    world = World([Thing("x", "car", 4.5, 40.0)], noise=Noise(miss=0.0))
    frames = []
    for f in (e for e in world.events() if isinstance(e, Seen)):
        boxes = [tuple(float(v) for v in b) for b in f.detections.xyxy]
        name, confidence = ("truck", 0.4) if f.index % 3 == 0 else ("car", 0.7)
        frames.append(make_seen([(name, confidence, (b[0], b[1], b[2], b[3])) for b in boxes], f.index, f.stamp_ns))
    tracks, _ = _follow(world, frames)
    assert [t.class_name for t in tracks] == ["car"]


def test_neighbours_of_two_classes_are_never_mixed() -> None:
    things = [Thing("heap", "garbage", 4.5, 40.0), Thing("bin", "garbage_bin", 5.6, 40.3)]
    world = World(things, noise=Noise(box_px=1.0, box_rel=0.02, miss=0.0))
    tracks, _ = _follow(world)
    for track in (t for t in tracks if t.confirmed):
        assert len({o.class_name for o in track.observations}) == 1


def test_a_walk_with_one_photo_in_4_5_s_and_6_m_keeps_its_car() -> None:
    world = World(
        [Thing("red", "car", 4.0, 65.0), Thing("other", "car", -6.0, 90.0)],
        length_m=60.0, speed_mps=6.0 / 4.5, fps=1 / 4.5, noise=Noise(miss=0.0),
    )  # fmt: skip
    tracks, _ = _follow(world)
    red = [t for t in tracks if _owners(world, t).most_common(1)[0][0] == "red"]
    assert len(red) == 1
    assert red[0].confirmed
    assert len(red[0].observations) >= 8


def test_low_confidence_boxes_extend_tracks_but_start_none() -> None:
    weak = [make_seen([("car", 0.1, (600.0, 300.0, 700.0, 380.0))], i, i * 100_000_000) for i in range(8)]
    still = World([], speed_mps=1e-9)
    assert _follow(still, weak)[0] == []
    first = make_seen([("car", 0.8, (600.0, 300.0, 700.0, 380.0))], 0, 0)
    tracks, _ = _follow(still, [first, *weak[1:]])
    assert [len(t.observations) for t in tracks] == [8]


def test_classes_that_are_not_asked_for_start_no_track() -> None:
    tracker = Tracker(FRONT, {"car": 0.3}, TrackerParams())
    tracker.step(make_seen([("garbage", 0.9, (600.0, 300.0, 700.0, 380.0))]), make_pose())
    assert tracker.begun == 0


def test_a_track_needs_time_and_boxes() -> None:
    seen = [make_seen([("car", 0.8, (600.0, 300.0, 700.0, 380.0))], i, i * 100_000_000) for i in range(2)]
    tracks, _ = _follow(World([], speed_mps=1e-9), seen)
    assert [t.confirmed for t in tracks] == [False]


def test_memory_of_a_long_wait_is_bounded() -> None:
    tracker, params = Tracker(FRONT, dict(THRESHOLDS), TrackerParams()), TrackerParams()
    for i in range(3 * params.most_observations):
        tracker.step(make_seen([("car", 0.8, (600.0, 300.0, 700.0, 380.0))], i, i * 100_000_000), make_pose())
    (track,) = tracker.flush()
    assert len(track.observations) <= params.most_observations
    assert track.observations[0].stamp_ns == 0
    assert track.observations[-1].index == 3 * params.most_observations - 1


def test_a_static_box_is_expected_where_the_world_projects_it_after_a_second_unseen() -> None:
    world, thing = World([]), Thing("x", "pothole", 1.5, 25.0)
    before, after = world.project(thing, 0.0), world.project(thing, 1.0)
    assert before is not None
    assert after is not None
    assert np.hypot(*((after[:2] + after[2:]) - (before[:2] + before[2:]))) > 70.0
    tracker = Tracker(FRONT, dict(THRESHOLDS), TrackerParams())
    for index in (0, 1, 2, 12):
        box = world.project(thing, index / 10)
        assert box is not None
        xyxy = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        seen = make_seen([("pothole", 0.8, xyxy)], index, index * 100_000_000)
        assert tracker.step(seen, make_pose(0.0, 0.7 * index, 0.0, index * 100_000_000)) == []
    assert [len(t.observations) for t in tracker.tracks()] == [4]


def test_one_box_alone_does_not_wait_for_another_second() -> None:
    tracker = Tracker(FRONT, dict(THRESHOLDS), TrackerParams())
    ended = [tracker.step(make_seen([("pothole", 0.8, (600.0, 400.0, 640.0, 420.0))], 0, 0), make_pose())]
    ended += [tracker.step(make_seen([], i, i * 100_000_000), make_pose(stamp_ns=i * 100_000_000)) for i in range(1, 9)]
    assert [len(e) for e in ended].index(1) <= 7
    assert not [t for e in ended for t in e if t.confirmed]


def test_a_bump_that_tilts_the_whole_picture_breaks_no_track() -> None:
    things = [Thing(f"p{i}", "pothole", -3.0 + 1.5 * i, 14.0 + 2.0 * i) for i in range(5)]
    world = World(things, noise=Noise(box_px=0.3, box_rel=0.0, pitch_jitter_deg=0.0, mount_yaw_deg=0.0,
                                      mount_pitch_deg=0.0, miss=0.0), length_m=14.0)  # fmt: skip
    frames = [e for e in world.events() if isinstance(e, Seen)]
    bumped = []
    for f in frames:
        boxes = f.detections.xyxy + np.float32(40.0 if f.index % 7 == 5 else 0.0) * np.array([0, 1, 0, 1], np.float32)
        rows = [
            (n, float(c), tuple(map(float, b)))
            for n, c, b in zip(f.detections.names(), f.detections.confidence, boxes, strict=True)
        ]
        bumped.append(make_seen(rows, f.index, f.stamp_ns))  # type: ignore[arg-type]
    tracks, _ = _follow(world, bumped)
    assert len([t for t in tracks if len(t.observations) >= 5]) == 5
    assert sum(len(t.observations) for t in tracks if len(t.observations) >= 5) >= 0.95 * sum(
        len(f.detections) for f in bumped
    )


def test_edges_at_the_border_or_at_a_nearer_box_are_cut() -> None:
    boxes = np.array([[0.0, 100.0, 300.0, 400.0], [297.0, 200.0, 500.0, 350.0], [600.0, 200.0, 700.0, 300.0]])
    edges = usable_edges(boxes, 1280, 720, 3.0, 4.0)
    # Of what leaves at the side, the highest and lowest parts may be outside; what is only hidden keeps its foot.
    assert edges[0] == (False, False, True, False)
    assert edges[1] == (False, True, True, True)
    assert edges[2] == (True, True, True, True)


POTHOLE = Thing("x", "pothole", 1.5, 30.0)
HEAP = Thing("h", "garbage", 3.0, 32.0)
ELSEWHERE = ("pole", 0.8, (40.0, 200.0, 70.0, 500.0))
Row = tuple[str, float, tuple[float, float, float, float]]


def _row(world: World, thing: Thing, index: int) -> Row:
    box = world.project(thing, index / 10)
    assert box is not None
    return thing.class_name, 0.8, (float(box[0]), float(box[1]), float(box[2]), float(box[3]))


def _drive(frames: dict[int, list[Row]]) -> Tracker:
    """Frames (by index, 10 Hz) of a car that drives north at 7 m/s."""
    tracker = Tracker(FRONT, dict(THRESHOLDS), TrackerParams())
    for index, rows in frames.items():
        stamp_ns = index * 100_000_000
        tracker.step(make_seen(rows, index, stamp_ns), make_pose(0.0, 0.7 * index, 0.0, stamp_ns))
    return tracker


def _missed(tracker: Tracker, class_name: str = "garbage") -> list[int]:
    (track,) = [t for t in tracker.tracks() if t.class_name == class_name]
    return [round(ns / 1e8) for ns in track.missed_ns]


def test_frames_in_which_a_thing_should_have_been_seen_are_noted() -> None:
    world = World([])
    seen = {i: [ELSEWHERE, *([] if i in (6, 7, 9) else [_row(world, HEAP, i)])] for i in range(12)}
    assert _missed(_drive(seen)) == [6, 7, 9]


@pytest.mark.parametrize(("aside", "hides"), [(0.0, True), (0.95, False)])
def test_behind_another_box_nothing_is_missed(aside: float, hides: bool) -> None:
    world = World([])
    frames = {}
    for i in range(12):
        row = _row(world, HEAP, i)
        x1, y1, x2, y2 = row[2]
        shift = aside * (x2 - x1)
        screen: Row = ("truck", 0.8, (x1 + shift, y1 - 60.0, x2 + 80.0 + shift, y2 + 30.0))
        frames[i] = [row] if i < 6 else [screen]
    assert _missed(_drive(frames)) == ([] if hides else [6, 7, 8, 9, 10, 11])


def test_what_is_small_or_leaves_the_picture_is_not_missed() -> None:
    world, far = World([]), Thing("f", "garbage", 3.0, 75.0)
    small = {i: [ELSEWHERE, *([_row(world, far, i)] if i < 6 else [])] for i in range(12)}
    assert _missed(_drive(small)) == []
    # From 4.5 m on the heap beside us is cut by the border.
    last = 36
    leaves = {i: [ELSEWHERE, *([_row(world, HEAP, i)] if i < last else [])] for i in range(42)}
    box = _row(world, HEAP, last)[2]
    assert max(box[2] - 1280.0, box[3] - 720.0) > -40.0
    assert _missed(_drive(leaves)) == []


def test_only_so_many_misses_are_kept() -> None:
    params = TrackerParams(keep_s=30.0, most_missed=7)
    tracker = Tracker(FRONT, dict(THRESHOLDS), params)
    for i in range(25):
        rows: list[Row] = [ELSEWHERE, *([_row(World([]), HEAP, 20)] if i < 3 else [])]
        tracker.step(make_seen(rows, i, i * 100_000_000), make_pose(0.0, 14.0, 0.0, i * 100_000_000))
    (heap,) = [t for t in tracker.flush() if t.class_name == "garbage"]
    assert [round(ns / 1e8) for ns in heap.missed_ns] == list(range(3, 10))


def test_a_live_track_has_a_place_with_an_ellipse_that_holds_the_truth() -> None:
    gaps, shares = [], []
    for seed in range(20):
        world = World([HEAP], seed=seed, noise=Noise(mount_yaw_deg=0.2, mount_pitch_deg=0.2, miss=0.0))
        tracker = Tracker(FRONT, dict(THRESHOLDS), TrackerParams())
        for seen in [e for e in world.events() if isinstance(e, Seen)][:32]:
            tracker.step(seen, _poses(world, seen.stamp_ns))
        placed = [row for row in tracker.places() if len(row[0].observations) > 10]
        assert [track.class_name for track, *_ in placed] == ["garbage"]
        _, frame, place, cov = placed[0]
        # The foot of its near side is its contact: half its length before the centre.
        truth = np.array(frame.to_enu(*FRAME.to_geo(HEAP.east_m, HEAP.north_m - HEAP.shape.size_m[0] / 2)))
        assert cov.shape == (2, 2)
        gap = place - truth
        gaps.append(float(np.hypot(*gap)))
        shares.append(float(gap @ np.linalg.solve(cov, gap)) < 9.21)
    assert np.median(gaps) < 0.5
    assert np.mean(shares) >= 0.9


def test_without_a_pose_or_a_usable_foot_there_is_no_place() -> None:
    assert Tracker(FRONT, dict(THRESHOLDS), TrackerParams()).places() == []
    sky: Row = ("garbage", 0.8, (600.0, 100.0, 640.0, 200.0))
    tracker = _drive({0: [sky, _row(World([]), HEAP, 0)]})
    assert [track.observations[0].xyxy[3] > 300.0 for track, *_ in tracker.places()] == [True]
    assert len(tracker.tracks()) == 2


@pytest.mark.parametrize(
    ("boxes", "gap_s", "pieces"), [(2, 0.4, 1), (2, 0.7, 2), (3, 0.7, 1), (3, 1.4, 1), (3, 1.7, 2)]
)
def test_a_tentative_track_waits_five_frames_and_a_confirmed_one_a_second_and_a_half(
    boxes: int, gap_s: float, pieces: int
) -> None:
    world, again = World([]), round(boxes - 1 + 10 * gap_s)
    frames = {i: [_row(world, POTHOLE, i)] if i < boxes or again <= i < again + 2 else [] for i in range(again + 2)}
    assert _drive(frames).begun == pieces
