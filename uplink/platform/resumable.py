"""Files in parts (clips, pictures over a bad link): the device asks for the offset and goes on from there.

A half-open connection must not lock the upload: the newest request takes over, and the older one is told that the
offset moved (409).
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from uplink.files import sync_folder
from uplink.platform.contract import BlobReceipt
from uplink.platform.intake import Intake
from uplink.platform.orders import UploadOrder, UploadReply
from uplink.platform.problems import Refused
from uplink.platform.storage import Row, Tx
from uplink.platform.uploads import BLOB_CAP, check_header

OPEN_UPLOADS = 8
_FLUSH = 256 * 1024
_MP4 = (b"ftyp", 4)


class Resumable:
    """Uploads in progress: a row each, and a file that grows."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._database = intake.database

    def begin(self, device: str, order: UploadOrder) -> tuple[UploadReply, bool]:
        """A new upload, or the one of the same file that is not finished; whether it is new.

        Raises Refused 413 (a picture over the cap) or 429 (too many at once).
        """
        if order.mime == "image/jpeg" and order.size > BLOB_CAP:
            raise Refused(413, "too-large", f"a picture may have {BLOB_CAP} bytes")
        with self._database.transaction() as tx:
            tx.lock(f"uploads {device}")
            mine = tx.rows("SELECT * FROM upload WHERE device = ? ORDER BY made_ns", (device,))
            same = next((r for r in mine if (r["sha256"], r["size"]) == (order.sha256, order.size)), None)
            if same is not None:
                return self._reply(same["name"], same["taken"], same["size"]), False
            if len(mine) >= OPEN_UPLOADS:
                self._forget(tx, mine[0]["name"])
            name = secrets.token_hex(16)
            tx.run(
                "INSERT INTO upload VALUES (?, ?, ?, ?, ?, 0, 0, ?)",
                (name, device, order.sha256, order.mime, order.size, self._intake.clock.utc_ns()),
            )
        self._intake.pictures.part(name).touch(0o600)
        return self._reply(name, 0, order.size), True

    def _forget(self, tx: Tx, name: str) -> None:
        tx.run("DELETE FROM upload WHERE name = ?", (name,))
        self._intake.pictures.part(name).unlink(missing_ok=True)

    def _reply(self, name: str, offset: int, size: int) -> UploadReply:
        return UploadReply(upload=name, offset=offset, size=size, server_time=self._intake.now())

    def _row(self, device: str, name: str) -> Row:
        rows = self._database.rows("SELECT * FROM upload WHERE name = ? AND device = ?", (name, device))
        if not rows:
            raise Refused(404, "no-such-upload", "finished, forgotten or of another device: begin again")
        return rows[0]

    def offset(self, device: str, name: str) -> UploadReply:
        """How much is durably here; raises Refused 404."""
        row = self._row(device, name)
        return self._reply(name, row["taken"], row["size"])

    def take_over(self, device: str, name: str, offset: int) -> Part:
        """The right to append from `offset`; ends that of any older request. Raises Refused 404 or 409."""
        with self._database.transaction() as tx:
            tx.lock(f"upload {name}")
            row = self._row(device, name)
            if row["taken"] != offset:
                raise Refused(409, "offset-mismatch", f"the next byte is {row['taken']}")
            tx.run("UPDATE upload SET holder = holder + 1 WHERE name = ?", (name,))
            holder = tx.value("SELECT holder FROM upload WHERE name = ?", (name,))
        return Part(self._intake, row, holder)

    def finish(self, device: str, name: str) -> BlobReceipt | None:
        """Publish a whole file and give its receipt; None while bytes are missing. Raises Refused 422."""
        row = self._row(device, name)
        if row["taken"] < row["size"]:
            return None
        part = self._intake.pictures.part(name)
        try:
            _check(part, row)
        except Refused:
            with self._database.transaction() as tx:
                self._forget(tx, name)
            raise
        final = self._intake.pictures.path(row["sha256"])
        if row["mime"] != "image/jpeg":
            final = final.with_suffix(".mp4")
        os.rename(part, final)
        sync_folder(final.parent)
        receipt, _ = self._intake.record_blob(device, row["sha256"], row["size"])
        with self._database.transaction() as tx:
            self._forget(tx, name)
        return receipt


def _check(part: Path, row: Row) -> None:
    """Raises Refused 422 when the bytes are not the announced ones, or not what they were called."""
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != row["sha256"]:
        raise Refused(422, "digest-mismatch", "the bytes do not have the announced hash")
    if row["mime"] == "image/jpeg":
        check_header(part)
    else:
        mark, at = _MP4
        with part.open("rb") as file:
            if file.read(12)[at : at + 4] != mark:
                raise Refused(422, "not-an-mp4", "no ftyp box at the start")


class Part:
    """One request that appends; it loses its right when a newer request comes."""

    def __init__(self, intake: Intake, row: Row, holder: int) -> None:
        self._intake, self._row, self._holder = intake, row, holder
        self.offset: int = row["taken"]
        self._waiting = bytearray()
        self._file = open(intake.pictures.part(row["name"]), "r+b")

    def add(self, chunk: bytes) -> None:
        """Take some bytes. Raises Refused 413 beyond the announced size, 409 when a newer request took over."""
        if self.offset + len(self._waiting) + len(chunk) > self._row["size"]:
            raise Refused(413, "too-large", f"{self._row['size']} bytes were announced")
        self._waiting += chunk
        if len(self._waiting) >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Make what was taken durable and count it."""
        if not self._waiting:
            return
        with self._intake.database.transaction() as tx:
            tx.lock(f"upload {self._row['name']}")
            holder = tx.value("SELECT holder FROM upload WHERE name = ?", (self._row["name"],))
            if holder != self._holder:
                raise Refused(409, "offset-mismatch", "a newer request took over")
            self._file.seek(self.offset)
            self._file.write(self._waiting)
            self._file.flush()
            os.fsync(self._file.fileno())
            self.offset += len(self._waiting)
            self._waiting.clear()
            tx.run("UPDATE upload SET taken = ? WHERE name = ?", (self.offset, self._row["name"]))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
