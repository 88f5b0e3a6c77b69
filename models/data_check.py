"""Is a data set fit to train on? Broken pictures and labels by reason, leaks between splits, class balance.

Everything is counted and named; nothing is mended. Leaks are pairs of near-identical pictures of which one trains and
the other validates: the score would then measure memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.dataset import read_names
from models.pictures import BadExample, Finding, LabelBox, Reason, read_labels, read_picture
from models.prepare import pictures_of
from models.scenes import SAME_PICTURE, Bits, distances, perceptual_hash

FEW_BOXES = 80
"""Boxes of one class below which no figure of it means much."""
SHOWN = 5
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A picture that can be used: its split, size and boxes in px."""

    path: Path
    split: str
    wh: tuple[int, int]
    boxes: tuple[LabelBox, ...]
    bits: Bits


@dataclass(frozen=True, slots=True)
class Leak:
    """Two pictures of different splits that look the same; bits: how many of 63 differ."""

    train: Path
    val: Path
    bits: int


@dataclass(frozen=True, slots=True)
class DataCheck:
    """What was found. strange: class names that no detector of this catalogue knows; copies: inside the train split."""

    findings: tuple[Finding, ...]
    leaks: tuple[Leak, ...]
    copies: int
    boxes: Mapping[str, Counter[str]]
    pictures: Counter[str]
    strange: tuple[str, ...]
    sound: tuple[Sound, ...] = field(repr=False)

    @property
    def clean(self) -> bool:
        """Nothing broken, leaking or unknown; few boxes are told of, but are no fault."""
        return not (self.findings or self.leaks or self.strange)

    @property
    def few(self) -> list[str]:
        """Classes with fewer than FEW_BOXES boxes to train on."""
        return [name for name, counter in sorted(self.boxes.items()) if counter["train"] < FEW_BOXES]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        reasons = Counter(finding.reason.value for finding in self.findings)
        return {
            "clean": self.clean,
            "pictures": dict(sorted(self.pictures.items())),
            "boxes": {name: dict(sorted(counter.items())) for name, counter in sorted(self.boxes.items())},
            "few_boxes": self.few,
            "reasons": dict(sorted(reasons.items())),
            "findings": [
                {"file": str(f.file), "line": f.line, "reason": f.reason.value, "detail": f.detail}
                for f in self.findings
            ],
            "leaks": [{"train": str(leak.train), "val": str(leak.val), "bits": leak.bits} for leak in self.leaks],
            "copies_in_train": self.copies,
            "strange_classes": list(self.strange),
        }


def check_data(roots: Sequence[Path], known: Mapping[str, str], tell: Tell | None = None) -> DataCheck:
    """Check data sets in ultralytics layout, all together, so that leaks between them show too.

    `known` maps every usable class name (catalogue names and aliases) to the catalogue. Raises TrainingSetupError when
    a folder or data.yaml is missing.
    """
    findings: list[Finding] = []
    sound: list[Sound] = []
    strange: set[str] = set()
    pictures = Counter[str]()
    for root in roots:
        names = read_names(root)
        strange |= {name for name in names.values() if name not in known}
        files = list(pictures_of(root))
        findings += _orphans(root, files)
        for number, (split, path) in enumerate(files, start=1):
            pictures[split] += 1
            one, bad = _look(root, split, path, names)
            findings += bad
            sound += [] if one is None else [one]
            if tell is not None:
                tell(root.name, number, len(files))
    boxes: dict[str, Counter[str]] = {}
    for one in sound:
        for box in one.boxes:
            boxes.setdefault(known.get(box.name, box.name), Counter())[one.split] += 1
    leaks, copies = _leaks(sound)
    return DataCheck(tuple(findings), leaks, copies, boxes, pictures, tuple(sorted(strange)), tuple(sound))


def _look(root: Path, split: str, path: Path, names: Mapping[int, str]) -> tuple[Sound | None, list[Finding]]:
    try:
        image = read_picture(path)
    except BadExample as bad:
        return None, [bad.finding]
    height, width = image.shape[:2]
    boxes, findings = read_labels(root / "labels" / split / f"{path.stem}.txt", names, width, height)
    return Sound(path, split, (width, height), tuple(boxes), perceptual_hash(image)), findings


def _orphans(root: Path, files: Sequence[tuple[str, Path]]) -> list[Finding]:
    """Label files without a picture."""
    stems = {(split, path.stem) for split, path in files}
    return [
        Finding(label, Reason.ORPHAN)
        for split in sorted({split for split, _ in files})
        for label in sorted((root / "labels" / split).glob("*.txt"))
        if (split, label.stem) not in stems and label.name != "classes.txt"
    ]


def _leaks(sound: Sequence[Sound]) -> tuple[tuple[Leak, ...], int]:
    train = [one for one in sound if one.split == "train"]
    val = [one for one in sound if one.split == "val"]
    leaks: list[Leak] = []
    if train and val:
        table = distances(np.stack([one.bits for one in train]), np.stack([one.bits for one in val]))
        for i, j in np.argwhere(table <= SAME_PICTURE):
            leaks.append(Leak(train[i].path, val[j].path, int(table[i, j])))
    if not train:
        return tuple(leaks), 0
    own = distances(*(np.stack([one.bits for one in train]),) * 2)
    copied = np.triu(own <= SAME_PICTURE, 1).any(axis=0)
    return tuple(leaks), int(copied.sum())


def check_text(found: DataCheck) -> str:
    """The check as a person reads it: counts by reason with the first files of each, leaks, balance."""
    lines = ["pictures: " + ", ".join(f"{count} {split}" for split, count in sorted(found.pictures.items()))]
    for reason in Reason:
        mine = [finding for finding in found.findings if finding.reason is reason]
        if mine:
            lines.append(f"{len(mine):5d} {reason.value}")
            lines += [f"        {_place(finding)} {finding.detail}".rstrip() for finding in mine[:SHOWN]]
            lines += [f"        and {len(mine) - SHOWN} more"] if len(mine) > SHOWN else []
    if found.leaks:
        lines.append(f"{len(found.leaks):5d} pairs that look the same in train and val")
        lines += [f"        {leak.train} = {leak.val} ({leak.bits} bits)" for leak in found.leaks[:SHOWN]]
    lines += [f"      class name {name!r} is neither in the catalogue nor an alias" for name in found.strange]
    lines.append(f"{found.copies:5d} pictures of train look like another of train (no fault, but they count twice)")
    lines.append("boxes per class (train, val)")
    for name, counter in sorted(found.boxes.items()):
        note = f"   fewer than {FEW_BOXES}: figures will mean little" if name in found.few else ""
        lines.append(f"  {name:<22}{counter['train']:6d}{counter['val']:6d}{note}")
    lines.append("clean" if found.clean else "not clean")
    return "\n".join(lines)


def _place(finding: Finding) -> str:
    return str(finding.file) if finding.line is None else f"{finding.file}:{finding.line}"
