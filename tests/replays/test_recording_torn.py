"""Recordings after kill -9 and power cuts, and from somebody who means harm: the whole is read, the rest is told."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from mcap.writer import CompressionType, Writer

from gnss.clock import SystemClock
from perception.errors import DriveError
from perception.types import Seen
from replays.drive import open_drive
from replays.recording.chunks import CHUNK_LIMIT
from replays.recording.part import CHUNK_S
from replays.recording.records import MAGIC, McapFile
from replays.recording.shelf import SingleFile
from replays.source import DriveSource, RecordedFrame
from tests.replays.recordings import drive, record

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("QIJI_KILLS", "8"))
"""The full run is 100: QIJI_KILLS=100."""


def killed(folder: Path, wait_s: float) -> int:
    """Record in a child, kill it `wait_s` after its first event; returns the stamp of the last event it took, in ns."""
    command = [sys.executable, "-m", "tests.replays.record_child", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        said = child.stdout.read(8)
        SystemClock().sleep(wait_s)
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read()
    assert child.returncode == -signal.SIGKILL
    whole = len(said) // 8 * 8
    return int.from_bytes(said[whole - 8 : whole], "little")


@pytest.mark.slow
def test_kills_cost_at_most_one_chunk(tmp_path: Path) -> None:
    rng = random.Random(5)
    worst_s, torn, early = 0.0, 0, 0
    for nth in range(ROUNDS):
        folder = tmp_path / f"shelf{nth}"
        last_ns = killed(folder, rng.uniform(0.0, 0.6))
        if not chunks_of((folder / "0001" / "0001.mcap").read_bytes()):
            # Killed within the first chunk, nothing is left: not a drive, but a file that says so.
            early += 1
            assert last_ns <= CHUNK_S * 1e9
            with pytest.raises(DriveError, match=r"holds no frame \(0001.mcap: torn at offset|is empty"):
                open_drive(folder)
            continue
        opened = open_drive(folder)
        back = [e for e in DriveSource(opened, "recorded", "recorded") if not isinstance(e, RecordedFrame)]
        given = iter(drive(last_ns * 1e-9 + 1.0))
        for one, other in zip(back, given, strict=False):
            assert (type(one), one.stamp_ns) == (type(other), other.stamp_ns)
        pictures = [event.picture() for event in back if isinstance(event, Seen) and event.picture is not None]
        assert len(pictures) == sum(isinstance(event, Seen) for event in back)
        worst_s = max(worst_s, (last_ns - back[-1].stamp_ns) * 1e-9)
        torn += bool(opened.notices)
    print(f"{ROUNDS} kills: at most {worst_s:.2f} s lost, {torn} torn, {early} in the first chunk")
    assert worst_s <= CHUNK_S + 1e-9
    # A file may also be complete: killed as one part ended and before the next began.
    assert 0 < torn <= ROUNDS - early


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a recording of five seconds."""
    return record(SingleFile(tmp_path_factory.mktemp("whole") / "a.mcap"), 5.0).read_bytes()


def chunks_of(data: bytes) -> list[tuple[int, int]]:
    """(offset, end) of each chunk record."""
    found, at = [], len(MAGIC)
    while at + 9 <= len(data):
        kind, size = struct.unpack_from("<BQ", data, at)
        if kind == 6 and at + 9 + size <= len(data):
            found.append((at, at + 9 + size))
        at += 9 + size
    return found


def frames(file: Path) -> list[int]:
    """Frame indices that a replay of the file gives."""
    return [e.index for e in DriveSource(open_drive(file), "recorded") if isinstance(e, Seen)]


def test_cut_anywhere_it_keeps_every_chunk_before_the_cut(whole: bytes, tmp_path: Path) -> None:
    chunks, file = chunks_of(whole), tmp_path / "cut.mcap"
    assert len(chunks) == 5
    rng = random.Random(1)
    everything = [e.index for e in drive(5.0) if isinstance(e, Seen)]
    for size in [
        *(end + d for _, end in chunks for d in (-1, 0, 1)),
        *rng.choices(range(chunks[0][1], len(whole)), k=30),
    ]:
        file.write_bytes(whole[:size])
        left = sum(end <= size for _, end in chunks)
        if not left:
            continue
        found = frames(file)
        assert found == everything[: len(found)]
        assert len(found) >= (left * 10) * 0.8
        if size >= whole.rindex(struct.pack("<BQ", 15, 4)) + 13:
            continue  # only the index is lost
        (notice,) = open_drive(file).notices
        assert "cut.mcap: torn at offset " in notice
        assert "bytes are lost" in notice


