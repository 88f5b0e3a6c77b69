"""A recording laid out as the members of a drive folder; its pictures stay where they are.

What the members hold is checked afterwards by the very code that checks a folder.
"""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from perception.camera import CameraModel
from perception.errors import DriveError
from replays.members import FIX_COLUMNS, FIX_FURTHER, MOTION_COLUMNS, MOTION_FURTHER
from replays.recorder import drive_head
from replays.recording.chunks import BrokenError
from replays.recording.pictures import McapPictures, Spot
from replays.recording.records import Attachment, McapFile, Message

RECEIVER = "receiver.bin"
"""Raw bytes of the receiver, beside `receiver.csv` with their arrival: what fixes.csv was made from."""
METADATA = "qiji.drive"
_NAME = re.compile(r"\w[\w.-]*\Z")
_OWN = {"drive.toml", "fixes.csv", "motion.csv", "detections.jsonl", "events.jsonl", RECEIVER, "receiver.csv"}


class Scratch:
    """A temporary folder that lives as long as this object and is removed with it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="qiji-drive-"))
        self._end = weakref.finalize(self, shutil.rmtree, self.folder, True)


@dataclass(slots=True)
class Layout:
    """Members in `scratch.folder`, the pictures of each camera, and what a person should be told."""

    scratch: Scratch
    pictures: dict[str, McapPictures]
    notices: list[str]
    names: dict[str, str] = field(default_factory=dict)
    """Topic behind each member, to name it in complaints."""


@dataclass(slots=True)
class Tables:
    """Open members of the folder, by name."""

    folder: Path
    streams: dict[str, TextIO] = field(default_factory=dict)

    def stream(self, name: str, header: Sequence[str] | None = None) -> TextIO:
        """The member `name`, opened and headed at its first use."""
        if name not in self.streams:
            self.streams[name] = (self.folder / name).open("w", encoding="utf-8", newline="")
            if header is not None:
                self.row(name, header)
        return self.streams[name]

    def row(self, name: str, cells: Sequence[Any], header: Sequence[str] | None = None) -> None:
        """Write one CSV row; None is an empty field, floats exact."""
        texts = ["" if c is None else repr(c) if isinstance(c, float) else str(c) for c in cells]
        csv.writer(self.stream(name, header), lineterminator="\n").writerow(texts)

    def close(self) -> None:
        """Complete all members."""
        for stream in self.streams.values():
            stream.close()


@dataclass(frozen=True, slots=True)
class OwnHead:
    """What a recording says of itself, read back."""

    name: str
    vehicle: str
    note: str
    antenna_m: tuple[float, float, float]
    start_utc_ns: int | None
    cameras: dict[str, CameraModel]
    recording: str
    part: int
    redacted: bool


def own_head(file: Path, metadata: Mapping[str, Mapping[str, str]]) -> OwnHead | None:
    """The head of a recording of ours; None: somebody else's file. Raises DriveError when it is broken."""
    told = metadata.get(METADATA)
    if told is None:
        return None
    if told.get("format") != "1":
        raise DriveError(f"is of format {told.get('format')!r}", file=file, remedy="this software reads format 1")
    try:
        head = json.loads(told["head"])
        rows = [CameraModel(**{**row, "dist": tuple(row["dist"])}) for row in head["cameras"]]
        x, y, z = (float(v) for v in head["antenna_m"])
        start = None if head["start_utc_ns"] is None else int(head["start_utc_ns"])
        found = OwnHead(
            str(head["name"]), str(head["vehicle"]), str(head["note"]), (x, y, z), start,
            {row.name: row for row in rows}, told["recording"], int(told["part"]), told.get("redacted") == "true",
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        remedy = "copy it again from the recorder"
        raise DriveError(f"metadata {METADATA!r} is broken: {error!r}", file=file, remedy=remedy) from error
    for name in found.cameras:
        if not _NAME.match(name):
            raise DriveError(f"camera {name!r} has no plain name", file=file, remedy="record it again")
    return found


def check_one_recording(heads: Mapping[Path, OwnHead], path: Path) -> None:
    """All files of a folder must be parts of one recording; raises DriveError naming two that are not."""
    first: Path | None = None
    for file, head in heads.items():
        if first is not None and head.recording != heads[first].recording:
            problem = f"holds several recordings: {first.name} and {file.name} are of two drives"
            raise DriveError(problem, file=path, remedy="name one of the files")
        first = first or file


class OwnReader:
    """Lays out the parts of one recording, in their order."""

    def __init__(self, path: Path, scratch: Scratch) -> None:
        self._path = path
        self._tables = Tables(scratch.folder)
        self._layout = Layout(scratch, {}, [])
        self._spots: dict[str, list[tuple[int, Spot]]] = {}
        self._index: dict[str, list[int]] = {}
        self._head: OwnHead | None = None
        self._received = 0
        self._strange: dict[str, int] = {}

    def read(self, source: McapFile, first: Sequence[Message], rest: Any, head: OwnHead) -> None:
        """One part: its first messages, which were read to find out what it is, and the iterator over the rest."""
        awaited = 1 if self._head is None else self._head.part + 1
        missing = head.part - awaited
        if missing > 0:
            self._layout.notices.append(
                f"{missing} {'part is' if missing == 1 else 'parts are'} missing before {source.file.name}"
            )
        self._head = head
        for batch in (first, rest):
            for message in batch:
                self._message(source.file, message)
        for attachment in source.attachments:
            self._attach(attachment)

    def close(self) -> None:
        """Let go of the members, finished or not."""
        self._tables.close()

    def finish(self) -> Layout:
        """Complete the members."""
        head = self._head
        if head is None:
            raise DriveError("holds no complete part", file=self._path, remedy="there is nothing in it to replay")
        self._tables.close()
        cameras = {name: model for name, model in head.cameras.items() if name in self._index}
        if not cameras:
            raise DriveError(
                "holds no frame", file=self._path, remedy="record with a camera: there is nothing to replay"
            )
        text = drive_head(head.name, head.vehicle, head.note, cameras, head.antenna_m, head.start_utc_ns)
        (self._layout.scratch.folder / "drive.toml").write_text(text, encoding="utf-8")
        for name, model in cameras.items():
            spots = dict(self._spots.get(name, ()))
            if spots:
                rows = tuple(spots.get(index) for index in self._index[name])
                size = (model.width, model.height)
                self._layout.pictures[name] = McapPictures(
                    self._path, size, rows, "foxglove.CompressedImage", head.redacted
                )
        for topic, count in sorted(self._strange.items()):
            self._layout.notices.append(f"{count} messages of {topic} are not a drive's and are left out")
        return self._layout

    def _message(self, file: Path, message: Message) -> None:
        topic, schema = message.channel.topic, message.channel.schema
        try:
            if schema == "foxglove.CompressedImage":
                camera = topic.split("/")[2]
                self._spots.setdefault(camera, []).append((message.sequence, Spot(file, message.place)))
            elif schema == "qiji.Detections":
                self._frame(json.loads(message.data))
            elif schema == "qiji.Fix":
                self._record("fixes.csv", (*FIX_COLUMNS, *FIX_FURTHER), json.loads(message.data))
            elif schema == "qiji.Motion":
                self._record("motion.csv", (*MOTION_COLUMNS, *MOTION_FURTHER), json.loads(message.data))
            elif schema == "qiji.Event":
                self._tables.stream("events.jsonl").write(message.data.decode() + "\n")
            elif schema == "qiji.ReceiverBytes":
                self._receive(json.loads(message.data))
            elif not schema.startswith("foxglove.") and schema != "qiji.CaseChange":
                self._strange[topic] = self._strange.get(topic, 0) + 1
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            problem = f"a message of {topic} in the record at offset {message.place.offset} is broken: {error!r}"
            raise DriveError(problem, file=file, remedy="cut the drive around it with trim") from error

    def _frame(self, frame: dict[str, Any]) -> None:
        stamp_ns, camera, index = int(frame.pop("stamp_ns")), frame["camera"], int(frame["index"])
        if self._head is None or camera not in self._head.cameras:
            raise BrokenError(f"camera {camera!r} is not in the head")
        self._index.setdefault(camera, []).append(index)
        self._tables.row(f"{camera}.csv", (index, stamp_ns), ("index", "stamp_ns"))
        text = json.dumps(frame, separators=(",", ":"), ensure_ascii=False)
        self._tables.stream("detections.jsonl").write(text + "\n")

    def _record(self, member: str, columns: tuple[str, ...], record: dict[str, Any]) -> None:
        strangers = set(record) - set(columns)
        if strangers:
            raise BrokenError(f"{sorted(strangers)} are not columns of {member}")
        self._tables.row(member, [record.get(name) for name in columns], columns)

    def _receive(self, chunk: dict[str, Any]) -> None:
        data = base64.b64decode(chunk["data"], validate=True)
        self._tables.row("receiver.csv", (int(chunk["stamp_ns"]), self._received), ("stamp_ns", "offset"))
        self._received += len(data)
        with (self._tables.folder / RECEIVER).open("ab") as stream:
            stream.write(data)

    def _attach(self, attachment: Attachment) -> None:
        """City files and the truth; a name that could lead elsewhere, or is a member's, is left out."""
        if _NAME.match(attachment.name) and attachment.name not in _OWN:
            (self._tables.folder / attachment.name).write_bytes(attachment.data)
        else:
            self._layout.notices.append(f"attachment {attachment.name!r} is left out")
