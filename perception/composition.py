"""A thing found from its parts: a stall is an umbrella or a table with people and goods about it. A rule as data.

Any model whose card names the parts may use it; which ones, and how, stands in the card ([composition.NAME]).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from perception.boxes import Boxes, iou
from perception.card_table import CardTable
from perception.decode import Decoded

PERSON = "person"


@dataclass(frozen=True, slots=True)
class Composition:
    """How parts make a `target` (a catalogue class). Names of parts are the network's own.

    A `core` part with at least `least` - 1 other classes within `reach` (share of the core's larger side) makes one.
    With a person among them, a core must be as wide as `core` says, in heights of that person: a parasol, not an
    umbrella that somebody carries. `beside` are the other classes, people among them. A core wider than `most_width` of
    the frame is none: a table that fills the picture is a mistake. `confidence` is the threshold for cases where the
    model has no such class itself; parts below `least_confidence` count for nothing.
    """

    target: str
    core: Mapping[str, float]
    beside: tuple[str, ...]
    least: int = 2
    reach: float = 0.3
    most_width: float = 0.6
    confidence: float = 0.3
    least_confidence: float = 0.15
    ids: Mapping[str, int] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[int, ...]:
        """Own class ids of all parts."""
        return tuple(self.ids[name] for name in (*self.core, *self.beside))

    def find(self, parts: Decoded, frame_width: float) -> tuple[Boxes, NDArray[np.float32]]:
        """Boxes (M, 4) and confidences (M,) of composed things among suppressed boxes of own classes, frame px.

        The box is that of all parts together, so that it stands on the ground where one of them does. Confidence is
        the core's times the chance that at least one of its neighbours is real: a rule of thumb, not calibrated.
        """
        name_of = {own: name for name, own in self.ids.items()}
        real = np.flatnonzero(parts.confidence >= self.least_confidence)
        named = [(name_of.get(int(parts.class_id[i]), ""), parts.xyxy[i], float(parts.confidence[i])) for i in real]
        boxes, confidences = [], []
        for name, box, confidence in named:
            if name not in self.core or box[2] - box[0] > self.most_width * frame_width:
                continue
            near = [p for p in named if p[1] is not box and p[0] != name and self._belongs(name, box, p[0], p[1])]
            if len({n for n, _, _ in near}) + 1 < self.least:
                continue
            whole = np.array([box, *(b for _, b, _ in near)])
            boxes.append(np.concatenate((whole[:, :2].min(axis=0), whole[:, 2:].max(axis=0))))
            confidences.append(confidence * (1.0 - float(np.prod([1.0 - c for _, _, c in near]))))
        return _distinct(np.array(boxes, np.float32).reshape(-1, 4), np.array(confidences, np.float32))

    def _belongs(self, core: str, box: NDArray[np.float32], name: str, other: NDArray[np.float32]) -> bool:
        """Is this part of the core's thing?"""
        gap = np.maximum(np.maximum(box[:2] - other[2:], other[:2] - box[2:]), 0.0).max()
        if gap > self.reach * max(box[2] - box[0], box[3] - box[1]):
            return False
        return name != PERSON or bool(box[2] - box[0] >= self.core[core] * (other[3] - other[1]))


def _distinct(boxes: Boxes, confidence: NDArray[np.float32]) -> tuple[Boxes, NDArray[np.float32]]:
    """One box where a table and a parasol of one stall were each its core: those that mostly overlap are one."""
    kept: list[int] = []
    for i in np.argsort(-confidence, kind="stable").tolist():
        if not kept or iou(boxes[i : i + 1], boxes[kept]).max() < 0.5:
            kept.append(i)
    return boxes[kept], confidence[kept]


_KEYS = {"core", "beside", "least", "reach", "most_width", "confidence", "least_confidence"}


def read_compositions(card: CardTable, classes: Sequence[str], known: Mapping[str, object]) -> tuple[Composition, ...]:
    """[composition.NAME] of a card: `core` = {part = least width in heights of a person}, `beside` = [parts], ...

    `classes` are the network's own, `known` the catalogue's. Raises ModelError.
    """
    found = []
    for target, _ in sorted(card.section(card.table, "composition").items()):
        where = f"[composition.{target}]"
        row = card.section(card.section(card.table, "composition"), target)
        card.only(row, _KEYS, where)
        if target not in known:
            card.fail(f"{where} is no catalogue class", "add it to models/classes.toml, or mend its name")
        core = {name: card.number(card.section(row, "core"), name, 0, 10) for name in card.section(row, "core")}
        beside = card.names(row.get("beside", []), f"{where} beside")
        if strange := sorted(({*core, *beside}) - set(classes)):
            card.fail(f"{where} names {strange[0]!r}, which is not in `classes`", "remove it or mend its name")
        if not core or not beside or set(core) & set(beside):
            card.fail(f"{where} lacks `core` or `beside`, or a part is in both", "name each part once")
        numbers = {
            key: card.number(row, key, low, high)
            for key, low, high in (
                ("reach", 0, 5),
                ("most_width", 0, 1),
                ("confidence", 0, 1),
                ("least_confidence", 0, 1),
            )
            if key in row
        }
        least = int(card.number(row, "least", 2, 20)) if "least" in row else 2
        ids = {name: classes.index(name) for name in (*core, *beside)}
        found.append(Composition(target, core, beside, least, ids=ids, **numbers))
    return tuple(found)