def test_zeros_after_a_power_cut_are_no_data(whole: bytes, tmp_path: Path) -> None:
    """A file system may have grown the file and not have written it."""
    file, (_, end) = tmp_path / "a.mcap", chunks_of(whole)[2]
    file.write_bytes(whole[:end] + bytes(5000))
    assert frames(file)
    assert open_drive(file).notices[0].startswith(f"a.mcap: torn at offset {end}: no record begins there; 5000 bytes")


def test_a_broken_chunk_in_the_middle_costs_itself(whole: bytes, tmp_path: Path) -> None:
    file, (start, end) = tmp_path / "a.mcap", chunks_of(whole)[2]
    middle = (start + end) // 2
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    found = frames(file)
    assert found[0] == 0
    assert found[-1] == 49
    assert len(found) < len([e for e in drive(5.0) if isinstance(e, Seen)])
    (notice,) = open_drive(file).notices
    assert f"a chunk of {end - start - 9} bytes at offset {start} is skipped: " in notice


def chunk(content: bytes, size: int | None = None, compression: bytes = b"zstd") -> bytes:
    """A chunk record with a size of its own telling."""
    packed = zstandard.compress(content) if compression == b"zstd" else content
    size = len(content) if size is None else size
    head = struct.pack("<QQQI", 0, 0, size, zlib.crc32(content)) + struct.pack("<I", len(compression)) + compression
    body = head + struct.pack("<Q", len(packed)) + packed
    return struct.pack("<BQ", 6, len(body)) + body


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda: chunk(b"\0" * 100, 1 << 50), f"unpack to {1 << 50} bytes, the limit is {CHUNK_LIMIT}"),
        (lambda: chunk(b"\0" * 50_000_000, 10), "its size within differs"),
        (lambda: chunk(b"\0" * 100, 99, b""), "unpacks to 100 bytes, not to 99"),
        (lambda: chunk(b"abc", None, b"snappy"), "compression 'snappy' is not known"),
        (lambda: chunk(b"abc", None, b"lz4"), "unpacks to 0 bytes, not to 3"),
        (lambda: chunk(struct.pack("<BQ", 5, 1 << 60)), "a record of 1152921504606846976 bytes"),
        (lambda: chunk(struct.pack("<BQ", 5, 4) + b"abcd"), "a message of 4 bytes"),
        (lambda: chunk(struct.pack("<BQ", 5, 22) + b"\xff" * 22), "channel 65535, which nothing describes"),
        (lambda: struct.pack("<BQI", 12, 4, 1 << 31), "bytes wanted"),
        (lambda: struct.pack("<BQ", 9, 30) + b"\xff" * 30, "bytes wanted"),
        (lambda: struct.pack("<BQ", 5, 1 << 62), f"a record of {1 << 62} bytes begins there"),
    ],
)
def test_hostile_records_are_told_and_passed_over(
    whole: bytes, tmp_path: Path, harm: Callable[[], bytes], said: str
) -> None:
    file, (_, end) = tmp_path / "a.mcap", chunks_of(whole)[3]
    file.write_bytes(whole[:end] + harm() + whole[end:])
    found = frames(file)
    assert len(found) > 30
    assert any(said in notice for notice in open_drive(file).notices), open_drive(file).notices


