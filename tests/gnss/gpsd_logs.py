"""gpsd's regression logs: the bytes of a receiver, and what gpsd reported for them."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyubx2

from gnss.framing import FrameKind, Framer
from gnss.stream import StreamReader
from gnss.types import Fix

FOLDER = Path("gnss-logs") / "gpsd-regression"
EXCEPTIONS = Path(__file__).with_name("gpsd_exceptions.csv")
DAY_MS = 86_400_000
MOVED_BY_GPSD = {"neo-m8n.log": datetime.date(2034, 1, 1), "tcp-torture.log": datetime.date(2027, 1, 1)}
"""gpsd takes these dates (2015, 2007) for those of receivers whose weeks have rolled over; told so, we do the same."""
_COOKIES = {"tcp-torture.log": b"|", "tcp-test.log": b"|"}
"""Delay marks of gpsd's own player, declared in the head of the file: no bytes of the receiver."""
_TIMED = re.compile(rb"\$..(?:GGA|RMC),(\d\d)(\d\d)(\d\d(?:\.\d*)?)")
_KINDS = re.compile(rb"\$..(RMC|VTG|GGA),(\d{6}(?:\.\d+)?)?")


@dataclass(frozen=True, slots=True)
class Report:
    """One TPV with time and place. `speed_mps` is None when gpsd worked it out itself: no sentence had said it yet."""

    log: str
    utc_ms: int
    lat_deg: float
    lon_deg: float
    speed_mps: float | None


@dataclass(slots=True)
class Verdict:
    """How one log compares; `wrong` holds (log, UTC, what) of each report that does not agree."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[str, str, str]] = field(default_factory=list)


def receiver_bytes(file: Path) -> bytes:
    """The capture without the comment lines before it and without the player's marks."""
    lines = file.read_bytes().splitlines(keepends=True)
    start = next((n for n, line in enumerate(lines) if not line.startswith(b"#")), len(lines))
    data = b"".join(lines[start:])
    mark = _COOKIES.get(file.name)
    return data if mark is None else data.replace(mark, b"")


def fixes_of(file: Path, data: bytes) -> dict[int, Fix]:
    """What our reader makes of the bytes of a log, by UTC in ms."""
    reader = StreamReader(MOVED_BY_GPSD.get(file.name))
    fixes = reader.feed(data, 0) + reader.flush()
    return {round(fix.utc_ns / 1e6): fix for fix in fixes if fix.utc_ns is not None}


def sentences_of(data: bytes) -> bytes:
    """The NMEA part of a mixed stream."""
    return b"".join(f.data + b"\r\n" for f in Framer().feed(data, 0) if f.kind is FrameKind.NMEA)


def reports(file: Path, counts: Counter[str]) -> list[Report]:
    """The TPVs of the log's .chk that can be matched; `counts` says how many cannot, and why."""
    found = []
    spoken: set[str] = set()
    native = b"\xb5\x62" not in file.read_bytes()  # with UBX the echoed sentences are gpsd's own translation
    for line in file.with_name(file.name + ".chk").read_bytes().splitlines():
        if (match := _KINDS.match(line)) is not None:
            kind, time = match[1].decode(), (match[2] or b"").decode()
            if kind == "GGA" and time not in spoken:
                spoken.clear()
            if kind != "GGA":
                spoken |= {kind, time}
        if not line.startswith(b'{"class":"TPV"'):
            continue
        said = json.loads(line)
        if "lat" not in said or "time" not in said:
            counts["without place" if "time" in said else "without time"] += 1
            continue
        when = datetime.datetime.fromisoformat(said["time"])
        speed = said.get("speed")
        if native and not spoken & {"RMC", "VTG"}:
            speed = None
        found.append(Report(file.name, round(when.timestamp() * 1000), said["lat"], said["lon"], speed))
    return found


def sources(data: bytes) -> tuple[set[int], dict[int, set[tuple[float, float]]]]:
    """(times of day in ms that GGA, RMC and NAV-PVT say, places by time of day of HNR-PVT, which is not read here)."""
    times = set()
    for match in _TIMED.finditer(data):
        times.add(round((int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])) * 1000) % DAY_MS)
    others: dict[int, set[tuple[float, float]]] = {}
    if b"\xb5\x62\x01\x07" in data:
        stream = pyubx2.UBXReader(io.BytesIO(data), protfilter=pyubx2.UBX_PROTOCOL, quitonerror=pyubx2.ERR_IGNORE)
        for _, message in stream:
            if message is None or message.identity not in ("NAV-PVT", "HNR-PVT"):
                continue
            seconds = (message.hour * 60 + message.min) * 60 + message.second
            time = round(seconds * 1000 + message.nano * 1e-6) % DAY_MS
            if message.identity == "NAV-PVT":
                times.add(time)
            else:
                others.setdefault(time, set()).add((round(message.lat, 7), round(message.lon, 7)))
    return times, others


def judge(file: Path) -> Verdict:
    """Compare one log: within 1e-7 deg, 0.1 m/s and 1 ms.

    Where an epoch is said in UBX and NMEA, our fix has the digits of UBX. gpsd reports both in turn; its place of a
    sentence with five decimals (1.7e-7 deg apart) is then compared with that of the sentences read alone.
    """
    verdict = Verdict()
    data = receiver_bytes(file)
    times, others = sources(data)
    ours = fixes_of(file, data)
    coarse = fixes_of(file, sentences_of(data)) if b"\xb5\x62\x01\x07" in data else {}
    for report in reports(file, verdict.counts):
        time = report.utc_ms % DAY_MS
        place = (round(report.lat_deg, 7), round(report.lon_deg, 7))
        if not times & {time - 1, time, time + 1} or place in others.get(time, ()):
            verdict.counts["of other messages"] += 1
            continue
        what = _differs(report, ours)
        if what == "place" and not _differs(report, coarse):
            verdict.counts["right as the sentences alone say it"] += 1
            continue
        verdict.counts["wrong" if what else "right"] += 1
        if what:
            utc = datetime.datetime.fromtimestamp(report.utc_ms / 1000, datetime.UTC)
            verdict.wrong.append((report.log, utc.isoformat(timespec="milliseconds"), what))
    return verdict


def _differs(report: Report, fixes: dict[int, Fix]) -> str:
    fix = next((fixes[t] for t in range(report.utc_ms - 1, report.utc_ms + 2) if t in fixes), None)
    if fix is None:
        return "no fix"
    if max(abs(fix.lat_deg - report.lat_deg), abs(fix.lon_deg - report.lon_deg)) > 1e-7:
        return "place"
    if report.speed_mps is not None and (fix.speed_mps is None or abs(fix.speed_mps - report.speed_mps) > 0.1):
        return "speed"
    return ""


def exceptions() -> Counter[tuple[str, str, str]]:
    """The committed table: (log, UTC, what), each with a reason of its own."""
    with EXCEPTIONS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(row["reason"] for row in rows)
    return Counter((row["log"], row["utc"], row["what"]) for row in rows)
