"""The simulated sensors: exact geometry without noise, and noise with the rates that the card says."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from gnss.types import Array, Fix, Motion
from perception.types import Seen
from replays.detections import detection_line
from replays.world.card import CARD, QUIET, RTK, NoiseCard
from replays.world.ride import Ride
from replays.world.rig import CAMERAS, mount_of
from replays.world.scene import Motion1D, Thing, World
from replays.world.sense import SimulatedDrive, sense
from replays.world.streets import LAT0_DEG, LON0_DEG, START_UTC_NS, rides, solo, street

HEAP = (1.2, 1.0, 0.8)
LOOK = (0.5, 0.3, 0.1, 0.1)


def world_of(*things: Thing, heading_deg: float = 30.0, seed: int = 5) -> World:
    return World("test", seed, LAT0_DEG, LON0_DEG, START_UTC_NS, heading_deg, 100.0, things)


def at(
    name: str, class_name: str, along: float, right: float, size: tuple[float, float, float], **more: object
) -> Thing:
    """A thing in a street that leads 30 degrees from north."""
    turn = math.radians(30.0)
    east = math.sin(turn) * along + math.cos(turn) * right
    north = math.cos(turn) * along - math.sin(turn) * right
    return Thing(name, class_name, None, east, north, 30.0, size, look=LOOK, **more)  # type: ignore[arg-type]


def frames(drive: SimulatedDrive, camera: str = "front") -> list[Seen]:
    return [e for e in drive.events if isinstance(e, Seen) and e.camera == camera]


def named(drive: SimulatedDrive, camera: str = "front") -> Iterable[tuple[Seen, int, str | None]]:
    """Every box with its thing."""
    for seen in frames(drive, camera):
        for row, name in enumerate(drive.labels[camera, seen.index]):
            yield seen, row, name


def corners(thing: Thing, pose: tuple[float, float, float]) -> Array:
    """Corners of the whole cuboid, or rim of the elliptic cylinder, in the vehicle frame of a pose."""
    length, width, height = thing.size_m
    turn = math.radians(90.0 - thing.heading_deg)
    if thing.class_name in ("garbage", "pothole", "pole"):
        ring = [(length / 2 * math.cos(a), width / 2 * math.sin(a)) for a in np.arange(24) * math.pi / 12]
    else:
        ring = [(x * length / 2, y * width / 2) for x in (-1, 1) for y in (-1, 1)]
    points = []
    for x, y in ring:
        east = thing.east_m + math.cos(turn) * x - math.sin(turn) * y - pose[0]
        north = thing.north_m + math.sin(turn) * x + math.cos(turn) * y - pose[1]
        forward = math.cos(pose[2]) * east + math.sin(pose[2]) * north
        left = math.cos(pose[2]) * north - math.sin(pose[2]) * east
        points += [(forward, left, thing.base_m + z) for z in (0.0, height)]
    return np.array(points)


@pytest.mark.parametrize("camera", ["front", "left", "right"])
@pytest.mark.parametrize("class_name", ["garbage", "pothole", "pole", "car"])
def test_a_quiet_box_holds_exactly_the_projected_outline(camera: str, class_name: str) -> None:
    """Against `CameraModel.project`, which is other code; a car's corners are rounded: its box is a little inside."""
    world, ride = solo(4, class_name, -5.0 if camera == "left" else 4.0)
    ride = replace(ride, cameras=(camera,))
    drive = sense(world, ride, QUIET, 1)
    whole = 0
    for seen, row, _ in named(drive, camera):
        points = corners(world.things[0], drive.true_pose(seen.stamp_ns))
        pixels, depth = CAMERAS[camera].project(points)
        box = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)]) + 0.5
        if depth.min() < 1.0 or (box[:2] < 0).any() or (box[2:] > (1920, 1080)).any():
            continue
        whole += 1
        gap = seen.detections.xyxy[row] - box
        if class_name == "car":
            assert (gap[:2] > -0.01).all()
            assert (gap[2:] < 0.01).all()
            assert np.abs(gap).max() < 0.06 * (box[2:] - box[:2]).max()
        else:
            assert np.abs(gap).max() < 0.02
    assert whole >= 3


