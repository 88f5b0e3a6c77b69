"""UBX messages against pyubx2, an independent reader."""

from __future__ import annotations

import datetime
import io
import math
import struct
from collections import Counter
from pathlib import Path

import pytest
import pyubx2
from hypothesis import given
from hypothesis import strategies as st

from gnss.checksums import fletcher
from gnss.framing import FrameKind, Framer
from gnss.refusal import Refusal
from gnss.types import FixQuality
from gnss.ubx import EsfStatus, Fusion, NavAtt, NavCov, NavPvt, UbxError, UbxMessage, parse_ubx
from tests.gnss.messages import att, cov, esf, pvt, ubx

KINDS = {"NAV-PVT": NavPvt, "NAV-COV": NavCov, "NAV-ATT": NavAtt, "ESF-STATUS": EsfStatus}


def parsed(frame: bytes) -> UbxMessage:
    return parse_ubx(frame[2:-2])


def as_pvt(frame: bytes) -> NavPvt:
    message = parsed(frame)
    assert isinstance(message, NavPvt)
    return message


def test_real_messages_agree_with_an_independent_reader(shared: Path) -> None:
    counted: Counter[str] = Counter()
    for folder in ("gpsd-regression", "pyubx2-pygnssutils"):
        for file in sorted((shared / "gnss-logs" / folder).iterdir()):
            if file.suffix not in (".log", ".ubx") or b"\xb5\x62" not in (data := file.read_bytes()):
                continue
            bodies = [f.data for f in Framer().feed(data, 0) if f.kind is FrameKind.UBX]
            for body in bodies:
                other = pyubx2.UBXReader.parse(b"\xb5\x62" + body + fletcher(body)) if known(body) else None
                if other is not None:
                    agree(parse_ubx(body), other)
                    counted[other.identity] += 1
    assert counted.keys() == KINDS.keys()
    assert counted["NAV-PVT"] >= 600
    assert min(counted.values()) >= 5


def known(body: bytes) -> bool:
    return body[:2] in (b"\x01\x07", b"\x01\x36", b"\x01\x05", b"\x10\x10")


def agree(ours: UbxMessage, other: pyubx2.UBXMessage) -> None:
    assert isinstance(ours, KINDS[other.identity])
    assert ours.itow_ms == struct.unpack_from("<I", other.payload)[0]
    if isinstance(ours, NavPvt):
        assert ours.satellites == other.numSV
        assert ours.speed_mps == pytest.approx(other.gSpeed * 1e-3)
        assert ours.course_deg == pytest.approx(other.headMot % 360.0, abs=1e-6)
        assert (ours.date is not None) == bool(other.validDate and other.validTime and other.fullyResolved)
        if ours.lat_deg is not None:
            assert ours.lat_deg == pytest.approx(other.lat, abs=1e-9)
            assert ours.lon_deg == pytest.approx(other.lon, abs=1e-9)
            assert ours.alt_m == pytest.approx(other.hMSL * 1e-3)
        else:
            assert not other.gnssFixOk
    elif isinstance(ours, NavCov) and ours.cov_nn_m2 is not None:
        assert ours.cov_nn_m2 == pytest.approx(other.posCovNN)
        assert ours.cov_ee_m2 == pytest.approx(other.posCovEE)
        assert ours.v_acc_m == pytest.approx(math.sqrt(other.posCovDD))
    elif isinstance(ours, NavAtt):
        assert ours.heading_deg == pytest.approx(other.heading % 360.0, abs=1e-6)
        assert ours.heading_acc_deg == pytest.approx(other.accHeading, abs=1e-6)
    elif isinstance(ours, EsfStatus):
        assert (ours.fusion, ours.sensors) == (other.fusionMode, other.numSens)


def test_the_two_dimensional_accuracy_becomes_one_per_axis(shared: Path) -> None:
    """u-blox' hAcc is the root of the sum of the variances of north and east: seen in its own messages."""
    data = (shared / "gnss-logs" / "pyubx2-pygnssutils" / "pygpsdata-NAV-ZED-X20P.log").read_bytes()
    messages = [parse_ubx(f.data) for f in Framer().feed(data, 0) if f.kind is FrameKind.UBX and known(f.data)]
    place = next(m for m in messages if isinstance(m, NavPvt))
    spread = next(m for m in messages if isinstance(m, NavCov))
    assert place.h_acc_m == pytest.approx(spread.h_acc_m, rel=1e-3)


