"""Whose fault is a refusal? The item's only if the server accepts others; a bad release must not bury the whole queue.

A refused item is a suspect: it steps aside until the server has accepted another item, and is then tried once more. It
is dead when it was refused twice and the server has accepted another item after each. Five different refusals in a row
within ten minutes open the breaker: nothing is sent for a quarter of an hour, then one item is tried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from uplink.envelope import BlobItem, Envelope
from uplink.retry import Outcome

ITEMS_IN_ROW = 5
ROW_S = 600.0
PAUSE_S = 900.0
_REFUSALS = 2

Item = Envelope | BlobItem


def name_of(item: Item) -> str:
    """What tells items apart: uid or hash."""
    return item.key if isinstance(item, Envelope) else item.sha256


@dataclass(frozen=True, slots=True)
class Suspect:
    """A refused item: how often, why, and how many others the server had accepted when it was refused last."""

    item: Item
    outcome: Outcome
    refusals: int
    accepted_before: int


class Breaker:
    """Counts acceptances and refusals; says who is dead and when to stop."""

    def __init__(self) -> None:
        self.suspects: dict[str, Suspect] = {}
        self._accepted = 0
        self._row: dict[str, int] = {}
        self.open = False

    def accepted(self, item: Item) -> list[Suspect]:
        """The server took `item`; returns the suspects that this proves guilty, who are none any more."""
        self._accepted += 1
        self._row.clear()
        self.open = False
        self.suspects.pop(name_of(item), None)
        guilty = [suspect for suspect in self.suspects.values() if suspect.refusals >= _REFUSALS]
        for suspect in guilty:
            del self.suspects[name_of(suspect.item)]
        return guilty

    def refused(self, item: Item, outcome: Outcome, now_ns: int) -> bool:
        """The server refused `item`; True when the breaker is open now."""
        name = name_of(item)
        known = self.suspects.get(name)
        if known is None:
            known = Suspect(item, outcome, 1, self._accepted)
        elif known.accepted_before < self._accepted:
            known = replace(known, refusals=known.refusals + 1, accepted_before=self._accepted, outcome=outcome)
        self.suspects[name] = known
        self._row = {k: at_ns for k, at_ns in self._row.items() if self.open or now_ns - at_ns <= ROW_S * 1e9}
        self._row[name] = now_ns
        self.open = self.open or len(self._row) >= ITEMS_IN_ROW
        return self.open

    def parked(self) -> set[int | str]:
        """Rows (events) and hashes (pictures) of suspects for whom no other item has spoken yet."""
        waiting = [s.item for s in self.suspects.values() if s.accepted_before == self._accepted]
        return {item.seq if isinstance(item, Envelope) else item.sha256 for item in waiting}
