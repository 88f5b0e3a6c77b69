"""The whole flow within the car: events in, outputs out. No clock, file or network; "now" is the event's stamp."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gnss.atlas import Atlas
from gnss.ego import EgoFilter, EgoParams
from gnss.types import Fix, Motion, Pose
from perception.around import Around
from perception.associate import AssociateParams, associate
from perception.camera import CameraModel
from perception.camera_clock import CameraClock, ClockParams
from perception.catalogue import Catalogue
from perception.context import ContextParams, at_kerb, doubts
from perception.events import Event, Reload
from perception.lay import Links
from perception.looks import Looks
from perception.mount import MountBias
from perception.rules import Decision, RuleParams, Rules
from perception.sights import LocateParams
from perception.tracking import Tracker, TrackerParams
from perception.types import (
    ACTIVE_STATES,
    CalibrationUpdate,
    Case,
    KnownObjects,
    Landmark,
    LandmarkClosed,
    Output,
    PassClosed,
    PassRecord,
    Seen,
    Shed,
    Track,
    TrackEnd,
    TrackEnded,
    Verdict,
    View,
)
from perception.unplaced import Unplaced
from perception.window import Surveyor, Window, WindowParams

_STRETCH_NS = 12_000_000_000


@dataclass(frozen=True, slots=True)
class PipelineParams:
    """All tuning, one record per stage, each declared beside the code that uses it."""

    hold_s: float = 1.5
    none_hold_s: float = 60.0
    forget_m: float = 3000.0
    settle_tracks: int = 32
    settle_s: float = 2.0
    ego: EgoParams = field(default_factory=EgoParams)
    tracker: TrackerParams = field(default_factory=TrackerParams)
    locate: LocateParams = field(default_factory=LocateParams)
    rules: RuleParams = field(default_factory=RuleParams)
    window: WindowParams = field(default_factory=WindowParams)
    context: ContextParams = field(default_factory=ContextParams)
    clock: ClockParams = field(default_factory=ClockParams)
    associate: AssociateParams = field(default_factory=AssociateParams)


@dataclass(frozen=True, slots=True)
class PipelineSetup:
    """What a pipeline is built from. `thresholds` maps catalogue class names to case thresholds (confidence 0..1).

    `prior_odds` by class: confidences of these are calibrated at such odds; the others are raw.
    """

    vehicle: str
    drive: str
    cameras: Mapping[str, CameraModel]
    catalogue: Catalogue
    atlas: Atlas
    thresholds: Mapping[str, float]
    params: PipelineParams = field(default_factory=PipelineParams)
    prior_odds: Mapping[str, float] = field(default_factory=dict)


def _lately(other: Landmark, landmark: Landmark) -> bool:
    """Is it another landmark of the same stretch of road?"""
    return other.id != landmark.id and abs(other.last_stamp_ns - landmark.last_stamp_ns) < _STRETCH_NS


class Pipeline:
    """Deterministic in its inputs. `counts` tells what was dropped and why; every track ends in one `TrackEnded`."""

    def __init__(self, setup: PipelineSetup) -> None:
        self._setup = setup
        p = setup.params
        self._ego = EgoFilter(p.ego)
        heights = {name: shape.size_m[2] for name, shape in setup.catalogue.classes.items()}
        mobile = frozenset(n for n, shape in setup.catalogue.classes.items() if shape.role in ("vehicle", "person"))
        self._trackers = {
            n: Tracker(c, dict(setup.thresholds), p.tracker, heights, mobile) for n, c in setup.cameras.items()
        }
        self._mounts: Mapping[str, MountBias] = {
            n: MountBias.unknown(c, p.locate.mount) for n, c in setup.cameras.items()
        }
        self._rules = Rules(setup.catalogue, setup.atlas, p.rules)
        self._surveyor = Surveyor(
            setup.catalogue, setup.cameras, setup.thresholds, p.locate, p.associate.existence, self._seen_from,
            setup.prior_odds,
        )  # fmt: skip
        self._clock = CameraClock(p.clock)
        self._unplaced = Unplaced(dict(setup.thresholds))
        self._looks = Looks()
        self._waiting: deque[Seen] = deque()
        self._ended: list[Track] = []
        self._ended_ns = 0
        self._settled_ns: int | None = None
        self._window: Window | None = None
        self._around = Around()
        self._links = Links()
        self.counts: Counter[str] = Counter()

    def step(self, event: Event) -> list[Output]:
        """Take one event; returns what it brought about, in a fixed order."""
        out: list[Output] = []
        if isinstance(event, Fix):
            refusal = self._ego.add_fix(event)
            self.counts["fixes" if refusal is None else f"fix refused: {refusal.value}"] += 1
        elif isinstance(event, Motion):
            self._ego.add_motion(event)
        elif isinstance(event, KnownObjects):
            self._around.learn(event)
        elif isinstance(event, CalibrationUpdate):
            camera = self._setup.cameras[event.camera]
            learned = MountBias.learned(event, camera, self._setup.params.locate.mount)
            self._mounts = {**self._mounts, event.camera: learned}
            self._clock.begin(event)
        elif isinstance(event, Reload):
            self._rules = Rules(self._setup.catalogue, event.atlas, self._setup.params.rules)
            self.counts["city reloaded"] += 1
        elif isinstance(event, Shed):
            self.counts[f"shed: {event.reason}"] += 1
        else:
            self._waiting.append(event)
        self._drain(event.stamp_ns, out)
        return out

    def flush(self) -> list[Output]:
        """The drive ended: handle what waits, end every track, close the window."""
        out: list[Output] = []
        self._drain(1 << 62, out)
        out.extend(self._unplaced.end("until the end of the drive"))
        for tracker in self._trackers.values():
            for track in tracker.flush():
                self._end_track(track, track.last_stamp_ns, out)
        self._close_window(out)
        return out

    @property
    def vehicle(self) -> str:
        """Name of the car."""
        return self._setup.vehicle

    @property
    def cameras(self) -> frozenset[str]:
        """Names of its cameras."""
        return frozenset(self._setup.cameras)

    @property
    def cases(self) -> list[Case]:
        """Known cases near the car, as they stand now."""
        return [self._around.cases[name] for name in sorted(self._around.cases)]

    @property
    def tracks_begun(self) -> int:
        """How many tracks were started: the ledger must hold as many ends."""
        return self._unplaced.begun + sum(tracker.begun for tracker in self._trackers.values())

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """The vehicle's pose at a recent stamp."""
        return self._ego.pose_at(stamp_ns)

    def _seen_from(self, stamp_ns: int) -> Pose | None:
        """The vehicle's pose at the moment that a camera stamps so."""
        pose = self._ego.pose_at(stamp_ns - self._clock.late_ns)
        return pose if pose is None or not self._clock.late_ns else replace(pose, stamp_ns=stamp_ns)

    def _drain(self, now_ns: int, out: list[Output]) -> None:
        """Handle the frames that a fix brackets, or that waited `hold_s` for one (`none_hold_s` without a pose)."""
        params = self._setup.params
        while self._waiting:
            seen = self._waiting[0]
            moment_ns, waited_s = seen.stamp_ns - self._clock.late_ns, (now_ns - seen.stamp_ns) * 1e-9
            if not self._ego.bracketed(moment_ns) and waited_s < params.hold_s:
                return
            pose = self._seen_from(seen.stamp_ns)
            if pose is None and not self._ego.bracketed(moment_ns) and waited_s < params.none_hold_s:
                self._waiting[0] = replace(seen, picture=None)  # boxes are small: they may wait, pixels not
                return
            self._waiting.popleft()
            if pose is None:
                self.counts["frames without a pose"] += 1
                out.extend(self._unplaced.see(seen, self._ego.state_at(moment_ns)[1]))
            else:
                out.extend(self._unplaced.end("followed until there was one again"))
                self._look(seen, pose, out)

    def _look(self, seen: Seen, pose: Pose, out: list[Output]) -> None:
        self.counts["frames"] += 1
        if self._window is not None and self._window.full(pose, self._setup.params.window):
            self._close_window(out)
        if self._window is None:
            self._window = Window(self._setup.vehicle, self._setup.drive, pose)
        self._window.advance(pose)
        self._around.drive_on(pose)
        tracker = self._trackers[seen.camera]
        for track in tracker.step(seen, pose):
            self._end_track(track, seen.stamp_ns, out)
        params = self._setup.params
        waited_s = (seen.stamp_ns - self._ended_ns) * 1e-9
        if self._ended and (len(self._ended) >= params.settle_tracks or waited_s >= params.settle_s):
            self._settle(out)
        self._looks.see(seen, pose, tracker.live)
        if seen.picture is not None:
            self._looks.watch(seen, pose, self._setup.cameras[seen.camera], self._around.near(pose))
        self._window.views.append(
            View(seen.stamp_ns, seen.camera, seen.index, seen.width, seen.height, pose, seen.detections, seen.sharpness)
        )

    def _end_track(self, track: Track, now_ns: int, out: list[Output]) -> None:
        """A track has ended: it goes to the ledger, or waits shortly so that it is placed together with others."""
        shape = self._setup.catalogue.classes[track.class_name]
        ended: tuple[TrackEnd, str] | None = None
        if shape.role in ("person", "context"):
            ended = TrackEnd.NO_PROBLEM, f"{shape.title}: no problem by itself"
        elif not track.confirmed:
            ended = TrackEnd.EXPIRED, f"only {len(track.observations)} boxes: too few to believe"
        if ended is not None:
            self._drop(track, *ended, out)
            return
        if not self._ended:
            self._ended_ns = now_ns
        self._ended.append(track)
        kind = None if shape.kind is None else self._setup.catalogue.kinds[shape.kind]
        if kind is not None and kind.urgent:
            self._settle(out)

    def _drop(self, track: Track, end: TrackEnd, reason: str, out: list[Output]) -> None:
        last = track.observations[-1]
        self._looks.take(last.camera, track.id, encode=False)
        out.append(TrackEnded(track.id, last.camera, track.class_name, end, reason, last.stamp_ns))

    def _settle(self, out: list[Output]) -> None:
        """Place the tracks that ended lately, all at once, and judge each."""
        tracks, self._ended = self._ended, []
        window = self._window
        if window is None or not tracks:
            for track in tracks:
                self._drop(track, TrackEnd.QUARANTINED, "no window was open: no pose", out)
            return
        last_ns = max(track.last_stamp_ns for track in tracks)
        elapsed_s = (last_ns - self._settled_ns) * 1e-9 if self._settled_ns is not None else 0.0
        self._settled_ns = last_ns
        aged = {n: m.later(elapsed_s, self._setup.params.locate.mount) for n, m in self._mounts.items()}
        closed, self._mounts = self._surveyor.survey(tracks, window.pass_id, aged)
        common = self._ego.cov_common_m2()
        for track, survey in zip(tracks, closed, strict=True):
            if survey is None:
                self._drop(track, TrackEnd.QUARANTINED, "no pose at any of its frames", out)
                continue
            kind = self._setup.catalogue.classes[track.class_name].kind
            urgent = kind is not None and self._setup.catalogue.kinds[kind].urgent
            # The window's end judges them all; before it only the pictures and what is urgent need a word.
            if urgent or self._looks.holds(survey.landmark.camera, track.id):
                finding = self._rules.judge(survey.landmark, common)
                encode = finding.decision is not Decision.REFUSE
                urgent = urgent and finding.kind is not None
                pictures = self._looks.take(survey.landmark.camera, track.id, encode=encode)
                survey = replace(survey, landmark=replace(survey.landmark, pictures=pictures))
            window.closed.append(survey)
            if urgent and not survey.landmark.coarse:
                whole = window.record(())
                others = tuple(m for m in whole.landmarks if _lately(m, survey.landmark))
                # The rest of the window only helps to find the offset: nothing is missed before its end.
                record = replace(whole, landmarks=(survey.landmark,), live=others, looked=False)
                out.extend(self._associate(record, ends=False))

    def _close_window(self, out: list[Output]) -> None:
        self._settle(out)
        window = self._window
        if window is None:
            return
        self._window = None
        self._learn_clock(window)
        out.extend(window.stitch(self._surveyor, self._mounts, self._setup.params.window))
        active = {c.id for c in self._around.cases.values() if c.state in ACTIVE_STATES}
        self._weigh_traffic(window)
        record = window.record(self._looks.take_cases(active), self._going_on(window), self._around.trail)
        out.extend(LandmarkClosed(c.landmark, record.cov_common_m2, c.track.observations) for c in window.closed)
        out.extend(self._associate(record, ends=True))
        mounts = (mount.update(record.end_stamp_ns, camera) for camera, mount in sorted(self._mounts.items()))
        out.extend(self._clock.report(update) for update in mounts)
        self._around.forget(window.last or window.start, self._setup.params.forget_m)

    def _learn_clock(self, window: Window) -> None:
        """Ask the standing things how late the camera's stamps are; when that tells, place the window once more."""
        before = self._clock.late_ns
        standing = [c.track for c in window.closed if c.landmark.verdict is Verdict.STATIC]
        self._clock.learn(standing, self._setup.cameras, self._ego.driven)
        if self._clock.late_ns != before:
            window.place_again(self._surveyor, self._mounts, self._setup.params.settle_s)

    def _weigh_traffic(self, window: Window) -> None:
        """Mark the standing vehicles of a window that may only be waiting in traffic."""
        setup, landmarks, poses = self._setup, [c.landmark for c in window.closed], [v.pose for v in window.views]
        found = doubts(landmarks, poses, setup.catalogue, setup.params.context)
        sure = at_kerb(landmarks, poses, setup.catalogue, setup.params.context)
        window.closed = [
            replace(c, landmark=replace(c.landmark, doubt=found.get(c.landmark.id, ""), kerbside=c.landmark.id in sure))
            for c in window.closed
        ]

    def _going_on(self, window: Window) -> tuple[Landmark, ...]:
        """Provisional places of the tracks that live beyond the window's end."""
        return tuple(
            self._surveyor.provisional(track, window.pass_id, frame.to_geo(*place.tolist()), cov)
            for _, tracker in sorted(self._trackers.items())
            for track, frame, place, cov in tracker.places()
            if self._setup.catalogue.classes[track.class_name].role not in ("person", "context")
        )

    def _associate(self, record: PassRecord, *, ends: bool) -> list[Output]:
        """Run the second stage on a record; `ends=False` for an urgent look ahead of the window's end."""
        setup = self._setup
        known, anchors = list(self._around.cases.values()), list(self._around.anchors.values())
        result = associate(known, anchors, record, self._rules, setup.cameras, setup.params.associate, self._links)
        self._around.change(change.case for change in result.changes)
        out: list[Output] = list(result.changes)
        if ends:
            self._links = result.links
            self._around.replace_anchors(result.anchors.kept, result.anchors.gone)
            out.extend(result.ends)
            out.extend([result.anchors] if result.anchors.kept or result.anchors.gone else [])
            out.append(PassClosed(record, result.offset.east_m, result.offset.north_m))
        return out
