"""Video with a track: clocks are joined as said, guesses are declared, what does not fit is refused whole."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from operator import xor
from pathlib import Path

import pytest

from gnss.types import Fix
from perception.errors import DriveError
from perception.types import Frame
from replays.drive_info import drive_info, info_rows, info_text
from replays.gpx import read_gpx
from replays.import_video import import_video, video_stamps
from replays.source import DriveSource


def sentence(body: str) -> str:
    return f"${body}*{reduce(xor, body.encode()):02X}\r\n"


@pytest.fixture
def nmea(tmp_path: Path) -> Path:
    """Six seconds of GGA and RMC at 1 Hz, from 02:00:00 UTC."""
    lines = []
    for second in range(6):
        lat = f"3112.{second:04d},N,12124.0000,E"
        lines.append(sentence(f"GPGGA,0200{second:02d}.00,{lat},1,10,0.9,4.0,M,0.0,M,,"))
        lines.append(sentence(f"GPRMC,0200{second:02d}.00,A,{lat},19.4,0.0,010426,,,A"))
    file = tmp_path / "log.nmea"
    file.write_text("".join(lines))
    return file


GPX = """<?xml version="1.0"?>
<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>
<trkpt lat="31.2" lon="121.4"><ele>4.5</ele><time>2026-04-01T02:00:00Z</time></trkpt>
<trkpt lat="31.2001" lon="121.4"><time>2026-04-01T02:00:01.5Z</time><hdop>1.2</hdop></trkpt>
<trkpt lat="31.2002" lon="121.4"></trkpt>
</trkseg></trk></gpx>
"""


@pytest.fixture
def gpx(tmp_path: Path) -> Path:
    file = tmp_path / "track.gpx"
    file.write_text(GPX)
    return file


def test_nmea_and_video_with_an_offset(tiny_original: Path, nmea: Path, tmp_path: Path) -> None:
    imported = import_video(tiny_original / "front.mp4", nmea, tmp_path / "drive", clock_offset_s=2.0)
    drive = imported.drive
    assert [fix.stamp_ns for fix in drive.fixes] == [s * 10**9 for s in range(-2, 4)]
    assert drive.cameras["front"].guessed
    assert drive.members["front"].stamp_ns.tolist() == [n * 100_000_000 for n in range(12)]
    assert drive_info(drive)["start_utc"] == "2026-04-01T02:00:00Z"
    assert drive.start_utc_ns == 1_775_008_802_000_000_000
    assert "+2.000 s" in imported.note
    assert "70 degrees" in imported.note
    assert sum(isinstance(item, Frame) for item in DriveSource(drive)) == 12
    text = info_text(info_rows(drive_info(drive)))
    assert "12 frames at 10.00/s, 160x120, calibration guessed, front.mp4" in text


def test_gpx_and_video(tiny_original: Path, gpx: Path, tmp_path: Path) -> None:
    start = 1_775_008_799_500_000_000
    drive = import_video(tiny_original / "front.mp4", gpx, tmp_path / "drive", video_start_utc_ns=start).drive
    assert [(f.stamp_ns, f.h_acc_m, f.hdop, f.alt_m) for f in drive.fixes] == [
        (500_000_000, 5.0, None, 4.5),
        (2_000_000_000, None, 1.2, None),
    ]
    assert drive.start_utc_ns == start


def test_clocks_that_do_not_meet_leave_nothing(tiny_original: Path, nmea: Path, tmp_path: Path) -> None:
    with pytest.raises(DriveError, match=r"no fix falls into front\.mp4: the track ends 95.+clock_offset_s"):
        import_video(tiny_original / "front.mp4", nmea, tmp_path / "drive", clock_offset_s=100.0)
    with pytest.raises(DriveError, match="the track begins 98"):
        import_video(tiny_original / "front.mp4", nmea, tmp_path / "drive", clock_offset_s=-100.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.nmea"]


def test_files_that_cannot_be_used_are_named(tiny_original: Path, nmea: Path, gpx: Path, tmp_path: Path) -> None:
    video = tiny_original / "front.mp4"
    with pytest.raises(DriveError, match="no video"):
        import_video(nmea, nmea, tmp_path / "drive")
    with pytest.raises(DriveError, match=r"gone\.nmea: cannot be read"):
        import_video(video, tmp_path / "gone.nmea", tmp_path / "drive")
    nmea.write_text("no sentence here")
    with pytest.raises(DriveError, match="no fix with date and time"):
        import_video(video, nmea, tmp_path / "drive")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(DriveError, match="exists and is no drive"):
        import_video(video, gpx, tmp_path / "mine")
    assert not (tmp_path / "drive").exists()


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('lat="31.2"', 'lat="north"', "track point 1 is broken"),
        ('lat="31.2"', 'lat="95"', "not on the earth"),
        ("</gpx>", "", r"gpx:\d+: is no XML"),
        ("<gpx", "<!DOCTYPE gpx><gpx", "DOCTYPE"),
        ("<time>", "<tyme>", "no XML"),
        ("02:00:00Z", "02:00:00", "no zone"),
    ],
)
def test_broken_gpx(gpx: Path, old: str, new: str, word: str) -> None:
    gpx.write_text(GPX.replace(old, new))
    with pytest.raises(DriveError, match=word):
        read_gpx(gpx)


def test_gpx_without_times(gpx: Path) -> None:
    gpx.write_text(GPX.replace("time>", "name>"))
    with pytest.raises(DriveError, match="no track point with a time"):
        read_gpx(gpx)


def test_stamps_of_a_real_video(shared: Path) -> None:
    videos = sorted((shared / "drives" / "gopro-max-walk").glob("*.mp4"))
    if not videos:
        pytest.skip("gopro-max-walk is absent: frame times of a real video are not checked")
    stamps, width, height = video_stamps(videos[0])
    assert (width, height) == (848, 480)
    assert all(b > a for a, b in pairwise(stamps))
    assert stamps[-1] / 1e9 == pytest.approx(10.5, abs=0.3)


def test_raw_nmea_with_arrival_stamps(tiny: Path, nmea: Path) -> None:
    from replays.drive import open_drive

    data = nmea.read_bytes()
    (tiny / "fixes.csv").unlink()
    (tiny / "gnss.nmea").write_bytes(data)
    offsets = [i for i in range(len(data)) if data.startswith(b"$GPGGA", i)]
    rows = "".join(f"{n * 10**9 + 150_000_000},{offset}\n" for n, offset in enumerate(offsets))
    (tiny / "gnss.csv").write_text("stamp_ns,offset\n" + rows)
    text = (tiny / "drive.toml").read_text().replace("[[camera]]", "[gnss]\nlatency_s = 0.05\n[[camera]]")
    (tiny / "drive.toml").write_text(text)
    drive = open_drive(tiny)
    assert [fix.stamp_ns for fix in drive.fixes] == [n * 10**9 + 100_000_000 for n in range(6)]
    assert all(isinstance(fix, Fix) and fix.utc_ns for fix in drive.fixes)
    (tiny / "gnss.csv").write_text(f"stamp_ns,offset\n0,0\n5,{len(data) + 1}\n")
    with pytest.raises(DriveError, match=r"gnss\.csv:3: offset"):
        open_drive(tiny)
