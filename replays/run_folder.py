"""The run folder: what a replay or a simulation writes, streamed into a part folder and put in place at the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from perception.serial import canonical_json, case_feature, change_to_dict, landmark_feature, rounded, utc_text
from perception.types import (
    Case,
    CaseChange,
    CaseState,
    LandmarkClosed,
    Output,
    PassClosed,
    Picture,
    TrackEnd,
    TrackEnded,
)
from replays.atomic import drop_folder, move_folder, part_folder, refuse_foreign
from replays.report import ReportFacts, write_report

MARKER = "ledger.json"
TRACK_STEP_NS = 500_000_000
"""The drawn track keeps one pose per half second."""

_COLLECTION_HEAD = '{"type":"FeatureCollection","features":[\n'
_COLLECTION_TAIL = "\n]}\n"


class LedgerError(Exception):
    """The ledger does not add up: a bug in the pipeline, never bad data."""


class RunWriter:
    """Takes the pipeline's outputs and writes a run folder; a context manager, nothing stays half-written.

    Order of calls: `start_drive`, `take` for every output, ..., `close`. Without `close` it is all dropped.
    """

    def __init__(self, out: Path) -> None:
        """`out` must be new, empty or an older run folder, which is replaced at close; else DriveError."""
        refuse_foreign(out, MARKER, "run folder")
        self.out = out
        self._part = part_folder(out)
        (self._part / "evidence").mkdir()
        self._changes = self._open("changes.jsonl")
        self._evidence = self._open("evidence.jsonl")
        self._landmarks = self._open("landmarks.geojson", _COLLECTION_HEAD)
        self._track = self._open("track.geojson", _COLLECTION_HEAD)
        self._separate = {id(self._landmarks): False, id(self._track): False}
        self._drive = ""
        self._vehicle = ""
        self._cases: dict[str, Case] = {}
        self._ends: dict[tuple[str, str, int], TrackEnded] = {}
        self._kinds: Counter[str] = Counter()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        for stream in (self._changes, self._evidence, self._landmarks, self._track):
            stream.close()
        drop_folder(self._part)

    @property
    def cases(self) -> dict[str, Case]:
        """Latest state of every case met so far, by id."""
        return self._cases

    def start_drive(self, name: str, vehicle: str) -> None:
        """The outputs that follow belong to this drive: track ids are unique within one drive and camera."""
        self._drive, self._vehicle = name, vehicle

    def take(self, output: Output) -> None:
        """Write one output of the pipeline; raises LedgerError when a track ends twice."""
        if isinstance(output, CaseChange):
            self._take_change(output)
        elif isinstance(output, TrackEnded):
            key = (self._drive, output.camera, output.track_id)
            if key in self._ends:
                raise LedgerError(f"track {output.track_id} of {output.camera} in {self._drive} ended twice")
            self._ends[key] = output
        elif isinstance(output, LandmarkClosed):
            self._feature(self._landmarks, landmark_feature(output.landmark, output.common_m2))
        elif isinstance(output, PassClosed):
            self._take_pass(output)

    def close(
        self,
        *,
        timings: Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        tracks: int | None = None,
        known: Iterable[Case] = (),
        report: ReportFacts | None = None,
    ) -> Path:
        """Finish all members and put the folder in place; returns it.

        `timings`: milliseconds per stage. `data`: counters of what was read and dropped. `tracks`: how many tracks the
        pipeline began; raises LedgerError when as many did not end. `known`: cases of the store untouched by this run.
        """
        ledger = self._ledger(data or {}, tracks)
        for stream, tail in (
            (self._changes, ""),
            (self._evidence, ""),
            (self._landmarks, _COLLECTION_TAIL),
            (self._track, _COLLECTION_TAIL),
        ):
            stream.write(tail)
            stream.close()
        cases = {case.id: case for case in known} | self._cases
        self._write("cases.geojson", _collection(cases.values()))
        self._write("ledger.json", json.dumps(ledger, indent=1, ensure_ascii=False) + "\n")
        self._write("timings.json", json.dumps(rounded(dict(timings)), indent=1, ensure_ascii=False) + "\n")
        if report is not None:
            write_report(self._part, report)
        move_folder(self._part, self.out)
        return self.out

    def _open(self, name: str, head: str = "") -> TextIO:
        stream = (self._part / name).open("w", encoding="utf-8", newline="\n")
        stream.write(head)
        return stream

    def _write(self, name: str, text: str) -> None:
        (self._part / name).write_text(text, encoding="utf-8", newline="\n")

    def _feature(self, stream: TextIO, feature: Mapping[str, Any]) -> None:
        stream.write(",\n" if self._separate[id(stream)] else "")
        stream.write(canonical_json(feature))
        self._separate[id(stream)] = True

    def _take_change(self, change: CaseChange) -> None:
        self._changes.write(canonical_json(change_to_dict(change, with_pictures=False)) + "\n")
        self._kinds[change.change.value] += 1
        self._cases[change.case_id] = change.case
        for picture in change.pictures:
            self._take_picture(change, picture)

    def _take_picture(self, change: CaseChange, picture: Picture) -> None:
        file = self._part / "evidence" / f"{picture.sha256}.jpg"
        if picture.jpeg and not file.exists():
            file.write_bytes(picture.jpeg)
        line = {
            "case_id": change.case_id,
            "change": change.change.value,
            "revision": change.case.revision,
            "role": picture.role,
            "sha256": picture.sha256,
            "file": f"evidence/{file.name}" if file.exists() else None,
            "camera": picture.camera,
            "stamp_ns": picture.stamp_ns,
            "utc": utc_text(picture.utc_ns),
            "width": picture.width,
            "height": picture.height,
        }
        self._evidence.write(canonical_json(line) + "\n")

    def _take_pass(self, closed: PassClosed) -> None:
        record = closed.record
        points: list[list[float]] = []
        last_ns: int | None = None
        for view in record.views:
            if last_ns is None or view.stamp_ns - last_ns >= TRACK_STEP_NS or view is record.views[-1]:
                points.append([round(view.pose.lon_deg, 8), round(view.pose.lat_deg, 8)])
                last_ns = view.stamp_ns
        if not points:
            return
        properties = {
            "pass": record.pass_id,
            "drive": self._drive or record.drive,
            "vehicle": record.vehicle,
            "start": utc_text(record.start_utc_ns),
            "end": utc_text(record.end_utc_ns),
            "offset_e_m": closed.offset_e_m,
            "offset_n_m": closed.offset_n_m,
        }
        line = {"type": "LineString", "coordinates": points if len(points) > 1 else points * 2}
        self._feature(self._track, {"type": "Feature", "geometry": line, "properties": rounded(properties)})

    def _ledger(self, data: Mapping[str, Any], tracks: int | None) -> dict[str, Any]:
        ends: dict[str, Counter[str]] = {end.value: Counter() for end in TrackEnd}
        for ended in self._ends.values():
            ends[ended.end.value][ended.reason] += 1
        total = sum(sum(reasons.values()) for reasons in ends.values())
        if tracks is not None and tracks != total:
            raise LedgerError(f"{tracks} tracks began, {total} ended")
        states = Counter(case.state.value for case in self._cases.values())
        return {
            "version": 1,
            "tracks": total,
            "ends": {
                end: {"total": sum(reasons.values()), "reasons": dict(sorted(reasons.items()))}
                for end, reasons in ends.items()
            },
            "changes": {"total": sum(self._kinds.values()), "kinds": dict(sorted(self._kinds.items()))},
            "cases": {"total": len(self._cases), "states": dict(sorted(states.items()))},
            "data": dict(data),
            "entries": [_entry(drive, ended) for (drive, _, _), ended in self._ends.items()],
        }


def _entry(drive: str, ended: TrackEnded) -> dict[str, Any]:
    return {
        "drive": drive,
        "camera": ended.camera,
        "track": ended.track_id,
        "class": ended.class_name,
        "end": ended.end.value,
        "reason": ended.reason,
        "case_id": ended.case_id,
    }


def _collection(cases: Iterable[Case]) -> str:
    """Cases by id; merged ones live on as aliases, rejected ones are the platform's verdict: neither is listed."""
    listed = [case for case in cases if case.state not in (CaseState.MERGED, CaseState.REJECTED)]
    features = [canonical_json(case_feature(case)) for case in sorted(listed, key=lambda case: case.id)]
    return _COLLECTION_HEAD + ",\n".join(features) + _COLLECTION_TAIL
