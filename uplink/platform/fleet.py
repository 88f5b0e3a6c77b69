"""Fleet-wide case memory: what vehicles sync from, and the merging of what two of them filed apart.

Merging runs behind the intake, tile by tile, by `perception.remerge`: the solver that a car runs at the end of a shift.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from perception.catalogue import Catalogue
from perception.remerge import remerge
from perception.types import CaseState, ChangeKind, JsonDict, Tile
from uplink.platform.actions import merge_heads
from uplink.platform.heads import MERGED, head_of, read_head, write_head
from uplink.platform.intake import Intake
from uplink.platform.storage import Tx

PLATFORM = "platform"
MAX_TILES = 64
_MOST_CASES = 400


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a reader of the feed has come: transaction and change."""

    tx: int = 0
    id: int = 0

    @staticmethod
    def of(text: str) -> Cursor:
        """Inverse of str(); raises ValueError."""
        number, _, change = text.partition(".")
        if not (number.isdecimal() and change.isdecimal() and len(text) <= 40):
            raise ValueError(f"not a cursor: {text!r}")
        return Cursor(min(int(number), 2**62), min(int(change), 2**62))

    def __str__(self) -> str:
        return f"{self.tx}.{self.id}"


def changed_cases(intake: Intake, tiles: Sequence[Tile], since: Cursor, limit: int) -> tuple[list[JsonDict], Cursor]:
    """Cases of these tiles (all with none) that changed after `since`, in the order of change, and the next cursor.

    A case appears once, in its newest state, as `perception.serial.case_to_dict` with `decision` beside it. Changes in
    transactions that are not over yet are left for the next time, so that no reader ever skips one.
    """
    settled = intake.database.settled()
    where = "changed_tx < ? AND (changed_tx > ? OR (changed_tx = ? AND changed_id > ?))"
    values: list[object] = [settled, since.tx, since.tx, since.id]
    if tiles:
        where += f" AND ({' OR '.join(['(tile_row = ? AND tile_col = ?)'] * len(tiles))})"
        values += [number for tile in tiles for number in tile]
    rows = intake.database.rows(
        f"""SELECT memory, exact, decision, changed_tx, changed_id FROM case_head WHERE {where}
            ORDER BY changed_tx, changed_id LIMIT ?""",  # noqa: S608 - only fixed words and placeholders
        (*values, limit),
    )
    found = [{**json.loads(r["memory"]), "decision": r["decision"], "exact": bool(r["exact"])} for r in rows]
    last = rows[-1] if rows else None
    return found, since if last is None else Cursor(last["changed_tx"], last["changed_id"])


class Merger:
    """Merges duplicates over all vehicles; one process at a time does it."""

    def __init__(self, intake: Intake, catalogue: Catalogue) -> None:
        self._intake = intake
        self._catalogue = catalogue

    def settle(self, most_tiles: int = 50) -> int:
        """Look at tiles in which something changed, the oldest first; how many cases were merged away."""
        rows = self._intake.database.rows(
            "SELECT tile_row, tile_col FROM dirty_tile ORDER BY since_ns, tile_row, tile_col LIMIT ?", (most_tiles,)
        )
        return sum(self._settle_tile((row["tile_row"], row["tile_col"])) for row in rows)

    def _settle_tile(self, tile: Tile) -> int:
        with self._intake.database.transaction() as tx:
            tx.lock("merger")
            # Taken off before the cases are read: what changes meanwhile makes it dirty again.
            if not tx.run("DELETE FROM dirty_tile WHERE tile_row = ? AND tile_col = ?", tile):
                return 0
            rows = tx.rows(
                """SELECT * FROM case_head WHERE tile_row BETWEEN ? AND ? AND tile_col BETWEEN ? AND ? AND exact = 1
                   AND decision <> ? ORDER BY updated_ns DESC, case_id LIMIT ?""",
                (tile[0] - 1, tile[0] + 1, tile[1] - 1, tile[1] + 1, MERGED, _MOST_CASES),
            )
            heads = [head_of(row) for row in rows]
            known = [h.case for h in heads if h.case.class_name in self._catalogue.classes]
            found = remerge(known, (), self._catalogue)
            pairs = [
                (c.case_id, c.case.merged_into, c.reason)
                for c in found.changes
                if c.change is ChangeKind.MERGED and c.case.merged_into
            ]
            return sum(self._merge(tx, gone, kept, why) for gone, kept, why in pairs)

    def _merge(self, tx: Tx, gone_id: str, kept_id: str, why: str) -> int:
        a, b = sorted((gone_id, kept_id))
        if tx.value("SELECT 1 FROM apart WHERE a = ? AND b = ?", (a, b)):
            return 0
        for name in (a, b):
            tx.lock(f"case {name}")
        gone, kept = read_head(tx, gone_id), read_head(tx, kept_id)
        if gone is None or kept is None or MERGED in (gone.decision, kept.decision):
            return 0
        if gone.case.state is CaseState.REJECTED or kept.case.state is CaseState.REJECTED:
            return 0
        now = self._intake.clock.utc_ns()
        # What an officer decided on outlives what nobody has looked at.
        if gone.decision and not kept.decision:
            gone, kept = kept, gone
        write_head(tx, merge_heads(tx, gone, kept, PLATFORM, now, why), "merged into", PLATFORM, now)
        return 1
