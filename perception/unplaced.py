"""Frames without a position: their boxes are followed in the picture alone and end in the ledger, none is lost.

A frame waits for a position for a bounded time (`PipelineParams.none_hold_s`); what gets none even then can locate no
case. Its boxes are chained by overlap, and each chain long enough to be a track ends as quarantined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from perception.boxes import Boxes, iou
from perception.types import Seen, TrackEnd, TrackEnded

LEAST_BOXES = 3
"""Shorter chains are no track, as for the tracker itself."""
_OVERLAP = 0.2
_GAP_NS = 1_500_000_000

Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class _Chain:
    box: Boxes
    first_ns: int
    last_ns: int
    boxes: int


@dataclass(slots=True)
class Unplaced:
    """Follows boxes of frames that have no position; `begun` counts the chains that ended as tracks of the ledger.

    `thresholds` are the case thresholds by class; ids are negative, so that they meet none of a tracker's.
    """

    thresholds: Mapping[str, float]
    begun: int = 0
    frames: int = 0
    _chains: dict[Key, list[_Chain]] = field(default_factory=dict)

    def see(self, seen: Seen, why: str) -> list[TrackEnded]:
        """Take a frame; returns the chains that ended before it."""
        self.frames += 1
        ended = self._close(why, lambda chain: seen.stamp_ns - chain.last_ns > _GAP_NS)
        found = seen.detections
        names = np.array(found.class_names, dtype=object)[found.class_id] if len(found.class_id) else np.array([])
        for name in sorted(set(names.tolist())):
            sure = found.confidence >= self.thresholds.get(name, 0.3)
            chains = self._chains.setdefault((seen.camera, name), [])
            _join(chains, found.xyxy[(names == name) & sure], seen.stamp_ns)
        return ended

    def end(self, why: str) -> list[TrackEnded]:
        """A position is there again, or the drive is over: every chain ends."""
        return self._close(why, lambda chain: True) if self._chains else []

    def _close(self, why: str, over: Callable[[_Chain], bool]) -> list[TrackEnded]:
        ended: list[TrackEnded] = []
        for (camera, name), chains in sorted(self._chains.items()):
            for chain in chains:
                if over(chain) and chain.boxes >= LEAST_BOXES:
                    self.begun += 1
                    reason = f"no position: {why}; {chain.boxes} boxes"
                    ended.append(TrackEnded(-self.begun, camera, name, TrackEnd.QUARANTINED, reason, chain.last_ns))
            self._chains[camera, name] = [chain for chain in chains if not over(chain)]
        self._chains = {key: chains for key, chains in self._chains.items() if chains}
        return ended


def _join(chains: list[_Chain], boxes: Boxes, now_ns: int) -> None:
    """Lengthen chains by the boxes that overlap their last one most; other boxes begin chains."""
    overlap = iou(np.array([c.box for c in chains], np.float32).reshape(-1, 4), boxes)
    old, new = set(range(len(chains))), set(range(len(boxes)))
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(boxes))
        if overlap[i, j] < _OVERLAP:
            break
        if i in old and j in new:
            old.remove(i)
            new.remove(j)
            chain = chains[i]
            chain.box, chain.last_ns, chain.boxes = boxes[j], now_ns, chain.boxes + 1
    chains.extend(_Chain(boxes[j], now_ns, now_ns, 1) for j in sorted(new))
