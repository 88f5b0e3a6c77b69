"""The recorder: taps the events that the pipeline eats, and what it makes of them, into MCAP files.

It sits behind detector and redactor: of pixels it takes the redacted pictures only. Recorded drives replay to the same
cases, and open in Foxglove.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foxglove_schemas_protobuf.GeoJSON_pb2 import GeoJSON

from gnss.types import Fix, Motion
from perception.events import Event, Reload
from perception.evidence import encode
from perception.serial import canonical_json, case_feature, change_to_dict
from perception.types import ACTIVE_STATES, CaseChange, ChangeKind, Output, Seen
from replays.detections import detection_line
from replays.events import event_line
from replays.recording import schemas
from replays.recording.head import Head
from replays.recording.part import CHUNK_S, Part
from replays.recording.shelf import Target

UNKNOWN_EPOCH_NS = 86_400 * 10**9
"""Time of stamp 0 while nobody knows the UTC: a viewer shows 1970-01-02, and no stamp is negative."""
MARGIN_S = 30.0
"""A case that is filed preserves the parts since this long before it was last seen."""
RETRY_S = 5.0
"""After the disk failed the recorder waits this long before it begins a new part."""
_LOOK_EVERY = 40
_PRESERVED = (ChangeKind.OPENED, ChangeKind.RESOLVED, ChangeKind.REOPENED)
_MAP_CASES = 200


class McapRecorder:
    """Records one drive; a context manager. `tap` takes events in the pipeline's order, `take` its outputs.

    `raw` may be called from another thread. `strict`: a disk that fails ends the recording with its OSError; else the
    recording goes on in a new part when it can, and `counts` tell what was lost. Nothing is created before the first
    event. `pictures=False` leaves the pictures out; `quiet` says where they must be left out: from a fix there until
    one elsewhere, and before the first.
    """

    def __init__(
        self,
        target: Target,
        head: Head,
        *,
        pictures: bool = True,
        quiet: Callable[[float, float], bool] | None = None,
        strict: bool = False,
        chunk_s: float = CHUNK_S,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._target = target
        self._head = head
        self._pictures = pictures
        self._strict = strict
        self._chunk_s = chunk_s
        self._lock = threading.RLock()
        self._waiting: list[tuple[int, tuple[Any, ...]]] = []
        self._epoch_ns: int | None = head.start_utc_ns
        self._recording = ""
        self._part: Part | None = None
        self._file: Path | None = None
        self._parts: list[tuple[Path, int]] = []
        self._cases: dict[str, dict[str, Any]] = {}
        self._room = True
        self._quiet = quiet
        self._hushed = quiet is not None
        self._events = 0
        self._newest_ns = 0
        self._retry_ns: int | None = None
        self._closed = False

    def __enter__(self) -> McapRecorder:
        return self

    def __exit__(self, *exc: object) -> None:
        """Whatever ended the run, what was recorded is kept and readable; a file that was to be whole is not."""
        with self._lock:
            if not self._closed:
                self._let_go()
            self._closed = True

    def tap(self, event: Event) -> None:
        """Write one event."""
        with self._lock:
            self._newest_ns = event.stamp_ns
            if isinstance(event, Fix):
                if self._epoch_ns is None and event.utc_ns is not None:
                    self._epoch_ns = event.utc_ns - event.stamp_ns
                if self._quiet is not None:
                    self._hushed = self._quiet(event.lat_deg, event.lon_deg)
                self._add(schemas.FIX, event.stamp_ns, schemas.record_json(event), "qiji.Fix")
                self._add(schemas.LOCATION, event.stamp_ns, event)
            elif isinstance(event, Motion):
                self._add(schemas.MOTION, event.stamp_ns, schemas.record_json(event), "qiji.Motion")
            elif isinstance(event, Seen):
                self._seen(event)
            elif not isinstance(event, Reload):  # a city has its own file, and may be larger than the drive
                self._add(schemas.EVENTS, event.stamp_ns, event_line(event).encode(), "qiji.Event")
            self._end_event()

    def raw(self, stamp_ns: int, data: bytes) -> None:
        """Write bytes of the receiver as they arrived."""
        with self._lock:
            self._add(schemas.RAW, stamp_ns, schemas.bytes_json(stamp_ns, data), "qiji.ReceiverBytes")
            self._end_event()

    def take(self, output: Output) -> None:
        """Write a case change; a case that was filed or resolved preserves the parts that show it."""
        if not isinstance(output, CaseChange):
            return
        with self._lock:
            line = canonical_json(change_to_dict(output, with_pictures=False)).encode()
            self._add(schemas.CHANGES, self._newest_ns, line, "qiji.CaseChange")
            if output.case.state in ACTIVE_STATES:
                self._cases.pop(output.case_id, None)
                self._cases[output.case_id] = case_feature(output.case)
            else:
                self._cases.pop(output.case_id, None)
            features = list(self._cases.values())[-_MAP_CASES:]
            text = canonical_json({"type": "FeatureCollection", "features": features})
            self._add(schemas.MAP, self._newest_ns, GeoJSON(geojson=text))
            if output.change in _PRESERVED:
                self._preserve(output)
            self._end_event()

    def close(self) -> Path | None:
        """Complete the recording; returns its file or folder, None when nothing ever came. Raises OSError if strict."""
        with self._lock:
            self._settle()
            self._closed = True
            if self._part is None:
                return None if self._file is None else self._target.finish(self._file)
            try:
                self._part.close()
            except OSError as error:
                self._fail(error)
            return self._target.finish(self._file) if self._file is not None else None

    def _seen(self, seen: Seen) -> None:
        picture = None
        if seen.picture is not None and self._pictures:
            if self._hushed:
                self.counts["recorder: pictures left out, sensitive area"] += 1
            elif not self._room:
                self.counts["recorder: pictures left out, the disk is full"] += 1
            else:
                picture = seen.picture()
        line = detection_line(seen.camera, seen.index, seen.detections, seen.sharpness, seen.exposure)
        zones = "" if picture is None else f'"zones":{json.dumps(picture.zones, separators=(",", ":"))},'
        text = f'{{"stamp_ns":{seen.stamp_ns},{zones}{line[1:]}'.encode()
        self._add(
            schemas.camera_topic(seen.camera, schemas.DETECTIONS), seen.stamp_ns, text, "qiji.Detections", seen.index
        )
        self._add(schemas.camera_topic(seen.camera, schemas.ANNOTATIONS), seen.stamp_ns, seen.detections)
        if picture is not None:
            topic = schemas.camera_topic(seen.camera, schemas.IMAGE)
            self._add(topic, seen.stamp_ns, encode(picture), None, seen.index)

    def _add(self, topic: str, stamp_ns: int, content: Any, schema: str | None = None, sequence: int = 0) -> None:
        """Queue while the UTC is unknown, for at most a chunk's time; write after that."""
        if self._closed:
            return
        entry = (topic, stamp_ns, content, schema, sequence)
        if self._part is None and self._file is None and self._epoch_ns is None:
            self._waiting.append((stamp_ns, entry))
            if stamp_ns - self._waiting[0][0] >= self._chunk_s * 1e9:
                self._settle()
            return
        self._settle()
        self._write(*entry)

    def _settle(self) -> None:
        """Write what waited; without a UTC by now the times of the file count from 1970."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        if self._epoch_ns is None:
            self._epoch_ns = UNKNOWN_EPOCH_NS
        for _, entry in waiting:
            self._write(*entry)

    def _write(self, topic: str, stamp_ns: int, content: Any, schema: str | None, sequence: int) -> None:
        if self._retry_ns is not None and stamp_ns < self._retry_ns:
            self.counts["recorder: messages lost"] += 1
            return
        time_ns = max((self._epoch_ns or 0) + stamp_ns, 0)
        try:
            part = self._part or self._begin(stamp_ns)
            part.add(topic, time_ns, _message(topic, content, time_ns), schema, sequence)
        except OSError as error:
            self._fail(error)

    def _end_event(self) -> None:
        """Between events: end the chunk, and now and then the part, when it is time."""
        part = self._part
        if part is None:
            return
        self._events += 1
        try:
            part.settle()
            if self._events % _LOOK_EVERY == 0:
                self._room = self._target.room(part.file)
                if self._target.full(part.file, part.size, part.span_s):
                    self._part = None
                    part.close()
        except OSError as error:
            self._fail(error)

    def _begin(self, stamp_ns: int) -> Part:
        """Open the next part: head, calibration and city again, so that each part is a drive of its own."""
        epoch_ns = self._epoch_ns or 0
        if not self._recording:
            told = f"{self._head.text()} {epoch_ns} {stamp_ns}".encode()
            self._recording = hashlib.sha256(told).hexdigest()[:16]
        self._file = self._target.next_file()
        metadata = {
            "format": "1", "head": self._head.text(), "epoch_ns": str(epoch_ns), "redacted": "true",
            "recording": self._recording, "part": str(len(self._parts) + 1),
        }  # fmt: skip
        try:
            self._part = Part(self._file, metadata, self._head.files, chunk_s=self._chunk_s)
        except OSError:
            self._file.unlink(missing_ok=True)
            raise
        self._retry_ns = None
        self._parts.append((self._file, stamp_ns))
        time_ns = max(epoch_ns + stamp_ns, 0)
        for camera in self._head.cameras.values():
            topic = schemas.camera_topic(camera.name, schemas.CALIBRATION)
            self._part.add(topic, time_ns, schemas.calibration(camera, time_ns))
            self._part.add(schemas.TRANSFORM, time_ns, schemas.transform(camera, time_ns))
        return self._part

    def _preserve(self, change: CaseChange) -> None:
        """Keep the parts that may show the case: those that go on after it was last seen here, less a margin."""
        seen_ns = change.case.last_seen_utc_ns
        first_ns = self._newest_ns if seen_ns is None or self._epoch_ns is None else seen_ns - self._epoch_ns
        first_ns = min(first_ns, self._newest_ns) - int(MARGIN_S * 1e9)
        ends = [begin for _, begin in self._parts[1:]] + [self._newest_ns]
        shown = [file for (file, _), end in zip(self._parts, ends, strict=True) if end >= first_ns]
        self._target.keep(shown)

    def _let_go(self) -> None:
        """Leave the open part as it is; one that was to be whole goes."""
        part, self._part = self._part, None
        if part is not None:
            part.abandon()
            if self._target.whole:
                part.file.unlink(missing_ok=True)

    def _fail(self, error: OSError) -> None:
        """The disk failed: give this part up and try a new one at the next message, or raise when strict."""
        self._let_go()
        if self._strict:
            self._closed = True
            raise error
        self.counts[f"recorder: {error.strerror or 'the disk failed'}"] += 1
        self._retry_ns = self._newest_ns + int(RETRY_S * 1e9)


def _message(topic: str, content: Any, time_ns: int) -> Any:
    """Foxglove's message of what waited as a plain value: its timestamp needs the epoch."""
    if topic == schemas.LOCATION:
        return schemas.location(content, time_ns)
    camera = topic.split("/")[2] if topic.startswith("/camera/") else ""
    if topic.endswith("/" + schemas.ANNOTATIONS):
        return schemas.boxes(content, time_ns)
    if topic.endswith("/" + schemas.IMAGE):
        return schemas.image(camera, time_ns, content)
    return content
