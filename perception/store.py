"""The case memory as the pipeline's surroundings see it; implemented in `uplink` (same file as the outbox)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from perception.types import AnchorUpdate, CalibrationUpdate, CaseChange, KnownObjects, Tile

TILE_PER_DEG = 200
"""Tiles are 1/200 of a degree: about 550 m north-south, 480 m east-west at 30 degrees north."""


def tile_of(lat_deg: float, lon_deg: float) -> Tile:
    """The tile that holds a position, as (floor(lat * 200), floor(lon * 200))."""
    return int(lat_deg * TILE_PER_DEG // 1), int(lon_deg * TILE_PER_DEG // 1)


def tiles_around(lat_deg: float, lon_deg: float) -> tuple[Tile, ...]:
    """The tile of a position and its eight neighbours: at least 480 m ahead in every direction."""
    row, column = tile_of(lat_deg, lon_deg)
    return tuple((row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1))


class CaseStore(Protocol):
    """Durable case memory. Changes and their outbox entries are committed in one transaction."""

    def known(self, tiles: Iterable[Tile], stamp_ns: int) -> list[KnownObjects]:
        """Cases, candidates and anchors of these tiles, one event per tile, stamped `stamp_ns`."""
        ...

    def commit(
        self,
        changes: Sequence[CaseChange],
        anchors: Sequence[AnchorUpdate] = (),
        calibrations: Mapping[str, Sequence[CalibrationUpdate]] | None = None,
    ) -> None:
        """Store the changes with their pictures and enqueue them; returns only when durable.

        What was learned of permanent landmarks, and of the camera mounts of a vehicle (`calibrations`, by vehicle), is
        kept in the same transaction, and is not sent.
        """
        ...

    def calibration(self, vehicle: str, stamp_ns: int) -> list[CalibrationUpdate]:
        """What the last drive of a vehicle ended with, stamped `stamp_ns`, by camera: the next one starts with it."""
        ...
