"""Somebody else's MCAP file as a drive: ROS 2 bags (CDR) and files with Foxglove's protobuf schemas.

Which topic is what is told by its schema. Times are those of the message headers when they are kept, else those of the
recorder; both are computer clocks, so the drive's UTC comes from NMEA sentences or is unknown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perception.errors import DriveError
from replays.drive_toml import DIST_LENGTHS
from replays.members import FIX_COLUMNS, MOTION_COLUMNS, MOTION_FURTHER
from replays.recording.chunks import BrokenError
from replays.recording.foreign_values import PROTOBUF, VALUES, header_ns, parsed_message
from replays.recording.pictures import PICTURE_SCHEMAS, McapPictures, Reader, Spot, decoded
from replays.recording.records import Message
from replays.recording.unpack import Layout, Scratch, Tables

FIX_SCHEMAS = ("sensor_msgs/msg/NavSatFix", "foxglove.LocationFix")
NMEA_SCHEMA = "nmea_msgs/msg/Sentence"
MOTION_SCHEMAS = ("sensor_msgs/msg/Imu", "nav_msgs/msg/Odometry")
LENS_SCHEMAS = ("sensor_msgs/msg/CameraInfo", "foxglove.CameraCalibration")
READ_SCHEMAS = (*PICTURE_SCHEMAS, *FIX_SCHEMAS, NMEA_SCHEMA, *MOTION_SCHEMAS, *LENS_SCHEMAS)
HEADER_SLACK_NS = 60 * 10**9
"""A header this far from the time of recording belongs to another clock."""
_ENDINGS = ("compressed", "image_raw", "image_rect", "image_color", "image", "raw", "rect")
_FISHEYE = ("equidistant", "kannala_brandt", "fisheye")
Row = tuple[int, tuple[Any, ...]]


@dataclass(slots=True)
class Stream:
    """What one topic brought: rows (time in ns, values), and how many messages were broken."""

    schema: str
    rows: list[Row] = field(default_factory=list)
    broken: int = 0
    why: str = ""
    keeps_header: bool | None = None


def camera_name(topic: str) -> str:
    """A plain name of a camera's topic: /camera/front/image_raw/compressed is camera_front."""
    words = [word for word in topic.split("/") if word]
    while len(words) > 1 and words[-1] in _ENDINGS:
        words.pop()
    name = "_".join(words)
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in name).strip("_-") or "camera"


