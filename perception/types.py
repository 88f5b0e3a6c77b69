"""Types at the borders of perception. All frozen; arrays are read-only and shape-checked; boxes are xyxy pixels."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnss.types import Array, Pose, frozen_array

Image = NDArray[np.uint8]
Tile = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera picture: `image` uint8 (H, W, 3) BGR, captured at `stamp_ns` (monotonic)."""

    stamp_ns: int
    camera: str
    index: int
    image: Image

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(f"a frame needs uint8 (H, W, 3), got {self.image.dtype} {self.image.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes of one frame: `xyxy` float32 (N, 4) px, `confidence` float32 (N,), `class_id` int32 (N,) of `class_names`.

    `class_names` are catalogue names. `appearance` float32 (N, D) or None: one small vector per box.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    class_names: tuple[str, ...]
    appearance: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        xyxy = np.array(self.xyxy, dtype=np.float32).reshape(-1, 4)
        confidence = np.array(self.confidence, dtype=np.float32).reshape(-1)
        class_id = np.array(self.class_id, dtype=np.int32).reshape(-1)
        if not len(xyxy) == len(confidence) == len(class_id):
            raise ValueError(f"boxes {len(xyxy)}, confidences {len(confidence)}, class ids {len(class_id)} must agree")
        if len(class_id) and (class_id.min() < 0 or class_id.max() >= len(self.class_names)):
            raise ValueError(f"class ids must lie in 0..{len(self.class_names) - 1}")
        if self.appearance is not None and len(self.appearance) != len(xyxy):
            raise ValueError(f"{len(self.appearance)} appearance vectors for {len(xyxy)} boxes")
        for name, array in (("xyxy", xyxy), ("confidence", confidence), ("class_id", class_id)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.xyxy)

    def names(self) -> list[str]:
        """Catalogue name of each box."""
        return [self.class_names[i] for i in self.class_id]

    def keep(self, mask: NDArray[np.bool_]) -> Detections:
        """The boxes where `mask` (N,) is true."""
        appearance = None if self.appearance is None else self.appearance[mask]
        return Detections(self.xyxy[mask], self.confidence[mask], self.class_id[mask], self.class_names, appearance)

    @staticmethod
    def empty(class_names: tuple[str, ...] = ()) -> Detections:
        """No boxes at all."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), class_names)


Zones = tuple[tuple[int, int, int, int], ...]
"""Rectangles x1, y1, x2, y2 in px."""


@dataclass(frozen=True, slots=True, eq=False)
class Redacted:
    """Pixels in which heads and plate zones are filled; only `perception.redaction` makes one, only this is encoded.

    `zones` are the filled rectangles, x1, y1, x2, y2 in px.
    """

    image: Image
    filled: int
    zones: Zones = ()


@dataclass(frozen=True, slots=True, eq=False)
class PictureOnDemand:
    """A frame's redacted picture, made when called; `zones` tells what would be filled, at a tenth of the cost."""

    make: Callable[[], Redacted]
    zones: Callable[[], Zones]

    def __call__(self) -> Redacted:
        return self.make()


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A frame after detection and redaction: what the pipeline eats and the recorder keeps.

    `picture` yields the redacted picture on demand; None when there are no pixels or no redactor (then no picture).
    `sharpness` is the variance of the Laplacian of the down-scaled frame, `exposure` its mean grey in 0..1.
    """

    stamp_ns: int
    camera: str
    index: int
    width: int
    height: int
    detections: Detections
    sharpness: float | None = None
    exposure: float | None = None
    picture: PictureOnDemand | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded redacted picture. `role` is close_up, context or gone; `sha256` is of `jpeg`."""

    sha256: str
    role: str
    stamp_ns: int
    utc_ns: int | None
    camera: str
    width: int
    height: int
    jpeg: bytes = field(repr=False, compare=False, default=b"")

    @staticmethod
    def of(jpeg: bytes, role: str, seen: Seen, utc_ns: int | None, width: int, height: int) -> Picture:
        """Wrap encoded bytes with their hash."""
        digest = hashlib.sha256(jpeg).hexdigest()
        return Picture(digest, role, seen.stamp_ns, utc_ns, seen.camera, width, height, jpeg)


class Verdict(enum.StrEnum):
    """Does the object move?"""

    STATIC = "static"
    MOVING = "moving"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One box of a track, as detected; `edges` (left, top, right, bottom) are false where cut by border or occluder."""

    stamp_ns: int
    camera: str
    index: int
    xyxy: tuple[float, float, float, float]
    confidence: float
    class_name: str
    width: int
    height: int
    edges: tuple[bool, bool, bool, bool] = (True, True, True, True)


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One object followed by one camera; `class_name` is the majority, weighted by confidence.

    `missed_ns` are stamps of frames in which it should have been seen, whole and unhidden, and was not.
    """

    id: int
    class_name: str
    observations: tuple[Observation, ...]
    confirmed: bool
    appearance: NDArray[np.float32] | None = None
    missed_ns: tuple[int, ...] = ()

    @property
    def first_stamp_ns(self) -> int:
        return self.observations[0].stamp_ns

    @property
    def last_stamp_ns(self) -> int:
        return self.observations[-1].stamp_ns


@dataclass(frozen=True, slots=True, eq=False)
class Landmark:
    """A track placed on the ground: centre of the footprint, with the covariance that is its own.

    `cov_own_m2` (2, 2) east/north excludes the pass-common GNSS part, which belongs to `pass_id`.
    `coarse`: never came close enough; may update a case, never opens one. `extent_m` is length, width, height.
    `existence` is the probability, from this pass alone, that there is such a thing. `doubt` says why a standing
    vehicle may only be waiting in traffic, `kerbside` that it surely stands at the roadside. A place of verdict unknown
    is where it is if it stands.
    """

    id: str
    pass_id: str
    track_id: int
    camera: str
    class_name: str
    confidence: float
    lat_deg: float
    lon_deg: float
    cov_own_m2: Array
    verdict: Verdict
    speed_mps: float
    heading_deg: float | None
    extent_m: tuple[float, float, float]
    first_stamp_ns: int
    last_stamp_ns: int
    first_utc_ns: int | None
    last_utc_ns: int | None
    looks: int
    closest_range_m: float
    coarse: bool
    existence: float = 0.0
    pictures: tuple[Picture, ...] = ()
    appearance: NDArray[np.float32] | None = None
    doubt: str = ""
    kerbside: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cov_own_m2", frozen_array(self.cov_own_m2, (2, 2)))


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What one frame could see: its pose, all its boxes (occluders) and its sharpness."""

    stamp_ns: int
    camera: str
    index: int
    width: int
    height: int
    pose: Pose
    boxes: Detections
    sharpness: float | None


@dataclass(frozen=True, slots=True, eq=False)
class PassRecord:
    """One window of one vehicle (cut after 250 m or 120 s): all that association and clear looks need.

    `cov_common_m2` (2, 2) east/north: the GNSS offset that every landmark of this window shares.
    `case_pictures` are redacted pictures of the places of known cases, by case id, for a proof that one is gone.
    `live` are provisional landmarks of tracks that go on beyond the window: they change nothing, but what they show is
    not gone.
    `looked` is false for a record made before the window's end: nobody may conclude from it what was not there.
    `trail` (utc_ns, lat_deg, lon_deg) is where the vehicle was, oldest first, for "was it away in between".
    """

    pass_id: str
    vehicle: str
    drive: str
    start_stamp_ns: int
    end_stamp_ns: int
    start_utc_ns: int | None
    end_utc_ns: int | None
    landmarks: tuple[Landmark, ...]
    views: tuple[View, ...]
    cov_common_m2: Array
    case_pictures: tuple[tuple[str, Picture], ...] = ()
    live: tuple[Landmark, ...] = ()
    trail: tuple[tuple[int, float, float], ...] = ()
    looked: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "cov_common_m2", frozen_array(self.cov_common_m2, (2, 2)))


class CaseState(enum.StrEnum):
    """States of a case; candidates are stored and sent, but not listed as cases."""

    CANDIDATE = "candidate"
    OPEN = "open"
    MONITORING = "monitoring"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    WITHDRAWN = "withdrawn"
    REJECTED = "rejected"
    MERGED = "merged"


LISTED_STATES = frozenset({CaseState.OPEN, CaseState.MONITORING, CaseState.RESOLVED, CaseState.REOPENED})
ACTIVE_STATES = frozenset({CaseState.OPEN, CaseState.MONITORING, CaseState.REOPENED})


class ChangeKind(enum.StrEnum):
    """What a case change does."""

    CANDIDATE = "candidate"
    OPENED = "opened"
    UPDATED = "updated"
    EVIDENCE = "evidence"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    WITHDRAWN = "withdrawn"
    MERGED = "merged into"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class PassPosition:
    """Where one pass put the object (before its offset), with the covariance that is the object's own there.

    `cov_own_m2` and `cov_common_m2` are (ee, en, nn) in m2 so that the record stays hashable and plain.
    `cov_site_m2` is what every pass shares that was corrected by the same things of the city's register.
    Position plus offset is the place among its neighbours, known with `cov_aligned_m2` (zeros: as `cov_own_m2`).
    """

    pass_id: str
    utc_ns: int | None
    lat_deg: float
    lon_deg: float
    cov_own_m2: tuple[float, float, float]
    cov_common_m2: tuple[float, float, float]
    offset_e_m: float = 0.0
    offset_n_m: float = 0.0
    cov_site_m2: tuple[float, float, float] = (0.0, 0.0, 0.0)
    cov_aligned_m2: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ComponentMatch:
    """The register component a damaged thing most likely is, and the next likely one."""

    id: str
    code: str
    probability: float
    runner_up: str | None = None
    runner_up_probability: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """One real-world problem. `kind`, `matter_kind` and `code` go together (GB/T 47678.5-2026).

    `clear_misses` counts clear looks in a row that did not find it; `dwell_s` is what its zone asks before it is filed.
    Position is the fused one; `cov_m2` = (ee, en, nn) total in m2; `error_budget` gives 1-sigma terms in metres.
    `map_lat_deg`, `map_lon_deg`, `map_cov_m2` is the place among its neighbours, without the GNSS error they share:
    passes are matched by it (None: as the position). `appearance` is the mean look of its passes, () without any.
    """

    id: str
    revision: int
    kind: str
    matter_kind: str
    code: str
    class_name: str
    state: CaseState
    existence: float
    confidence: float
    lat_deg: float
    lon_deg: float
    cov_m2: tuple[float, float, float]
    error_budget: tuple[tuple[str, float], ...]
    passes: tuple[PassPosition, ...]
    vehicle: str
    first_seen_utc_ns: int | None
    last_seen_utc_ns: int | None
    first_clear_look_utc_ns: int | None
    last_clear_look_utc_ns: int | None
    reason: str
    zone: str | None = None
    grid: str | None = None
    component: ComponentMatch | None = None
    evidence_grade: str = "lead"
    heading_deg: float | None = None
    extent_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    evidence: tuple[Picture, ...] = ()
    aliases: tuple[str, ...] = ()
    merged_into: str | None = None
    clear_misses: int = 0
    dwell_s: float | None = None
    map_lat_deg: float | None = None
    map_lon_deg: float | None = None
    map_cov_m2: tuple[float, float, float] = (0.0, 0.0, 0.0)
    appearance: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseChange:
    """A step in a case's life: `case` is the state after it, `base_revision` what it was made from (0: none)."""

    case_id: str
    base_revision: int
    change: ChangeKind
    case: Case
    stamp_ns: int
    utc_ns: int | None
    pass_id: str
    reason: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownObjects:
    """What the store feeds in for one map tile: cases and candidates, and anchors (permanent landmarks)."""

    stamp_ns: int
    tile: Tile
    cases: tuple[Case, ...] = ()
    anchors: tuple[Anchor, ...] = ()


@dataclass(frozen=True, slots=True)
class Anchor:
    """A permanent landmark that pulls the pass offset and is never moved by one pass; `cov_m2` = (ee, en, nn).

    Without `passes` it comes from the city's register: absolute, and never moved at all. With them it was learned, as
    cases are; what it says is where things lie relative to each other. `map_...` and `appearance` are as in a case.
    """

    id: str
    class_name: str
    lat_deg: float
    lon_deg: float
    cov_m2: tuple[float, float, float]
    passes: tuple[PassPosition, ...] = ()
    revision: int = 0
    existence: float = 1.0
    last_seen_utc_ns: int | None = None
    last_clear_look_utc_ns: int | None = None
    clear_misses: int = 0
    map_lat_deg: float | None = None
    map_lon_deg: float | None = None
    map_cov_m2: tuple[float, float, float] = (0.0, 0.0, 0.0)
    appearance: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class AnchorUpdate:
    """What a pass did to the permanent landmarks: those it learned or saw again, and the ids of those that are gone.

    The store keeps it in the transaction of the pass's case changes; it is not sent to the platform.
    """

    stamp_ns: int
    pass_id: str
    kept: tuple[Anchor, ...] = ()
    gone: tuple[str, ...] = ()


class TrackEnd(enum.StrEnum):
    """Terminal states of the ledger: every track ends in exactly one."""

    FILED = "filed"
    MERGED = "merged"
    CANDIDATE = "held as candidate"
    ANCHOR = "anchor"
    NO_PROBLEM = "no-problem"
    SUPPRESSED = "suppressed-by-rule"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"
    SHED = "shed"


@dataclass(frozen=True, slots=True)
class TrackEnded:
    """Ledger entry of one track."""

    track_id: int
    camera: str
    class_name: str
    end: TrackEnd
    reason: str
    stamp_ns: int
    case_id: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkClosed:
    """A track's final place; `common_m2` (2, 2) is the pass-common covariance to add for its ellipse.

    `observations` are the boxes of the track or tracks it was made from.
    """

    landmark: Landmark
    common_m2: Array
    observations: tuple[Observation, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PassClosed:
    """A window ended."""

    record: PassRecord
    offset_e_m: float
    offset_n_m: float


@dataclass(frozen=True, slots=True)
class CalibrationUpdate:
    """Mount biases learned so far for one camera, 1 sigma beside each; a height nobody told has no sigma.

    `late_s`: by how much the camera's stamps are later than the moment of the picture; None: nothing told it yet.
    """

    stamp_ns: int
    camera: str
    yaw_deg: float
    yaw_sigma_deg: float
    pitch_deg: float
    pitch_sigma_deg: float
    height_m: float = 0.0
    height_sigma_m: float | None = None
    late_s: float | None = None
    late_sigma_s: float | None = None


@dataclass(frozen=True, slots=True)
class Shed:
    """A frame that was dropped before detection, and why."""

    stamp_ns: int
    camera: str
    index: int
    reason: str


Output = LandmarkClosed | TrackEnded | PassClosed | CalibrationUpdate | CaseChange | AnchorUpdate
JsonDict = dict[str, Any]
