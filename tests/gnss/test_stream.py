"""The mixed stream: every valid message among junk, one fix per epoch from whatever the epoch was said in."""

from __future__ import annotations

import datetime
import io
import math
import random
from collections import Counter
from pathlib import Path

import pytest
import pyubx2
from hypothesis import given, settings
from hypothesis import strategies as st

from gnss.checksums import xor
from gnss.framing import GAP_NS, MAX_SENTENCE, FrameKind, Framer
from gnss.nmea_sentence import NmeaError, parse_sentence
from gnss.refusal import Refusal
from gnss.stream import StreamReader
from gnss.types import Fix, FixQuality
from tests.gnss.messages import att, cov, esf, gga, line, pvt, rmc, rtcm, ubx

CORRUPTED: dict[str, dict[Refusal, int]] = {
    "pygpsdata-BADCK2.log": {Refusal.UBX_BAD_CHECKSUM: 1},
    "pygpsdata-BADEOF1.log": {Refusal.UBX_CUT: 1},
    "pygpsdata-BADHDR.log": {Refusal.NOISE: 1},
    "pygpsdata-BADNMEAEOF.log": {Refusal.CUT: 1},
    "pygpsdata-NMEABADEND.log": {Refusal.NO_CHECKSUM: 1},
    "pygpsdata-MIXED-RTCM3BADCRC.log": {Refusal.RTCM_BAD_CRC: 1},
}
_USED = (Refusal.IGNORED, Refusal.UBX_IGNORED, Refusal.RTCM, Refusal.NO_FIX, Refusal.NO_POSITION, Refusal.LATE)


def read(data: bytes, reader: StreamReader | None = None) -> list[Fix]:
    reader = reader or StreamReader()
    return reader.feed(data, 5) + reader.flush()


def utc_ns(*parts: int) -> int:
    return int(datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp()) * 10**9  # type: ignore[arg-type,misc]


def valid_frames(data: bytes) -> Counter[bytes]:
    """Bytes of the frames that pass their check."""
    framer, found = Framer(), Counter[bytes]()
    for kind, raw, _ in framer.feed(data, 0) + framer.flush():
        if kind is FrameKind.NMEA:
            body, _, check = raw[1:].partition(b"*")
            found[raw] += check.isalnum() and int(check[:2], 16) == xor(body)
        else:
            found[raw] += 1
    return +found


def other_frames(data: bytes) -> Counter[bytes]:
    """The same by pyubx2."""
    found = Counter[bytes]()
    stream = pyubx2.UBXReader(io.BytesIO(data), protfilter=7, quitonerror=pyubx2.ERR_IGNORE)
    for raw, _ in stream:
        found[raw[2:-2] if raw[:2] == b"\xb5\x62" else raw.rstrip(b"\r\n")] += 1
    return found


def test_all_valid_messages_of_real_and_corrupted_streams_are_found(shared: Path) -> None:
    files = sorted(p for p in (shared / "gnss-logs" / "pyubx2-pygnssutils").iterdir() if p.suffix in (".log", ".ubx"))
    assert len(files) == 22
    for file in files:
        data = file.read_bytes()
        assert other_frames(data) - valid_frames(data) == Counter(), file.name


@pytest.mark.parametrize("name", sorted(CORRUPTED))
def test_errors_of_corrupted_streams_are_counted_by_type(shared: Path, name: str) -> None:
    reader = StreamReader()
    read((shared / "gnss-logs" / "pyubx2-pygnssutils" / name).read_bytes(), reader)
    assert {k: n for k, n in reader.counters.items() if n and k not in _USED} == CORRUPTED[name]


def test_ubx_is_preferred_and_nmea_says_the_rest() -> None:
    reader = StreamReader()
    gst = line("GNGST,021417.00,1.2,,,,3.0,4.0,5.5")
    (fix,) = read(rmc() + gga(quality=4) + gst + pvt(lat=374263930, flags=0x83) + cov(), reader)
    assert (fix.lat_deg, fix.quality, fix.satellites) == (37.426393, FixQuality.RTK_FIXED, 14)
    assert (fix.speed_mps, fix.course_deg, fix.alt_m, fix.hdop) == (5.0, 65.0, 4.5, 0.76)
    assert fix.h_acc_m == pytest.approx(math.sqrt(3.0))
    assert (fix.v_acc_m, fix.speed_acc_mps) == (3.0, 0.2)
    assert fix.course_acc_deg == 1.5
    assert fix.utc_ns == utc_ns(2020, 2, 7, 2, 14, 17)
    assert reader.fixes == 1


