"""What a vehicle must know of a case beyond the body for people: the split of its covariance by pass, and its looks.

A body that carries this as `memory` lets the platform hold the very case that the vehicle holds: other vehicles
associate with it, and the platform merges by the same code. Without it only a coarse one can be made.
"""

from __future__ import annotations

from dataclasses import asdict

from perception.serial import rounded, utc_ns_of
from perception.types import Case, CaseState, ComponentMatch, JsonDict, PassPosition, Picture

_FIELDS = (
    "cov_m2",
    "map_lat_deg",
    "map_lon_deg",
    "map_cov_m2",
    "appearance",
    "clear_misses",
    "dwell_s",
    "first_seen_utc_ns",
    "last_seen_utc_ns",
    "first_clear_look_utc_ns",
    "last_clear_look_utc_ns",
)


def case_memory(case: Case) -> JsonDict:
    """Field `memory` of a case body."""
    plain: JsonDict = {name: getattr(case, name) for name in _FIELDS}
    plain["passes"] = [asdict(p) for p in case.passes]
    result: JsonDict = rounded({k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()})
    return result


def _triple(values: list[float]) -> tuple[float, float, float]:
    return values[0], values[1], values[2]


def _pass(plain: JsonDict) -> PassPosition:
    fields: JsonDict = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    return PassPosition(**fields)


def _ns(text: str | None) -> int | None:
    return None if text is None else utc_ns_of(text)


def _coarse(body: JsonDict) -> JsonDict:
    """A memory of one pass, made of what the body for people says: good to look at, weak to merge by."""
    budget = body["error_budget_m"]
    # The ellipse's axes are 95 % of a two-dimensional normal distribution: 2.4477 sigma.
    whole = (float(body["ellipse"]["semi_major_m"]) / 2.4477) ** 2
    common = min(float(budget.get("gnss_m", 0.0)) ** 2, whole)
    own = max(whole - common, 1e-4)
    seen = _ns(body["last_seen_utc"])
    sight: JsonDict = {
        "pass_id": body["pass_id"],
        "utc_ns": seen,
        "lat_deg": body["position"]["lat_deg"],
        "lon_deg": body["position"]["lon_deg"],
        "cov_own_m2": [own, 0.0, own],
        "cov_common_m2": [common, 0.0, common],
    }
    return {
        "cov_m2": [own + common, 0.0, own + common], "map_lat_deg": None, "map_lon_deg": None,
        "map_cov_m2": [0.0, 0.0, 0.0], "appearance": [], "clear_misses": 0, "dwell_s": None, "passes": [sight],
        "first_seen_utc_ns": _ns(body["first_seen_utc"]), "last_seen_utc_ns": seen,
        "first_clear_look_utc_ns": _ns(body["first_clear_look_utc"]),
        "last_clear_look_utc_ns": _ns(body["last_clear_look_utc"]),
    }  # fmt: skip


def case_of_body(body: JsonDict) -> tuple[Case, bool]:
    """The case of a valid case.v1 body, and whether it is exactly the vehicle's (else made from what people see)."""
    memory = body.get("memory")
    exact = memory is not None
    known: JsonDict = memory if memory is not None else _coarse(body)
    component = body["component"]
    pictures = tuple(
        Picture(p["sha256"], p["role"], 0, _ns(p["utc"]), p["camera"], p["width"], p["height"])
        for p in body["evidence"]
    )
    case = Case(
        id=body["case_id"], revision=body["revision"], kind=body["kind"], matter_kind=body["matter_kind"],
        code=body["code"], class_name=body["class_name"], state=CaseState(body["state"]),
        existence=body["existence"], confidence=body["confidence"], lat_deg=body["position"]["lat_deg"],
        lon_deg=body["position"]["lon_deg"], cov_m2=_triple(known["cov_m2"]),
        error_budget=tuple(sorted((str(k), float(v)) for k, v in body["error_budget_m"].items())),
        passes=tuple(_pass(p) for p in known["passes"]), vehicle=body["vehicle"],
        first_seen_utc_ns=known["first_seen_utc_ns"], last_seen_utc_ns=known["last_seen_utc_ns"],
        first_clear_look_utc_ns=known["first_clear_look_utc_ns"],
        last_clear_look_utc_ns=known["last_clear_look_utc_ns"], reason=body["reason"], zone=body["zone"],
        grid=body["grid"], component=None if component is None else ComponentMatch(**component),
        evidence_grade=body["evidence_grade"], heading_deg=body["heading_deg"], extent_m=_triple(body["extent_m"]),
        evidence=pictures, aliases=tuple(body["aliases"]), merged_into=body["merged_into"],
        clear_misses=known["clear_misses"], dwell_s=known["dwell_s"], map_lat_deg=known["map_lat_deg"],
        map_lon_deg=known["map_lon_deg"], map_cov_m2=_triple(known["map_cov_m2"]),
        appearance=tuple(known["appearance"]),
    )  # fmt: skip
    return case, exact
