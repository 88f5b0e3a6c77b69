"""One line every few seconds for the person who watches a live run."""

from __future__ import annotations

from collections.abc import Callable

from gnss.clock import Clock
from gnss.types import PoseState
from perception.types import CaseChange, CaseState, Output
from vehicle.session import Session

EVERY_S = 5.0


class Status:
    """Counts cases as a sink and tells `say` of the session's progress; `tick` is called after every item."""

    def __init__(self, clock: Clock, session: Session, backlog: Callable[[], int], say: Callable[[str], None]) -> None:
        self.states: dict[str, CaseState] = {}
        self.kinds: dict[str, str] = {}
        self._clock = clock
        self._session = session
        self._backlog = backlog
        self._say = say
        self._start_ns = self._last_ns = clock.monotonic_ns()
        self._frames = 0

    def take(self, output: Output) -> None:
        """A sink of the session."""
        if isinstance(output, CaseChange):
            self.states[output.case_id] = output.case.state
            self.kinds[output.case_id] = output.case.kind

    def tick(self) -> None:
        """Say where the run stands when it is time."""
        now_ns = self._clock.monotonic_ns()
        seconds = (now_ns - self._last_ns) * 1e-9
        if seconds < EVERY_S:
            return
        rate = (self._session.frames - self._frames) / seconds
        self._last_ns, self._frames = now_ns, self._session.frames
        self._say(f"{(now_ns - self._start_ns) * 1e-9:7.1f} s  {rate:5.1f} frames/s  {self.line()}")

    def line(self) -> str:
        """Pose, cases and backlog in words."""
        pose = self._session.pipeline.pose_at(self._session.last_ns)
        held = sum(state is CaseState.CANDIDATE for state in self.states.values())
        state = (PoseState.NONE if pose is None else pose.state).value
        return (
            f"pose {state}, {len(self.states) - held} cases, {held} candidates, {self._backlog()} items in the outbox"
        )
