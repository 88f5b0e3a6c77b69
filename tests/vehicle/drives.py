"""Drives on disk out of the seeded test world: fixes, odometry, detections, a zone, and a video with coloured boxes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from perception.camera import CameraModel
from perception.card import ModelCard
from perception.types import Detections, Frame, Seen
from replays.detections import DetectionFile
from replays.drive_toml import utc_iso
from replays.recorder import Recorder
from tests.builders import CLASS_NAMES, FRAME, UTC0_NS, Thing, World
from tests.perception.cards import constant_network, digest

SMALL = CameraModel("front", 640, 360, 480.0, 480.0, 319.5, 179.5, x_m=1.5, z_m=1.5, pitch_deg=4.0)
STREET = (
    Thing("heap", "garbage", 4.5, 24.0),
    Thing("hole", "pothole", -0.5, 21.0),
    Thing("stall", "street_stall", -5.0, 30.0),
    Thing("parked", "car", 3.4, 33.0),
    Thing("cover", "manhole_open", 1.2, 27.0),
)
KINDS = {"exposed_garbage", "road_damage", "street_vending", "illegal_parking", "manhole_damage"}
DAY_NS = 86_400_000_000_000


def street(length_m: float = 40.0, seed: int = 1, things: Sequence[Thing] = STREET) -> World:
    """A short street with one thing of each family; the car drives 8 m/s and sees it at 10 frames/s."""
    return World(things, length_m, speed_mps=8.0, camera=SMALL, seed=seed)


def write_city(folder: Path) -> Path:
    """A city with a no-stopping zone (dwell 0) along the right kerb."""
    ring = [FRAME.to_geo(e, n) for e, n in ((2.0, 26.0), (6.0, 26.0), (6.0, 40.0), (2.0, 40.0), (2.0, 26.0))]
    zone = {
        "type": "Feature",
        "properties": {"id": "Z1", "kind": "no_parking", "name": "kerb", "dwell_s": 0, "hours": "00:00-24:00"},
        "geometry": {"type": "Polygon", "coordinates": [[[lon, lat] for lat, lon in ring]]},
    }
    collection = json.dumps({"type": "FeatureCollection", "features": [zone]})
    (folder / "zones.geojson").write_text(collection, encoding="utf-8")
    city = folder / "city.toml"
    city.write_text('version = 1\nname = "test"\nutc_offset_hours = 8.0\nzones = "zones.geojson"\n', encoding="utf-8")
    return city


def write_drive(
    out: Path, world: World | None = None, *, pass_index: int = 0, pixels: bool = False, utc: bool = True
) -> Path:
    """The drive folder of one pass of a world; `pixels` adds the video."""
    world = world or street()
    out.parent.mkdir(parents=True, exist_ok=True)
    city = write_city(out.parent)
    events = world.events(pass_index, utc=utc)
    with Recorder(out, out.name, "car-1", {world.camera.name: world.camera}, city=city) as recorder:
        for event in events:
            recorder.tap(event)
        recorder.close()
    if pixels:
        write_video(out / f"{world.camera.name}.mp4", [e for e in events if isinstance(e, Seen)])
    return out


def write_video(file: Path, frames: Sequence[Seen]) -> None:
    """Grey frames with the boxes drawn in a colour per class."""
    size = (frames[0].width, frames[0].height)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, size)
    for seen in frames:
        image = np.full((size[1], size[0], 3), 110, np.uint8)
        image[::8] = 90
        for box, number in zip(seen.detections.xyxy, seen.detections.class_id, strict=True):
            x1, y1, x2, y2 = (int(v) for v in box)
            cv2.rectangle(image, (x1, y1), (x2, y2), (37 * int(number) % 255, 91 * int(number) % 255, 200), -1)
        writer.write(image)
    writer.release()


def sign(file: Path, model: str) -> None:
    """Say in every line of a detections.jsonl which network (sha256) found its boxes."""
    lines = [json.loads(line) | {"model": model} for line in file.read_text(encoding="utf-8").splitlines()]
    file.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")


def write_card(folder: Path, changes: dict[str, str] | None = None) -> Path:
    """A card for all catalogue classes over a constant network that finds one garbage heap and one car."""
    folder.mkdir(parents=True, exist_ok=True)
    output = np.zeros((1, 4 + len(CLASS_NAMES), 8), np.float32)
    for column, (name, box) in enumerate({"garbage": (44.0, 22.0, 6.0, 4.0), "car": (16.0, 20.0, 10.0, 6.0)}.items()):
        output[0, :4, column] = box
        output[0, 4 + CLASS_NAMES.index(name), column] = 0.8
    network = folder / "all.onnx"
    constant_network(network, output, (64, 36), None)
    lines = {
        "version": "1", "name": '"all"', "onnx": '"all.onnx"', "sha256": f'"{digest(network)}"', "decoder": '"yolo"',
        "input_wh": "[64, 36]", "color": '"rgb"', "scale": "0.00392156862745098", "letterbox": '"center"',
        "pad_value": "114", "classes": json.dumps(list(CLASS_NAMES)),
        "thresholds": "{confidence = 0.3, privacy = 0.1, nms_iou = 0.5}",
        "privacy": '{person = ["person"], vehicle = ["car", "bus", "truck"]}', "licence": '{weights = "none"}',
        **(changes or {}),
    }  # fmt: skip
    card = folder / "model.toml"
    card.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()), encoding="utf-8")
    return card


class RecordedDetector:
    """A detector that answers what a drive recorded for the frame of this index: the same world, through live code."""

    def __init__(self, drive: Path, card: ModelCard) -> None:
        self.card = card
        file = DetectionFile.open(drive / "detections.jsonl")
        with file.reader() as reader:
            self._boxes = {
                (camera, index): reader.read(camera, index) for camera in file.places for index in file.places[camera]
            }

    def detect(self, frame: Frame) -> Detections:
        """Boxes of one frame."""
        recorded = self._boxes[frame.camera, frame.index]
        assert recorded is not None
        return recorded.detections


START_UTC = utc_iso(UTC0_NS)
