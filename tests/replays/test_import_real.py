"""Importers of comma2k19, GoPro and CSV tracks, the search of a clock offset; on real recordings where they are."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from gnss.types import Fix
from perception.errors import DriveError
from replays.csv_track import read_csv_track
from replays.drive import open_drive
from replays.drive_toml import utc_iso
from replays.gpmf import gopro_fixes
from replays.import_comma import GNSS_LATENCY_S, import_comma, is_comma
from replays.import_video import import_video, read_track
from replays.mp4 import track_samples
from replays.offset import find_offset
from replays.video_motion import SeenMotion, seen_motion
from tests.replays import ride
from tests.replays.ride import Ride

DRIVES = Path(__file__).parents[3] / "shared" / "drives"
GOPRO = DRIVES / "gopro-max-walk" / "max-heromode.mp4"
COMMA = DRIVES / "comma2k19-sf-example"
has_gopro = pytest.mark.skipif(not GOPRO.exists(), reason="the GoPro recording is not here")
has_comma = pytest.mark.skipif(not COMMA.exists(), reason="the comma2k19 segment is not here")


@has_gopro
def test_a_gopro_video_brings_its_track(tmp_path: Path) -> None:
    drive = import_video(GOPRO, None, tmp_path / "walk", vehicle="walker").drive
    assert len(drive.fixes) == 191
    first = drive.fixes[0]
    assert (first.lat_deg, first.lon_deg) == pytest.approx((33.12677, -117.32734), abs=1e-5)
    assert first.hdop == pytest.approx(1.54)
    assert drive.start_utc_ns is not None
    assert utc_iso(drive.start_utc_ns).startswith("2019-11-18T23:45:1")
    member = drive.members["front"]
    assert (member.model.width, member.model.height) == (848, 480)
    # Track and video lie on one clock: both last 10.5 s.
    assert abs(int(member.stamp_ns[-1]) - drive.fixes[-1].stamp_ns) < 2e8
    assert all(fix.speed_mps is not None and 0 < fix.speed_mps < 2.5 for fix in drive.fixes)


def gpmf(key: bytes, kind: bytes, size: int, count: int, content: bytes) -> bytes:
    """One entry of the telemetry, padded."""
    return key + struct.pack(">cBH", kind, size, count) + content + b"\0" * (-len(content) % 4)


def telemetry(
    rows: Sequence[tuple[int, ...]], *, lock: int = 3, nine: bool = False, utc: bytes = b"240601120000.000"
) -> bytes:
    """A payload with GPS5 or GPS9 and another stream before it."""
    scales = (10_000_000, 10_000_000, 1000, 1000, 100) + ((1, 1000, 100, 1) if nine else ())
    scale = gpmf(b"SCAL", b"l", 4, len(scales), struct.pack(f">{len(scales)}i", *scales))
    if nine:
        body = b"".join(struct.pack(">7i2H", *row) for row in rows)
        stream = scale + gpmf(b"TYPE", b"c", 1, 9, b"lllllllSS") + gpmf(b"GPS9", b"?", 32, len(rows), body)
    else:
        body = b"".join(struct.pack(">5i", *row) for row in rows)
        told = gpmf(b"GPSF", b"L", 4, 1, struct.pack(">I", lock)) + gpmf(b"GPSU", b"U", 16, 1, utc)
        told += gpmf(b"GPSP", b"S", 2, 1, struct.pack(">H", 250))
        stream = told + scale + gpmf(b"GPS5", b"l", 20, len(rows), body)
    other = gpmf(b"STRM", b"\0", 1, 12, gpmf(b"ACCL", b"s", 2, 1, b"\0\1"))
    inner = gpmf(b"DVID", b"L", 4, 1, b"\0\0\0\1") + other + gpmf(b"STRM", b"\0", 1, len(stream), stream)
    return gpmf(b"DEVC", b"\0", 1, len(inner), inner)


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def write_mp4(file: Path, payloads: list[bytes], codec: bytes = b"gpmd") -> Path:
    """An MP4 with one telemetry track: a second per payload, one per chunk."""
    mdat = box(b"mdat", *payloads)
    offsets, at = [], 8
    for payload in payloads:
        offsets.append(at)
        at += len(payload)
    count = len(payloads)
    stbl = box(
        b"stbl",
        box(b"stsd", bytes(4), struct.pack(">I", 1), box(codec, bytes(8))),
        box(b"stts", bytes(4), struct.pack(">III", 1, count, 1000)),
        box(b"stsz", bytes(4), struct.pack(f">II{count}I", 0, count, *map(len, payloads))),
        box(b"stsc", bytes(4), struct.pack(">IIII", 1, 1, 1, 1)),
        box(b"stco", bytes(4), struct.pack(f">I{count}I", count, *offsets)),
    )
    mdhd = box(b"mdhd", bytes(12), struct.pack(">II", 1000, 1000 * count), bytes(4))
    file.write_bytes(mdat + box(b"moov", box(b"trak", box(b"mdia", mdhd, box(b"minf", stbl)))))
    return file


def test_gps5_and_gps9(tmp_path: Path) -> None:
    five = [telemetry([(310000000 + n, 1210000000, 5000, 900, 90) for n in range(3)]) for _ in range(2)]
    fixes = gopro_fixes(write_mp4(tmp_path / "a.mp4", five))
    assert [round(f.stamp_ns / 1e6) for f in fixes] == [0, 333, 667, 1000, 1333, 1667]
    assert (fixes[1].lat_deg, fixes[1].alt_m, fixes[1].speed_mps, fixes[1].hdop) == (31.0000001, 5.0, 0.9, 2.5)
    noon = round(datetime(2024, 6, 1, 12, tzinfo=UTC).timestamp()) * 10**9
    assert fixes[0].utc_ns is not None
    assert abs(fixes[0].utc_ns - noon) <= 10**9
    rows = [(310000000, 1210000000, 5000, 900, 90, 8918, 43_200_000 + 100 * n, 180, 3) for n in range(10)]
    nine = gopro_fixes(write_mp4(tmp_path / "b.mp4", [telemetry(rows, nine=True)]))
    assert [f.utc_ns for f in nine] == [noon + n * 10**8 for n in range(10)]
    assert {f.hdop for f in nine} == {1.8}


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (telemetry([(0, 0, 0, 0, 0)], lock=0), "never had a fix"),
        (telemetry([(310000000, 1210000000, 0, 0, 0)])[:-9], "telemetry sample 0 is broken"),
        (telemetry([(310000000, 1210000000, 0, 0, 0)]).replace(b"SCAL", b"SCAM"), "telemetry sample 0 is broken"),
    ],
)
def test_broken_telemetry_is_named(tmp_path: Path, payload: bytes, said: str) -> None:
    with pytest.raises(DriveError, match=said) as error:
        gopro_fixes(write_mp4(tmp_path / "a.mp4", [payload]))
    assert "--track" in error.value.remedy


def test_a_video_without_telemetry_needs_a_track(tiny_original: Path, tmp_path: Path) -> None:
    with pytest.raises(DriveError, match="needs a track, and there is no GPS telemetry") as error:
        import_video(tiny_original / "front.mp4", None, tmp_path / "drive")
    assert "--track" in error.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda d: d[:-20],
        lambda d: d.replace(b"stsz\0\0\0\0\0\0\0\0\0\0\0\2", b"stsz\0\0\0\0\0\0\0\0\xff\xff\xff\xff"),
        lambda d: b"text",
        lambda d: d.replace(b"stbl", b"stbX"),
    ],
)
def test_broken_containers_are_named(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    file = write_mp4(tmp_path / "a.mp4", [b"abcd", b"efgh"])
    assert [s.data for s in track_samples(file, b"gpmd")] == [b"abcd", b"efgh"]
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(DriveError) as error:
        track_samples(file, b"gpmd")
    assert error.value.file == file
    assert error.value.remedy


@has_comma
def test_a_comma_segment_is_a_drive(tmp_path: Path) -> None:
    assert is_comma(COMMA)
    drive = import_comma(COMMA, tmp_path / "segment", vehicle="rav4").drive
    assert len(drive.fixes) == 579
    assert drive.motion is not None
    assert len(drive.motion) == 4974
    assert drive.start_utc_ns is not None
    assert utc_iso(drive.start_utc_ns).startswith("2018-08-02T16:14:48")
    # The reference is only used here: where the camera was, and how the car turned.
    positions, times = (
        np.load(COMMA / "global_pose/frame_positions.npy"),
        np.load(COMMA / "global_pose/frame_times.npy"),
    )
    from pyproj import Transformer

    from gnss.geodesy import LocalFrame

    lon, lat, _ = Transformer.from_crs(4978, 4979, always_xy=True).transform(*positions.T)
    ground = LocalFrame(float(lat[0]), float(lon[0]))
    east, north = ground.to_enu(lat, lon)

    def median_m(latency_s: float) -> float:
        moved = GNSS_LATENCY_S - latency_s
        rows = np.array([(f.stamp_ns * 1e-9 + moved, *ground.to_enu(f.lat_deg, f.lon_deg)) for f in drive.fixes])
        clock = times - times[0]
        away = np.hypot(
            np.interp(rows[:, 0], clock, east) - rows[:, 1], np.interp(rows[:, 0], clock, north) - rows[:, 2]
        )
        return float(np.median(away))

    print(f"u-blox against the reference: {median_m(GNSS_LATENCY_S):.2f} m, without latency {median_m(0.0):.2f} m")
    assert median_m(GNSS_LATENCY_S) < 0.6 < median_m(0.0)


def write_segment(folder: Path, frames: int = 12) -> Path:
    """A tiny segment in the original's shape, with a video under another container's content."""
    for name, values in {
        "global_pose/frame_times": 100.0 + np.arange(frames) / 10,
        "GNSS/live_gnss_ublox/t": 100.1 + np.arange(10) / 10,
        "GNSS/live_gnss_ublox/value": np.stack(
            [
                31 + np.arange(10) * 1e-5,
                np.full(10, 121.0),
                np.full(10, 11.0),
                1.78e12 + np.arange(10) * 100.0,
                np.zeros(10),
                np.zeros(10),
            ],
            1,
        ),
        "CAN/speed/t": 100.0 + np.arange(50) / 50,
        "CAN/speed/value": np.full((50, 1), 11.0),
        "IMU/gyro/t": 100.0 + np.arange(100) / 100,
        "IMU/gyro/value": np.stack([np.zeros(100), np.zeros(100), np.full(100, 0.1)], 1),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as stream:
            np.save(stream, values)
    cv2.imwrite(str(folder / "preview.png"), np.zeros((874, 1164, 3), np.uint8))
    return folder


def test_a_segment_s_axes_and_clocks(tmp_path: Path) -> None:
    drive = import_comma(write_segment(tmp_path / "segment"), tmp_path / "out", vehicle="v", gnss_latency_s=0.1).drive
    assert [f.stamp_ns for f in drive.fixes[:2]] == [0, 100_000_000]
    assert drive.fixes[0].utc_ns == 1_780_000_000_000_000_000
    assert drive.motion is not None
    # A right turn about the downward axis is a negative rate here.
    assert {round(m.yaw_rate_dps or 0, 3) for m in list(drive.motion)[1:]} == {round(-np.degrees(0.1), 3)}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "CAN/speed/value").unlink(), "speed/value: is missing"),
        (lambda f: (f / "CAN/speed/value").write_bytes(b"text"), "is no numpy array"),
        (lambda f: np.save((f / "IMU/gyro/value").open("wb"), np.zeros(5)), r"has shape \(5,\), not \(N, 3\)"),
        (lambda f: np.save((f / "GNSS/live_gnss_ublox/value").open("wb"), np.full((10, 6), np.nan)), "not finite"),
        (lambda f: np.save((f / "GNSS/live_gnss_ublox/t").open("wb"), np.zeros(3)), "3 times for 10 fixes"),
        (lambda f: (f / "preview.png").unlink(), "neither video.hevc nor preview.png"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broken_segment_leaves_nothing(tmp_path: Path, spoil: Callable[[Path], object], said: str) -> None:
    segment = write_segment(tmp_path / "segment")
    spoil(segment)
    with pytest.raises(DriveError, match=said) as error:
        import_comma(segment, tmp_path / "out", vehicle="v")
    assert error.value.remedy
    assert [p.name for p in tmp_path.iterdir()] == ["segment"]


@pytest.mark.parametrize(
    ("text", "first", "utc"),
    [
        ("time,lat,lon\n2026-04-01T02:00:00Z,31,121\n2026-04-01T02:00:01.5Z,31.0001,121\n", (0, 1_500_000_000), True),
        (
            "Timestamp;Latitude;Longitude\n2026-04-01 02:00:00;31;121\n2026-04-01 02:00:02;31;121\n",
            (0, 2 * 10**9),
            True,
        ),
        ("utc_ns,lat_deg,lon_deg\n1780000000123456789,31,121\n1780000001123456789,31,121\n", (0, 10**9), True),
        ("unix,lat,lng,speed (km/h)\n1780000000.5,31,121,36\n1780000001,31,121,72\n", (0, 5 * 10**8), True),
        ("time,lat,lon\n1780000000500,31,121\n1780000001000,31,121\n", (0, 5 * 10**8), True),
        ("t,lat,lon\n5.0,31,121\n5.25,31,121\n5.25,31,121\n", (0, 25 * 10**7), False),
    ],
)
def test_csv_tracks_of_all_kinds(tmp_path: Path, text: str, first: tuple[int, int], utc: bool) -> None:
    (tmp_path / "a.csv").write_text(text)
    fixes = read_csv_track(tmp_path / "a.csv")
    assert tuple(f.stamp_ns for f in fixes) == first
    assert all((f.utc_ns is not None) == utc for f in fixes)
    if utc:
        zero, one = fixes[0].utc_ns, fixes[1].utc_ns
        assert zero is not None
        assert one is not None
        assert one - zero == first[1]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "no column for time"),
        ("time,lat\n", 1, "no column for lon"),
        ("time,lat,lon\n", None, "has no rows"),
        ("time,lat,lon\n2026,31,121\nnoon,31,121\n", 3, "is broken"),
        ("time,lat,lon\n1,91,121\n", 2, "not on the earth"),
        ("time,lat,lon\n1,nan,121\n", 2, "not finite"),
        ("time,lat,lon\n1,31\n", 2, "is broken"),
        ("time,lat,lon\n1,31,121\n2026-04-01T02:00:00Z,31,121\n", None, "mixes dates and bare seconds"),
    ],
)
def test_broken_csv_tracks(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DriveError, match=said) as error:
        read_csv_track(tmp_path / "a.csv")
    assert (error.value.line, bool(error.value.remedy)) == (line, True)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["turns", "stops"])
def test_the_offset_is_found_where_the_streams_allow(what: str) -> None:
    made = Ride.make(120.0, 3, turns=what == "turns", stops=what == "stops")
    seen = seen_motion(made.frames(31.7, 45.0), ride.FX / ride.SIZE[0])
    found = find_offset(seen, made.fixes())
    assert found.sure, found
    assert abs(found.offset_s - 31.7) < 0.4
    assert 0.1 <= found.sigma_s < 0.6


def test_a_steady_ride_tells_nothing_and_says_so() -> None:
    made = Ride.make(100.0, 3, turns=False, stops=False)
    found = find_offset(signals(made, 20.0, 60.0, 1), made.fixes())
    assert not found.sure
    assert "neither turns nor stops tell enough" in found.why


def signals(made: Ride, first_s: float, seconds: float, seed: int) -> SeenMotion:
    """What a noisy camera would tell of a ride, without its pictures."""
    rng = np.random.default_rng(seed)
    at = np.arange(0.05, seconds, ride.STEP_S)
    clock = np.arange(len(made.heading)) * ride.STEP_S
    turn = np.interp(at + first_s, clock, np.gradient(made.heading, ride.STEP_S)) + rng.normal(0, 0.02, len(at))
    flow = np.interp(at + first_s, clock, made.speed) * 0.01 * rng.uniform(0.5, 1.5, len(at))
    return SeenMotion(at, turn, np.abs(flow + rng.normal(0, 0.005, len(at))))


def test_other_rides_are_not_taken_for_this_one() -> None:
    wrong = right = 0
    for seed in range(6):
        made, other = Ride.make(150.0, seed), Ride.make(300.0, seed + 5000)
        seen = signals(made, 70.0, 60.0, seed)
        wrong += find_offset(seen, other.fixes(seed)).sure
        found = find_offset(seen, made.fixes(seed))
        right += found.sure and abs(found.offset_s - 70.0) < 0.5
    assert (wrong, right) == (0, 6)


def test_an_import_with_a_searched_offset(tmp_path: Path) -> None:
    made = Ride.make(90.0, 5)
    video = ride.write_video(tmp_path / "clip.mp4", made.frames(22.3, 35.0))
    rows = [f"{f.utc_ns},{f.lat_deg!r},{f.lon_deg!r},{f.speed_mps},{f.course_deg}" for f in made.fixes()]
    (tmp_path / "track.csv").write_text("utc_ns,lat,lon,speed,course\n" + "\n".join(rows) + "\n")
    result = import_video(video, tmp_path / "track.csv", tmp_path / "drive", search=True)
    assert "found: gain" in result.note
    assert abs(result.drive.fixes[0].stamp_ns * 1e-9 + 22.3) < 0.4
    assert result.drive.start_utc_ns is not None
    assert abs(result.drive.start_utc_ns - ride.UTC_NS - 22.3e9) < 0.4e9


def test_a_search_that_fails_keeps_what_was_given_and_says_so(tiny_original: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,lat,lon\n" + "".join(f"{n},31,121\n" for n in range(30)))
    result = import_video(
        tiny_original / "front.mp4", tmp_path / "a.csv", tmp_path / "drive", clock_offset_s=2.0, search=True
    )
    assert "NOT FOUND (the video is shorter than 15 s)" in result.note
    assert result.drive.fixes[0].stamp_ns == -2 * 10**9
    assert result.drive.start_utc_ns is None


def test_nmea_gpx_and_csv_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "a.gpx").write_text(
        '<gpx><trk><trkseg><trkpt lat="31" lon="121"><time>2026-04-01T02:00:00Z</time></trkpt></trkseg></trk></gpx>'
    )
    (tmp_path / "a.csv").write_text("time,lat,lon\n2026-04-01T02:00:00Z,31,121\n")
    gpx, table = read_track(tmp_path / "a.gpx"), read_track(tmp_path / "a.csv")
    assert isinstance(gpx[0], Fix)
    assert (gpx[0].utc_ns, gpx[0].stamp_ns) == (table[0].utc_ns, table[0].stamp_ns)
    assert open_drive.__doc__
