"""A case change as the body the platform receives: schema `uplink/schema/case.v1.json`.

Field names follow GB/T 47678.5-2026 表3 abbreviations (SXDM, SXMC, ZGBMDM, ZGBMMC, SFWZ, SZDYWGBSM) and 表2 (GLBJBSM),
plus what this software knows beyond them: ellipse, error budget, probabilities, hashes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version

from gnss.geodesy import ellipse95
from perception.catalogue import Catalogue
from perception.serial import canonical_json, utc_text
from perception.types import LISTED_STATES, Case, CaseChange, JsonDict, Picture
from uplink.casememory import case_memory

SCHEMA = "case.v1"
STANDARD = "GB/T 47678.5-2026"
_ELLIPSE_PROBABILITY = 0.95
_BODY_CAP = 60_000


@dataclass(frozen=True, slots=True)
class Origin:
    """What every body says about its maker. `division` is the 6-digit code used where the grid is unknown."""

    catalogue: Catalogue | None = None
    division: str | None = None
    model_sha256: str | None = None
    config_sha256: str | None = None
    datum: str = "CGCS2000"
    rules_sha256: str | None = None

    def maker(self) -> JsonDict:
        """Hashes and version of all that decides: model, configuration, rules, catalogue, this program."""
        return {
            "model_sha256": self.model_sha256,
            "config_sha256": self.config_sha256,
            "rules_sha256": self.rules_sha256,
            "catalogue_sha256": self._catalogue_sha256(),
            "software": version("qiji"),
        }

    def _catalogue_sha256(self) -> str | None:
        if self.catalogue is None:
            return None
        kinds = [repr(self.catalogue.kinds[name]) for name in sorted(self.catalogue.kinds)]
        classes = [repr(self.catalogue.classes[name]) for name in sorted(self.catalogue.classes)]
        return hashlib.sha256("\n".join([*kinds, *classes]).encode()).hexdigest()

    def urgent(self, kind: str) -> bool:
        """Does the catalogue call this case kind urgent?"""
        return self.catalogue is not None and kind in self.catalogue.kinds and self.catalogue.kinds[kind].urgent

    def title(self, kind: str) -> str:
        """Chinese name of a case kind; the kind itself without a catalogue."""
        if self.catalogue is None or kind not in self.catalogue.kinds:
            return kind
        return self.catalogue.kinds[kind].title_zh


@dataclass(frozen=True, slots=True)
class ChainLink:
    """Place of an event in its device's chain: `prev_hash` is the digest of the event before it in this epoch."""

    uid: str
    device: str
    epoch: str
    seq: int
    prev_hash: str

    def fields(self) -> JsonDict:
        """As a case's body and its manifest both say it."""
        return {
            "uid": self.uid, "device": self.device, "epoch": self.epoch, "seq": self.seq, "prev_hash": self.prev_hash,
        }  # fmt: skip


def _standard_fields(case: Case, origin: Origin) -> JsonDict:
    division = case.grid[:6] if case.grid else (origin.division or "")
    # 事项代码 is 6 digits of division and 5 of the matter; without a proper division the 5 stand alone.
    division = division if len(division) == 6 and division.isdecimal() else ""
    where = f"经度{case.lon_deg:.7f},纬度{case.lat_deg:.7f}"
    return {
        "standard": STANDARD,
        "SXDM": division + case.code,
        "SXMC": origin.title(case.kind),
        "ZGBMDM": None,
        "ZGBMMC": None,
        "SFWZ": f"{case.zone} {where}" if case.zone else where,
        "SZDYWGBSM": case.grid,
        "GLBJBSM": None if case.component is None else case.component.id,
    }


def _place(case: Case, origin: Origin) -> JsonDict:
    ee, en, nn = case.cov_m2
    major, minor, azimuth = ellipse95(((ee, en), (en, nn)))
    return {
        "position": {"lat_deg": case.lat_deg, "lon_deg": case.lon_deg, "datum": origin.datum},
        "ellipse": {
            "semi_major_m": major,
            "semi_minor_m": minor,
            "azimuth_deg": azimuth,
            "probability": _ELLIPSE_PROBABILITY,
        },
        "error_budget_m": dict(case.error_budget),
        "heading_deg": case.heading_deg,
        "extent_m": list(case.extent_m),
        "grid": case.grid,
        "zone": case.zone,
    }


def _component(case: Case) -> JsonDict | None:
    match = case.component
    if match is None:
        return None
    return {
        "id": match.id,
        "code": match.code,
        "probability": match.probability,
        "runner_up": match.runner_up,
        "runner_up_probability": match.runner_up_probability,
    }


def announced_pictures(change: CaseChange) -> list[Picture]:
    """Pictures the platform may expect: the case's and the change's, once each; none unless the case is a listed one.

    Pictures of candidates stay on the car: most candidates are lawful things, and nobody needs a picture of those.
    """
    if change.case.state not in LISTED_STATES:
        return []
    return list({picture.sha256: picture for picture in (*change.case.evidence, *change.pictures)}.values())


def _picture(picture: Picture) -> JsonDict:
    return {
        "sha256": picture.sha256,
        "role": picture.role,
        "camera": picture.camera,
        "utc": utc_text(picture.utc_ns),
        "width": picture.width,
        "height": picture.height,
    }


def case_body(change: CaseChange, link: ChainLink, origin: Origin) -> bytes:
    """Canonical JSON (UTF-8) of one change: equal content gives equal bytes. Raises ValueError on NaN."""
    case = change.case
    tree: JsonDict = {
        "schema": SCHEMA,
        **link.fields(),
        "case_id": case.id,
        "aliases": list(case.aliases),
        "merged_into": case.merged_into,
        "change": change.change.value,
        "change_reason": change.reason,
        "base_revision": change.base_revision,
        "revision": case.revision,
        "kind": case.kind,
        "matter_kind": case.matter_kind,
        "code": case.code,
        "class_name": case.class_name,
        "state": case.state.value,
        "reason": case.reason,
        "existence": case.existence,
        "confidence": case.confidence,
        "evidence_grade": case.evidence_grade,
        "component": _component(case),
        "passes": len(case.passes),
        "pass_id": change.pass_id,
        "vehicle": case.vehicle,
        "changed_utc": utc_text(change.utc_ns),
        "first_seen_utc": utc_text(case.first_seen_utc_ns),
        "last_seen_utc": utc_text(case.last_seen_utc_ns),
        "first_clear_look_utc": utc_text(case.first_clear_look_utc_ns),
        "last_clear_look_utc": utc_text(case.last_clear_look_utc_ns),
        "evidence": [_picture(picture) for picture in announced_pictures(change)],
        "model_sha256": origin.model_sha256,
        "config_sha256": origin.config_sha256,
        **_standard_fields(case, origin),
        **_place(case, origin),
    }
    body = canonical_json(tree | {"memory": case_memory(case)}).encode() if case.passes else b""
    # A platform without the memory makes a coarse one; a body over its cap would be refused.
    return body if 0 < len(body) <= _BODY_CAP else canonical_json(tree).encode()
