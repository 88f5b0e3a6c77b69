"""Topics of a recording. Foxglove's protobuf schemas for people to look at, JSON for what a replay must read exactly.

A JSON message holds the very line of the member file of a drive folder (docs/drive-format.md), so that numbers come
back to the last bit. Times of the file are `epoch_ns + stamp_ns`: UTC when it was known as the file began.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.GeoJSON_pb2 import GeoJSON
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from foxglove_schemas_protobuf.LocationFix_pb2 import LocationFix
from foxglove_schemas_protobuf.PointsAnnotation_pb2 import PointsAnnotation

from gnss.types import Array, Fix, Motion
from perception.camera import CameraModel
from perception.types import Detections
from replays.members import FIX_COLUMNS, FIX_FURTHER, MOTION_COLUMNS, MOTION_FURTHER

FIX, LOCATION, RAW, MOTION, EVENTS = "/gnss/fix", "/gnss/location", "/gnss/raw", "/motion", "/events"
CHANGES, MAP, TRANSFORM = "/cases/changes", "/cases/map", "/tf"
IMAGE, CALIBRATION, DETECTIONS, ANNOTATIONS = "image", "calibration", "detections", "annotations"
VEHICLE_FRAME = "vehicle"
_NUMBER = {"type": ["number", "null"]}
_BOX_PX, _TEXT_PX = 2.0, 14.0


def _object(name: str, required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": name, "type": "object"}
    return {**head, "properties": properties, "required": list(required)}


_WHOLE: dict[str, Any] = {"type": "integer"}
_BOX = _object(
    "Box",
    ("class", "confidence", "xyxy"),
    **{"class": {"type": "string"}},
    confidence={"type": "number", "minimum": 0, "maximum": 1},
    xyxy={"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
    appearance={"type": "array", "items": {"type": "number"}},
)
JSON_SCHEMAS: dict[str, dict[str, Any]] = {
    "qiji.Fix": _object(
        "qiji.Fix",
        ("stamp_ns", "lat_deg", "lon_deg", "quality"),
        **{name: _NUMBER for name in (*FIX_COLUMNS, *FIX_FURTHER)},
    ),
    "qiji.Motion": _object(
        "qiji.Motion", ("stamp_ns",), **{name: _NUMBER for name in (*MOTION_COLUMNS, *MOTION_FURTHER)}
    ),
    "qiji.ReceiverBytes": _object(
        "qiji.ReceiverBytes",
        ("stamp_ns", "data"),
        stamp_ns=_WHOLE,
        data={"type": "string", "contentEncoding": "base64"},
    ),
    "qiji.Detections": _object(
        "qiji.Detections",
        ("stamp_ns", "camera", "index", "boxes"),
        stamp_ns=_WHOLE,
        camera={"type": "string"},
        index=_WHOLE,
        boxes={"type": "array", "items": _BOX},
        sharpness=_NUMBER,
        exposure=_NUMBER,
        zones={"type": "array", "items": {"type": "array", "items": _WHOLE, "minItems": 4, "maxItems": 4}},
    ),
    "qiji.Event": _object("qiji.Event", ("event", "stamp_ns"), event={"type": "string"}, stamp_ns=_WHOLE),
    "qiji.CaseChange": _object("qiji.CaseChange", ("case_id",), case_id={"type": "string"}),
}
"""JSON schemas of the JSON topics, by name."""

PROTOBUF: tuple[Any, ...] = (
    CompressedImage, CameraCalibration, FrameTransform, GeoJSON, ImageAnnotations, LocationFix,
)  # fmt: skip
"""Foxglove's messages that a recording uses."""


def camera_topic(camera: str, what: str) -> str:
    """Topic of one camera's images, calibration, detections or annotations."""
    return f"/camera/{camera}/{what}"


def record_json(record: Fix | Motion) -> bytes:
    """A fix or motion sample with all its fields, exact: a float's shortest form that reads back the same."""
    further = (*FIX_COLUMNS, *FIX_FURTHER) if isinstance(record, Fix) else (*MOTION_COLUMNS, *MOTION_FURTHER)
    values = {name: getattr(record, name) for name in further}
    return json.dumps({k: v for k, v in values.items() if v is not None}, separators=(",", ":")).encode()


def bytes_json(stamp_ns: int, data: bytes) -> bytes:
    """Raw receiver bytes that arrived at `stamp_ns`."""
    return json.dumps({"stamp_ns": stamp_ns, "data": base64.b64encode(data).decode()}).encode()


