"""The sample drive's folder: byte-equal by seed, true to its own geometry, and the shipped one is the seed's."""

from __future__ import annotations

import csv
import itertools
import json
import math
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gnss.geodesy import LocalFrame, distance_m
from perception.errors import SetupError
from replays.render import encode, scene
from replays.render.__main__ import main
from replays.render.drive import footprint, write_drive
from replays.render.ego import Anchor, ReceiverError, Ride, fixes_csv
from replays.render.layout import Thing
from replays.render.patrol import FRONT, patrol
from replays.render.truth import Geometry

SAMPLE = Path(__file__).parents[2] / "replays" / "samples" / "patrol-street"
SEED = 7
ANCHOR = Anchor(30.2670, 120.1590, 63.0)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive") / "patrol-street"
    write_drive(patrol(SEED), folder, SEED, folder.name)
    return folder


def _features(folder: Path, name: str) -> list[dict[str, Any]]:
    features: list[dict[str, Any]] = json.loads((folder / name).read_text(encoding="utf-8"))["features"]
    return features


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_another_process_writes_the_same_bytes(drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "patrol-street"
    command = [sys.executable, "-m", "replays.render", "drive", "--seed", str(SEED), "--out", str(out), "--no-video"]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], env={"PYTHONHASHSEED": "5"})
    names = sorted(p.name for p in drive.iterdir())
    assert sorted(p.name for p in out.iterdir()) == names
    for name in names:
        assert (out / name).read_bytes() == (drive / name).read_bytes(), name


def test_another_seed_has_other_errors(drive: Path, tmp_path: Path) -> None:
    write_drive(patrol(SEED + 1), tmp_path, SEED + 1, "x")
    assert (tmp_path / "fixes.csv").read_bytes() != (drive / "fixes.csv").read_bytes()


def test_the_shipped_sample_is_what_the_seed_gives(drive: Path) -> None:
    for path in sorted(drive.iterdir()):
        assert (SAMPLE / path.name).read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), path.name


def test_the_shipped_video_is_small_h264_with_every_frame() -> None:
    video = SAMPLE / "front.mp4"
    assert video.stat().st_size <= 8_000_000
    capture = cv2.VideoCapture(str(video))
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    assert code in ("avc1", "h264", "H264")
    count, previous, moved = 0, None, 0
    while True:
        ok, image = capture.read()
        if not ok:
            break
        assert image.shape == (FRONT.height, FRONT.width, 3)
        small = cv2.resize(image, (64, 36), interpolation=cv2.INTER_AREA).astype(np.float64)
        assert small.std() > 20.0
        moved += previous is not None and bool(np.abs(small - previous).mean() > 0.3)
        previous, count = small, count + 1
    assert count == len(_rows(SAMPLE, "front.csv")) == 210
    assert moved > 200


def test_camera_and_stamps(drive: Path) -> None:
    settings = tomllib.loads((drive / "drive.toml").read_text(encoding="utf-8"))
    (camera,) = settings["camera"]
    assert (camera["fx"], camera["cx"], camera["cy"], camera["pitch_deg"]) == (960.0, 639.5, 359.5, 4.0)
    assert settings["start_utc"].isoformat() == "2026-06-01T02:00:00+00:00"
    stamps = [int(r["stamp_ns"]) for r in _rows(drive, "front.csv")]
    assert np.diff(stamps).tolist() == [100_000_000] * 209
    fixes = [int(r["stamp_ns"]) for r in _rows(drive, "fixes.csv")]
    assert np.diff(fixes).tolist() == [1_000_000_000] * (len(fixes) - 1)
    assert stamps[0] - fixes[0] == 1_000_000_000
    assert fixes[-1] - stamps[-1] >= 1_000_000_000