def test_what_leaves_at_the_side_ends_with_its_visible_part() -> None:
    """The lowest corner of a car that leaves the picture is outside, so its box must not reach as low."""
    world, ride = solo(4, "car", 6.0)
    drive = sense(world, ride, QUIET, 1)
    cut = 0
    for seen, row, _ in named(drive):
        pixels, depth = CAMERAS["front"].project(corners(world.things[0], drive.true_pose(seen.stamp_ns)))
        box = seen.detections.xyxy[row]
        lowest = pixels[pixels[:, 1].argmax()]
        if depth.min() > 0.5 and lowest[0] > 1930 and lowest[1] < 1079:
            cut += 1
            assert box[2] == 1920.0
            assert box[3] < lowest[1] - 2.0
    assert cut


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    world = street(3, 10.0, 60.0)
    ride = rides(world, 1, cameras=("front", "right"))[0]

    def text(seed: int) -> str:
        events = sense(world, ride, CARD, seed).events
        return "\n".join(
            detection_line(e.camera, e.index, e.detections) if isinstance(e, Seen) else repr(e) for e in events
        )

    assert text(1) == text(1)
    assert text(1) != text(2)
    assert street(3, 10.0, 60.0).things == world.things
    assert street(4, 10.0, 60.0).things != world.things


def test_a_nearer_solid_cuts_and_hides() -> None:
    near = at("truck", "truck", 30.0, 4.0, (6.0, 2.2, 2.6))
    partly = at("stall", "street_stall", 34.5, 6.4, (2.6, 2.6, 2.0))
    behind = at("heap", "garbage", 36.0, 4.0, HEAP)
    beside = at("hole", "pothole", 31.0, 1.2, (0.8, 0.8, 0.0))
    ride = Ride("r", "car-1", 0.0, end_m=24.0)
    alone = sense(world_of(partly), ride, QUIET, 1)
    drive = sense(world_of(near, partly, behind, beside), ride, QUIET, 1)
    found = {name for _, _, name in named(drive)}
    assert found == {"truck", "stall", "hole"}
    assert drive.best_view.get("heap", 0.0) == 0.0
    whole = {seen.index: seen.detections.xyxy[row] for seen, row, _ in named(alone)}
    trucks = {seen.index: seen.detections.xyxy[row] for seen, row, name in named(drive) if name == "truck"}
    cuts = 0
    for seen, row, name in named(drive):
        if name == "stall" and trucks[seen.index][2] > whole[seen.index][0] + 1.0:
            box = seen.detections.xyxy[row]
            cuts += 1
            # Cut where the truck ends (by its bearing, whose rounded corner the box of a picture lies a little inside).
            assert box[0] == pytest.approx(
                trucks[seen.index][2], abs=float(0.08 * (whole[seen.index][2] - box[0])) + 2.0
            )
            assert box[1:].tolist() == pytest.approx(whole[seen.index][1:].tolist(), abs=1.0)
    assert cuts > 5


def test_a_low_thing_before_a_tall_one_hides_its_foot() -> None:
    low, tall = (
        at("heap", "garbage", 20.0, 1.6, (2.0, 2.0, 0.6)),
        at("stall", "street_stall", 24.0, 1.6, (1.2, 1.2, 2.0)),
    )
    ride = Ride("r", "car-1", 0.0, lane_m=1.6, end_m=8.0)
    boxes = {name: seen.detections.xyxy[row] for seen, row, name in named(sense(world_of(low, tall), ride, QUIET, 1))}
    free = {name: seen.detections.xyxy[row] for seen, row, name in named(sense(world_of(tall), ride, QUIET, 1))}
    assert boxes["stall"][3] == pytest.approx(boxes["heap"][1], abs=3.0)
    assert boxes["stall"][3] < free["stall"][3] - 5.0
    assert boxes["stall"][:3].tolist() == pytest.approx(free["stall"][:3].tolist(), abs=0.01)


def standing(card: NoiseCard, *things: Thing, seconds: float = 600.0, seed: int = 1) -> SimulatedDrive:
    """A car that stands 12 m before its things."""
    ride = Ride("r", "car-1", 0.0, stops=((20.0, seconds),), start_m=-10.0, end_m=26.0)
    return sense(world_of(*things), ride, card, seed)


