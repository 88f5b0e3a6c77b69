from __future__ import annotations

import contextlib
import datetime
import math
from pathlib import Path

import pynmea2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynmeagps import NMEAReader

from gnss.checksums import xor as checksum
from gnss.nmea import NmeaReader, NmeaReason, stamped_by_utc
from gnss.nmea_sentence import NmeaError, parse_sentence
from gnss.types import Fix, FixQuality


def line(body: str) -> bytes:
    return f"${body}*{checksum(body.encode()):02X}\r\n".encode()


def gga(time: str = "021417.00", quality: int = 1, lat: str = "3725.58362,N", lon: str = "12205.61915,W") -> bytes:
    return line(f"GNGGA,{time},{lat},{lon},{quality},12,0.76,4.4,M,-30.0,M,0.0,2000")


def rmc(
    time: str = "021417.00", status: str = "A", date: str = "070220", speed: str = "10.0", course: str = "65.1"
) -> bytes:
    return line(f"GNRMC,{time},{status},3725.58362,N,12205.61915,W,{speed},{course},{date},,,A")


def read(data: bytes, reader: NmeaReader | None = None) -> list[Fix]:
    reader = reader or NmeaReader()
    return reader.feed(data, 5) + reader.flush()


def utc_ns(*parts: int) -> int:
    return int(datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp()) * 10**9  # type: ignore[arg-type,misc]


def test_one_epoch_is_one_fix() -> None:
    gst = line("GNGST,021417.00,1.2,,,,3.0,4.0,5.5")
    vtg = line("GNVTG,65.13,T,52.07,M,0.028,N,0.053,K,D")
    (fix,) = read(rmc() + vtg + gga(quality=4) + gst)
    assert fix.utc_ns == utc_ns(2020, 2, 7, 2, 14, 17)
    assert (fix.stamp_ns, fix.quality, fix.satellites, fix.hdop, fix.alt_m) == (5, FixQuality.RTK_FIXED, 12, 0.76, 4.4)
    assert fix.lat_deg == pytest.approx(37 + 25.58362 / 60)
    assert fix.lon_deg == pytest.approx(-(122 + 5.61915 / 60))
    assert fix.speed_mps == pytest.approx(5.14444, abs=1e-4)
    assert fix.course_deg == 65.1
    assert fix.h_acc_m == pytest.approx(12.5**0.5)
    assert fix.v_acc_m == 5.5


def test_without_gst_the_receiver_said_no_accuracy() -> None:
    (fix,) = read(rmc() + gga())
    assert (fix.h_acc_m, fix.hdop) == (None, 0.76)


def test_fix_leaves_as_soon_as_the_usual_sentences_are_there() -> None:
    reader = NmeaReader()
    counts = []
    for second in range(17, 22):
        time = f"0214{second}.00"
        counts.append((len(reader.feed(rmc(time), second)), len(reader.feed(gga(time), second))))
    assert counts == [(0, 0), (1, 0), (1, 1), (0, 1), (0, 1)]
    assert reader.flush() == []
    assert reader.fixes == 5


def test_stamp_is_that_of_the_first_byte_of_the_epoch() -> None:
    reader = NmeaReader()
    first = rmc()
    assert reader.feed(first[:7], 100) == []
    assert reader.feed(first[7:] + gga(), 200) == []
    (fix,) = reader.flush()
    assert fix.stamp_ns == 100
    moved = stamped_by_utc(fix, utc_ns(2020, 2, 7, 2, 14, 10))
    assert moved is not None
    assert moved.stamp_ns == 7_000_000_000


def test_midnight_without_a_new_date() -> None:
    later = [gga(time) for time in ("235959.50", "000000.50", "130001.00", "000002.00")]
    fixes = read(rmc("235959.00", date="311220") + b"".join(later))
    assert [f.utc_ns for f in fixes] == [
        utc_ns(2020, 12, 31, 23, 59, 59),
        utc_ns(2020, 12, 31, 23, 59, 59) + 500_000_000,
        utc_ns(2021, 1, 1, 0, 0, 0) + 500_000_000,
        utc_ns(2021, 1, 1, 13, 0, 1),
        utc_ns(2021, 1, 2, 0, 0, 2),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (rmc(status="V") + gga(), NmeaReason.NO_FIX),
        (gga(quality=0), NmeaReason.NO_FIX),
        (rmc()[:-5] + b"\r\n", NmeaReason.NO_CHECKSUM),
        (rmc()[:-4] + b"00\r\n", NmeaReason.BAD_CHECKSUM),
        (gga(lat="9999.99,N"), NmeaReason.OUT_OF_RANGE),
        (gga(lat="9000.01,N"), NmeaReason.OUT_OF_RANGE),
        (gga(lat="3760.00,N"), NmeaReason.OUT_OF_RANGE),
        (gga(lon="12205.61915,"), NmeaReason.BAD_FIELD),
        (gga(lat="3725.58362,E"), NmeaReason.BAD_FIELD),
        (gga(time="256000.00"), NmeaReason.OUT_OF_RANGE),
        (gga(lat=",", lon=","), NmeaReason.NO_POSITION),
        (rmc(date="060180"), NmeaReason.BAD_DATE),
        (rmc(date="320120"), NmeaReason.OUT_OF_RANGE),
        (rmc(speed="nan"), NmeaReason.BAD_FIELD),
        (rmc(speed="1e3"), NmeaReason.BAD_FIELD),
        (line("GNRMC,021417.00,A"), NmeaReason.BAD_FIELD),
        (line("GPGSV,1,1,00"), NmeaReason.IGNORED),
        (line("PUBX,00"), NmeaReason.IGNORED),
        (b"\x00\xff\xb5\x62" * 40, NmeaReason.NOISE),
        (b"$" + b"A" * 10_000, NmeaReason.OVERLONG),
        (b"$GPGGA,02\x001*00\r\n", NmeaReason.NO_CHECKSUM),
    ],
)
def test_bad_input_gives_no_fix_and_a_reason(data: bytes, reason: NmeaReason) -> None:
    reader = NmeaReader()
    assert read(data, reader) == []
    assert reader.counters[reason] >= 1