def test_fixes_follow_the_true_ride_within_the_error_model(drive: Path) -> None:
    ride, frame = patrol(SEED).ride, LocalFrame(ANCHOR.lat_deg, ANCHOR.lon_deg)
    for row in _rows(drive, "fixes.csv"):
        t = int(row["stamp_ns"]) / 1e9
        east, north = frame.to_enu(float(row["lat_deg"]), float(row["lon_deg"]))
        true = ANCHOR.enu(ride.place(t).x_m, ride.place(t).y_m)
        assert math.hypot(east - true[0], north - true[1]) < 2.5
        assert float(row["speed_mps"]) == pytest.approx(ride.speed(t), abs=0.25)


def test_receiver_errors_have_their_stated_size_and_memory() -> None:
    ride, error = Ride(0.0, 6.0, 0.0, 0.0), ReceiverError()
    frame, wrong = LocalFrame(ANCHOR.lat_deg, ANCHOR.lon_deg), []
    for seed in range(150):
        text = fixes_csv(ride, ANCHOR, 0, [0.0, 1.0, 300.0], error, seed)
        rows = list(csv.DictReader(text.splitlines()))
        true = [ANCHOR.enu(ride.place(t).x_m, ride.place(t).y_m) for t in (0.0, 1.0, 300.0)]
        at = [frame.to_enu(float(r["lat_deg"]), float(r["lon_deg"])) for r in rows]
        wrong.append([(a[0] - b[0], a[1] - b[1]) for a, b in zip(at, true, strict=True)])
    errors = np.array(wrong)
    assert errors.std() == pytest.approx(math.hypot(0.5, 0.3), rel=0.1)
    near = np.corrcoef(errors[:, 0].ravel(), errors[:, 1].ravel())[0, 1]
    far = np.corrcoef(errors[:, 0].ravel(), errors[:, 2].ravel())[0, 1]
    assert near > 0.55  # 0.25 / 0.34 of the variance is shared one second later
    assert abs(far) < 0.25


def test_positive_yaw_rate_turns_the_course_to_the_left() -> None:
    ride = patrol(SEED).ride
    t = next(t for t in patrol(SEED).stamps_s() if ride.yaw_rate_dps(t) > 0.3)
    assert ride.course_deg(t + 0.1, ANCHOR) < ride.course_deg(t, ANCHOR)
    assert ride.place(t + 0.05).x_m - ride.place(t - 0.05).x_m == pytest.approx(0.1 * ride.speed(t), rel=1e-3)


def test_street_axes_on_the_earth() -> None:
    lat, lon = ANCHOR.geo(100.0, 0.0)
    assert distance_m(ANCHOR.lat_deg, ANCHOR.lon_deg, lat, lon) == pytest.approx(100.0, abs=0.01)
    east, north = ANCHOR.enu(100.0, 0.0)
    assert math.degrees(math.atan2(east, north)) == pytest.approx(63.0)
    left_east, left_north = ANCHOR.enu(0.0, 1.0)
    assert left_east < 0 < left_north  # left of a course of 63 degrees is north-west


def test_footprints() -> None:
    lamp = Thing("l", "pole", "lamp_pole", 10.0, -6.0, 0.15, 90.0)
    assert footprint(lamp, 0.0) == pytest.approx((10.0, -6.0), abs=1e-9)  # the arm does not count
    cover = Thing("m", "manhole_open", "manhole_open", 30.0, 1.0, 0.0, 40.0, 3)
    assert footprint(cover, 0.0) == pytest.approx((30.0, 1.0), abs=1e-9)  # nor the cover beside the shaft
    car = Thing("c", "car", "suv", 5.0, 2.0, 0.0, 180.0, 9)
    assert footprint(car, 0.0) == pytest.approx((5.0, 2.0), abs=0.1)


