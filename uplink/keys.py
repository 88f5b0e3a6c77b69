"""The device's own Ed25519 key: made on the device, kept in a file that only its user can read, never printed.

The private half never leaves `keys/device.key` (0600 in a 0700 folder); `keys/device.pub` is for enrolment and for
whoever checks evidence. Key id = sha256 (hex) of the raw 32-byte public key.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from uplink.errors import StoreError
from uplink.files import sync_folder

log = logging.getLogger(__name__)

PRIVATE, PUBLIC = "device.key", "device.pub"


class PublicKey:
    """The half that everybody may have; `id` names it."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.id = hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Raises ValueError when `pem` is not an Ed25519 public key."""
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError(f"not a public key in PEM: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("not an Ed25519 key")
        return cls(key)

    def pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def raw_base64(self) -> str:
        """Base64 of the 32 bytes, as an enrolment wants it."""
        return base64.b64encode(self._key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Did the private half sign exactly this message?"""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class DeviceKey:
    """The private half. It has no text form, so that it cannot slip into a log."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    def __repr__(self) -> str:
        return f"DeviceKey({self.public.id[:16]})"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")

    @classmethod
    def from_seed(cls, seed: bytes) -> DeviceKey:
        """From 32 secret bytes (RFC 8032)."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message: bytes) -> bytes:
        """64 bytes; the same message always gives the same signature."""
        return self._key.sign(message)

    def _pem(self) -> bytes:
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    os.rename(part, path)


def _load(path: Path) -> DeviceKey | None:
    """The key in a file; None when the file holds none."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise StoreError(f"is open to others (mode {mode:04o})", file=path, remedy="chmod 600 it, or make a new key")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return DeviceKey(key) if isinstance(key, Ed25519PrivateKey) else None


def device_key(folder: Path) -> DeviceKey:
    """The key in `folder`, made with the system's random numbers when there is none; durable when it returns.

    A damaged one is put aside and a new one made, so that the car drives on: the platform will refuse what the new one
    signs until it is enrolled, and until then nothing counts as sent. Raises StoreError when others can read the file.
    """
    path = folder / PRIVATE
    key = _load(path) if path.exists() else None
    if key is None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            log.error("device_key_damaged", extra={"file": str(path)})
            os.rename(path, path.with_name(path.name + ".damaged"))
        key = DeviceKey(Ed25519PrivateKey.generate())
        _write(path, key._pem(), 0o600)
        sync_folder(folder)
        sync_folder(folder.parent)
    if not (folder / PUBLIC).exists() or (folder / PUBLIC).read_bytes() != key.public.pem():
        _write(folder / PUBLIC, key.public.pem(), 0o644)
        sync_folder(folder)
    return key
