"""Every sentence of the real logs that is used, field by field, against pynmea2 and pynmeagps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynmea2
import pytest
from pynmeagps import NMEAReader

from gnss.framing import FrameKind, Framer
from gnss.nmea_sentence import KNOT_MPS, NmeaError, Sentence, parse_sentence
from gnss.refusal import Refusal
from tests.gnss.gpsd_logs import receiver_bytes
from tests.gnss.messages import line

FOLDERS = ("gpsd-regression", "pyubx2-pygnssutils", "google-mtv-f9k")
MADE = [
    line("GNHDT,123.4,T"),
    line("HEHDT,359.99,T"),
    line("GNTHS,77.31,A"),
    line("GBGST,021417.00,1.2,5.0,4.0,30.0,3.0,4.0,5.5"),
]
TALKERS = {"GP", "GN", "GL", "GA", "GB", "BD", "GQ", "QZ", "II", "IN", "HE"}


def texts(shared: Path) -> Iterator[bytes]:
    for folder in FOLDERS:
        for file in sorted((shared / "gnss-logs" / folder).iterdir()):
            if file.suffix in (".log", ".ubx", ".nmea", ".gga"):
                framer = Framer()
                yield from (f.data for f in framer.feed(receiver_bytes(file), 0) if f.kind is FrameKind.NMEA)
    yield from (text.strip() for text in MADE)


def number(text: Any) -> float | None:
    return None if text in ("", None) else float(text)


def expected(kind: str, other: Any) -> dict[str, float | None]:
    """What pynmea2 says of the fields that we use."""
    if kind in ("GGA", "RMC"):
        place = {"lat_deg": other.latitude, "lon_deg": other.longitude} if other.lat else {"lat_deg": None}
        if kind == "GGA":
            return {**place, "alt_m": number(other.altitude), "hdop": number(other.horizontal_dil)}
        speed = number(other.spd_over_grnd)
        return {
            **place,
            "speed_mps": None if speed is None else speed * KNOT_MPS,
            "course_deg": number(other.true_course),
        }
    if kind == "VTG":
        speed = number(other.spd_over_grnd_kts)
        return {} if speed is None else {"speed_mps": speed * KNOT_MPS, "course_deg": number(other.true_track)}
    if kind == "GST":
        lat, lon = number(other.std_dev_latitude), number(other.std_dev_longitude)
        h_acc = None if lat is None or lon is None else ((lat**2 + lon**2) / 2) ** 0.5 or None
        return {"h_acc_m": h_acc, "v_acc_m": number(other.std_dev_altitude) or None}
    if kind == "GSA":
        return {"hdop": number(other.hdop)}
    if kind == "HDT":
        return {"heading_deg": number(other.heading)}
    return {}


def agree(ours: Sentence, text: bytes) -> None:
    third = NMEAReader.parse(text.strip() + b"\r\n")
    if ours.kind == "THS":  # pynmea2 does not know it
        assert ours.heading_deg == (third.headt if third.mi == "A" else None)
        return
    other = pynmea2.parse(text.decode("ascii").strip(), check=True)
    for name, value in expected(ours.kind, other).items():
        assert getattr(ours, name) == (None if value is None else pytest.approx(value, abs=1e-9)), (text, name)
    if ours.kind in ("GGA", "RMC", "ZDA", "GST") and ours.time_ns is not None and ours.time_ns < 86_400 * 10**9:
        time = other.timestamp
        seconds = (time.hour * 60 + time.minute) * 60 + time.second
        assert ours.time_ns == pytest.approx(seconds * 10**9 + time.microsecond * 1000, abs=1000), text
    if ours.kind == "RMC" and ours.date is not None and ours.date.year < 2069:
        assert ours.date == other.datestamp, text
    if ours.kind in ("GGA", "RMC") and ours.lat_deg is not None:
        assert ours.lat_deg == pytest.approx(third.lat, abs=2e-8)
        assert ours.lon_deg == pytest.approx(third.lon, abs=2e-8)


def test_real_sentences_are_read_alike(shared: Path) -> None:
    read: Counter[str] = Counter()
    refused: Counter[Refusal] = Counter()
    talkers = set()
    for text in texts(shared):
        try:
            ours = parse_sentence(text)
        except NmeaError as error:
            refused[error.reason] += 1
            continue
        agree(ours, text)
        read[ours.kind] += 1
        talkers.add(text[1:3].decode())
    assert read.keys() == {"GGA", "RMC", "VTG", "GST", "GSA", "ZDA", "HDT", "THS"}
    assert min(read[kind] for kind in ("GGA", "RMC", "VTG", "GSA")) > 1000
    assert talkers <= TALKERS
    assert {"GP", "GN"} < talkers