def test_a_line_cut_in_half_and_merged_with_the_next_costs_only_itself() -> None:
    reader = NmeaReader()
    fixes = read(rmc("021416.00")[:30] + rmc() + gga()[:-2] + gga("021418.00"), reader)
    assert [f.utc_ns for f in fixes] == [utc_ns(2020, 2, 7, 2, 14, 17), utc_ns(2020, 2, 7, 2, 14, 18)]
    assert reader.counters[NmeaReason.NO_CHECKSUM] == 1


def test_dead_reckoned_fix_is_flagged() -> None:
    (fix,) = read(gga(quality=6))
    assert fix.quality is FixQuality.DEAD_RECKONING


def test_leap_second_and_25_hz() -> None:
    assert len(read(rmc("235960.00") + b"".join(gga(f"0000{i // 25:02d}.{i % 25 * 4:02d}") for i in range(100)))) == 101


def test_memory_stays_bounded_on_endless_junk() -> None:
    reader = NmeaReader()
    for _ in range(100):
        reader.feed(b"$" + b"x" * 100_000, 0)
    assert reader.held <= 1025


pieces = st.one_of(st.binary(max_size=60), st.sampled_from([rmc(), gga(), rmc()[:20], gga()[5:], b"$", b"*", b"\r\n"]))


@settings(max_examples=200, deadline=None)
@given(st.lists(pieces, max_size=12))
def test_any_bytes_never_raise_and_chunks_do_not_matter(parts: list[bytes]) -> None:
    data = b"".join(parts)
    chunked, whole = NmeaReader(), NmeaReader()
    fixes = [f for part in parts for f in chunked.feed(part, 0)] + chunked.flush()
    assert fixes == whole.feed(data, 0) + whole.flush()
    noise = NmeaReason.NOISE  # counted per run of bytes, so it depends on the chunks
    assert {k: v for k, v in chunked.counters.items() if k != noise} == {
        k: v for k, v in whole.counters.items() if k != noise
    }


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(["GNGGA", "GPRMC", "GPVTG", "GNGST", "GNGSA", "GPZDA"]))
def test_right_checksum_over_any_fields_gives_finite_numbers_or_a_reason(body: bytes, address: str) -> None:
    text = address.encode() + b"," + body.replace(b"*", b",").replace(b"$", b",")
    with contextlib.suppress(NmeaError):
        sentence = parse_sentence(b"$" + text + b"*%02X" % checksum(text))
        numbers = (sentence.lat_deg, sentence.lon_deg, sentence.alt_m, sentence.speed_mps, sentence.h_acc_m)
        assert all(n is None or math.isfinite(n) for n in numbers)


def test_mountain_view_agrees_with_two_other_readers(shared: Path) -> None:
    file = shared / "gnss-logs" / "google-mtv-f9k" / "MTV.Local1.ublox-F9K.20200206-181434.nmea"
    data = file.read_bytes()
    reader = NmeaReader()
    fixes = read(data, reader)
    assert len(fixes) == 1653
    assert reader.counters[NmeaReason.BAD_CHECKSUM] == 13
    sentences = [s for s in data.decode("ascii").splitlines() if s[3:6] == "GGA" and s.startswith("$GN")]
    assert len(sentences) == 1653
    for fix, text in zip(fixes, sentences, strict=True):
        other = pynmea2.parse(text, check=True)
        assert fix.lat_deg == pytest.approx(other.latitude, abs=1e-9)
        assert fix.lon_deg == pytest.approx(other.longitude, abs=1e-9)
        assert (fix.quality, fix.satellites) == (other.gps_qual, int(other.num_sats))
        third = NMEAReader.parse(text)
        assert fix.lat_deg == pytest.approx(third.lat, abs=2e-8)
        assert fix.lon_deg == pytest.approx(third.lon, abs=2e-8)
    speeds = [pynmea2.parse(s) for s in data.decode("ascii").splitlines() if s.startswith("$GNRMC")]
    for fix, other in zip(fixes, speeds, strict=True):
        assert fix.utc_ns == int(other.datetime.timestamp()) * 10**9
        assert fix.speed_mps == pytest.approx(other.spd_over_grnd * 1852 / 3600)


@pytest.mark.parametrize("folder", ["gpsd-regression", "pyubx2-pygnssutils", "rtklib-ubx"])
def test_real_receiver_logs_are_read_to_the_end(shared: Path, folder: str) -> None:
    files = sorted(p for p in (shared / "gnss-logs" / folder).iterdir() if p.suffix in (".log", ".ubx"))
    assert files
    for file in files:
        whole, chunked = NmeaReader(), NmeaReader()
        data = file.read_bytes()
        expected = whole.feed(data, 0) + whole.flush()
        found = [f for i in range(0, len(data), 61) for f in chunked.feed(data[i : i + 61], 0)] + chunked.flush()
        assert found == expected, file.name
