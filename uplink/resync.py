"""The case memory completed from the platform: after a damage, and with what other vehicles have filed.

After a damage, the tiles ahead are asked for before anything new is filed there, and the rest follows when the link is
idle. Where the platform cannot be asked, cases are filed with `memory_lost` in their manifest: it may know better.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gnss.clock import Clock
from perception.serial import case_from_dict
from perception.types import Case, Tile
from uplink.retry import json_object
from uplink.store import SqliteStore
from uplink.transport import Transport

log = logging.getLogger(__name__)

BATCH = 16
_PAUSE_S = 60.0
_FRESH_S = 600.0
_MOST_PAGES = 100
_MOST_TILES = 4096
_BESIDES = ("decision", "exact")


class Resync:
    """Asks the platform for tiles; `fleet`: also, now and then, for what others filed in the tiles in use."""

    def __init__(self, store: SqliteStore, transport: Transport, clock: Clock, *, fleet: bool = False) -> None:
        self._store = store
        self._transport = transport
        self._clock = clock
        self._fleet = fleet
        self._not_before_ns = 0
        self._cursors: dict[Tile, str] = {}
        self._fresh_ns: dict[Tile, int] = {}

    def ahead(self, tiles: Sequence[Tile]) -> None:
        """Before the pipeline is told what is known of `tiles`: fill holes there, if the platform can be asked."""
        holes = self._store.memory_holes
        wanted = [tile for tile in tiles if tile in holes]
        if wanted:
            self._fetch(wanted)
        if self._fleet:
            if len(self._fresh_ns) > _MOST_TILES:
                self._fresh_ns.clear()
            for tile in tiles:
                self._fresh_ns.setdefault(tile, -1)

    def idle(self) -> bool:
        """One batch while nothing else is to be sent; False when there was nothing to ask or nobody to answer."""
        holes = sorted(self._store.memory_holes)[:BATCH]
        now_ns = self._clock.monotonic_ns()
        stale = [t for t, at_ns in self._fresh_ns.items() if at_ns < 0 or now_ns - at_ns > _FRESH_S * 1e9]
        wanted = holes or stale[:BATCH]
        return bool(wanted) and self._fetch(wanted)

    def _fetch(self, tiles: Sequence[Tile]) -> bool:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._not_before_ns:
            return False
        group = {self._cursors.get(tile, "0.0") for tile in tiles}
        cursor = "0.0" if len(group) > 1 or set(tiles) & self._store.memory_holes else group.pop()
        for _ in range(_MOST_PAGES):
            page = self._page(tiles, cursor)
            if page is None:
                self._not_before_ns = now_ns + round(_PAUSE_S * 1e9)
                return False
            cases, cursor, more = page
            self._store.take_memory(cases)
            if not more:
                break
        for tile in tiles:
            self._cursors[tile] = cursor
            if tile in self._fresh_ns:
                self._fresh_ns[tile] = now_ns
        self._store.holes_filled(tiles)
        return True

    def _page(self, tiles: Sequence[Tile], cursor: str) -> tuple[list[tuple[Case, bool]], str, bool] | None:
        reply = self._transport.memory(self._store.device, tiles, cursor)
        tree = json_object(reply.body) if reply.status == 200 else None
        if tree is None:
            log.warning("memory_not_told", extra={"status": reply.status, "why": reply.error})
            return None
        try:
            rows = [({k: v for k, v in row.items() if k not in _BESIDES}, bool(row["exact"])) for row in tree["cases"]]
            return [(case_from_dict(row), exact) for row, exact in rows], str(tree["cursor"]), bool(tree["more"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("memory_unreadable", extra={"why": repr(error)})
            return None