def test_misses_have_the_rate_and_the_runs_of_the_card() -> None:
    card = replace(CARD, clutter=0.0, range_m=200.0)
    things = [at(f"heap-{n}", "garbage", 34.0, -4.0 + 2.0 * n, HEAP) for n in range(5)]
    drive = standing(card, *things)
    still = range(100, 5900)
    seen = np.array([[t.id in drive.labels["front", i] for t in things] for i in still])
    assert seen.mean() == pytest.approx(0.9, abs=0.012)
    missed = ~seen
    again = (missed[1:] & missed[:-1]).sum() / missed[:-1].sum()
    # Half of the misses belong to runs that last on with exp(-0.1 / 0.3); the others are coins.
    stay = math.exp(-0.1 / 0.3)
    expected = 0.5 * (stay + (1 - stay) * 0.1 + (1 - stay - (1 - stay) * 0.1) * 0.0) + 0.5 * 0.1
    assert again == pytest.approx(expected, abs=0.06)
    assert again > 0.3


def test_edges_err_as_the_card_says_with_white_and_slow_part() -> None:
    card = replace(QUIET, edge_px=3.0, edge_rel=0.02)
    thing = at("heap", "garbage", 34.0, 3.0, HEAP)
    drive = standing(card, thing)
    exact = standing(QUIET, thing)
    rows = np.array([s.detections.xyxy[0] for s in frames(drive)[100:5900]])
    true = frames(exact)[200].detections.xyxy[0]
    error = rows - true
    sides = np.tile(true[2:] - true[:2], 2)
    assert error.std(axis=0) / np.hypot(3.0, 0.02 * sides) == pytest.approx(np.ones(4), abs=0.08)
    assert abs(error.mean(axis=0)).max() < 0.5
    near = (error[1:] * error[:-1]).mean(axis=0) / error.var(axis=0)
    far = (error[30:] * error[:-30]).mean(axis=0) / error.var(axis=0)
    assert near == pytest.approx(0.5 * math.exp(-0.1 / 0.3) * np.ones(4), abs=0.1)
    assert abs(far).max() < 0.12


def test_small_and_far_things_are_missed_more() -> None:
    drives = [sense(*solo(seed, "pothole", 1.0), CARD, seed) for seed in range(12)]
    boxes = [(seen.detections, row, name) for d in drives for seen, row, name in named(d)]
    areas = np.array([np.prod(b.xyxy[r][2:] - b.xyxy[r][:2]) for b, r, name in boxes if name])
    sure = np.array([b.confidence[r] for b, r, name in boxes if name])
    assert np.corrcoef(np.log(areas), sure)[0, 1] > 0.3
    clutter = [b.confidence[r] for b, r, name in boxes if name is None]
    assert float(np.mean(clutter)) < float(sure.mean())
    assert all(0 < d.hits["pothole-1"] < len(frames(d)) / 2 for d in drives)


def test_clutter_is_its_share_of_the_boxes_and_mostly_one_frame() -> None:
    world = street(2, 8.0)
    drives = [sense(world, ride, CARD, 1) for ride in rides(world, 6)]
    labels = [name for d in drives for row in d.labels.values() for name in row]
    assert labels.count(None) / len(labels) == pytest.approx(CARD.clutter, abs=0.015)
    quiet = [sense(world, ride, replace(CARD, clutter=0.0), 1) for ride in rides(world, 2)]
    assert all(name is not None for d in quiet for row in d.labels.values() for name in row)


def test_a_box_now_and_then_carries_a_siblings_name() -> None:
    drive = standing(replace(QUIET, confusion=0.05), at("bin", "garbage_bin", 34.0, 4.0, (0.6, 0.6, 1.0)))
    names = [seen.detections.names()[row] for seen, row, _ in named(drive)]
    assert set(names) == {"garbage_bin", "garbage_bin_overflow"}
    assert names.count("garbage_bin_overflow") / len(names) == pytest.approx(0.05, abs=0.012)


