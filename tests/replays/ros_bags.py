"""ROS 2 bags made with rosbags, which shares no code with our reader: two cameras, GNSS, IMU, odometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

START_NS = 1_780_000_000_000_000_000
STORE = get_typestore(Stores.ROS2_HUMBLE)
STORE.register(get_types_from_msg("std_msgs/Header header\nstring sentence\n", "nmea_msgs/msg/Sentence"))
T: dict[str, Any] = {
    name: STORE.types[f"{package}/msg/{name}"]
    for package, names in {
        "std_msgs": ("Header", "String"),
        "builtin_interfaces": ("Time",),
        "geometry_msgs": (
            "Quaternion", "Vector3", "Point", "Pose", "PoseWithCovariance", "Twist", "TwistWithCovariance",
        ),
        "sensor_msgs": (
            "CompressedImage", "Image", "NavSatFix", "NavSatStatus", "Imu", "CameraInfo", "RegionOfInterest",
        ),
        "nav_msgs": ("Odometry",),
        "nmea_msgs": ("Sentence",),
    }.items()
    for name in names
}  # fmt: skip


def header(time_ns: int, frame: str = "base_link") -> Any:
    return T["Header"](T["Time"](time_ns // 10**9, time_ns % 10**9), frame)


def picture(index: int) -> np.ndarray:
    """64x48 BGR whose colour tells the index."""
    return np.full((48, 64, 3), (index * 20 % 256, 128, 255 - index * 20 % 256), np.uint8)


def compressed(index: int, time_ns: int) -> Any:
    good, jpeg = cv2.imencode(".jpg", picture(index))
    assert good
    return T["CompressedImage"](header(time_ns), "bgr8; jpeg compressed bgr8", jpeg.reshape(-1))


def raw(index: int, time_ns: int, encoding: str) -> Any:
    """An Image with padding at the end of each row, as some drivers write."""
    image = picture(index)
    if encoding == "rgb8":
        image = image[..., ::-1]
    if encoding == "mono8":
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
    rows = image.reshape(48, -1)
    padded = np.concatenate([rows, np.zeros((48, 5), np.uint8)], axis=1)
    return T["Image"](header(time_ns), 48, 64, encoding, 0, padded.shape[1], padded.reshape(-1).copy())


def nav_sat_fix(second: int, time_ns: int, status: int = 0) -> Any:
    cov = np.diag([0.25, 0.25, 1.0]).reshape(-1)
    return T["NavSatFix"](header(time_ns), T["NavSatStatus"](status, 1), 31.0 + second * 1e-4, 121.5, 7.5, cov, 2)


def imu(time_ns: int) -> Any:
    nine, vector = np.zeros(9), T["Vector3"]
    return T["Imu"](
        header(time_ns),
        T["Quaternion"](0.0, 0.0, 0.0, 1.0),
        nine,
        vector(0.0, 0.0, 0.1),
        nine,
        vector(0.3, 0.0, 9.8),
        nine,
    )


def odometry(time_ns: int) -> Any:
    vector, wide = T["Vector3"], np.zeros(36)
    pose = T["PoseWithCovariance"](T["Pose"](T["Point"](1.0, 2.0, 3.0), T["Quaternion"](0.0, 0.0, 0.0, 1.0)), wide)
    twist = T["TwistWithCovariance"](T["Twist"](vector(11.0, 0.0, 0.0), vector(0.0, 0.0, -0.2)), wide)
    return T["Odometry"](header(time_ns), "base_link", pose, twist)


def camera_info(time_ns: int) -> Any:
    k = np.array([50.0, 0.0, 31.5, 0.0, 51.0, 23.5, 0.0, 0.0, 1.0])
    d = np.array([0.1, -0.05, 0.001, 0.002, 0.0])
    return T["CameraInfo"](
        header(time_ns), 48, 64, "plumb_bob", d, k, np.eye(3).reshape(-1), np.zeros(12), 0, 0,
        T["RegionOfInterest"](0, 0, 0, 0, False),
    )  # fmt: skip


def sentence(text: str, time_ns: int) -> Any:
    return T["Sentence"](header(time_ns), text)


@dataclass
class Bag:
    """Messages to be written: (topic, recording time, message)."""

    rows: list[tuple[str, int, Any]] = field(default_factory=list)

    def add(self, topic: str, time_ns: int, message: Any) -> None:
        """One message at `time_ns` since the start."""
        self.rows.append((topic, START_NS + time_ns, message))

    def write(self, folder: Path, compression: CompressionMode = CompressionMode.NONE) -> Path:
        """Write the bag's folder; returns its one .mcap file."""
        writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        if compression is not CompressionMode.NONE:
            writer.set_compression(compression, CompressionFormat.ZSTD)
        with writer:
            connections: dict[str, Connection] = {}
            for topic, time_ns, message in sorted(self.rows, key=lambda row: row[1]):
                kind = message.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
                writer.write(connections[topic], time_ns, STORE.serialize_cdr(message, kind))
        (file,) = folder.glob("*.mcap")
        return file


def street(frames: int = 20, header_lag_ns: int = 3_000_000, topics: Sequence[str] = ()) -> Bag:
    """Two cameras at 10/s, fixes at 1/s, IMU at 10/s; each header is `header_lag_ns` before its recording."""
    bag = Bag()
    for index in range(frames):
        time_ns = index * 100_000_000
        at = START_NS + time_ns - header_lag_ns
        bag.add("/camera/front/image_raw/compressed", time_ns, compressed(index, at))
        bag.add("/camera/rear/image_raw", time_ns, raw(index, at, "rgb8"))
        bag.add("/camera/front/camera_info", time_ns, camera_info(at))
        bag.add("/imu/data", time_ns, imu(at))
        bag.add("/chatter", time_ns, T["String"]("hello"))
        if index % 10 == 0:
            bag.add("/fix", time_ns, nav_sat_fix(index // 10, at))
    bag.rows = [row for row in bag.rows if not topics or row[0] in topics]
    return bag
