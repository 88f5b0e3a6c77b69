"""The case memory's tables: cases, permanent landmarks, calibrations. Rows that do not hold are forgotten aloud."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from perception.serial import anchor_from_dict, anchor_to_dict, canonical_json, case_from_dict
from perception.store import tile_of
from perception.types import Anchor, AnchorUpdate, CalibrationUpdate, Case, KnownObjects, Tile
from uplink.database import Database
from uplink.outbox import Outbox
from uplink.record import crc_of

log = logging.getLogger(__name__)

_CALIBRATION = "calibration/"
HOLES = "memory_holes"
"""Key of the tiles whose memory was damaged and not yet completed, as JSON; absent: none."""


def holes_of(text: str | None) -> list[Tile]:
    """Tiles of the text kept under `HOLES`."""
    try:
        return [(int(row), int(column)) for row, column in json.loads(text or "[]")]
    except (ValueError, TypeError):
        return []


def _anchor(row: sqlite3.Row) -> Anchor:
    """A row of the table: a learned landmark's whole text, or one of the city's register."""
    if row["body"] is not None:
        return anchor_from_dict(json.loads(row["body"]))
    cov_m2 = (row["cov_ee_m2"], row["cov_en_m2"], row["cov_nn_m2"])
    return Anchor(row["id"], row["class_name"], row["lat_deg"], row["lon_deg"], cov_m2)


def keep_anchors(tx: sqlite3.Connection, anchors: Iterable[Anchor]) -> None:
    """Add or replace permanent landmarks."""
    rows = []
    for a in anchors:
        body = canonical_json(anchor_to_dict(a)) if a.passes else None
        rows.append((a.id, a.class_name, a.lat_deg, a.lon_deg, *a.cov_m2, *tile_of(a.lat_deg, a.lon_deg), body))
    tx.executemany(
        """INSERT OR REPLACE INTO anchor (id, class_name, lat_deg, lon_deg, cov_ee_m2, cov_en_m2, cov_nn_m2,
           tile_row, tile_col, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        rows,
    )


def keep_learned(
    tx: sqlite3.Connection,
    anchors: Sequence[AnchorUpdate],
    calibrations: Mapping[str, Sequence[CalibrationUpdate]],
) -> None:
    """What a pass learned of landmarks and of camera mounts (by vehicle)."""
    for update in anchors:
        keep_anchors(tx, update.kept)
        tx.executemany("DELETE FROM anchor WHERE id = ?", [(name,) for name in update.gone])
    for vehicle, updates in calibrations.items():
        for row in updates:
            body = json.dumps(asdict(row), sort_keys=True)
            tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"{_CALIBRATION}{vehicle}/{row.camera}", body))


class CaseMemory:
    """Reading side; shares the store's database."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    def known(self, tile: Tile, stamp_ns: int) -> KnownObjects:
        """Cases of every state and anchors of a tile, by id."""
        cases = self.cases("tile_row = ? AND tile_col = ?", tile)
        sql = "SELECT * FROM anchor WHERE tile_row = ? AND tile_col = ? ORDER BY id"
        return KnownObjects(stamp_ns, tile, tuple(cases), tuple(self._anchors(sql, tile)))

    def cases(self, where: str = "1", values: Sequence[int] = ()) -> list[Case]:
        """Cases of rows that hold, by id; a row with a flipped bit is put into `loss` and forgotten."""
        sql = f"SELECT case_uid, tile_row, tile_col, body, crc FROM case_state WHERE {where} ORDER BY case_uid"  # noqa: S608
        cases, bad = [], []
        for row in self._database.rows(sql, values):
            try:
                if row["crc"] not in (None, crc_of(row["body"])):
                    raise ValueError("checksum")
                cases.append(case_from_dict(json.loads(row["body"])))
            except (ValueError, KeyError, TypeError, AttributeError):
                bad.append(row)
        if bad:
            self._forget(bad)
        return cases

    def _forget(self, rows: Sequence[sqlite3.Row]) -> None:
        with self._database.transaction() as tx:
            for row in rows:
                self._outbox.record_loss(tx, "damaged memory", f"{row['case_uid']}: checksum", 0)
                tx.execute("DELETE FROM case_state WHERE case_uid = ?", (row["case_uid"],))
            known = tx.execute("SELECT v FROM meta WHERE k = ?", (HOLES,)).fetchone()
            holes = set(holes_of(known and known[0])) | {(row["tile_row"], row["tile_col"]) for row in rows}
            tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (HOLES, json.dumps(sorted(holes))))
        log.error("memory_damaged", extra={"cases": [row["case_uid"] for row in rows]})

    def anchors(self) -> list[Anchor]:
        """Every permanent landmark, by id."""
        return self._anchors("SELECT * FROM anchor ORDER BY id")

    def _anchors(self, sql: str, values: Sequence[int] = ()) -> list[Anchor]:
        anchors = []
        for row in self._database.rows(sql, values):
            try:
                anchors.append(_anchor(row))
            except (ValueError, KeyError, TypeError):
                # A landmark is learned anew; it is no case.
                log.error("anchor_damaged", extra={"anchor": row["id"]})
        return anchors

    def calibration(self, vehicle: str, stamp_ns: int) -> list[CalibrationUpdate]:
        """What the last drive of a vehicle ended with, stamped `stamp_ns`, by camera."""
        rows = self._database.rows("SELECT v FROM meta WHERE k GLOB ? ORDER BY k", (f"{_CALIBRATION}{vehicle}/*",))
        return [CalibrationUpdate(**{**json.loads(row["v"]), "stamp_ns": stamp_ns}) for row in rows]