def test_accuracy_is_the_receivers_own_when_it_says_one() -> None:
    gst = line("GNGST,021417.00,1.2,,,,3.0,4.0,5.5")
    assert read(pvt(h_acc=1414) + gst)[0].h_acc_m == pytest.approx(1.0, abs=1e-3)
    assert read(gga() + rmc() + gst)[0].h_acc_m == pytest.approx(12.5**0.5)
    assert (read(gga() + rmc())[0].h_acc_m, read(gga() + rmc())[0].hdop) == (None, 0.76)


@pytest.mark.parametrize("nano", [0, -422_750, 3_000_000, 4_999_999, -4_999_999])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_an_epoch_said_twice_is_one_fix_in_any_order(nano: int, order: int) -> None:
    """NMEA rounds times to 10 ms; NAV-PVT may say 16.9996 s for the same epoch."""
    reader, fixes = StreamReader(), []
    for second in range(17, 30):
        nmea = rmc(f"0214{second}.00") + gga(f"0214{second}.00")
        binary = pvt(second, nano=nano) + cov(second) + att(second)
        half = rmc(f"0214{second}.00") + pvt(second, nano=nano) + att(second) + gga(f"0214{second}.00") + cov(second)
        fixes += reader.feed((nmea + binary, binary + nmea, half)[order], second)
    fixes += reader.flush()
    assert len(fixes) == 13
    assert [f.stamp_ns for f in fixes] == list(range(17, 30))
    assert all(f.heading_deg == 70.0 and f.h_acc_m == pytest.approx(3**0.5) for f in fixes)
    assert reader.counters[Refusal.LATE] == 0


def test_what_comes_after_the_next_epoch_began_makes_no_second_fix() -> None:
    reader = StreamReader()
    fixes = read(gga("021417.00") + pvt(18) + rmc("021417.00") + pvt(17) + gga("021418.00") + pvt(19), reader)
    assert [f.utc_ns for f in fixes[1:]] == [utc_ns(2020, 2, 7, 2, 14, 18), utc_ns(2020, 2, 7, 2, 14, 19)]
    assert len(fixes) == 3
    assert reader.counters[Refusal.LATE] == 2


def test_covariance_and_attitude_before_their_position() -> None:
    fixes = read(b"".join(cov(s, nn=s) + att(s) + pvt(s) for s in range(17, 22)))
    assert [f.h_acc_m for f in fixes] == [pytest.approx(math.sqrt((s + 2.0) / 2.0)) for s in range(17, 22)]
    assert all(f.heading_deg == 70.0 and f.heading_acc_deg == 0.5 for f in fixes)


def test_attitude_counts_only_while_the_receiver_fuses() -> None:
    reader = StreamReader()
    fixes = read(esf(17, mode=0) + att(17) + pvt(17) + esf(18, mode=1) + att(18) + pvt(18), reader)
    assert [f.heading_deg for f in fixes] == [None, 70.0]
    assert reader.fusion == 1


def test_headings_of_dual_antennas() -> None:
    ths, hdt = line("GNTHS,123.4,A"), line("GNHDT,120.0,T")
    assert [f.heading_deg for f in read(gga() + hdt)] == [120.0]
    assert [f.heading_deg for f in read(gga() + hdt + ths)] == [123.4]
    assert [f.heading_deg for f in read(gga() + hdt + line("GNTHS,,V"))] == [None]
    assert [f.heading_deg for f in read(pvt(heading=9_000_000, flags=0x21))] == [90.0]
    assert [f.heading_deg for f in read(gga() + line("GNHDT,360.0,T"))] == [0.0]


def test_a_second_vtg_begins_the_next_epoch() -> None:
    parts = [line(f"GNVTG,65.0,T,,M,{s}.0,N,,K,A") + gga(f"0214{s}.00") for s in range(17, 22)]
    fixes = read(b"".join(parts))
    assert [f.speed_mps for f in fixes] == [pytest.approx(s * 1852 / 3600) for s in range(17, 22)]


def test_a_receiver_whose_weeks_rolled_over_is_moved_on() -> None:
    reader = StreamReader(datetime.date(2026, 1, 1))
    (fix,) = read(rmc(date="100407") + gga(), reader)  # 2026-11-24 less 1024 weeks
    assert fix.utc_ns == utc_ns(2026, 11, 24, 2, 14, 17)
    assert reader.counters[Refusal.WEEK_ROLLOVER] == 1
    (fix,) = read(pvt(year=2007, month=4, day=10), StreamReader(datetime.date(2026, 1, 1)))
    assert fix.utc_ns == utc_ns(2026, 11, 24, 2, 14, 17)
    assert read(rmc(date="241126") + gga(), StreamReader(datetime.date(2026, 1, 1)))[0].utc_ns == fix.utc_ns


