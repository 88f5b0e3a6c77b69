"""Recordings: they read back exactly, by our reader and by others, and keep what a full or broken disk lets them."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from PIL import Image as PillowImage

from gnss.atlas import Atlas, load_atlas
from gnss.types import Fix, Motion
from perception.camera import CameraModel
from perception.errors import DriveError
from perception.types import CaseState, ChangeKind, Seen
from replays.drive import open_drive
from replays.recording.head import attached, quiet_places
from replays.recording.part import Part
from replays.recording.recorder import UNKNOWN_EPOCH_NS, McapRecorder
from replays.recording.schemas import quaternion
from replays.recording.shelf import KEEP, Limits, Shelf, SingleFile, target_of
from replays.recording.unpack import RECEIVER
from replays.source import DriveSource
from tests.replays import mcap_spec
from tests.replays.recordings import CAMERA, UTC_NS, drive, fix, head, picture, record, seen


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three seconds in one file."""
    return record(SingleFile(tmp_path / "monday.mcap"), 3.0)


def test_every_event_reads_back_exactly(recording: Path) -> None:
    given = list(drive(3.0))
    opened = open_drive(recording)
    back = list(DriveSource(opened, "recorded", "recorded"))
    assert [type(e) for e in back] == [type(e) for e in given]
    for one, other in zip(back, given, strict=True):
        if not isinstance(one, Seen):
            assert one == other
            continue
        assert isinstance(other, Seen)
        assert (one.stamp_ns, one.index, one.sharpness, one.exposure) == (other.stamp_ns, other.index, 12.3456, 0.5)
        assert one.detections.names() == other.detections.names()
        for name in ("xyxy", "confidence", "appearance"):
            theirs = getattr(other.detections, name)
            if len(other.detections):
                np.testing.assert_array_equal(getattr(one.detections, name), theirs)
        assert one.picture is not None
        assert one.picture.zones() == one.picture().zones == picture(one.index).zones
        np.testing.assert_allclose(one.picture().image.astype(int), picture(one.index).image.astype(int), atol=4)
    assert opened.cameras == {"front": CAMERA}
    assert (opened.meta.name, opened.meta.vehicle, opened.meta.note) == ("monday", "car-1", "a note")
    assert (opened.meta.antenna_m, opened.start_utc_ns, opened.notices) == ((0.5, -0.25, 1.75), UTC_NS, ())
    assert opened.has_pixels


def test_an_independent_reader_reads_it_and_the_schemas_hold(recording: Path) -> None:
    found = mcap_spec.read(recording)
    counts: Counter[str] = Counter()
    for channel, log_ns, sequence, data in found.messages:
        schema, topic, _ = found.channels[channel]
        message = mcap_spec.decode(found.schemas[schema], data)
        counts[topic] += 1
        if topic == "/gnss/location":
            assert message.latitude == fix(round((log_ns - UTC_NS) / 1e9)).lat_deg
            assert message.timestamp.ToNanoseconds() == log_ns
            assert message.position_covariance[0] == pytest.approx(0.49)
        elif topic == "/camera/front/image":
            with PillowImage.open(io.BytesIO(message.data)) as image:
                assert (image.format, image.size, len(image.getexif())) == ("JPEG", (64, 48), 0)
            assert log_ns == UTC_NS + sequence * 100_000_000
        elif topic == "/camera/front/calibration":
            assert (message.width, list(message.K)[:3], list(message.D)) == (
                64,
                [50.0, 0.0, 31.5],
                [0.01, -0.02, 0.0, 0.001],
            )
    assert counts == {
        "/gnss/fix": 3, "/gnss/location": 3, "/motion": 30, "/events": 4, "/camera/front/calibration": 1, "/tf": 1,
        "/camera/front/detections": 28, "/camera/front/annotations": 28, "/camera/front/image": 28,
    }  # fmt: skip
    assert found.metadata["qiji.drive"]["redacted"] == "true"