@pytest.mark.parametrize(
    ("fix_type", "flags", "quality"),
    [
        (0, 1, FixQuality.INVALID),
        (1, 1, FixQuality.DEAD_RECKONING),
        (2, 1, FixQuality.SINGLE),
        (3, 0, FixQuality.INVALID),
        (3, 3, FixQuality.DIFFERENTIAL),
        (3, 0x43, FixQuality.RTK_FLOAT),
        (4, 0x83, FixQuality.RTK_FIXED),
        (5, 1, FixQuality.MANUAL),
        (9, 1, FixQuality.INVALID),
    ],
)
def test_quality_needs_the_ok_of_the_receiver(fix_type: int, flags: int, quality: FixQuality) -> None:
    assert as_pvt(pvt(fix_type=fix_type, flags=flags)).quality is quality


def test_what_is_not_valid_is_not_said() -> None:
    assert as_pvt(pvt(valid=3)).time_ns is None  # whole seconds are in doubt
    assert as_pvt(pvt(flags=0)).lat_deg is None
    assert as_pvt(pvt(heading=9_000_000)).heading_deg is None
    assert as_pvt(pvt(heading=9_000_000, flags=0x21)).heading_deg == 90.0
    assert as_pvt(pvt(flags=0x21, tail=False)).heading_deg is None
    assert as_pvt(pvt()).date == datetime.date(2020, 2, 7)
    nothing = parsed(cov(valid=0))
    assert isinstance(nothing, NavCov)
    assert nothing.h_acc_m is None
    assert parsed(esf(mode=2)) == EsfStatus(parsed(esf()).itow_ms, Fusion.SUSPENDED, 0)
    turned = parsed(att(heading_deg=-10.0))
    assert isinstance(turned, NavAtt)
    assert turned.heading_deg == 350.0


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (ubx(b"\x01\x02", bytes(28)), Refusal.UBX_IGNORED),
        (ubx(b"\x01\x07", bytes(40)), Refusal.BAD_FIELD),
        (ubx(b"\x01\x36", bytes(0)), Refusal.BAD_FIELD),
        (pvt(lat=900_000_001), Refusal.OUT_OF_RANGE),
        (pvt(month=13), Refusal.OUT_OF_RANGE),
        (pvt(second=61, itow=0), Refusal.OUT_OF_RANGE),
        (pvt(itow=604_800_000), Refusal.OUT_OF_RANGE),
        (cov(nn=float("nan")), Refusal.OUT_OF_RANGE),
        (cov(ne=3.0), Refusal.OUT_OF_RANGE),
        (esf(mode=4), Refusal.OUT_OF_RANGE),
    ],
)
def test_bad_messages_are_refused_with_a_reason(frame: bytes, reason: Refusal) -> None:
    with pytest.raises(UbxError) as caught:
        parsed(frame)
    assert caught.value.reason is reason


@given(st.sampled_from([b"\x01\x07", b"\x01\x36", b"\x01\x05", b"\x10\x10"]), st.binary(max_size=120))
def test_any_payload_gives_finite_numbers_or_a_reason(kind: bytes, payload: bytes) -> None:
    try:
        message = parsed(ubx(kind, payload))
    except UbxError:
        return
    assert all(math.isfinite(value) for value in message if isinstance(value, float))


def test_frames_are_those_of_the_independent_reader(shared: Path) -> None:
    data = (shared / "gnss-logs" / "pyubx2-pygnssutils" / "pygpsdata-MIXED.log").read_bytes()
    theirs = [raw for raw, _ in pyubx2.UBXReader(io.BytesIO(data), protfilter=pyubx2.UBX_PROTOCOL)]
    ours = [f.data for f in Framer().feed(data, 0) if f.kind is FrameKind.UBX]
    assert ours == [raw[2:-2] for raw in theirs]
