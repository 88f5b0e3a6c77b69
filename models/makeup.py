"""What each class of a detector was learnt from and checked on: photos, renders, a teacher, or nothing at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.dataset import Picture
from models.evaluate import Role, Scores
from models.recipe import Recipe

FEWEST_CHECKED = 10
"""Photo boxes from which a class counts as checked on photos; fewer say next to nothing."""


@dataclass(frozen=True, slots=True)
class Makeup:
    """Training boxes of one class by origin, and what its scores rest on."""

    photo_boxes: int
    taught_boxes: int
    rendered_boxes: int
    validated: str

    @property
    def trained(self) -> str:
        """In words."""
        parts = [
            name
            for name, boxes in (
                ("photos", self.photo_boxes),
                ("a teacher's labels on photos", self.taught_boxes),
                ("renders", self.rendered_boxes),
            )
            if boxes
        ]
        return " and ".join(parts) or "nothing"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a card or JSON."""
        return {"trained": self.trained, **asdict(self)}


def makeup(recipe: Recipe, trained: Sequence[Picture], scores: Scores) -> dict[str, Makeup]:
    """Per class of the recipe; `trained` are the pictures that were trained on, `scores` those of the validation."""
    given, taught, rendered = Counter[int](), Counter[int](), Counter[int]()
    licensed = {source.name: source for source in recipe.trained}
    for picture in trained:
        source = licensed.get(picture.source)
        if source is not None:
            (rendered if source.rendered else given).update(picture.given[:, 0].astype(int).tolist())
            taught.update(picture.taught[:, 0].astype(int).tolist())
    return {
        name: Makeup(given[index], taught[index], rendered[index], _validated(scores, name))
        for index, name in enumerate(recipe.classes)
    }


def render_validated(rows: Mapping[str, Makeup]) -> list[str]:
    """Classes that no photo has validated: they do not file by default."""
    return [name for name, row in rows.items() if not row.validated.startswith("photos")]


def _validated(scores: Scores, name: str) -> str:
    boxes = Counter[str]()
    for one in scores.values():
        if name in one.classes and one.role is not Role.REPORT:
            kind = "renders" if one.rendered else "photos" if one.role is Role.GIVEN else "teacher"
            boxes[kind] = max(boxes[kind], one.classes[name].boxes)
    if boxes["photos"] >= FEWEST_CHECKED:
        return "photos"
    if boxes["teacher"] >= FEWEST_CHECKED:
        return "photos, against a teacher's labels"
    return "renders" if boxes["renders"] else "nothing"
