from __future__ import annotations

from pathlib import Path

import pytest

from gnss.types import FixQuality
from perception.errors import DriveError
from replays.import_rtklib import read_rtklib
from replays.import_video import read_track

HEAD = (
    "%  GPST  latitude(deg) longitude(deg)  height(m)   Q  ns   sdn(m)   sde(m)   sdu(m)  sdne(m)  sdeu(m)  sdun(m)"
    " age(s)  ratio"
)
SPEED = "    vn(m/s)    ve(m/s)    vu(m/s)      sdvn     sdve     sdvu    sdvne    sdveu    sdvun"
PLACE = "35.165360854  136.881409534    41.4069"
SIGMAS = "0.0045   0.0045   0.0097   0.0027   0.0011  -0.0030   0.03    5.9"
UTC_NS = 1_689_055_454_000_000_000
"""2023-07-11T06:04:14Z: 18 s behind GPS time."""


def pos(folder: Path, *rows: str, head: str = HEAD) -> Path:
    file = folder / "rover.pos"
    file.write_text("\n".join(["% program   : RTKLIB", head, *rows]) + "\n", encoding="ascii")
    return file


def test_calendar_and_week_times_are_gps_time(tmp_path: Path) -> None:
    calendar = read_rtklib(pos(tmp_path, f"2023/07/11 06:04:32.000   {PLACE}   1  19   {SIGMAS}"))
    week = read_rtklib(pos(tmp_path, f"2270 194672.000   {PLACE}   1  19   {SIGMAS}"))
    assert calendar == week
    assert calendar[0].utc_ns == UTC_NS
    assert calendar[0].stamp_ns == 0
    utc = read_rtklib(
        pos(tmp_path, f"2023/07/11 06:04:14.200   {PLACE}   1  19   {SIGMAS}", head=HEAD.replace("GPST", "UTC")), UTC_NS
    )
    assert utc[0].stamp_ns == 200_000_000


def test_quality_sigma_and_velocity(tmp_path: Path) -> None:
    velocity = "0.0  -6.0  0.1  0.1 0.1 0.2 0.0 0.0 0.0"
    fixes = read_rtklib(
        pos(
            tmp_path,
            f"2270 194672.0   {PLACE}   1  19   {SIGMAS} {velocity}",
            f"2270 194673.0   {PLACE}   2  19   {SIGMAS} {velocity.replace('-6.0', '0.01')}",
            f"2270 194674.0   {PLACE}   0  0   {SIGMAS} {velocity}",
            f"2270 194675.0   {PLACE}   5  7   {SIGMAS.replace('0.0045', '12.0')} {velocity}",
            f"2270 194675.0   {PLACE}   5  7   {SIGMAS} {velocity}",
            head=HEAD + SPEED,
        )
    )  # fmt: skip
    assert [f.quality for f in fixes] == [FixQuality.RTK_FIXED, FixQuality.RTK_FLOAT, FixQuality.SINGLE]
    assert [f.h_acc_m for f in fixes] == pytest.approx([0.05, 7.0, 12.0])
    assert (fixes[0].speed_mps, fixes[0].course_deg) == pytest.approx((6.0, 270.0))
    assert fixes[0].speed_acc_mps == pytest.approx(0.1)
    assert fixes[0].course_acc_deg == pytest.approx(0.955, abs=1e-3)
    assert fixes[1].course_deg is None
    assert fixes[2].satellites == 7
    assert fixes[2].stamp_ns == 3_000_000_000


@pytest.mark.parametrize(
    ("row", "head", "problem"),
    [
        (f"2270 194672.0 {PLACE} 1 19 0.1", HEAD, "no solution row"),
        (f"2270 194672.0 95.0 136.0 41.0 1 19 {SIGMAS}", HEAD, "not on the earth"),
        (f"2270 194672.0 nan 136.0 41.0 1 19 {SIGMAS}", HEAD, "not finite"),
        (f"2270 194672.0 {PLACE} 1 19 {SIGMAS}", "% x-ecef(m)", "no header"),
        (f"2270 194672.0 {PLACE} 1 19 {SIGMAS}", HEAD.replace("GPST", "JST"), "times in JST"),
        (f"2270 194672.0 {PLACE} 0 19 {SIGMAS}", HEAD, "no solution"),
    ],
)
def test_what_it_is_not(tmp_path: Path, row: str, head: str, problem: str) -> None:
    with pytest.raises(DriveError, match=problem):
        read_rtklib(pos(tmp_path, row, head=head))
    with pytest.raises(DriveError, match="cannot be read"):
        read_rtklib(tmp_path / "absent.pos")


def test_it_is_a_track_of_a_video(tmp_path: Path) -> None:
    file = pos(tmp_path, f"2270 194672.0   {PLACE}   1  19   {SIGMAS}", f"2270 194673.0   {PLACE}   1  19   {SIGMAS}")
    assert read_track(file) == read_rtklib(file)