def test_the_library_of_foxglove_reads_it(recording: Path) -> None:
    with recording.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        assert reader.get_summary() is not None
        images = [m for _, _, _, m in reader.iter_decoded_messages(topics=["/camera/front/image"])]
    assert [m.format for m in images] == ["jpeg"] * 28


def test_the_transform_is_the_mount() -> None:
    x, y, z, w = quaternion(CAMERA.vehicle_from_optical)
    turned = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    np.testing.assert_allclose(turned, CAMERA.vehicle_from_optical, atol=1e-12)


@pytest.mark.parametrize(
    "camera",
    [CameraModel.guess("front", 64, 48, None), replace(CAMERA, model="fisheye", dist=(0.1, 0.0, 0.0, 0.001))],
    ids=["guessed", "fisheye"],
)
def test_a_camera_reads_back_as_it_was(tmp_path: Path, camera: CameraModel) -> None:
    with McapRecorder(SingleFile(tmp_path / "a.mcap"), replace(head(), cameras={"front": camera})) as recorder:
        for event in drive(1.0):
            recorder.tap(event)
        recorder.close()
    assert open_drive(tmp_path / "a.mcap").cameras == {"front": camera}


def test_a_frame_without_a_picture_stays_one(tmp_path: Path) -> None:
    with McapRecorder(SingleFile(tmp_path / "a.mcap"), head()) as recorder:
        for event in (fix(0), seen(1), seen(2, pictures=False), seen(4)):
            recorder.tap(event)
        recorder.close()
    opened = open_drive(tmp_path / "a.mcap")
    back = [e for e in DriveSource(opened) if isinstance(e, Seen)]
    assert [(e.index, e.picture is not None) for e in back] == [(1, True), (2, False), (4, True)]
    assert not opened.has_pixels


def test_without_pictures_nothing_of_them_is_in_the_file(tmp_path: Path) -> None:
    record(SingleFile(tmp_path / "a.mcap"), 1.0, pictures=False)
    assert "/camera/front/image" not in {topic for _, topic, _ in mcap_spec.read(tmp_path / "a.mcap").channels.values()}
    assert len(list(DriveSource(open_drive(tmp_path / "a.mcap")))) == len(list(drive(1.0))) - 1