class ForeignReader:
    """Collects the messages of topics that a drive can use, and lays them out."""

    def __init__(self, path: Path, scratch: Scratch) -> None:
        self._path = path
        self._scratch = scratch
        self._streams: dict[str, Stream] = {}
        self._others: Counter[str] = Counter()

    def read(self, file: Path, messages: Iterable[Message]) -> None:
        """Take the messages of one file."""
        for message in messages:
            channel = message.channel
            ours = channel.encoding == ("protobuf" if channel.schema in PROTOBUF else "cdr")
            if channel.schema not in READ_SCHEMAS or not ours:
                self._others[f"{channel.topic} ({channel.schema or 'no schema'}, {channel.encoding})"] += 1
                continue
            stream = self._streams.setdefault(channel.topic, Stream(channel.schema))
            try:
                self._take(stream, file, message)
            except BrokenError as error:
                stream.broken += 1
                stream.why = stream.why or str(error)

    def _take(self, stream: Stream, file: Path, message: Message) -> None:
        parsed = parsed_message(stream.schema, message.data)
        told_ns = header_ns(stream.schema, message.data, parsed)
        if stream.keeps_header is None:
            stream.keeps_header = abs(told_ns - message.log_ns) < HEADER_SLACK_NS
        time_ns = told_ns if stream.keeps_header else message.log_ns
        if stream.schema in PICTURE_SCHEMAS:
            stream.rows.append((time_ns, (Spot(file, message.place),)))
        else:
            stream.rows.append((time_ns, VALUES[stream.schema](message.data, parsed)))

    def finish(self) -> Layout:
        """Write the members; raises DriveError when there are no pictures or no places."""
        notices = [
            f"{topic}: {s.broken} messages are broken ({s.why})" for topic, s in self._streams.items() if s.broken
        ]
        cameras = self._usable(PICTURE_SCHEMAS)
        fixes = self._best(FIX_SCHEMAS)
        nmea = self._best((NMEA_SCHEMA,))
        if not cameras:
            raise self._missing("camera", PICTURE_SCHEMAS)
        if fixes is None and nmea is None:
            raise self._missing("receiver", (NMEA_SCHEMA, *FIX_SCHEMAS))
        motion = self._best(MOTION_SCHEMAS)
        used = [s for s in (*cameras.values(), fixes, nmea, motion) if s is not None]
        zero_ns = min(time_ns for stream in used for time_ns, _ in stream.rows)
        layout = Layout(self._scratch, {}, notices)
        with closing(Tables(self._scratch.folder)) as tables:
            if nmea is not None:
                self._write_nmea(nmea, zero_ns, tables)
            elif fixes is not None:
                for time_ns, values in _rising(fixes, notices, "fixes", strict=False):
                    tables.row("fixes.csv", (time_ns - zero_ns, *values), FIX_COLUMNS)
            if motion is not None:
                for time_ns, values in _rising(motion, notices, "motion samples", strict=False):
                    tables.row("motion.csv", (time_ns - zero_ns, *values), (*MOTION_COLUMNS, *MOTION_FURTHER))
            heads = [self._camera(name, topic, zero_ns, tables, layout) for name, topic in self._names(cameras).items()]
        self._head(heads, layout)
        return layout

    def _usable(self, schemas: tuple[str, ...]) -> dict[str, Stream]:
        return {topic: s for topic, s in self._streams.items() if s.schema in schemas and s.rows}

    def _best(self, schemas: tuple[str, ...]) -> Stream | None:
        """Of several topics the one with most messages."""
        found = self._usable(schemas)
        return found[max(sorted(found), key=lambda topic: len(found[topic].rows))] if found else None

    def _missing(self, what: str, schemas: tuple[str, ...]) -> DriveError:
        broken = [f"{t} ({s.schema}, {s.broken} broken: {s.why})" for t, s in self._streams.items() if not s.rows]
        there = [*broken, *(t for t, s in self._streams.items() if s.rows), *self._others]
        problem = f"holds no topic of a {what}; topics are {', '.join(sorted(there)) or 'none'}"
        remedy = f"record one of {', '.join(schemas)}"
        return DriveError(problem, file=self._path, remedy=remedy)

    def _names(self, cameras: dict[str, Stream]) -> dict[str, str]:
        names: dict[str, str] = {}
        for topic in sorted(cameras):
            name, number = camera_name(topic), 1
            while name in names:
                number += 1
                name = f"{camera_name(topic)}_{number}"
            names[name] = topic
        return names

    def _write_nmea(self, nmea: Stream, zero_ns: int, tables: Tables) -> None:
        offset = 0
        with (tables.folder / "gnss.nmea").open("wb") as stream:
            for time_ns, (text,) in sorted(nmea.rows, key=lambda row: row[0]):
                line = text.strip().encode("ascii", "replace") + b"\r\n"
                stream.write(line)
                tables.row("gnss.csv", (time_ns - zero_ns, offset), ("stamp_ns", "offset"))
                offset += len(line)

    def _camera(self, name: str, topic: str, zero_ns: int, tables: Tables, layout: Layout) -> str:
        """Write one camera's table; returns its part of drive.toml."""
        stream = self._streams[topic]
        rows = _rising(stream, layout.notices, f"frames of {topic}", strict=True)
        for index, (time_ns, _) in enumerate(rows):
            tables.row(f"{name}.csv", (index, time_ns - zero_ns), ("index", "stamp_ns"))
        spots = tuple(values[0] for _, values in rows)
        try:
            with Reader() as reader:
                first = decoded(stream.schema, reader.data(spots[0]))
        except BrokenError as error:
            raise DriveError(f"{topic}: {error}", file=self._path, remedy="record it as JPEG or bgr8") from error
        height, width = first.shape[:2]
        layout.pictures[name] = McapPictures(self._path, (width, height), spots, stream.schema)
        lines = ["[[camera]]", f'name = "{name}"', f"width = {width}", f"height = {height}"]
        return "\n".join([*lines, *self._lens(topic, width, height)])

    def _lens(self, topic: str, width: int, height: int) -> list[str]:
        """Keys of the lens from the camera's own calibration topic, the one that shares most of its path."""
        found = self._usable(LENS_SCHEMAS)
        own = max(sorted(found), key=lambda other: _shared(topic, other), default=None)
        if own is None or (_shared(topic, own) < 1 and len(found) > 1):
            return []
        size, model, d, k = found[own].rows[0][1]
        good = size == (width, height) and len(k) == 9 and k[0] > 0 and k[4] > 0 and all(map(math.isfinite, (*k, *d)))
        kind = "fisheye" if model in _FISHEYE else "pinhole"
        if not good or len(d) not in DIST_LENGTHS[kind]:
            return []
        lines = [f"fx = {k[0]!r}", f"fy = {k[4]!r}", f"cx = {k[2]!r}", f"cy = {k[5]!r}", f'model = "{kind}"']
        return [*lines, f"dist = [{', '.join(repr(float(v)) for v in d)}]"]

    def _head(self, cameras: list[str], layout: Layout) -> None:
        used = ", ".join(sorted(topic for topic, s in self._streams.items() if s.rows))
        note = f"Read from {self._path.name}: {used}. The mounts of the cameras are guessed."
        layout.notices += [f"not read: {topic}, {count} messages" for topic, count in sorted(self._others.items())]
        lines = ["version = 1", f"name = {_quoted(self._path.stem)}", 'vehicle = "imported"', f"note = {_quoted(note)}"]
        text = "\n\n".join(["\n".join(lines), *cameras]) + "\n"
        (self._scratch.folder / "drive.toml").write_text(text, encoding="utf-8")


def _quoted(text: str) -> str:
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else "_" for c in text) + '"'


def _shared(one: str, other: str) -> int:
    """How many leading words two topics share."""
    count = 0
    for a, b in zip(one.strip("/").split("/"), other.strip("/").split("/"), strict=False):
        if a != b:
            break
        count += 1
    return count


def _rising(stream: Stream, notices: list[str], what: str, strict: bool) -> list[Row]:
    """Rows in order of time; those that go back, or repeat where `strict`, are left out and told."""
    kept: list[Row] = []
    for row in stream.rows:
        if not kept or row[0] > kept[-1][0] or (row[0] == kept[-1][0] and not strict):
            kept.append(row)
    if len(kept) < len(stream.rows):
        notices.append(f"{len(stream.rows) - len(kept)} {what} go back in time and are left out")
    return kept
