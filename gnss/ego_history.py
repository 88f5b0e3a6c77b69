"""The history of the best guess, smoothed as far back as somebody asks, and how the other guesses differ from it."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np

from gnss import ego_track as track
from gnss.ego_guess import Guess
from gnss.ego_track import Node
from gnss.types import Array


class Doubt:
    """Walks back along the other guesses' histories beside the best one's, and notes at each node how they differ."""

    def __init__(self, guesses: Sequence[Guess]) -> None:
        weights = np.exp(np.array([g.log_weight for g in guesses]))
        weights /= max(float(weights.sum()), 1e-12)
        self._others = [(w, g.node) for w, g in zip(weights[1:].tolist(), guesses[1:], strict=True)]

    def note(self, node: Node) -> None:
        """Set `doubt_m2` of the best guess's `node`, and step back: call it for every node from the newest down."""
        self._others = [(w, other) for w, other in self._others if other is not node]
        if not self._others:
            node.doubt_m2 = None
            return
        total: Array = np.zeros((2, 2))
        for weight, other in self._others:
            off = other.x[:2] - node.x[:2]
            wider = max(0.5 * float(np.trace(other.p[:2, :2] - node.p[:2, :2])), 0.0)
            total += weight * (np.outer(off, off) + wider * np.eye(2))
        node.doubt_m2 = total
        self._others = [(w, other.parent) for w, other in self._others if other.parent is not None]


class History:
    """Nodes in order of stamp, bounded by `forget_before`. Smoothed states are brought up to date when asked for."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.stamps: list[int] = []
        self._smooth_from = 0
        self._doubt = Doubt([])

    def push(self, guesses: Sequence[Guess]) -> None:
        """Take the newest node of the first, best guess; where its history is another than before, swap it in."""
        node = guesses[0].node
        self.nodes.append(node)
        self.stamps.append(node.stamp_ns)
        self._smooth_from = len(self.nodes) - 1
        self._doubt = Doubt(guesses)
        self._doubt.note(node)
        i, parent = len(self.nodes) - 2, node.parent
        while i >= 0 and parent is not None and self.nodes[i] is not parent:
            self.nodes[i], parent, i = parent, parent.parent, i - 1

    def cut(self, index: int) -> None:
        """Drop the nodes from `index` on."""
        del self.nodes[index:], self.stamps[index:]
        self._smooth_from = min(self._smooth_from, max(len(self.nodes) - 1, 0))

    def forget_before(self, stamp_ns: int) -> None:
        """Drop nodes before the stamp but the last of them."""
        cut = bisect.bisect_right(self.stamps, stamp_ns) - 1
        if cut > 0:
            del self.nodes[:cut], self.stamps[:cut]
            self.nodes[0].travel = self.nodes[0].parent = None
            self._smooth_from = max(self._smooth_from - cut, 0)

    def around(self, stamp_ns: int, smooth_nodes: int) -> tuple[Node | None, Node | None]:
        """The nodes at or before, and after a stamp, smoothed with all fixes that are in."""
        i = bisect.bisect_right(self.stamps, stamp_ns)
        index = max(i - 1, len(self.nodes) - smooth_nodes, 0)
        if index < self._smooth_from:
            track.smooth(self.nodes, self._smooth_from, index)
            for k in range(self._smooth_from - 1, index - 1, -1):
                self._doubt.note(self.nodes[k])
            self._smooth_from = index
        return (self.nodes[i - 1] if i > 0 else None), (self.nodes[i] if i < len(self.nodes) else None)

    def node_after(self, stamp_ns: int) -> Node | None:
        """The first node at or after a stamp; None when that is the oldest."""
        i = bisect.bisect_left(self.stamps, stamp_ns)
        return self.nodes[i] if 0 < i < len(self.nodes) else None

    def nearest_placed_s(self, stamp_ns: int, enough_s: float) -> float:
        """Seconds to the nearest fix whose position was used; one further ahead than `enough_s` is not looked for."""
        i = bisect.bisect_right(self.stamps, stamp_ns)
        gap = math.inf if i == 0 else (stamp_ns - self.nodes[i - 1].placed_ns) * 1e-9
        for node in self.nodes[i:]:
            ahead = (node.stamp_ns - stamp_ns) * 1e-9
            if node.placed or ahead > min(gap, enough_s):
                return min(gap, ahead) if node.placed else gap
        return gap