def test_near_a_sensitive_area_no_picture_is_stored(tmp_path: Path) -> None:
    ring = [(120.1 + e * 1e-5, 30.1 + n * 1e-5) for e, n in ((-10, 5), (10, 5), (10, 7), (-10, 7), (-10, 5))]
    zone = {
        "type": "Feature", "properties": {"id": "S", "kind": "sensitive"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }  # fmt: skip
    (tmp_path / "zones.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [zone]}))
    (tmp_path / "city.toml").write_text('version = 1\nname = "x"\nutc_offset_hours = 8.0\nzones = "zones.geojson"\n')
    quiet = quiet_places(load_atlas(tmp_path / "city.toml"))
    assert quiet_places(Atlas.empty()) is None
    with McapRecorder(SingleFile(tmp_path / "a.mcap"), head(), quiet=quiet) as recorder:
        recorder.tap(seen(0))
        for second in range(30):
            # 33 m a second northwards past the area, which begins 5 m ahead.
            recorder.tap(replace(fix(second), lat_deg=30.1 + 3e-4 * (second - 10)))
            recorder.tap(seen(10 * second + 1))
        recorder.close()
    shown = [
        e.index for e in DriveSource(open_drive(tmp_path / "a.mcap"), "recorded") if isinstance(e, Seen) and e.picture
    ]
    assert shown == [*range(1, 82, 10), *range(131, 300, 10)]
    assert recorder.counts == {"recorder: pictures left out, sensitive area": 31 - len(shown)}


def test_raw_bytes_and_the_city_come_along(tmp_path: Path) -> None:
    city = tmp_path / "city" / "city.toml"
    city.parent.mkdir()
    city.write_text('version = 1\nname = "x"\nzones = "z.geojson"\ngrids = "gone.geojson"\n')
    (city.parent / "z.geojson").write_text("{}")
    (city.parent / "private.txt").write_text("not named")
    with McapRecorder(SingleFile(tmp_path / "a.mcap"), head(files=attached(city))) as recorder:
        for second in range(2):
            recorder.raw(second * 10**9 + 5, b"$GPGGA,%d*00\r\n\xff" % second)
            recorder.tap(fix(second))
        recorder.tap(seen(21))
        recorder.close()
    opened = open_drive(tmp_path / "a.mcap")
    assert opened.scratch is not None
    assert opened.city is not None
    folder = opened.scratch.folder
    assert (opened.city.read_text(), (folder / "z.geojson").read_text()) == (city.read_text(), "{}")
    assert not (folder / "private.txt").exists()
    assert (folder / RECEIVER).read_bytes() == b"$GPGGA,0*00\r\n\xff$GPGGA,1*00\r\n\xff"
    assert (folder / "receiver.csv").read_text() == "stamp_ns,offset\n5,0\n1000000005,14\n"
    del opened
    assert not folder.exists()


def test_before_the_first_fix_the_clock_waits_for_the_utc(tmp_path: Path) -> None:
    def first_time(events: list[Fix | Motion | Seen], name: str) -> int:
        with McapRecorder(SingleFile(tmp_path / name), head()) as recorder:
            for event in events:
                recorder.tap(event)
            recorder.close()
        assert list(DriveSource(open_drive(tmp_path / name), "recorded")) != []
        return min(time for _, time, _, _ in mcap_spec.read(tmp_path / name).messages)

    assert first_time([Motion(5), seen(1), fix(0)], "known.mcap") == UTC_NS
    bare = [replace(fix(s), utc_ns=None) for s in range(3)]
    assert first_time([*bare, seen(30)], "unknown.mcap") == UNKNOWN_EPOCH_NS


def test_nothing_is_made_before_the_first_event(tmp_path: Path) -> None:
    for target in (SingleFile(tmp_path / "a.mcap"), Shelf(tmp_path / "shelf")):
        with McapRecorder(target, head()) as recorder:
            assert recorder.close() is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_to_be_whole_is_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "a.mcap"
    with McapRecorder(SingleFile(file, whole=True), head()) as recorder:
        for event in drive(1.0):
            recorder.tap(event)
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):
        record(SingleFile(file, whole=True), 1.0)
    assert list(tmp_path.iterdir()) == [file]


def test_a_live_recording_overwrites_nothing(tmp_path: Path, recording: Path) -> None:
    before = recording.read_bytes()
    with pytest.raises(DriveError, match="exists"):
        target_of(recording, Limits())
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("dear")
    with pytest.raises(DriveError, match=r"letter.txt, which is no recording"):
        target_of(tmp_path / "own", Limits())
    assert recording.read_bytes() == before


def test_a_shelf_rotates_and_its_parts_are_one_drive(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", Limits(part_s=2.0))
    folder = record(shelf, 60.0)
    parts = sorted(p.name for p in folder.iterdir())
    assert len(parts) > 5
    assert parts[0] == "0001.mcap"
    whole = [e for e in DriveSource(open_drive(tmp_path / "shelf"), "recorded", "recorded") if not isinstance(e, Seen)]
    assert whole == [e for e in drive(60.0) if not isinstance(e, Seen)]
    # Each part is a drive of its own: calibration and head are in all of them.
    assert open_drive(folder / parts[-1]).cameras == {"front": CAMERA}


def test_each_run_is_a_recording_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        record(Shelf(tmp_path / "shelf"), 1.0)
    assert [p.name for p in sorted((tmp_path / "shelf").iterdir())] == ["0001", "0002"]
    assert Shelf(tmp_path / "shelf").name == "shelf-3"
    with pytest.raises(DriveError, match=r"holds 2 recordings: 0001, 0002. Remedy: name one: .*0002"):
        open_drive(tmp_path / "shelf")
    assert open_drive(tmp_path / "shelf" / "0002").meta.name == "monday"
    (tmp_path / "mixed").mkdir()
    for name in ("0001", "0002"):
        (tmp_path / "mixed" / f"{name}.mcap").write_bytes((tmp_path / "shelf" / name / "0001.mcap").read_bytes())
    changed = record(SingleFile(tmp_path / "mixed" / "0003.mcap"), 1.0, first=1)
    with pytest.raises(DriveError, match=r"several recordings: 0001.mcap and 0003.mcap"):
        open_drive(changed.parent)


def test_the_quota_takes_the_oldest_parts_that_nothing_preserves(tmp_path: Path) -> None:
    first = record(Shelf(tmp_path / "shelf", Limits(part_s=2.0)), 60.0)
    sizes = {p.name: p.stat().st_size for p in first.iterdir()}
    Shelf(tmp_path / "shelf").keep([first / "0002.mcap"])
    shelf = Shelf(tmp_path / "shelf", Limits(part_s=2.0, quota_bytes=sum(sizes.values())))
    second = record(shelf, 30.0)
    left = sorted(p.name for p in first.iterdir())
    assert "0001.mcap" not in left
    assert left[:2] == ["0002.mcap", "0002.mcap" + KEEP]
    assert sum(p.stat().st_size for p in (tmp_path / "shelf").rglob("*.mcap")) < sum(sizes.values()) * 1.1
    assert len([e for e in DriveSource(open_drive(second), "recorded") if isinstance(e, Seen)]) == 282
    gone = sorted(int(name[:4]) for name in sizes if name not in left)
    assert gone == [1, *range(3, max(gone) + 1)]
    between = f"{max(gone) - 2} parts are missing before {max(gone) + 1:04d}.mcap"
    assert open_drive(first).notices == ("1 part is missing before 0002.mcap", between)


def test_below_the_floor_the_pictures_go_first_and_preserved_parts_never(tmp_path: Path) -> None:
    first = record(Shelf(tmp_path / "shelf", Limits(part_s=2.0)), 20.0)
    Shelf(tmp_path / "shelf").keep(list(first.glob("*.mcap")))
    kept = sorted(first.iterdir())
    shelf = Shelf(tmp_path / "shelf", Limits(part_s=1000.0), free=lambda _: 10)
    with McapRecorder(shelf, head()) as recorder:
        for event in drive(20.0):
            recorder.tap(event)
        second = recorder.close()
    assert sorted(first.iterdir()) == kept
    assert recorder.counts["recorder: pictures left out, the disk is full"] > 100
    assert second is not None
    assert len([e for e in DriveSource(open_drive(second), "recorded") if isinstance(e, Seen)]) == 188


def test_a_filed_case_preserves_the_parts_that_show_it(tmp_path: Path, fakes: object) -> None:
    make = fakes.case, fakes.change  # type: ignore[attr-defined]
    shelf = Shelf(tmp_path / "shelf", Limits(part_s=20.0))
    with McapRecorder(shelf, head()) as recorder:
        for event in drive(200.0, pictures=False):
            recorder.tap(event)
            if isinstance(event, Fix) and event.stamp_ns == 150 * 10**9:
                case = make[0]("c1", last_seen_utc_ns=UTC_NS + 120 * 10**9)
                recorder.take(make[1](case))
                recorder.take(replace(make[1](make[0]("c2")), change=ChangeKind.CANDIDATE))
        folder = recorder.close()
    assert folder is not None
    kept = sorted(p.name for p in folder.glob("*" + KEEP))
    assert kept
    begins = {p.name: mcap_spec.read(p).messages[0][1] - UTC_NS for p in sorted(folder.glob("*.mcap"))}
    for name, begin in begins.items():
        assert (name + KEEP in kept) == (90e9 - 22e9 <= begin <= 150e9), (name, begin / 1e9)
    changes = [m for p in sorted(folder.glob("*.mcap")) for m in changes_of(p)]
    assert [c["case"]["state"] for c in changes] == [CaseState.OPEN.value] * 2


def changes_of(file: Path) -> list[dict[str, dict[str, str]]]:
    found = mcap_spec.read(file)
    return [
        json.loads(data) for channel, _, _, data in found.messages if found.channels[channel][1] == "/cases/changes"
    ]


def test_a_disk_that_fails_costs_a_part_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, fail = Shelf(tmp_path / "shelf"), [False]
    end_chunk = Part.end_chunk

    def broken(self: Part) -> None:
        if fail[0]:
            raise OSError(28, "No space left on device")
        end_chunk(self)

    monkeypatch.setattr(Part, "end_chunk", broken)
    with McapRecorder(shelf, head()) as recorder:
        for event in drive(30.0):
            fail[0] = 9.5e9 < event.stamp_ns < 12e9
            recorder.tap(event)
        folder = recorder.close()
    assert folder is not None
    assert [p.name for p in sorted(folder.iterdir())] == ["0001.mcap", "0002.mcap"]
    assert recorder.counts["recorder: No space left on device"] == 1
    assert recorder.counts["recorder: messages lost"] > 50
    opened = open_drive(folder)
    indices = opened.members["front"].index
    assert indices[-1] == 299
    assert len(indices) > 200
    assert re.match(r"0001.mcap: torn at offset \d+", opened.notices[0])


def test_a_strict_recorder_raises_what_the_disk_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Part) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Part, "end_chunk", broken)
    with McapRecorder(SingleFile(tmp_path / "a.mcap", whole=True), head(), strict=True) as recorder:
        for event in drive(0.9):
            recorder.tap(event)
        with pytest.raises(OSError, match="No space left"):
            recorder.tap(fix(2))
    assert list(tmp_path.iterdir()) == []


