"""One MCAP file while it is written: chunks of bounded time and size, on the disk as soon as each is complete."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mcap.writer import CompressionType, Writer
from mcap_protobuf.schema import register_schema

from replays.recording.schemas import JSON_SCHEMAS

CHUNK_S = 1.0
"""A power cut costs at most what this much time brought."""
CHUNK_BYTES = 4 << 20
LIBRARY = "qiji"


class Syncer:
    """Calls fsync in a thread of its own whenever asked, so that a slow disk never holds up who records."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._asked = threading.Event()
        self._ended = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="recorder fsync", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """What is written so far shall be on the disk soon. Raises the OSError of an earlier attempt."""
        if self._error is not None:
            # After a failed fsync the kernel forgets what was not written: trying again would only hide it.
            raise self._error
        self._asked.set()

    def close(self) -> None:
        """Wait for the thread; the file is on the disk afterwards, or OSError."""
        self._ended = True
        self._asked.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            self._asked.wait()
            ended = self._ended
            self._asked.clear()
            try:
                os.fsync(self._handle)
            except OSError as error:
                self._error = error
                return
            if ended:
                return


class Part:
    """An MCAP file being written. `add` fills the open chunk; `settle` ends it after CHUNK_S or CHUNK_BYTES.

    Killed at any moment the file keeps every chunk that ended; cut off power, every chunk but the last one or two.
    """

    def __init__(
        self, file: Path, metadata: Mapping[str, str], attachments: Mapping[str, bytes], *, chunk_s: float = CHUNK_S
    ) -> None:
        """Creates `file`, which must not exist; raises OSError."""
        self.file = file
        self._chunk_ns = int(chunk_s * 1e9)
        self._stream: BinaryIO = file.open("xb")
        self._syncer = Syncer(self._stream.fileno())
        # Chunks are ended here, by time and size; the library's own limit must never be reached.
        self._writer = Writer(self._stream, chunk_size=1 << 40, compression=CompressionType.ZSTD)
        self._writer.start(profile="", library=LIBRARY)
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._open_bytes = 0
        self._first_ns: int | None = None
        self._chunk_first_ns: int | None = None
        self._newest_ns = 0
        self._writer.add_metadata("qiji.drive", dict(metadata))
        for name, data in attachments.items():
            self._writer.add_attachment(0, 0, name, _media_type(name), data)
        self._stream.flush()
        self._syncer.ask()
        _sync_folder(file.parent)

    @property
    def size(self) -> int:
        """Bytes so far, with those of the open chunk before compression."""
        return self._stream.tell() + self._open_bytes

    @property
    def span_s(self) -> float:
        """Seconds from the first message to the newest."""
        return 0.0 if self._first_ns is None else (self._newest_ns - self._first_ns) * 1e-9

    def add(self, topic: str, time_ns: int, message: Any, schema: str | None = None, sequence: int = 0) -> None:
        """Write one message: JSON bytes of the named JSON schema, or a protobuf message. Raises OSError."""
        data: bytes = message if schema is not None else message.SerializeToString()
        channel = self._channels.get(topic)
        if channel is None:
            channel = self._channels[topic] = self._register(topic, schema, message)
        self._writer.add_message(channel, time_ns, data, time_ns, sequence)
        self._open_bytes += len(data)
        self._first_ns = time_ns if self._first_ns is None else self._first_ns
        self._chunk_first_ns = time_ns if self._chunk_first_ns is None else self._chunk_first_ns
        self._newest_ns = time_ns

    def settle(self) -> None:
        """Between events: end the chunk when it is old or large enough, so that no event is in two. Raises OSError."""
        if self._chunk_first_ns is None:
            return
        if self._newest_ns - self._chunk_first_ns >= self._chunk_ns or self._open_bytes >= CHUNK_BYTES:
            self.end_chunk()

    def end_chunk(self) -> None:
        """Close the open chunk, hand it to the system and ask for it to be on the disk."""
        self._writer.flush()  # type: ignore[no-untyped-call]
        self._open_bytes, self._chunk_first_ns = 0, None
        self._syncer.ask()

    def close(self) -> None:
        """Write index and footer and wait until all is on the disk; raises OSError."""
        try:
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._stream.flush()
        finally:
            try:
                self._syncer.close()
            finally:
                self._stream.close()

    def abandon(self) -> None:
        """Let go of the file as it is: what was complete in it stays readable."""
        for let_go in (self._syncer.close, self._stream.close):
            try:
                let_go()
            except OSError:
                continue  # the disk's own failure is what brought us here, and it was told

    def _register(self, topic: str, schema: str | None, message: Any) -> int:
        name = schema or message.DESCRIPTOR.full_name
        if name not in self._schemas:
            if schema is None:
                self._schemas[name] = register_schema(self._writer, type(message))
            else:
                text = json.dumps(JSON_SCHEMAS[schema], sort_keys=True).encode()
                self._schemas[name] = self._writer.register_schema(schema, "jsonschema", text)
        return self._writer.register_channel(topic, "protobuf" if schema is None else "json", self._schemas[name])


def _media_type(name: str) -> str:
    kinds = {".toml": "application/toml", ".geojson": "application/geo+json", ".csv": "text/csv"}
    return kinds.get(Path(name).suffix, "application/octet-stream")


def _sync_folder(folder: Path) -> None:
    """A new file's name is safe once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
