"""Every class of the catalogue with its case kind, its foreign names and what a detector knows of it, if anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perception.card import ModelCard
from perception.catalogue import Catalogue

NO_DATA = "no data yet"


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """One catalogue class; kind is None for what is never a case. filing: a photo has validated it."""

    name: str
    title: str
    kind: str | None
    aliases: tuple[str, ...]
    known: bool
    trained: str
    validated: str
    filing: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def class_facts(catalogue: Catalogue, card: ModelCard, aliases: Mapping[str, str]) -> list[ClassFacts]:
    """Facts of every catalogue class, in its order, from the card's own [[data]], [metrics] and render_validated."""
    unproven = set(card.notes.get("render_validated", ()))
    rows = []
    for name, shape in catalogue.classes.items():
        known = name in card.class_names
        foreign = tuple(sorted(alias for alias, own in aliases.items() if own == name))
        trained = _trained(card.notes.get("data", ()), name) if known else NO_DATA
        validated = _validated(card.notes.get("metrics", {}), name) if known else "nothing"
        filing = known and name not in unproven and shape.kind is not None
        rows.append(ClassFacts(name, shape.title, shape.kind, foreign, known, trained, validated, filing))
    return rows


def class_text(rows: Sequence[ClassFacts]) -> str:
    """The facts as a person reads them."""
    lines = [f"{'class':<22}{'case kind':<24}{'files':<7}{'trained on':<38}{'validated on':<28}aliases"]
    for row in rows:
        files = "yes" if row.filing else "no"
        aliases = ", ".join(row.aliases)
        line = f"{row.name:<22}{row.kind or '-':<24}{files:<7}{row.trained:<38}{row.validated:<28}{aliases}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _trained(sources: Sequence[Mapping[str, Any]], name: str) -> str:
    used = [s for s in sources if s.get("images", 0)]
    rendered = [s for s in used if s.get("rendered", s.get("name") == "renders")]
    photos = [s for s in used if s not in rendered]
    parts = ["photos"] if any(name in s.get("classes", ()) for s in photos) else []
    parts += ["a teacher's labels"] if any(name in s.get("taught_by_coco_yolov5n", ()) for s in photos) else []
    parts += ["renders"] if any(name in s.get("classes", ()) for s in rendered) else []
    return ", ".join(parts) or "nothing"


def _validated(metrics: Mapping[str, Mapping[str, Any]], name: str) -> str:
    sets = {title for title, classes in metrics.items() if name in classes}
    photos = {title for title in sets if "(" not in title and title != "renders"}
    parts = ["photos"] if photos else []
    parts += ["a teacher"] if any("agreement" in title for title in sets) else []
    parts += ["renders"] if "renders" in sets else []
    return ", ".join(parts) or "nothing"
