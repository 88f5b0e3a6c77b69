"""One committed change as rows: body, signed manifest, pictures, case memory; and its line in the journal."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Collection
from dataclasses import dataclass

from perception.serial import canonical_json, case_to_dict
from perception.store import tile_of
from perception.types import LISTED_STATES, Case, CaseChange, JsonDict, Picture
from uplink.envelope import digest_of, event_key
from uplink.evidence import Witnessed, manifest_of, sign
from uplink.keys import DeviceKey
from uplink.payload import ChainLink, Origin, announced_pictures, case_body

URGENT, LISTED, OTHER = 0, 1, 2
MIME = "image/jpeg"


def carried(change: CaseChange) -> dict[str, Picture]:
    """Pictures of a change that come with their bytes; the others were stored earlier or belong to another vehicle."""
    return {picture.sha256: picture for picture in (*change.case.evidence, *change.pictures) if picture.jpeg}


def priority(case: Case, origin: Origin) -> int:
    """0 urgent and listed, 1 listed, 2 the rest (candidates, withdrawals)."""
    if case.state not in LISTED_STATES:
        return OTHER
    return URGENT if origin.urgent(case.kind) else LISTED


@dataclass(frozen=True, slots=True)
class Entry:
    """Everything that one change adds to the store.

    `pictures`: (sha256, bytes) of those that came with their bytes; `announced`: those the platform may expect;
    `shown`: all of the case, in order; `shed`: those for which the disk had no room. `case` is the memory's text.
    """

    epoch: str
    seq: int
    uid: str
    kind: str
    prio: int
    case_uid: str
    rev: int
    body: str
    prev_hash: str
    proof: str | None
    sig: str | None
    pictures: tuple[tuple[str, int], ...]
    announced: tuple[str, ...]
    shown: tuple[str, ...]
    shed: tuple[str, ...]
    case: str

    @property
    def digest(self) -> str:
        """sha256 of the body."""
        return digest_of(self.body.encode())

    def to_json(self) -> JsonDict:
        """For the journal."""
        return {name: getattr(self, name) for name in Entry.__slots__}

    @classmethod
    def from_json(cls, tree: JsonDict) -> Entry:
        """Raises KeyError, TypeError or ValueError for what is no entry."""
        fields = {name: tree[name] for name in cls.__slots__}
        for name in ("announced", "shown", "shed"):
            fields[name] = tuple(str(sha256) for sha256 in fields[name])
        fields["pictures"] = tuple((str(sha256), int(size)) for sha256, size in fields["pictures"])
        entry = cls(**fields)
        tree_of_body = json.loads(entry.body)
        if tree_of_body["uid"] != entry.uid or tree_of_body["seq"] != entry.seq:
            raise ValueError(f"{entry.uid} is not the uid of its body")
        return entry


@dataclass(frozen=True, slots=True)
class Maker:
    """What entries are made with: who, by what, and signed with which key."""

    device: str
    origin: Origin
    hashes: JsonDict
    key: DeviceKey

    def entry(
        self,
        change: CaseChange,
        epoch: str,
        seq: int,
        prev_hash: str,
        *,
        shed: Collection[str] = (),
        memory_lost: bool = False,
        witnessed: Witnessed | None = None,
    ) -> Entry:
        """The entry of `change`. Raises ValueError on NaN."""
        case = change.case
        link = ChainLink(event_key(self.device, epoch, seq), self.device, epoch, seq, prev_hash)
        body = case_body(change, link, self.origin)
        proof = manifest_of(
            change, link, body, self.hashes, self.key.public.id, memory_lost=memory_lost, witnessed=witnessed
        )
        pictures = carried(change)
        shown = {picture.sha256: None for picture in (*case.evidence, *change.pictures)}
        return Entry(
            epoch,
            seq,
            link.uid,
            change.change.value,
            priority(case, self.origin),
            case.id,
            case.revision,
            body.decode(),
            prev_hash,
            proof.decode(),
            sign(self.key, proof),
            tuple((sha256, len(picture.jpeg)) for sha256, picture in pictures.items()),
            tuple(picture.sha256 for picture in announced_pictures(change)),
            tuple(shown),
            tuple(sha256 for sha256 in pictures if sha256 in shed),
            canonical_json(case_to_dict(case)),
        )


def insert(tx: sqlite3.Connection, entry: Entry, seq: int | None = None) -> None:
    """Add the event and its pictures; `seq` is the row's number where it is not the event's own (rescued ones)."""
    row = entry.seq if seq is None else seq
    tx.execute(
        """INSERT INTO event (seq, uid, kind, prio, case_uid, rev, manifest, digest, sig, proof, prev_hash, state)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ready')""",
        (
            row, entry.uid, entry.kind, entry.prio, entry.case_uid, entry.rev, entry.body.encode(), entry.digest,
            entry.sig, entry.proof, entry.prev_hash,
        ),
    )  # fmt: skip
    for sha256, size in entry.pictures:
        state = "shed" if sha256 in entry.shed else "ready" if sha256 in entry.announced else "held"
        insert_blob(tx, sha256, size, state, entry.prio, row)
    for sha256 in entry.announced:
        tx.execute(
            """UPDATE blob SET state = iif(state = 'held', 'ready', state), prio = min(prio, ?)
               WHERE sha256 = ? AND state IN ('held', 'ready')""",
            (entry.prio, sha256),
        )
    for order, sha256 in enumerate(entry.shown):
        tx.execute("INSERT INTO event_blob SELECT ?, sha256, ? FROM blob WHERE sha256 = ?", (row, order, sha256))


def insert_blob(tx: sqlite3.Connection, sha256: str, size: int, state: str, prio: int, seq: int) -> None:
    """Add a picture's row; one that was lost or shed comes back with its bytes."""
    tx.execute(
        """INSERT INTO blob (sha256, size, mime, state, prio, file_seq) VALUES (?, ?, ?, ?, ?, ?)
           ON CONFLICT (sha256) DO UPDATE SET state = excluded.state, prio = excluded.prio
           WHERE blob.state IN ('lost', 'shed')""",
        (sha256, size, MIME, state, prio, seq),
    )


def remember(tx: sqlite3.Connection, body: str) -> None:
    """Put a case (canonical JSON of `case_to_dict`) into the memory.

    A change made from an older state than the one kept still goes to the platform, which knows the order.
    """
    tree = json.loads(body)
    row, column = tile_of(tree["lat_deg"], tree["lon_deg"])
    tx.execute(
        """INSERT INTO case_state (case_uid, rev, state, kind, tile_row, tile_col, body, crc)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (case_uid) DO UPDATE SET rev = excluded.rev, state = excluded.state, kind = excluded.kind,
           tile_row = excluded.tile_row, tile_col = excluded.tile_col, body = excluded.body, crc = excluded.crc
           WHERE excluded.rev >= case_state.rev""",
        (tree["id"], tree["revision"], tree["state"], tree["kind"], row, column, body, crc_of(body)),
    )


def crc_of(body: str) -> int:
    """Checksum of a memory row."""
    return zlib.crc32(body.encode())
