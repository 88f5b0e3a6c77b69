"""ROS 2 bags and Foxglove files of others as drives, read by their schemas; what cannot be used is named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.LocationFix_pb2 import LocationFix
from mcap_protobuf.writer import Writer as ProtobufWriter
from rosbags.rosbag2 import CompressionMode

from gnss.types import Fix, FixQuality, Motion
from perception.errors import DriveError
from perception.types import Frame
from replays.drive import open_drive
from replays.recording.foreign import camera_name
from replays.source import DriveSource
from tests.replays import ros_bags
from tests.replays.ros_bags import START_NS, Bag, street


@pytest.mark.parametrize("compression", [CompressionMode.NONE, CompressionMode.STORAGE, CompressionMode.MESSAGE])
def test_a_bag_is_a_drive(tmp_path: Path, compression: CompressionMode) -> None:
    file = street().write(tmp_path / "bag", compression)
    for path in (file, tmp_path / "bag"):
        drive = open_drive(path)
        assert set(drive.cameras) == {"camera_front", "camera_rear"}
        front, rear = drive.cameras["camera_front"], drive.cameras["camera_rear"]
        assert (front.width, front.height, front.fx, front.fy, front.cx, front.cy) == (64, 48, 50.0, 51.0, 31.5, 23.5)
        assert front.dist == (0.1, -0.05, 0.001, 0.002, 0.0)
        assert front.guessed
        assert rear.guessed
        assert [replace(f, stamp_ns=0) for f in drive.fixes] == [
            Fix(0, None, 31.0 + s * 1e-4, 121.5, 7.5, 0.5, quality=FixQuality.SINGLE) for s in range(2)
        ]
        assert drive.start_utc_ns is None
        assert drive.motion is not None
        motions = list(drive.motion)
        assert len(motions) == 20
        assert motions[3] == Motion(300_000_000, None, math.degrees(0.1), 0.3)
        frames = [e for e in DriveSource(drive) if isinstance(e, Frame)]
        assert [(f.camera, f.index, f.stamp_ns) for f in frames[:4]] == [
            ("camera_front", 0, 0), ("camera_rear", 0, 0), ("camera_front", 1, 10**8), ("camera_rear", 1, 10**8),
        ]  # fmt: skip
        for frame in frames:
            error = np.abs(frame.image.astype(int) - ros_bags.picture(frame.index).astype(int)).max()
            assert error <= (0 if frame.camera == "camera_rear" else 6)
        assert "not read: /chatter (std_msgs/msg/String, cdr), 20 messages" in drive.notices
        assert "/camera/front/image_raw/compressed" in drive.meta.note


def test_headers_of_another_clock_are_not_taken(tmp_path: Path) -> None:
    """A camera that stamps since boot: its frames are as old as their recording, like all others."""
    bag = street(topics=["/fix"])
    for index in range(20):
        bag.add("/cam/image", index * 10**8 + 7, ros_bags.raw(index, 5 * 10**9 + index * 10**8, "bgr8"))
    drive = open_drive(bag.write(tmp_path / "bag"))
    assert drive.members["cam"].stamp_ns[:2].tolist() == [3_000_007, 103_000_007]


def test_nmea_sentences_bring_the_utc(tmp_path: Path) -> None:
    bag = street(topics=["/camera/front/image_raw/compressed", "/fix"])
    for text in (
        "GPRMC,120000.00,A,3100.00,N,12130.00,E,10.0,90.0,010624,,,A",
        "GPGGA,120000.00,3100.00,N,12130.00,E,1,9,0.9,4.0,M,0.0,M,,",
    ):
        check = 0
        for char in text:
            check ^= ord(char)
        bag.add("/nmea", 500_000_000, ros_bags.sentence(f"${text}*{check:02X}", START_NS + 500_000_000))
    drive = open_drive(bag.write(tmp_path / "bag"))
    (fix,) = drive.fixes
    assert (fix.stamp_ns, fix.lat_deg, fix.lon_deg, fix.hdop) == (503_000_000, 31.0, 121.5, 0.9)
    assert fix.utc_ns is not None
    assert drive.start_utc_ns == fix.utc_ns - fix.stamp_ns


def test_odometry_tells_speed_and_turn(tmp_path: Path) -> None:
    bag = street(topics=["/camera/front/image_raw/compressed", "/fix"])
    for n in range(30):
        bag.add("/odom", n * 10**7, ros_bags.odometry(START_NS + n * 10**7))
    drive = open_drive(bag.write(tmp_path / "bag"))
    assert drive.motion is not None
    assert {(m.speed_mps, m.yaw_rate_dps) for m in drive.motion} == {(11.0, math.degrees(-0.2))}


@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "mono8"])
def test_raw_encodings(tmp_path: Path, encoding: str) -> None:
    bag = street(topics=["/fix"])
    bag.add("/cam/image_raw", 0, ros_bags.raw(3, START_NS, encoding))
    (frame,) = (e for e in DriveSource(open_drive(bag.write(tmp_path / "bag"))) if isinstance(e, Frame))
    wanted = ros_bags.picture(3)
    if encoding == "mono8":
        assert (frame.image[..., 0] == frame.image[..., 2]).all()
    else:
        np.testing.assert_array_equal(frame.image, wanted)


def fewer(topic: str) -> Callable[[Bag], None]:
    """Takes one topic out."""

    def change(bag: Bag) -> None:
        bag.rows = [row for row in bag.rows if row[0] != topic]

    return change


def set_all(topic: str, **values: Any) -> Callable[[Bag], None]:
    """Sets fields of every message of a topic."""

    def change(bag: Bag) -> None:
        for name, _, message in bag.rows:
            for key, value in values.items():
                if name == topic:
                    object.__setattr__(message, key, value)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (fewer("/fix"), "holds no topic of a receiver; topics are "),
        (set_all("/fix", latitude=float("nan")), "/fix (sensor_msgs/msg/NavSatFix, 2 broken: position nan, 121.5"),
        (set_all("/fix", status=ros_bags.T["NavSatStatus"](-1, 1)), "holds no usable fix (2 x quality 0)"),
        (set_all("/camera/rear/image_raw", encoding="32FC1"), "/camera/rear/image_raw: encoding '32FC1' is not read"),
        (set_all("/camera/rear/image_raw", step=10), "a picture of 64x48 with 10 bytes per row"),
        (set_all("/camera/rear/image_raw", height=2**31), f"a picture of 64x{2**31}"),
        (
            set_all("/camera/front/image_raw/compressed", data=np.zeros(9, np.uint8)),
            "a picture of format 'bgr8; jpeg compressed bgr8' cannot be decoded",
        ),
    ],
)
def test_bags_that_are_no_drives(tmp_path: Path, change: Callable[[Bag], None], said: str) -> None:
    bag = street()
    change(bag)
    file = bag.write(tmp_path / "bag")
    with pytest.raises(DriveError) as error:
        open_drive(file)
    assert said in str(error.value)
    assert str(file) in str(error.value)
    assert error.value.remedy


def test_a_bag_without_cameras_names_its_topics(tmp_path: Path) -> None:
    file = street(topics=["/fix", "/chatter"]).write(tmp_path / "bag")
    with pytest.raises(
        DriveError, match=r"no topic of a camera; topics are /chatter \(std_msgs/msg/String, cdr\), /fix"
    ):
        open_drive(file)


def test_frames_that_go_back_are_left_out_and_told(tmp_path: Path) -> None:
    bag = street(topics=["/fix"])
    for n, at_ms in enumerate((0, 100, 90, 100, 200)):
        bag.add("/cam/image_raw", n * 10**8, ros_bags.raw(n, START_NS + at_ms * 10**6, "bgr8"))
    drive = open_drive(bag.write(tmp_path / "bag"))
    assert len(drive.members["cam"].index) == 3
    assert "2 frames of /cam/image_raw go back in time and are left out" in drive.notices


def test_a_foxglove_file_of_others_is_a_drive(tmp_path: Path) -> None:
    file = tmp_path / "robot.mcap"
    with file.open("wb") as stream, ProtobufWriter(stream) as writer:
        for n in range(10):
            time_ns = START_NS + n * 10**8
            image = CompressedImage(frame_id="cam", format="jpeg", data=ros_bags.compressed(n, 0).data.tobytes())
            image.timestamp.FromNanoseconds(time_ns)
            fix = LocationFix(latitude=31.0, longitude=121.0, altitude=3.0)
            fix.timestamp.FromNanoseconds(time_ns)
            writer.write_message("/cam/image", image, time_ns, time_ns)
            writer.write_message("/gps", fix, time_ns, time_ns)
    drive = open_drive(file)
    assert [len(drive.members["cam"].index), len(drive.fixes)] == [10, 10]
    assert sum(isinstance(e, Frame) for e in DriveSource(drive)) == 10


def test_names_of_cameras() -> None:
    topics = ["/camera/front/image_raw/compressed", "/image", "/a b/ü/image_rect", "/", "/cam0/image_color"]
    assert [camera_name(t) for t in topics] == ["camera_front", "image", "a_b_ü", "camera", "cam0"]
