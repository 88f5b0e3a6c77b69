"""A case memory in plain dictionaries: what the store on the car answers, without its file. For the benchmark only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from perception.store import tile_of
from perception.types import Anchor, AnchorUpdate, CalibrationUpdate, Case, CaseChange, KnownObjects, Tile


@dataclass(slots=True)
class MemoryStore:
    """Implements `perception.store.CaseStore`. The newest revision of a case wins; `changes` keeps every change."""

    changes: list[CaseChange] = field(default_factory=list)
    _cases: dict[str, Case] = field(default_factory=dict)
    _tiles: dict[Tile, set[str]] = field(default_factory=dict)
    _anchors: dict[Tile, dict[str, Anchor]] = field(default_factory=dict)
    _mounts: dict[str, dict[str, CalibrationUpdate]] = field(default_factory=dict)

    def known(self, tiles: Iterable[Tile], stamp_ns: int) -> list[KnownObjects]:
        """Cases, candidates and anchors of these tiles by id, one event per tile, stamped `stamp_ns`."""
        return [KnownObjects(stamp_ns, tile, self._cases_of(tile), self._anchors_of(tile)) for tile in tiles]

    def calibration(self, vehicle: str, stamp_ns: int) -> list[CalibrationUpdate]:
        """What the last drive of a vehicle ended with, stamped `stamp_ns`, by camera."""
        return [replace(row, stamp_ns=stamp_ns) for _, row in sorted(self._mounts.get(vehicle, {}).items())]

    def commit(
        self,
        changes: Sequence[CaseChange],
        anchors: Sequence[AnchorUpdate] = (),
        calibrations: Mapping[str, Sequence[CalibrationUpdate]] | None = None,
    ) -> None:
        """Keep the changes; a change made from an older state than the one kept does not overwrite it."""
        for vehicle, rows in (calibrations or {}).items():
            self._mounts.setdefault(vehicle, {}).update({row.camera: row for row in rows})
        for update in anchors:
            for name in (*update.gone, *(a.id for a in update.kept)):
                for held in self._anchors.values():
                    held.pop(name, None)
            self.put_anchors(update.kept)
        for change in changes:
            self.changes.append(change)
            old = self._cases.get(change.case_id)
            if old is None or change.case.revision >= old.revision:
                if old is not None:
                    self._tiles[tile_of(old.lat_deg, old.lon_deg)].discard(old.id)
                self.put(change.case)

    def put(self, case: Case) -> None:
        """Remember a case as it is."""
        self._cases[case.id] = case
        self._tiles.setdefault(tile_of(case.lat_deg, case.lon_deg), set()).add(case.id)

    def put_anchors(self, anchors: Iterable[Anchor]) -> None:
        """Add or replace permanent landmarks."""
        for anchor in anchors:
            self._anchors.setdefault(tile_of(anchor.lat_deg, anchor.lon_deg), {})[anchor.id] = anchor

    def cases(self) -> list[Case]:
        """Every remembered case, by id."""
        return [self._cases[name] for name in sorted(self._cases)]

    def anchors(self) -> list[Anchor]:
        """Every permanent landmark, by id."""
        return sorted((a for held in self._anchors.values() for a in held.values()), key=lambda a: a.id)

    def _cases_of(self, tile: Tile) -> tuple[Case, ...]:
        return tuple(self._cases[name] for name in sorted(self._tiles.get(tile, ())))

    def _anchors_of(self, tile: Tile) -> tuple[Anchor, ...]:
        held = self._anchors.get(tile, {})
        return tuple(held[name] for name in sorted(held))
