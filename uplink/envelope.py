"""What travels: an event's body with its idempotency key, and the pictures that belong to it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from uplink.errors import StoreError

DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
EPOCH = re.compile(r"[0-9a-f]{8,32}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """One event to deliver. `key` is `device:epoch:seq`; `digest` is the sha256 (hex) of `body`.

    `seq` is the row in the store: negative for events rescued from a damaged file. `evidence`: value of the header
    with the signed manifest, "" without one. `prio` 0 is most urgent.
    """

    seq: int
    key: str
    body: bytes = field(repr=False)
    digest: str
    attempts: int = 0
    evidence: str = field(default="", repr=False)
    prio: int = 1


@dataclass(frozen=True, slots=True)
class BlobItem:
    """One picture to deliver; `file` holds `size` bytes of `mime` with that hash."""

    sha256: str
    size: int
    mime: str
    file: Path
    attempts: int = 0
    prio: int = 1


def event_key(device: str, epoch: str, seq: int) -> str:
    """The idempotency key of an event."""
    return f"{device}:{epoch}:{seq}"


def digest_of(body: bytes) -> str:
    """sha256 as hex."""
    return hashlib.sha256(body).hexdigest()


def checked_device(device: str) -> str:
    """The device name when it is safe in paths and addresses; else StoreError."""
    if DEVICE.fullmatch(device) is None:
        raise StoreError(f"device name {device!r} cannot be used", remedy="use 1-64 letters, digits, '.', '_' or '-'")
    return device
