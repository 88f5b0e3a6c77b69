"""The end of a shift: what one pass at a time could not see is one case becomes one, in the store and its outbox."""

from __future__ import annotations

from perception.catalogue import Catalogue
from perception.remerge import Remerged, remerge
from uplink.store import SqliteStore


def end_shift(store: SqliteStore, catalogue: Catalogue, *, dry_run: bool = False) -> Remerged:
    """Solve all cases of the store together and commit what became one; `dry_run` leaves the store alone.

    Durable when it returns, and the platform is told by the next delivery. Raises what `SqliteStore.commit` raises.
    """
    found = remerge(store.cases(), store.anchors(), catalogue)
    if not dry_run:
        store.commit(found.changes)
    return found
