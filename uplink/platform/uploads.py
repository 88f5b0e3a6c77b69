"""Pictures as they arrive: counted and hashed while they stream into a `.part`, published by rename when good."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from uplink.files import Spool, sync_folder
from uplink.platform.jpegs import MAX_PIXELS, header_size
from uplink.platform.problems import Refused
from uplink.platform.storage import process_number

BLOB_CAP = 4 * 1024 * 1024
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"


def check_header(file: Path) -> None:
    """Raises Refused 422 unless the file begins as a JPEG of a size that may be decoded."""
    size = header_size(file.read_bytes())
    if size is None:
        raise Refused(422, "not-a-jpeg", "no baseline or progressive frame of 1 or 3 components of 8 bits")
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise Refused(422, "picture-too-large", f"{size[0]} x {size[1]} px; at most {MAX_PIXELS} px in all")


class Upload:
    """One picture on its way in."""

    def __init__(self, sha256: str, part: Path) -> None:
        self.sha256 = sha256
        self.part = part
        self.size = 0
        self.head = b""
        self.tail = b""
        self._hash = hashlib.sha256()
        self._file = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def add(self, chunk: bytes) -> None:
        """Take some bytes; raises Refused 413 beyond the cap."""
        self.size += len(chunk)
        if self.size > BLOB_CAP:
            raise Refused(413, "too-large", f"a picture may have {BLOB_CAP} bytes")
        self._hash.update(chunk)
        self.head = (self.head + chunk[:3])[:3]
        self.tail = (self.tail + chunk)[-2:]
        self._file.write(chunk)

    def seal(self) -> None:
        """Sync and close; raises Refused 422 when the bytes are not the announced ones or not a JPEG."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._hash.hexdigest() != self.sha256:
            raise Refused(422, "digest-mismatch", "the bytes do not have the hash of the address")
        if self.head != _START or self.tail != _END:
            raise Refused(422, "not-a-jpeg", "only complete JPEG pictures are taken")
        check_header(self.part)

    def drop(self) -> None:
        """Forget it; nothing stays behind."""
        self._file.close()
        self.part.unlink(missing_ok=True)


class Pictures:
    """The picture files of the platform, by hash."""

    def __init__(self, folder: Path, *, sweep: bool = True) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._spool = Spool(folder)
        if sweep:
            self._spool.drop_parts()

    def path(self, sha256: str) -> Path:
        """Where a picture lies; raises Refused 400 when `sha256` is not a hash."""
        try:
            return self._spool.path(sha256)
        except ValueError as error:
            raise Refused(400, "bad-name", "not a sha256 in lower-case hex") from error

    def begin(self, sha256: str) -> Upload:
        """Start an upload; two of the same picture at once do not meet."""
        final = self.path(sha256)
        return Upload(sha256, final.with_name(f"{sha256}.{os.getpid()}-{process_number()}.part"))

    def part(self, name: str) -> Path:
        """Where a resumable upload grows; `name` is the platform's own, hexadecimal."""
        return self._spool.folder / name[:2] / f"{name}.growing"

    def keep_small(self, sha256: str, content: bytes) -> None:
        """Keep a thumbnail; it can be made again, so nothing is synced."""
        final = self.path(sha256).with_suffix(".thumb")
        part = final.with_name(f"{final.name}.{os.getpid()}-{process_number()}.part")
        part.write_bytes(content)
        os.rename(part, final)

    def publish(self, upload: Upload) -> None:
        """Seal, rename and sync the folder."""
        upload.seal()
        final = self.path(upload.sha256)
        os.rename(upload.part, final)
        sync_folder(final.parent)
