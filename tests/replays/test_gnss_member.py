"""Raw receiver bytes of a drive: UBX and NMEA mixed, with arrival stamps or by their own UTC."""

from __future__ import annotations

from pathlib import Path

from replays.gnss_member import read_gnss
from tests.gnss.messages import gga, pvt, rmc, rtcm

START_UTC_NS = 1_581_041_650 * 10**9  # 2020-02-07 02:14:10


def test_mixed_bytes_with_arrivals(tmp_path: Path) -> None:
    data, rows = b"", "stamp_ns,offset\n"
    for n, second in enumerate(range(17, 27)):
        late_ms = (50, 80, 60)[n % 3]
        rows += f"{n * 10**9 + late_ms * 1_000_000},{len(data)}\n"
        data += rtcm(b"12") + pvt(second) if n % 2 else rmc(f"0214{second}.00") + gga(f"0214{second}.00")
    (tmp_path / "gnss.nmea").write_bytes(data)
    (tmp_path / "gnss.csv").write_text(rows)
    member = read_gnss(tmp_path, None, 0.05)
    assert len(member.fixes) == 10
    # Arrivals vary by 30 ms; the stamps are those of the quickest, less the declared latency.
    assert all(abs(fix.stamp_ns - n * 10**9) < 1_000_000 for n, fix in enumerate(member.fixes))
    assert member.dropped == {"RTCM message, corrections are not used": 5}


def test_mixed_bytes_by_their_own_utc(tmp_path: Path) -> None:
    (tmp_path / "gnss.nmea").write_bytes(pvt(17) + rmc("021418.00") + gga("021418.00") + pvt(19))
    member = read_gnss(tmp_path, START_UTC_NS, 0.0)
    assert [fix.stamp_ns for fix in member.fixes] == [7 * 10**9, 8 * 10**9, 9 * 10**9]
