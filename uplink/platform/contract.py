"""The bodies of the `/v1` contract. Strict: no unknown fields, no coercion, no NaN."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from perception.serial import utc_ns_of


def _is_a_time(value: str) -> str:
    """A date of the calendar and a time of day; the pattern alone lets the 99th of month 13 pass."""
    utc_ns_of(value)
    return value


def _is_covariance(value: list[float]) -> list[float]:
    """(ee, en, nn) of a symmetric matrix without negative variance, in m2."""
    ee, en, nn = value
    if not (0.0 <= ee <= 1e10 and 0.0 <= nn <= 1e10 and en * en <= ee * nn + 1e-6):
        raise ValueError("not a covariance (ee, en, nn)")
    return value


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Device = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Epoch = Annotated[str, Field(pattern=r"^[0-9a-f]{8,32}$")]
Uid = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}:[0-9a-f]{8,32}:[1-9][0-9]{0,17}$")]
# No control characters: they name nothing, and PostgreSQL keeps no NUL.
Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")]
Utc = Annotated[
    str,
    Field(pattern=r"^(19[7-9]|20[0-9]|21[0-9])[0-9]-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"),
    AfterValidator(_is_a_time),
]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Metres = Annotated[float, Field(ge=0.0, le=1e7)]
Span = Annotated[float, Field(ge=-1e7, le=1e7)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class Strict(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Position(Strict):
    """Where the object is."""

    lat_deg: Annotated[float, Field(ge=-90.0, le=90.0)]
    lon_deg: Annotated[float, Field(ge=-180.0, le=180.0)]
    datum: Literal["CGCS2000", "WGS-84"]


class Ellipse(Strict):
    """Confidence ellipse; azimuth of the major axis clockwise from true north."""

    semi_major_m: Metres
    semi_minor_m: Metres
    azimuth_deg: Annotated[float, Field(ge=0.0, le=360.0)]
    probability: Probability


class Component(Strict):
    """The register component a damaged thing most likely is."""

    id: Name
    code: Name
    probability: Probability
    runner_up: Name | None
    runner_up_probability: Probability


class Evidence(Strict):
    """One redacted picture that belongs to the case; its bytes come by PUT blobs."""

    sha256: Sha256
    role: Literal["close_up", "context", "gone"]
    camera: Name
    utc: Utc | None
    width: Annotated[int, Field(ge=1, le=65535)]
    height: Annotated[int, Field(ge=1, le=65535)]


Covariance = Annotated[list[float], Field(min_length=3, max_length=3), AfterValidator(_is_covariance)]
Latitude = Annotated[float, Field(ge=-90.0, le=90.0)]
Longitude = Annotated[float, Field(ge=-180.0, le=180.0)]
Offset = Annotated[float, Field(ge=-1e4, le=1e4)]
UtcNs = Annotated[int, Field(ge=0, le=2**62)] | None


class PassMemory(Strict):
    """Where one pass put the object, with its split covariance: `perception.types.PassPosition`."""

    pass_id: Annotated[str, Field(max_length=256)]
    utc_ns: UtcNs
    lat_deg: Latitude
    lon_deg: Longitude
    cov_own_m2: Covariance
    cov_common_m2: Covariance
    offset_e_m: Offset = 0.0
    offset_n_m: Offset = 0.0
    cov_site_m2: Covariance = [0.0, 0.0, 0.0]
    cov_aligned_m2: Covariance = [0.0, 0.0, 0.0]


class CaseMemory(Strict):
    """What other vehicles need to associate with the case; see `uplink.casememory`."""

    passes: Annotated[list[PassMemory], Field(min_length=1, max_length=128)]
    cov_m2: Covariance
    map_lat_deg: Latitude | None
    map_lon_deg: Longitude | None
    map_cov_m2: Covariance
    appearance: Annotated[list[Span], Field(max_length=512)]
    clear_misses: Count
    dwell_s: Metres | None
    first_seen_utc_ns: UtcNs
    last_seen_utc_ns: UtcNs
    first_clear_look_utc_ns: UtcNs
    last_clear_look_utc_ns: UtcNs


class CaseBody(Strict):
    """One change of one case: schema case.v1. SXDM ... GLBJBSM are the fields of GB/T 47678.5-2026 tables 2 and 3."""

    schema_: Literal["case.v1"] = Field(alias="schema")
    uid: Uid
    device: Device
    epoch: Epoch
    seq: Annotated[int, Field(ge=1, le=2**53)]
    prev_hash: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    case_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    aliases: Annotated[list[Name], Field(max_length=64)]
    merged_into: Name | None
    change: Literal[
        "candidate", "opened", "updated", "evidence", "resolved", "reopened", "withdrawn", "merged into", "rejected"
    ]
    change_reason: Text
    base_revision: Count
    revision: Annotated[int, Field(ge=1, le=2**53)]
    kind: Name
    matter_kind: Literal["matter", "component"]
    code: Annotated[str, Field(pattern=r"^[0-9]{5}$")]
    class_name: Name
    state: Literal["candidate", "open", "monitoring", "resolved", "reopened", "withdrawn", "rejected", "merged"]
    reason: Text
    existence: Probability
    confidence: Probability
    evidence_grade: Name
    component: Component | None
    passes: Count
    pass_id: Name
    vehicle: Name
    changed_utc: Utc | None
    first_seen_utc: Utc | None
    last_seen_utc: Utc | None
    first_clear_look_utc: Utc | None
    last_clear_look_utc: Utc | None
    evidence: Annotated[list[Evidence], Field(max_length=64)]
    model_sha256: Sha256 | None
    config_sha256: Sha256 | None
    standard: Name
    SXDM: Annotated[str, Field(pattern=r"^([0-9]{6})?[0-9]{5}$")]
    SXMC: Annotated[str, Field(min_length=1, max_length=30)]
    ZGBMDM: Annotated[str, Field(max_length=18)] | None
    ZGBMMC: Annotated[str, Field(max_length=100)] | None
    SFWZ: Annotated[str, Field(min_length=1, max_length=256)]
    SZDYWGBSM: Annotated[str, Field(pattern=r"^[0-9A-Z]{15}$")] | None
    GLBJBSM: Annotated[str, Field(pattern=r"^[0-9A-Z]{16,17}$")] | None
    position: Position
    ellipse: Ellipse
    error_budget_m: Annotated[dict[Name, Span], Field(max_length=32)]
    heading_deg: Annotated[float, Field(ge=-360.0, le=360.0)] | None
    extent_m: Annotated[list[Metres], Field(min_length=3, max_length=3)]
    grid: Name | None
    zone: Name | None
    memory: CaseMemory | None = None

    @model_validator(mode="after")
    def _uid_is_made_of_its_parts(self) -> CaseBody:
        if self.uid != f"{self.device}:{self.epoch}:{self.seq}":
            raise ValueError("uid is not device:epoch:seq")
        return self


class Backlog(Strict):
    """What the device still has to send."""

    events: Count
    blobs: Count
    bytes: Count


class TrackPoint(Strict):
    """Where the vehicle was."""

    utc: Utc
    lat_deg: Latitude
    lon_deg: Longitude


class Heartbeat(Strict):
    """What a device believes to have sent."""

    epoch: Epoch
    max_seq: Count
    oldest_unacked: Count | None
    backlog: Backlog
    loss: Annotated[dict[Name, Count], Field(max_length=64)]
    chain_head: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    health: Annotated[dict[Name, float | str | bool | None], Field(max_length=64)]
    track: Annotated[tuple[TrackPoint, ...], Field(max_length=240)] = ()


class Canonical(BaseModel):
    """The revision of the case that the platform holds to be the newest."""

    case_id: str
    revision: int


class Receipt(BaseModel):
    """Proof that an event is durable here; `need` are pictures still missing."""

    receipt_id: str
    uid: str
    digest: str
    received: str
    need: list[str]
    canonical: Canonical
    server_time: str


class BlobReceipt(BaseModel):
    """Proof that a picture is durable here."""

    receipt_id: str
    sha256: str
    size: int
    server_time: str


class HeartbeatReply(BaseModel):
    """`gaps`: inclusive ranges of sequence numbers of that epoch that never came."""

    gaps: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    server_time: str
    config_rev: int


class Problem(BaseModel):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str = ""


def case_schema() -> str:
    """Text of uplink/schema/case.v1.json."""
    tree = CaseBody.model_json_schema(by_alias=True)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:qiji:schema:case.v1"}
    return json.dumps({**head, **tree}, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