def test_every_chunk_is_asked_onto_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 cannot show a missing fsync: the calls are watched instead."""
    synced, arrived = list[int](), threading.Event()

    def watched(handle: int) -> None:
        size = os.fstat(handle).st_size
        if stat.S_ISREG(os.fstat(handle).st_mode):
            synced.append(size)
            arrived.set()

    monkeypatch.setattr("replays.recording.part.os.fsync", watched)
    file = tmp_path / "a.mcap"
    with McapRecorder(SingleFile(file), head()) as recorder:
        for event in drive(10.0):
            size = file.stat().st_size if file.exists() else 0
            recorder.tap(event)
            if file.exists() and file.stat().st_size > size:
                while not synced or synced[-1] < file.stat().st_size:
                    assert arrived.wait(5.0), "a chunk was written and nobody asked for it to be on the disk"
                    arrived.clear()
        recorder.close()
    assert len(synced) >= 10
    assert synced[-1] == file.stat().st_size


def test_an_fsync_that_fails_costs_the_part_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail = [False]

    def broken(handle: int) -> None:
        if fail[0]:
            fail[0] = False
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("replays.recording.part.os.fsync", broken)
    with McapRecorder(Shelf(tmp_path / "shelf"), head()) as recorder:
        for event in drive(30.0):
            fail[0] = fail[0] or (isinstance(event, Fix) and event.stamp_ns == 10 * 10**9)
            recorder.tap(event)
        folder = recorder.close()
    assert folder is not None
    assert len(list(folder.iterdir())) == 2
    assert recorder.counts["recorder: Input/output error"] == 1
    assert open_drive(folder).members["front"].index[-1] == 299


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        McapRecorder(SingleFile(tmp_path / "file" / "a.mcap"), head()) as recorder,
        pytest.raises(DriveError, match=r"file: cannot be made"),
    ):
        recorder.tap(fix(0))
