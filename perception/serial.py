"""Plain-data forms of cases, changes and landmarks: one place that rounds (1e-8 deg, 1 mm, 1e-4) and names fields."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from gnss.geodesy import ellipse95
from gnss.types import Array
from perception.types import (
    Anchor,
    Case,
    CaseChange,
    CaseState,
    ChangeKind,
    ComponentMatch,
    JsonDict,
    Landmark,
    PassPosition,
    Picture,
)

_DIGITS = {"coordinates": 8, "_deg": 8, "_m": 3, "_m2": 6, "_mps": 3, "_s": 3}
DATUM = "WGS-84"


def _rounded(value: Any, digits: int = 4) -> Any:
    if isinstance(value, float):
        return round(value, digits) + 0.0
    if isinstance(value, (list, tuple)):
        return [_rounded(v, digits) for v in value]
    return value


def rounded(tree: Any, key: str = "") -> Any:
    """Round every float of a tree of dicts and lists by the unit in its key (default 1e-4)."""
    if isinstance(tree, dict):
        return {k: rounded(v, k) for k, v in tree.items()}
    digits = next((d for suffix, d in _DIGITS.items() if key.endswith(suffix)), 4)
    if isinstance(tree, (list, tuple)) and any(isinstance(v, (dict, list, tuple)) for v in tree):
        return [rounded(v, key) for v in tree]
    return _rounded(tree, digits)


def canonical_json(tree: Any) -> str:
    """Sorted keys, no spaces, no NaN, rounded: equal content gives equal bytes."""
    return json.dumps(rounded(tree), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def utc_text(utc_ns: int | None) -> str | None:
    """ISO 8601 with milliseconds and Z, or None."""
    if utc_ns is None:
        return None
    seconds, rest = divmod(utc_ns, 1_000_000_000)
    stamp = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1_000_000 * 1000)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_ns_of(text: str) -> int:
    """ISO 8601 text with a zone -> UTC ns; raises ValueError when it has no zone."""
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        raise ValueError(f"time {text!r} has no zone")
    delta = stamp - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000


def picture_to_dict(picture: Picture) -> JsonDict:
    """Everything but the bytes."""
    return {
        "sha256": picture.sha256,
        "role": picture.role,
        "stamp_ns": picture.stamp_ns,
        "utc_ns": picture.utc_ns,
        "camera": picture.camera,
        "width": picture.width,
        "height": picture.height,
    }


def _pass_from_dict(plain: JsonDict) -> PassPosition:
    fields: JsonDict = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    return PassPosition(**fields)


def anchor_to_dict(anchor: Anchor) -> JsonDict:
    """All fields of an anchor as plain data (tuples become lists)."""
    result: JsonDict = rounded(asdict(anchor))
    return result


def anchor_from_dict(plain: JsonDict) -> Anchor:
    """Inverse of `anchor_to_dict`; raises KeyError or TypeError when a field is missing or unknown."""
    fields: JsonDict = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    fields["passes"] = tuple(_pass_from_dict(p) for p in fields.get("passes", ()))
    return Anchor(**fields)


def case_to_dict(case: Case, *, with_pictures: bool = True) -> JsonDict:
    """All fields of a case as plain data (tuples become lists)."""
    plain = asdict(replace(case, evidence=()))
    plain["state"] = case.state.value
    plain["error_budget"] = {name: value for name, value in case.error_budget}
    if with_pictures:
        plain["evidence"] = [picture_to_dict(p) for p in case.evidence]
    else:
        del plain["evidence"]
    result: JsonDict = rounded(plain)
    return result


def case_from_dict(plain: JsonDict) -> Case:
    """Inverse of `case_to_dict`; raises KeyError or TypeError when a field is missing or unknown."""
    fields = dict(plain)
    fields["state"] = CaseState(fields["state"])
    fields["error_budget"] = tuple(sorted((str(k), float(v)) for k, v in fields["error_budget"].items()))
    fields["passes"] = tuple(_pass_from_dict(p) for p in fields["passes"])
    component = fields.get("component")
    fields["component"] = None if component is None else ComponentMatch(**component)
    fields["cov_m2"] = tuple(fields["cov_m2"])
    fields["extent_m"] = tuple(fields["extent_m"])
    fields["map_cov_m2"] = tuple(fields.get("map_cov_m2", (0.0, 0.0, 0.0)))
    fields["appearance"] = tuple(fields.get("appearance", ()))
    fields["aliases"] = tuple(fields["aliases"])
    fields["evidence"] = tuple(Picture(**p) for p in fields.get("evidence", ()))
    return Case(**fields)


def change_to_dict(change: CaseChange, *, with_pictures: bool) -> JsonDict:
    """One line of changes.jsonl (`with_pictures=False`: no picture hashes) or of the store."""
    plain: JsonDict = {
        "case_id": change.case_id,
        "base_revision": change.base_revision,
        "change": change.change.value,
        "stamp_ns": change.stamp_ns,
        "utc_ns": change.utc_ns,
        "pass_id": change.pass_id,
        "reason": change.reason,
        "case": case_to_dict(change.case, with_pictures=with_pictures),
    }
    if with_pictures:
        plain["pictures"] = [picture_to_dict(p) for p in change.pictures]
    return plain


def change_from_dict(plain: JsonDict) -> CaseChange:
    """Inverse of `change_to_dict(with_pictures=True)`; pictures come back without their bytes."""
    return CaseChange(
        plain["case_id"],
        plain["base_revision"],
        ChangeKind(plain["change"]),
        case_from_dict(plain["case"]),
        plain["stamp_ns"],
        plain["utc_ns"],
        plain["pass_id"],
        plain["reason"],
        tuple(Picture(**p) for p in plain.get("pictures", ())),
    )


def matrix2(cov: tuple[float, float, float]) -> Array:
    """(ee, en, nn) -> (2, 2)."""
    return np.array([[cov[0], cov[1]], [cov[1], cov[2]]])


def triple(cov: Array) -> tuple[float, float, float]:
    """(2, 2) -> (ee, en, nn)."""
    return float(cov[0, 0]), float(cov[0, 1] + cov[1, 0]) / 2, float(cov[1, 1])


def _ellipse(cov: Array) -> JsonDict:
    major, minor, azimuth = ellipse95(cov)
    return {"semi_major_m": major, "semi_minor_m": minor, "azimuth_deg": azimuth}


def _feature(lat_deg: float, lon_deg: float, properties: JsonDict) -> JsonDict:
    point = {"type": "Point", "coordinates": [round(lon_deg, 8), round(lat_deg, 8)]}
    return {"type": "Feature", "geometry": point, "properties": rounded(properties)}


def case_feature(case: Case) -> JsonDict:
    """GeoJSON Feature of a case with the fields of the run folder's cases.geojson."""
    return _feature(
        case.lat_deg,
        case.lon_deg,
        {
            "id": case.id,
            "revision": case.revision,
            "kind": case.kind,
            "matter_kind": case.matter_kind,
            "code": case.code,
            "class": case.class_name,
            "state": case.state.value,
            "existence": case.existence,
            "confidence": case.confidence,
            **_ellipse(matrix2(case.cov_m2)),
            "datum": DATUM,
            "error_budget": {name: value for name, value in case.error_budget},
            "grid": case.grid,
            "zone": case.zone,
            "component": None if case.component is None else asdict(case.component),
            "passes": len(case.passes),
            "first_seen": utc_text(case.first_seen_utc_ns),
            "last_seen": utc_text(case.last_seen_utc_ns),
            "first_clear_look": utc_text(case.first_clear_look_utc_ns),
            "last_clear_look": utc_text(case.last_clear_look_utc_ns),
            "evidence_grade": case.evidence_grade,
            "evidence": [{"sha256": p.sha256, "role": p.role} for p in case.evidence],
            "aliases": list(case.aliases),
            "merged_into": case.merged_into,
            "reason": case.reason,
        },
    )


def landmark_feature(landmark: Landmark, common_m2: Array) -> JsonDict:
    """GeoJSON Feature of a landmark; its ellipse holds the pass-common part `common_m2` (2, 2) too."""
    return _feature(
        landmark.lat_deg,
        landmark.lon_deg,
        {
            "id": landmark.id,
            "class": landmark.class_name,
            "confidence": landmark.confidence,
            "verdict": landmark.verdict.value,
            "speed_mps": landmark.speed_mps,
            "coarse": landmark.coarse,
            **_ellipse(landmark.cov_own_m2 + common_m2),
            "first_stamp_ns": landmark.first_stamp_ns,
            "last_stamp_ns": landmark.last_stamp_ns,
            "first_seen": utc_text(landmark.first_utc_ns),
            "last_seen": utc_text(landmark.last_utc_ns),
            "looks": landmark.looks,
            "closest_range_m": landmark.closest_range_m,
            "extent_m": list(landmark.extent_m),
            "camera": landmark.camera,
            "track": landmark.track_id,
        },
    )
