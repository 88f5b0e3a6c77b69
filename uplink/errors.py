"""Typed errors of the uplink."""

from __future__ import annotations

from perception.errors import SetupError


class StoreError(SetupError):
    """The store cannot be opened as asked: held by another process, of another program, or from newer software."""


class DatabaseDamaged(Exception):
    """SQLite cannot read the file, or its check found damage; the store moves it aside and carries on."""


class EvidenceMismatch(ValueError):
    """A picture's bytes do not have the hash it is filed under: a bug in the caller."""