def test_truth_names_every_family_and_lies_where_the_things_stand(drive: Path) -> None:
    features = {f["properties"]["id"]: f for f in _features(drive, "truth.geojson")}
    kinds = [f["properties"]["kind"] for f in features.values()]
    expected = {"illegal_parking": 3, "street_vending": 1, "exposed_garbage": 2, "bin_overflow": 1, "road_damage": 2}
    assert {k: kinds.count(k) for k in expected} == expected
    assert kinds.count("manhole_damage") == 1
    assert features["parked-dwell-1"]["properties"]["kind"] is None
    assert features["moving-oncoming"]["properties"]["static"] is False
    for thing in patrol(SEED).street.things:
        if thing.class_name is None or thing.track:
            continue
        lon, lat = features[thing.id]["geometry"]["coordinates"]
        true_lat, true_lon = ANCHOR.geo(*footprint(thing, 0.0))
        assert distance_m(lat, lon, true_lat, true_lon) < 0.01


def test_illegal_cars_stand_in_the_no_stopping_zone_and_legal_ones_do_not() -> None:
    made = patrol(SEED)
    zones = {z.id: z for z in made.zones}

    def inside(thing: Thing, zone_id: str) -> bool:
        x, y = footprint(thing, 0.0)
        zone = zones[zone_id]
        return zone.x0 < x < zone.x1 and zone.y0 < y < zone.y1

    for thing in made.street.things:
        if thing.class_name != "car" or thing.track:
            continue
        home = {"nostop": "zone-nostop-south", "dwell": "zone-noparking-south", "bay": "zone-bay-north"}
        for word, zone_id in home.items():
            assert inside(thing, zone_id) is (f"-{word}-" in thing.id), (thing.id, zone_id)
        assert (thing.kind == "illegal_parking") is ("nostop" in thing.id)


def test_things_of_one_case_kind_keep_their_distance() -> None:
    things = [t for t in patrol(SEED).street.things if t.kind is not None]
    for i, a in enumerate(things):
        for b in things[i + 1 :]:
            if a.kind == b.kind:
                assert math.hypot(a.x_m - b.x_m, a.y_m - b.y_m) >= 8.0, (a.id, b.id)


def test_every_problem_is_well_seen_and_passed_within_twelve_metres() -> None:
    made = patrol(SEED)
    geometry, step = Geometry(made.street), 8
    seen: dict[str, int] = {}
    for stamp in made.stamps_s()[::step]:
        for box in geometry.boxes(FRONT, made.ride.place(stamp), scale=0.15):
            x1, y1, x2, y2 = box.xyxy
            if box.clear > 0.6 and min(x2 - x1, y2 - y1) > 10.0:
                seen[box.thing] = seen.get(box.thing, 0) + step
    for thing in made.street.things:
        if thing.kind is None:
            continue
        assert seen.get(thing.id, 0) >= 3 * step, thing.id  # three looks in a row span at least 1.6 s
        places = [made.ride.place(s) for s in made.stamps_s()]
        assert min(math.hypot(thing.x_m - p.x_m, thing.y_m - p.y_m) for p in places) < 12.0


def test_atlas_ids_and_rings(drive: Path) -> None:
    city = tomllib.loads((drive / "city.toml").read_text(encoding="utf-8"))
    assert city["datum"] == "WGS84"
    for name, length in (("grids", 15), ("components", 17)):
        ids = [f["properties"]["id"] for f in _features(drive, city[name])]
        assert len(set(ids)) == len(ids)
        assert all(len(i) == length and i.isdigit() and i.startswith(city["division"]) for i in ids)
    for feature in _features(drive, city["zones"]) + _features(drive, city["grids"]):
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring))
        assert area > 0.0  # counter-clockwise, as GeoJSON wants outer rings
    dwell = {f["properties"]["id"]: f["properties"].get("dwell_s") for f in _features(drive, city["zones"])}
    assert dwell == {"zone-nostop-south": 0.0, "zone-noparking-south": None, "zone-bay-north": None}


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "bpy", None)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SetupError, match="synth"):
        scene.load_bpy()
    with pytest.raises(SetupError, match="synth"):
        encode.encode_h264([], tmp_path / "x.mp4", 10.0)
    assert main(["drive", "--seed", "7", "--out", str(tmp_path / "d")]) == 2
    assert not (tmp_path / "d" / "front.mp4").exists()
