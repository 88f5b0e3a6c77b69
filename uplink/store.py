"""The device store: case memory and outbox in one SQLite file, pictures and a journal beside it.

Order of a commit (each step durable before the next): pictures -> journal -> one transaction (event, blob rows, case
memory, chain head). Only then is a change "reported". A failure at any step raises, and nothing of it counts. A full
disk is tidied (see shedding), a damaged file is replaced by what can be read of it (see custody), and work goes on.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from gnss.clock import Clock
from perception.serial import canonical_json, case_to_dict
from perception.store import tile_of
from perception.types import Anchor, AnchorUpdate, CalibrationUpdate, Case, CaseChange, JsonDict, KnownObjects, Tile
from uplink.custody import Custody
from uplink.disk import DiskLimits, is_full
from uplink.envelope import checked_device
from uplink.errors import DatabaseDamaged
from uplink.evidence import Witnessed, head_of
from uplink.keys import device_key
from uplink.memory import HOLES, CaseMemory, holes_of, keep_anchors, keep_learned
from uplink.payload import Origin
from uplink.record import URGENT, Entry, Maker, carried, insert, priority, remember
from uplink.shedding import NEW_PICTURES, Shedder


def new_epoch() -> str:
    """A random name for a fresh outbox: sequence numbers of different files must never be mistaken for each other."""
    return secrets.token_hex(8)


class SqliteStore:
    """`perception.store.CaseStore` in the file `path` (its folder also holds `spool/`, `journal/`, `keys/`,
    `quarantine/`, `ballast`, `lock`, `clean`).

    One process and one writing connection at a time; safe to share between the pipeline's and the sender's thread.
    `witness`, when set, tells at each commit what is known of receiver and clock; `ahead` is asked before the memory of
    tiles is told (see resync).
    """

    def __init__(
        self,
        path: Path,
        device: str,
        clock: Clock,
        *,
        origin: Origin | None = None,
        make_epoch: Callable[[], str] = new_epoch,
        limits: DiskLimits | None = None,
    ) -> None:
        """Open or create. Raises StoreError when another process holds it or it belongs to another device."""
        self.device = checked_device(device)
        self.path = path
        self.witness: Callable[[], Witnessed] | None = None
        self.ahead: Callable[[Sequence[Tile]], None] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files = Custody(path, device, clock, make_epoch, limits or DiskLimits())
        try:
            self.key = device_key(path.parent / "keys")
        except BaseException:
            self._files.close()
            raise
        made_by = origin or Origin()
        self._maker = Maker(self.device, made_by, made_by.maker(), self.key)
        self._database, self.spool, self.journal = self._files.database, self._files.spool, self._files.journal
        self.outbox, self.disk = self._files.outbox, self._files.disk
        self._memory = CaseMemory(self._database, self.outbox)
        self._shedder = Shedder(self._database, self.spool, self.journal, self.outbox, self.disk)

    @property
    def epoch(self) -> str:
        """Name of this database file; another one begins when it had to be replaced."""
        return self._files.epoch

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest event, 0 for none."""
        return self._files.last_seq

    @property
    def chain_head(self) -> str:
        """Digest of the newest event, "" for none."""
        return self.meta("chain_head") or ""

    @property
    def memory_holes(self) -> frozenset[Tile]:
        """Tiles whose memory was damaged and not yet completed from the platform."""
        return frozenset(holes_of(self.meta(HOLES)))

    @property
    def memory_lost(self) -> bool:
        """Was the case memory damaged, and not yet completed from the platform?"""
        return self.meta(HOLES) is not None

    def holes_filled(self, tiles: Iterable[Tile]) -> None:
        """The platform has told what it knows of these tiles."""
        if self.memory_lost:
            left = sorted(self.memory_holes - set(tiles))
            self.set_meta(HOLES, json.dumps(left) if left else None)

    def meta(self, key: str) -> str | None:
        """A value that outlives the process."""
        return self._files.meta(key)

    def set_meta(self, key: str, value: str | None) -> None:
        """Keep a value, or forget it (None); durable when it returns."""
        with self._database.transaction() as tx:
            if value is None:
                tx.execute("DELETE FROM meta WHERE k = ?", (key,))
            else:
                tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def heal(self, damage: DatabaseDamaged) -> None:
        """Replace the damaged file by what can be read of it; undelivered events come along."""
        self._files.heal(damage)

    def wait_checked(self) -> None:
        """Wait for the look that a start after a crash takes beside the work."""
        self._files.wait_checked()

    def commit(
        self,
        changes: Sequence[CaseChange],
        anchors: Sequence[AnchorUpdate] = (),
        calibrations: Mapping[str, Sequence[CalibrationUpdate]] | None = None,
    ) -> None:
        """Store the changes with their pictures and enqueue them; returns only when durable.

        What a pass learned of permanent landmarks (`anchors`) and of camera mounts (`calibrations`, by vehicle) is kept
        in the same transaction, and is not sent. Raises OSError or sqlite3.Error when the disk refuses (nothing is
        committed then; a full one refuses only when nothing less urgent is left to give up), EvidenceMismatch on a bug.
        """
        if not changes and not calibrations and not any(u.kept or u.gone for u in anchors):
            return
        self.disk.restore_ballast()
        self._files.healing(self._shedder.tidy)
        pictures = {sha256 for change in changes for sha256 in carried(change)}
        try:
            self._with_room(lambda spare: self._commit(changes, anchors, calibrations or {}, spare=spare))
        finally:
            self.spool.pending -= pictures

    def _with_room(self, work: Callable[[bool], None]) -> None:
        """Do `work`; on a full disk give something up and try again. Its argument: spare new pictures too."""
        measures, spare = self._shedder.make_room(), False
        while True:
            try:
                return self._files.healing(lambda: work(spare))  # noqa: B023
            except (OSError, sqlite3.Error) as error:
                measure = next(measures, None) if is_full(error) else None
                if measure is None:
                    raise
                spare = spare or measure == NEW_PICTURES

    def _commit(
        self,
        changes: Sequence[CaseChange],
        anchors: Sequence[AnchorUpdate],
        calibrations: Mapping[str, Sequence[CalibrationUpdate]],
        *,
        spare: bool,
    ) -> None:
        self._enqueue(changes, anchors, calibrations, self._write_evidence(changes, spare=spare))

    def _enqueue(
        self,
        changes: Sequence[CaseChange],
        anchors: Sequence[AnchorUpdate],
        calibrations: Mapping[str, Sequence[CalibrationUpdate]],
        shed: set[str],
    ) -> None:
        with self._database.lock:
            entries = self._entries(changes, shed)
            if entries:
                self._files.tiles.add(tile_of(change.case.lat_deg, change.case.lon_deg) for change in changes)
                mark = self.journal.mark()
                self.journal.append(self.epoch, entries[0].seq, [entry.to_json() for entry in entries])
            try:
                self._record(entries, anchors, calibrations)
            except BaseException:
                if entries:
                    self.journal.rewind(mark)
                raise

    def _write_evidence(self, changes: Sequence[CaseChange], *, spare: bool = False) -> set[str]:
        """Write what is not there yet; returns the pictures that the disk has no room for, none of them urgent."""
        shed: set[str] = set()
        for change in changes:
            for sha256, picture in carried(change).items():
                state = self._database.value("SELECT state FROM blob WHERE sha256 = ?", (sha256,))
                if state in ("held", "ready", "acked", "purged", "dead") or sha256 in self.spool.pending:
                    continue
                if spare and priority(change.case, self._maker.origin) > URGENT:
                    shed.add(sha256)
                else:
                    self.spool.write(sha256, picture.jpeg)
        return shed

    def _entries(self, changes: Sequence[CaseChange], shed: set[str]) -> list[Entry]:
        seq, before = self.last_seq, self.chain_head
        holes, witnessed = self.memory_holes, None if self.witness is None else self.witness()
        entries: list[Entry] = []
        for change in changes:
            seq += 1
            lost = tile_of(change.case.lat_deg, change.case.lon_deg) in holes
            entry = self._maker.entry(change, self.epoch, seq, before, shed=shed, memory_lost=lost, witnessed=witnessed)
            entries.append(entry)
            before = entry.digest
        return entries

    def _record(
        self,
        entries: Sequence[Entry],
        anchors: Sequence[AnchorUpdate],
        calibrations: Mapping[str, Sequence[CalibrationUpdate]],
    ) -> None:
        with self._database.transaction() as tx:
            for entry in entries:
                insert(tx, entry)
                remember(tx, entry.case)
                for sha256 in entry.shed:
                    self.outbox.record_loss(tx, "shed evidence", f"{sha256}: no room", 0, entry.seq)
            if entries:
                tx.execute("UPDATE meta SET v = ? WHERE k = 'chain_head'", (entries[-1].digest,))
            keep_learned(tx, anchors, calibrations)

    def mend_body(self, uid: str) -> bytes | None:
        """The body of an event from the journal, put back into the database; None when it is nowhere."""
        _, epoch, seq = uid.split(":")
        tree = self.journal.find(epoch, int(seq))
        if tree is None or tree.get("uid") != uid:
            return None
        body = str(tree["body"]).encode()
        self.outbox.replace_body(uid, body)
        return body

    def signed_head(self) -> JsonDict:
        """The signed statement of where the chain stands, for those who check evidence."""
        first = self._database.value("SELECT min(seq) FROM event WHERE seq > 0")
        return head_of(self.device, self.epoch, first or self.last_seq + 1, self.last_seq, self.chain_head, self.key)

    def tidy(self, keep_events: int) -> bool:
        """One small step of housekeeping, for idle moments; False when there was nothing to do."""
        did = self.outbox.purge() > 0
        did = self.outbox.purge_events(keep_events) > 0 or did
        did = self.journal.forget(self._is_settled) > 0 or did
        return self._database.shrink(256) or did

    def _is_settled(self, epoch: str, first: int, last: int) -> bool:
        # Rescued events (seq < 0) come from other epochs: their segments go when the last of them has.
        bounds = (first, last) if epoch == self.epoch else (-(2**62), -1)
        sql = "SELECT 1 FROM event WHERE seq BETWEEN ? AND ? AND state IN ('ready', 'dead') LIMIT 1"
        return self._database.value(sql, bounds) is None

    def give_way(self) -> None:
        """Make room after a write failed on a full disk: the first measure that there still is."""
        next(self._shedder.make_room(), None)

    def known(self, tiles: Iterable[Tile], stamp_ns: int) -> list[KnownObjects]:
        """Cases of every state (candidates too) and anchors of these tiles, by id; one event per tile, in order."""
        wanted = list(tiles)
        if self.ahead is not None:
            self.ahead(wanted)
        return self._files.healing(lambda: [self._memory.known(tile, stamp_ns) for tile in wanted])

    def cases(self) -> list[Case]:
        """Every remembered case, by id."""
        return self._files.healing(self._memory.cases)

    def anchors(self) -> list[Anchor]:
        """Every permanent landmark, by id."""
        return self._files.healing(self._memory.anchors)

    def calibration(self, vehicle: str, stamp_ns: int) -> list[CalibrationUpdate]:
        """What the last drive of a vehicle ended with, stamped `stamp_ns`, by camera."""
        return self._files.healing(lambda: self._memory.calibration(vehicle, stamp_ns))

    def put_anchors(self, anchors: Iterable[Anchor]) -> None:
        """Add or replace permanent landmarks; durable when it returns."""
        with self._database.transaction() as tx:
            keep_anchors(tx, anchors)

    def take_memory(self, cases: Iterable[tuple[Case, bool]]) -> None:
        """Put cases from the platform into the memory: newer revisions, and what is not there at all.

        A case that is not exact (made from what people see) never replaces one of this store.
        """
        with self._database.transaction() as tx:
            for case, exact in cases:
                row = tx.execute("SELECT rev FROM case_state WHERE case_uid = ?", (case.id,)).fetchone()
                if row is None or (exact and case.revision > row["rev"]):
                    remember(tx, canonical_json(case_to_dict(case)))

    def close(self) -> None:
        """Close the files and let the next process in."""
        self._files.close()

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
