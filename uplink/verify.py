"""Does evidence hold? For a third party that has an exported folder and the device's public key, and trusts nobody.

The folder: `head.json` (signed: where the chain stands), `chain.jsonl` (one link per event: hashes, signed manifest),
`events.jsonl` (bodies) and `evidence/<sha256>.jpg`. Links of acknowledged events may come without body and pictures;
links that the car has purged come as bare hashes, which their signed successors pin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perception.types import JsonDict
from uplink.envelope import digest_of
from uplink.errors import StoreError
from uplink.evidence import HEAD_SCHEMA, BadEvidence, canonical_bytes, check_manifest, check_signed
from uplink.keys import PublicKey


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not hold: where, and what is wrong with it."""

    where: str
    what: str


@dataclass(slots=True)
class Verdict:
    """What was looked at and what does not hold; `ok` when nothing was found and something was checked."""

    links: int = 0
    signed: int = 0
    bodies: int = 0
    pictures: int = 0
    absent_pictures: int = 0
    memory_lost: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Everything checked holds."""
        return not self.problems and self.signed > 0

    def to_dict(self) -> JsonDict:
        """For `--json`."""
        return {**asdict(self), "ok": self.ok}

    def note(self, where: str, what: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(where, what))


def _lines(path: Path, verdict: Verdict) -> Iterator[tuple[str, JsonDict]]:
    if not path.is_file():
        raise StoreError("is missing", file=path, remedy="name a folder written by `qiji outbox export`")
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        where = f"{path.name}:{number}"
        if not line:
            continue
        try:
            tree = json.loads(line)
            if isinstance(tree, dict) and canonical_bytes(tree) == line:
                yield where, tree
                continue
        except (BadEvidence, ValueError, RecursionError):
            pass
        verdict.note(where, "is not a canonical JSON object: changed")


def _link(where: str, row: JsonDict, key: PublicKey, verdict: Verdict) -> JsonDict | None:
    """The signed manifest of a link, checked against the link's own hashes; None for a bare link or a bad one."""
    if row.get("manifest") is None:
        if row.get("signature") is not None:
            verdict.note(where, "has a signature without its manifest")
        return None
    try:
        manifest = check_manifest(canonical_bytes(row["manifest"]), str(row.get("signature")), key)
    except BadEvidence as error:
        verdict.note(where, str(error))
        return None
    pairs = (("uid", "uid"), ("seq", "seq"), ("epoch", "epoch"), ("digest", "event_sha256"), ("prev_hash", "prev_hash"))
    for mine, signed in pairs:
        if row.get(mine) != manifest.get(signed):
            verdict.note(where, f"{mine} is not what was signed")
    verdict.signed += 1
    verdict.memory_lost += bool(manifest.get("memory_lost"))
    return manifest


def _check_order(rows: list[tuple[str, JsonDict]], head: JsonDict, verdict: Verdict) -> None:
    """Nothing missing, repeated or out of order between the head's first and last, and hash fits to hash."""
    expected, before = head["first_seq"], None
    for where, row in rows:
        if row.get("seq") != expected:
            verdict.note(where, f"seq {row.get('seq')} where {expected} belongs: removed, repeated or moved")
        if before is not None and row.get("prev_hash") != before:
            verdict.note(where, "does not follow the link before it")
        if row.get("seq") == 1 and row.get("prev_hash") != "":
            verdict.note(where, "the first link follows something")
        if row.get("uid") != f"{head['device']}:{head['epoch']}:{row.get('seq')}":
            verdict.note(where, "uid is not device:epoch:seq")
        seq = row.get("seq")
        expected = (seq if isinstance(seq, int) else expected) + 1
        before = row.get("digest")
    if expected != head["last_seq"] + 1 or (rows and before != head["chain_head"]):
        verdict.note("chain.jsonl", f"ends at {expected - 1}, signed was {head['last_seq']}: newest events are missing")


def _check_bodies(folder: Path, manifests: dict[str, JsonDict], verdict: Verdict) -> None:
    seen: set[str] = set()
    for where, row in _lines(folder / "events.jsonl", verdict):
        uid = str(row.get("uid"))
        manifest = manifests.get(uid)
        if uid in seen:
            verdict.note(where, f"{uid} is there twice")
        seen.add(uid)
        if manifest is None:
            verdict.note(where, f"{uid} has no signed link")
        elif digest_of(canonical_bytes(row.get("body"))) != manifest["event_sha256"]:
            verdict.note(where, f"the body of {uid} is not the signed one")
        else:
            verdict.bodies += 1


def _check_pictures(folder: Path, manifests: dict[str, JsonDict], verdict: Verdict) -> None:
    signed = {sha256 for manifest in manifests.values() for sha256 in manifest["pictures"]}
    there = {path.stem: path for path in sorted((folder / "evidence").glob("*")) if path.is_file()}
    for name, path in there.items():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != name:
            verdict.note(f"evidence/{path.name}", "has other bytes than its name says: changed")
        elif name not in signed:
            verdict.note(f"evidence/{path.name}", "no signed revision names it")
        else:
            verdict.pictures += 1
    verdict.absent_pictures = len(signed - set(there))


def _head(folder: Path, key: PublicKey, verdict: Verdict) -> JsonDict | None:
    try:
        text: Any = json.loads((folder / "head.json").read_bytes())
        head = check_signed(canonical_bytes(text["head"]), str(text["signature"]), key)
        if head.get("schema") == HEAD_SCHEMA and head.get("key") == key.id:
            return head
        verdict.note("head.json", "is of another schema or key")
    except FileNotFoundError:
        verdict.note("head.json", "is missing: nobody can tell whether the newest events are there")
    except (BadEvidence, ValueError, RecursionError, KeyError, TypeError) as error:
        verdict.note("head.json", f"does not hold: {error}")
    return None


def verify_folder(folder: Path, key: PublicKey) -> Verdict:
    """Check an exported folder with nothing but the public key. Raises StoreError when it is no such folder."""
    verdict = Verdict()
    head = _head(folder, key, verdict)
    manifests: dict[str, JsonDict] = {}
    current: list[tuple[str, JsonDict]] = []
    for where, row in _lines(folder / "chain.jsonl", verdict):
        verdict.links += 1
        manifest = _link(where, row, key, verdict)
        if manifest is not None:
            if manifest["uid"] in manifests:
                verdict.note(where, f"{manifest['uid']} is there twice")
            manifests[manifest["uid"]] = manifest
        if head is not None and row.get("epoch") == head["epoch"]:
            current.append((where, row))
    if head is not None:
        _check_order(current, head, verdict)
    _check_bodies(folder, manifests, verdict)
    _check_pictures(folder, manifests, verdict)
    return verdict