def test_leap_second_and_midnight_in_ubx() -> None:
    stamps = [pvt(60, hour=23, minute=59, itow=17_000), pvt(0, hour=0, minute=0, day=8, itow=18_000, nano=-1_000_000)]
    fixes = read(b"".join(stamps))
    assert [f.utc_ns for f in fixes] == [utc_ns(2020, 2, 8, 0, 0, 0), utc_ns(2020, 2, 8, 0, 0, 0) - 1_000_000]


def test_a_date_from_before_the_fix_is_not_believed() -> None:
    (fix,) = read(rmc("021416.00", status="V", date="010106") + gga("021417.00"))
    assert fix.utc_ns is None


JUNK = (
    b"\x00" * 9,
    b"\xb5\x62\x01\x07\x5c\x00",
    b"\xb5\x62\xff\xff\xff\xff",
    b"\xd3\x00\x40",
    b"\xd3\xff",
    b"$",
    b'{"class":"',
    b'{"class":"DEVICE","path":"/dev/ttyUSB0"}\r\n',
    b"$GNGGA,0214",
    rtcm(b"\x3e\xd0" + b"$GNGGA,021417.00" * 4),
    ubx(b"\x04\x02", b"$GNRMC,bad*00\r\n"),
)


@pytest.mark.parametrize("seed", range(20))
def test_good_messages_between_junk_all_arrive_once_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    data = b""
    for second in range(10, 60):
        data += rng.choice(JUNK) + rng.randbytes(rng.randrange(40)).replace(b"$", b"") + b"\r\n"
        data += pvt(second) if rng.random() < 0.5 else rmc(f"0214{second}.00") + rng.choice((b"", rtcm(b"12")))
    data += bytes(5000)
    reader, position, fixes = StreamReader(), 0, []
    while position < len(data):
        step = rng.randrange(1, 200)
        fixes += reader.feed(data[position : position + step], position)
        position += step
    fixes += reader.flush()
    assert [f.utc_ns for f in fixes] == [utc_ns(2020, 2, 7, 2, 14, second) for second in range(10, 60)]


def test_stamp_is_the_arrival_of_the_first_byte_also_behind_a_false_start() -> None:
    false_start = b"\xb5\x62\x01\x07\x5c\x00"
    reader = StreamReader()
    assert reader.feed(false_start, 100) == []
    assert reader.feed(pvt(17), 200) == []
    assert [f.stamp_ns for f in reader.feed(pvt(18), 300)] == [200]


def test_a_cut_message_is_given_up_after_a_silence() -> None:
    reader = StreamReader()
    assert reader.feed(ubx(b"\x02\x15", bytes(2000))[:50], 0) == []
    fixes = reader.feed(pvt(17) + pvt(18), GAP_NS + 1)
    assert len(fixes) == 1
    assert reader.counters[Refusal.UBX_CUT] == 1
    late = StreamReader()
    whole = pvt(17) + pvt(18)
    assert late.feed(whole[:50], 0) + late.feed(whole[50:], GAP_NS + 1) == late.feed(b"", 0) or late.fixes == 1


def test_memory_is_bounded_by_the_longest_frame() -> None:
    for piece in (b"$" + b"x" * 5000, b"\xb5\x62\x01\x07\xff\x0f", b"\xd3\x03\xff", b'{"class":"' + b"x" * 20_000):
        framer, held = Framer(), 0
        for _ in range(200):
            framer.feed(piece, 0)
            held = max(held, framer.held)
        assert held <= 20_000
    assert MAX_SENTENCE == 1024


pieces = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([rmc(), gga(), pvt(), pvt(18), cov(), *JUNK, rmc()[:20], pvt()[:50], b"\xb5"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(pieces, max_size=12))
def test_any_bytes_never_raise_and_chunks_do_not_matter(parts: list[bytes]) -> None:
    data = b"".join(parts)
    chunked, whole = StreamReader(), StreamReader()
    fixes = [f for part in parts for f in chunked.feed(part, 0)] + chunked.flush()
    assert fixes == whole.feed(data, 0) + whole.flush()
    assert chunked.counters == whole.counters


def test_sentences_are_refused_or_read_alike_by_checksum() -> None:
    with pytest.raises(NmeaError):
        parse_sentence(b"$GNHDT,1.0,T*00")
    assert parse_sentence(line("GNTHS,1.0,A").strip()).heading_deg == 1.0
