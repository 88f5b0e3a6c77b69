"""Rejected cases as a training set: pictures in which the detector was wrong, in ultralytics layout.

A picture of a thing that is not there has an empty label file: a hard negative. Which class was wrongly seen, and what
the officer said, stands in `cases.jsonl`. Pictures are split by a hash of the case, so that both looks at one thing are
on one side, whatever is exported later.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perception.errors import SetupError
from perception.types import JsonDict
from uplink.platform.orders import FALSE_FOR_TRAINERS
from uplink.platform.storage import Storage
from uplink.platform.uploads import Pictures

SOURCE = "rejected"
_VALIDATION_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written; `skipped` are rejections for other reasons than a wrong detection, `missing` pictures."""

    cases: int
    pictures: int
    skipped: int
    missing: int


def split_of(case_id: str) -> str:
    """train or val, always the same for a case."""
    share = int(hashlib.sha256(case_id.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return "val" if share < _VALIDATION_SHARE else "train"


def _rejection(storage: Storage, case_id: str) -> JsonDict:
    """The newest rejection of a case: who, why, when."""
    row = storage.rows(
        "SELECT actor, detail, at_ns FROM change WHERE case_id = ? AND change = 'reject' ORDER BY id DESC LIMIT 1",
        (case_id,),
    )[0]
    return {"officer": row["actor"], "at_ns": row["at_ns"], **json.loads(row["detail"])}


def export_rejected(
    storage: Storage, pictures: Pictures, names: Sequence[str], out: Path, *, everything: bool = False
) -> Exported:
    """Write images/, labels/, data.yaml and cases.jsonl into the new folder `out`.

    `names` are the catalogue's class names, in order. `everything` takes rejections of every reason.
    Raises SetupError when `out` exists.
    """
    if out.exists():
        raise SetupError("exists already", file=out, remedy="name a new folder")
    for split in ("train", "val"):
        (out / "images" / split).mkdir(parents=True)
        (out / "labels" / split).mkdir(parents=True)
    (out / "data.yaml").write_text(
        "train: images/train\nval: images/val\nnames:\n" + "".join(f"  {i}: {n}\n" for i, n in enumerate(names)),
        encoding="utf-8",
    )
    counts = {"cases": 0, "pictures": 0, "skipped": 0, "missing": 0}
    with (out / "cases.jsonl").open("w", encoding="utf-8") as file:
        for row in storage.rows("SELECT case_id, body FROM case_head WHERE decision = 'rejected' ORDER BY case_id"):
            said = _rejection(storage, row["case_id"])
            if said.get("reason") not in FALSE_FOR_TRAINERS and not everything:
                counts["skipped"] += 1
                continue
            copied = _copy(storage, pictures, row["case_id"], out, counts)
            body = json.loads(row["body"])
            line = {
                "case_id": row["case_id"], "kind": body["kind"], "class": body["class_name"],
                "confidence": body["confidence"], "model_sha256": body["model_sha256"], **said, "pictures": copied,
            }  # fmt: skip
            file.write(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n")
            counts["cases"] += 1
    return Exported(**counts)


def _copy(storage: Storage, pictures: Pictures, case_id: str, out: Path, counts: dict[str, int]) -> list[str]:
    """The case's pictures, once each, with empty labels; "gone" pictures show that nothing is there and go in too."""
    copied = []
    split = split_of(case_id)
    rows = storage.rows("SELECT sha256 FROM case_picture WHERE case_id = ? ORDER BY sha256", (case_id,))
    for row in rows:
        source = pictures.path(row["sha256"])
        if not source.is_file():
            counts["missing"] += 1
            continue
        name = f"{SOURCE}_{row['sha256'][:24]}"
        shutil.copyfile(source, out / "images" / split / f"{name}.jpg")
        (out / "labels" / split / f"{name}.txt").write_text("", encoding="utf-8")
        copied.append(f"images/{split}/{name}.jpg")
        counts["pictures"] += 1
    return copied