def location(fix: Fix, time_ns: int) -> LocationFix:
    """The fix for a map panel: position and, when known, its diagonal covariance in m2 (east, north, up)."""
    message = LocationFix(frame_id="antenna", latitude=fix.lat_deg, longitude=fix.lon_deg, altitude=fix.alt_m or 0.0)
    message.timestamp.FromNanoseconds(time_ns)
    if fix.h_acc_m is not None:
        up = (fix.v_acc_m or 2 * fix.h_acc_m) ** 2
        message.position_covariance.extend([fix.h_acc_m**2, 0, 0, 0, fix.h_acc_m**2, 0, 0, 0, up])
        message.position_covariance_type = LocationFix.APPROXIMATED
    return message


def image(camera: str, time_ns: int, jpeg: bytes) -> CompressedImage:
    """One encoded (redacted) picture."""
    message = CompressedImage(frame_id=camera, data=jpeg, format="jpeg")
    message.timestamp.FromNanoseconds(time_ns)
    return message


def calibration(camera: CameraModel, time_ns: int) -> CameraCalibration:
    """Lens of a camera, as OpenCV and ROS write it."""
    matrix = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    message = CameraCalibration(
        frame_id=camera.name,
        width=camera.width,
        height=camera.height,
        distortion_model=_distortion(camera),
        D=camera.dist or (0.0,) * 5,
        K=matrix,
        R=[1, 0, 0, 0, 1, 0, 0, 0, 1],
        P=[*matrix[:3], 0.0, *matrix[3:6], 0.0, *matrix[6:], 0.0],
    )
    message.timestamp.FromNanoseconds(time_ns)
    return message


def _distortion(camera: CameraModel) -> str:
    if camera.model == "fisheye":
        return "kannala_brandt"
    return "rational_polynomial" if len(camera.dist) > 5 else "plumb_bob"


def transform(camera: CameraModel, time_ns: int) -> FrameTransform:
    """Where the camera's optical frame is in the vehicle's."""
    message = FrameTransform(parent_frame_id=VEHICLE_FRAME, child_frame_id=camera.name)
    message.timestamp.FromNanoseconds(time_ns)
    message.translation.x, message.translation.y, message.translation.z = (float(v) for v in camera.position_m)
    turn = quaternion(camera.vehicle_from_optical)
    message.rotation.x, message.rotation.y, message.rotation.z, message.rotation.w = turn
    return message


def quaternion(matrix: Array) -> tuple[float, float, float, float]:
    """Unit quaternion (x, y, z, w) of a rotation matrix (3, 3), w >= 0 (Shepperd, J. Guidance and Control 1, 1978)."""
    m = [[float(v) for v in row] for row in matrix]
    trace = m[0][0] + m[1][1] + m[2][2]
    squares = [1 + 2 * m[i][i] - trace for i in range(3)] + [1 + trace]
    largest = max(range(4), key=squares.__getitem__)
    whole = math.sqrt(max(squares[largest], 0.0)) * 2
    if largest == 3:
        x, y, z, w = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1], whole * whole / 4
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        parts = [0.0, 0.0, 0.0]
        parts[i], parts[j], parts[k] = whole * whole / 4, m[j][i] + m[i][j], m[k][i] + m[i][k]
        (x, y, z), w = parts, m[k][j] - m[j][k]
    sign = -1.0 if w < 0 else 1.0
    return sign * x / whole, sign * y / whole, sign * z / whole, sign * w / whole


def boxes(detections: Detections, time_ns: int) -> ImageAnnotations:
    """Boxes with class and confidence, to be drawn over the picture."""
    message = ImageAnnotations()
    for name, confidence, xyxy in zip(detections.names(), detections.confidence, detections.xyxy, strict=True):
        x1, y1, x2, y2 = (float(v) for v in xyxy)
        box = message.points.add(type=PointsAnnotation.LINE_LOOP, thickness=_BOX_PX)
        box.timestamp.FromNanoseconds(time_ns)
        for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)):
            box.points.add(x=x, y=y)
        box.outline_color.r, box.outline_color.g, box.outline_color.a = 1.0, 0.25, 1.0
        text = message.texts.add(text=f"{name} {confidence:.2f}", font_size=_TEXT_PX)
        text.timestamp.FromNanoseconds(time_ns)
        text.position.x, text.position.y = x1, y1
        text.text_color.r = text.text_color.g = text.text_color.b = text.text_color.a = 1.0
    return message