def test_things_are_born_vanish_and_move() -> None:
    early = at("early", "garbage", 40.0, 8.5, HEAP, to_s=1002.0)
    late = at("late", "garbage", 40.0, -6.0, HEAP, from_s=1001.0)
    ahead = at("ahead", "car", 10.0, 1.6, (4.5, 1.8, 1.5), drive=Motion1D((1000.0, 1010.0), (0.0, 83.0)))
    ride = Ride("r", "car-1", 1000.0, end_m=30.0)
    drive = sense(world_of(early, late, ahead), ride, QUIET, 1)
    when = {name: [s.stamp_ns * 1e-9 for s, _, n in named(drive) if n == name] for name in ("early", "late", "ahead")}
    assert max(when["early"]) == pytest.approx(1.9)
    assert min(when["late"]) == pytest.approx(1.0)
    # At our own speed and in our lane it stays where it is in the picture.
    boxes = [s.detections.xyxy[row] for s, row, n in named(drive) if n == "ahead"]
    assert len(boxes) == len(frames(drive))
    assert np.ptp(np.array(boxes)[:, 1]) < 3.0
    assert ahead.speed(1005.0) == pytest.approx(8.3)
    assert ahead.place(1005.0) != ahead.place(1000.0)


def test_another_pass_redraws_everything_but_the_mount() -> None:
    world = street(2, 20.0, 60.0)
    first, second = (sense(world, ride, CARD, 1) for ride in rides(world, 2, vehicles=1))
    assert first.mounts == second.mounts == {"front": mount_of(2, "car-1", "front", CARD)}
    assert first.mounts != sense(world, rides(world, 2, vehicles=2)[1], CARD, 1).mounts
    assert abs(first.gnss.bias_m[0] - second.gnss.bias_m[0]).max() > 0.01
    assert second.start_utc_ns - first.start_utc_ns == 86_400_000_000_000
    spread = np.array(
        [[m.yaw_deg, m.pitch_deg, m.height_m] for m in (mount_of(s, "a", "b", CARD) for s in range(2000))]
    )
    assert spread.std(axis=0) == pytest.approx([0.5, 0.5, 0.03], rel=0.06)


def test_the_receiver_errs_as_the_card_says() -> None:
    world = street(2, 60.0, 60.0)
    ride = rides(world, 1)[0]
    bias, white = [], []
    for seed in range(300):
        gnss = sense(replace(world, things=()), ride, CARD.graded(2.0), seed).gnss
        bias.append(gnss.bias_m[0])
        white.append(gnss.error_m[3] - gnss.bias_m[3])
    assert np.std(bias) == pytest.approx(1.6, rel=0.08)
    assert np.std(white) == pytest.approx(1.2, rel=0.08)
    drive = sense(world, ride, RTK, 1)
    fixes = [e for e in drive.events if isinstance(e, Fix)]
    assert fixes[0].h_acc_m == pytest.approx(0.03)
    assert int(fixes[0].quality) == 4
    for fix, error in zip(fixes, drive.gnss.error_m, strict=True):
        east, north, yaw = drive.true_pose(fix.stamp_ns)
        assert np.subtract(world.frame.to_enu(fix.lat_deg, fix.lon_deg), (east, north)) == pytest.approx(
            error, abs=1e-4
        )
        assert fix.course_deg is not None
        assert abs((fix.course_deg - 90.0 + math.degrees(yaw) + 180.0) % 360.0 - 180.0) < 2.0
    last = max(s.stamp_ns for s in frames(drive))
    assert fixes[0].stamp_ns == 0
    assert fixes[-1].stamp_ns > last


def test_wheels_and_gyro_follow_the_ride() -> None:
    world = world_of()
    ride = Ride("r", "car-1", 0.0, stops=((40.0, 5.0),), end_m=90.0)
    motion = [e for e in sense(world, ride, CARD, 3).events if isinstance(e, Motion)]
    t = np.array([m.stamp_ns * 1e-9 for m in motion])
    speed = np.array([m.speed_mps for m in motion], dtype=np.float64)
    true = ride.state(t)[1]
    assert (speed[true < 0.02] == 0.0).all()
    assert (true < 0.02).sum() > 80
    assert np.abs(speed / np.maximum(true, 5.0) - true / np.maximum(true, 5.0)).max() < 0.05
    rate = np.array([m.yaw_rate_dps for m in motion], dtype=np.float64)
    yaw = np.degrees(np.unwrap(ride.poses(world, t)[2]))
    bias = rate.mean() - (yaw[-1] - yaw[0]) / (t[-1] - t[0])
    assert abs(bias) < 0.4
    assert np.abs(np.cumsum(rate - bias) / 20.0 - (yaw - yaw[0])).max() < 1.0
    assert not [e for e in sense(world, ride, replace(CARD, motion_hz=None), 3).events if isinstance(e, Motion)]


