"""Typed errors of the uplink."""

from __future__ import annotations

from perception.errors import SetupError


class StoreError(SetupError):
    """The store cannot be opened as asked: held by another process, of another program, or from newer software."""


class DatabaseDamaged(Exception):
    """SQLite cannot read the file, or its check found damage; the store moves it aside and carries on.

    `generation` counts how often the file had been replaced: two threads that meet one damage repair it once.
    """

    def __init__(self, why: str, generation: int = 0) -> None:
        super().__init__(why)
        self.generation = generation


class EvidenceMismatch(ValueError):
    """A picture's bytes do not have the hash it is filed under: a bug in the caller."""
