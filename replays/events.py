"""Recorded pipeline events of a drive (events.jsonl): known objects, shed frames, starting calibration."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perception.errors import DriveError
from perception.serial import anchor_from_dict, anchor_to_dict, canonical_json, case_from_dict, case_to_dict
from perception.types import CalibrationUpdate, KnownObjects, Shed
from replays.atomic import part_file

RecordedEvent = KnownObjects | Shed | CalibrationUpdate


def event_to_dict(event: RecordedEvent) -> dict[str, Any]:
    """Plain data of one event; `event` names its type: known, shed or calibration."""
    if isinstance(event, KnownObjects):
        cases = [case_to_dict(case) for case in event.cases]
        anchors = [anchor_to_dict(anchor) for anchor in event.anchors]
        return {
            "event": "known",
            "stamp_ns": event.stamp_ns,
            "tile": list(event.tile),
            "cases": cases,
            "anchors": anchors,
        }
    return {"event": "shed" if isinstance(event, Shed) else "calibration", **asdict(event)}


def event_line(event: RecordedEvent) -> str:
    """One line of events.jsonl, without its newline."""
    return canonical_json(event_to_dict(event))


def event_from_dict(plain: dict[str, Any]) -> RecordedEvent:
    """Inverse of `event_to_dict`; raises KeyError, TypeError or ValueError on a missing or wrong field."""
    fields = dict(plain)
    kind = fields.pop("event")
    if kind == "known":
        row, column = (int(value) for value in fields["tile"])
        anchors = tuple(anchor_from_dict(anchor) for anchor in fields["anchors"])
        cases = tuple(case_from_dict(case) for case in fields["cases"])
        return KnownObjects(int(fields["stamp_ns"]), (row, column), cases, anchors)
    if kind == "shed":
        return Shed(**fields)
    if kind == "calibration":
        return CalibrationUpdate(**fields)
    raise ValueError(f"event {kind!r} is not known, shed or calibration")


def write_events(file: Path, events: Iterable[RecordedEvent]) -> int:
    """Write events.jsonl as a whole or not at all; returns the number of lines."""
    count = 0
    with part_file(file) as stream:
        for event in events:
            stream.write(event_line(event) + "\n")
            count += 1
    return count


def read_events(file: Path) -> Iterator[RecordedEvent]:
    """Yield the events in order; raises DriveError naming the line when one is broken or goes back in time."""
    last_ns: int | None = None
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                event = event_from_dict(json.loads(line))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                remedy = "mend or delete the line, or replay with --known store"
                raise DriveError(f"is no event: {error}", file=file, line=number, remedy=remedy) from error
            if last_ns is not None and event.stamp_ns < last_ns:
                problem = f"stamp_ns {event.stamp_ns} goes back behind {last_ns} of the line before"
                raise DriveError(problem, file=file, line=number, remedy="sort the lines by stamp_ns")
            last_ns = event.stamp_ns
            yield event