def test_grade_and_braking_move_the_horizon() -> None:
    post = at("post", "pole", 60.0, 4.0, (1.0, 1.0, 3.0))
    ride = Ride("r", "car-1", 0.0, stops=((35.0, 3.0),), end_m=50.0)

    def bottoms(card: NoiseCard) -> Array:
        return np.array([s.detections.xyxy[0][3] for s in frames(sense(world_of(post), ride, card, 1))])

    flat, dipping, hilly = map(bottoms, (QUIET, replace(QUIET, dip_deg=0.25), replace(QUIET, grade_percent=0.3)))
    braking = ride.state(np.arange(len(flat)) / 10.0)[2] < -1.0
    # 1.5 m/s2 at 0.25 degrees each: the nose dips by 6.5 px, so everything rises in the picture.
    assert (dipping - flat)[braking].min() == pytest.approx(-1000 * math.radians(0.375), abs=0.8)
    assert np.abs(hilly - flat).max() > 0.3
    height, slope = world_of().road(np.arange(0.0, 900.0), 0.3)
    assert np.abs(slope).max() == pytest.approx(0.003, rel=0.01)
    assert np.gradient(height, 1.0)[1:-1] == pytest.approx(slope[1:-1], abs=2e-5)


def test_appearance_tells_things_apart_and_can_be_switched_off() -> None:
    world = street(5, 10.0)
    drives = [sense(world, ride, CARD, 1) for ride in rides(world, 2)]
    means: list[dict[str, Array]] = []
    for drive in drives:
        rows: dict[str, list[Array]] = {}
        for seen, row, name in named(drive):
            if name is not None:
                assert seen.detections.appearance is not None
                rows.setdefault(name, []).append(seen.detections.appearance[row].astype(np.float64))
        means.append({name: np.mean(looks, axis=0) for name, looks in rows.items() if len(looks) > 4})
    both = sorted(means[0].keys() & means[1].keys())
    apart = np.array([[1.0 - np.sqrt(means[0][a] * means[1][b]).sum() for b in both] for a in both])
    same = np.diag(apart)
    other = apart[~np.eye(len(both), dtype=bool)]
    assert 0.03 < np.median(same) < 0.12
    assert 0.4 < np.median(other) < 0.65
    assert (apart.argmin(axis=1) == np.arange(len(both))).mean() > 0.5
    plain = sense(world, rides(world, 1)[0], replace(CARD, looks=False), 1)
    assert all(s.detections.appearance is None for s in frames(plain))


def test_cars_on_wheels_touch_the_road_farther_on() -> None:
    world, ride = solo(4, "car", 3.0)
    boxes = {}
    for wheels in (False, True):
        drive = sense(world, ride, replace(QUIET, wheels=wheels), 1)
        boxes[wheels] = np.array([s.detections.xyxy[row] for s, row, _ in named(drive)][10:30])
    assert (boxes[True][:, 3] < boxes[False][:, 3] - 0.2).all()
    assert boxes[True][:, :2] == pytest.approx(boxes[False][:, :2], abs=1.0)


def test_a_ride_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="goes nowhere"):
        _ = Ride("r", "car-1", 0.0, start_m=5.0, end_m=5.0).duration_s
    with pytest.raises(ValueError, match="cannot stop"):
        _ = Ride("r", "car-1", 0.0, stops=((3.0, 2.0),)).duration_s
    back = Ride("r", "car-1", 0.0, -1.6, -1, start_m=0.0, end_m=50.0)
    world = world_of()
    east, north, yaw = back.pose(world, 0.0)
    assert world.along_right(np.array(east), np.array(north))[0] == pytest.approx(50.0)
    assert math.degrees(yaw) % 360.0 == pytest.approx((90.0 - 210.0) % 360.0, abs=2.0)
    assert back.duration_s == pytest.approx(50.0 / 8.3)