def test_any_bytes_are_taken_without_an_unknown_error(whole: bytes, tmp_path: Path) -> None:
    rng, file, refused = random.Random(3), tmp_path / "a.mcap", list[str]()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3, 30])):
            at = rng.randrange(len(data))
            data[at : at + rng.choice([1, 1, 8])] = rng.randbytes(rng.choice([0, 1, 8, 50]))
        file.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        try:
            list(DriveSource(open_drive(file), "recorded", "recorded"))
        except DriveError as error:
            refused.append(error.remedy)
    assert all(refused)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (MAGIC[:5], "is torn after 5 bytes"),
        (b"\x89MCAP1\r\n" + bytes(50), "is no MCAP file: it begins with b'\\x89MCAP1\\r\\n' at offset 0"),
        (b"RIFF" + bytes(50), "is no MCAP file"),
        (MAGIC, "holds no topic of a camera; topics are none (a.mcap: torn at offset 8"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "a.mcap"
    file.write_bytes(content)
    with pytest.raises(DriveError) as error:
        open_drive(file)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{file}: ")
    assert error.value.remedy


def rewritten(whole: bytes, tmp_path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """The recording with its messages changed, or left out where `change(schema, data)` gives None."""
    (tmp_path / "in.mcap").write_bytes(whole)
    source, out = McapFile(tmp_path / "in.mcap"), tmp_path / "a.mcap"
    messages = list(source.messages())
    with out.open("wb") as stream:
        writer = Writer(stream, compression=CompressionType.LZ4)
        writer.start()
        for name, table in source.metadata.items():
            writer.add_metadata(name, table)
        channels: dict[int, int] = {}
        for message in messages:
            channel = message.channel
            data = change(channel.schema, message.data)
            if data is None:
                continue
            if channel.id not in channels:
                schema = writer.register_schema(channel.schema, channel.schema_encoding, channel.schema_data)
                channels[channel.id] = writer.register_channel(channel.topic, channel.encoding, schema)
            writer.add_message(channels[channel.id], message.log_ns, data, message.publish_ns, message.sequence)
        writer.finish()  # type: ignore[no-untyped-call]
    return out


def test_another_writer_s_compression_is_read(whole: bytes, tmp_path: Path) -> None:
    assert len(frames(rewritten(whole, tmp_path, lambda _, data: data))) == len(
        [e for e in drive(5.0) if isinstance(e, Seen)]
    )


def altered(kind: str, **values: object) -> Callable[[str, bytes], bytes]:
    """Sets fields of every message of one schema."""
    return lambda schema, data: json.dumps({**json.loads(data), **values}).encode() if schema == kind else data


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda schema, data: None if schema == "qiji.Fix" else data, "has no fixes"),
        (lambda schema, data: None if schema == "qiji.Detections" else data, "holds no frame"),
        (altered("qiji.Fix", stamp_ns=7, lat_deg=91.0), "fixes.csv, row 2: position 91.0"),
        (altered("qiji.Fix", colour=7), "['colour'] are not columns of fixes.csv"),
        (altered("qiji.Fix", lat_deg="north"), "is not a number"),
        (altered("qiji.Detections", stamp_ns=7), "front.csv, row 3: stamp_ns 7 repeats"),
        (altered("qiji.Detections", camera="../rear"), "camera '../rear' is not in the head"),
        (altered("qiji.Detections", boxes=[{"class": "car"}]), "detections.jsonl, row 1: box 0"),
        (altered("qiji.Motion", stamp_ns=[1]), "motion.csv"),
        (altered("qiji.Event", event="party"), "events.jsonl, row 1: is no event"),
        (
            lambda schema, data: b"\xff{" if schema == "qiji.Fix" else data,
            "a message of /gnss/fix in the record at offset",
        ),
    ],
)
def test_a_recording_with_wrong_content(
    whole: bytes, tmp_path: Path, change: Callable[[str, bytes], bytes | None], said: str
) -> None:
    file = rewritten(whole, tmp_path, change)
    with pytest.raises(DriveError) as error:
        open_drive(file)
    assert str(error.value).startswith(f"{file}: "), error.value
    assert said in str(error.value)
    assert error.value.remedy


def test_a_stamp_that_goes_back_is_named(whole: bytes, tmp_path: Path) -> None:
    count = [0]

    def change(schema: str, data: bytes) -> bytes:
        if schema != "qiji.Fix":
            return data
        count[0] += 1
        fix = json.loads(data)
        return json.dumps({**fix, "stamp_ns": fix["stamp_ns"] - (2 * 10**9 if count[0] == 3 else 0)}).encode()

    with pytest.raises(DriveError, match=r"fixes.csv, row 4: stamp_ns 0 goes back behind 1000000000") as error:
        open_drive(rewritten(whole, tmp_path, change))
    assert "sort or mend the rows" in error.value.remedy


def test_a_picture_that_cannot_be_decoded_is_named_while_reading(whole: bytes, tmp_path: Path) -> None:
    file = rewritten(whole, tmp_path, lambda schema, data: b"\x12" if schema == "foxglove.CompressedImage" else data)
    opened = open_drive(file)
    with pytest.raises(DriveError, match=r"frame 0, in the record at offset \d+: is no foxglove.CompressedImage"):
        list(DriveSource(opened))


def test_a_part_that_power_cut_short_at_its_start_is_told(whole: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "0001"
    folder.mkdir()
    (folder / "0001.mcap").write_bytes(whole)
    (folder / "0002.mcap").write_bytes(b"")
    assert len(frames(folder)) > 40
    assert open_drive(folder).notices == (f"{folder / '0002.mcap'}: is empty. Remedy: copy it again from the recorder",)
