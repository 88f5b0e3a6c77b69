"""What an officer may do to a case. Each action is one transaction: the canonical case, its feed and the audit log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from perception.types import ACTIVE_STATES, Case, CaseState
from uplink.platform.heads import ACCEPTED, CLOSED, MERGED, REJECTED, Head, placed, read_head, united, write_head
from uplink.platform.intake import Intake
from uplink.platform.orders import Action, ActionReply
from uplink.platform.people import Person, Registry
from uplink.platform.problems import Refused
from uplink.platform.storage import Tx

_WORDS = {
    "not_there": "nothing there", "wrong_kind": "another kind of thing", "lawful": "lawful", "duplicate": "duplicate",
    "not_ours": "not ours", "poor_evidence": "evidence too poor", "other": "other",
}  # fmt: skip


def _told(head: Head, case: Case, decision: str, decided_ns: int | None) -> Head:
    """The head after a decision, at its next revision."""
    after = replace(case, revision=head.case.revision + 1)
    return replace(head, case=after, author="", decision=decision, decided_ns=decided_ns)


class Desk:
    """The officers' desk over the canonical cases."""

    def __init__(self, intake: Intake, registry: Registry) -> None:
        self._intake = intake
        self._registry = registry

    def act(self, case_id: str, action: Action, person: Person, address: str) -> ActionReply:
        """Do it. Raises Refused 404 no-such-case, 409 stale-revision or not-possible, 422."""
        does: dict[str, Callable[[Tx, Head, Action, str], Head]] = {
            "accept": self._accept, "reject": self._reject, "close": self._close, "reopen": self._reopen,
            "assign": self._assign, "merge": self._merge,
        }  # fmt: skip
        made: str | None = None
        with self._intake.database.transaction() as tx:
            for name in sorted({case_id, action.into or case_id}):
                tx.lock(f"case {name}")
            head = read_head(tx, case_id)
            if head is None:
                raise Refused(404, "no-such-case")
            if action.base_revision is not None and action.base_revision != head.case.revision:
                raise Refused(409, "stale-revision", f"the case is at revision {head.case.revision} now")
            if head.decision == MERGED:
                raise Refused(409, "not-possible", f"it was merged into {head.case.merged_into}")
            if action.action == "split":
                after, made = self._split(tx, head, action, person.name)
            else:
                after = does[action.action](tx, head, action, person.name)
            detail = action.model_dump(exclude_none=True, exclude={"base_revision", "action"}, exclude_defaults=True)
            write_head(tx, after, action.action, person.name, self._intake.clock.utc_ns(), detail)
            self._registry.audit(tx, person.name, address, action.action, case_id, "done", detail)
        return ActionReply(
            case_id=case_id, revision=after.case.revision, state=after.case.state.value, decision=after.decision,
            made=made,
        )  # fmt: skip

    def _now(self) -> int:
        return self._intake.clock.utc_ns()

    def _accept(self, _: Tx, head: Head, action: Action, who: str) -> Head:
        case = head.case
        state = case.state if case.state in ACTIVE_STATES or case.state is CaseState.RESOLVED else CaseState.OPEN
        return _told(head, replace(case, state=state), ACCEPTED, self._now())

    def _reject(self, _: Tx, head: Head, action: Action, who: str) -> Head:
        why = f"rejected: {_WORDS[action.reason or 'other']}" + (f", {action.note}" if action.note else "")
        return _told(head, replace(head.case, state=CaseState.REJECTED, reason=why), REJECTED, self._now())

    def _close(self, _: Tx, head: Head, action: Action, who: str) -> Head:
        if head.case.state is CaseState.REJECTED:
            raise Refused(409, "not-possible", "a rejected case has nothing to close")
        return _told(head, replace(head.case, state=CaseState.RESOLVED), CLOSED, self._now())

    def _reopen(self, _: Tx, head: Head, action: Action, who: str) -> Head:
        if head.case.state in ACTIVE_STATES:
            raise Refused(409, "not-possible", "it is open")
        return _told(head, replace(head.case, state=CaseState.REOPENED), ACCEPTED, self._now())

    def _assign(self, _: Tx, head: Head, action: Action, who: str) -> Head:
        after = _told(head, head.case, head.decision, head.decided_ns)
        return replace(after, body={**head.body, "assignee": action.assignee or None})

    def _merge(self, tx: Tx, head: Head, action: Action, who: str) -> Head:
        """This case becomes an alias of `into`, which gets its passes and pictures."""
        other = read_head(tx, action.into or "")
        if other is None:
            raise Refused(404, "no-such-case", "the case to merge into does not exist")
        if other.case.id == head.case.id or other.decision == MERGED or other.case.kind != head.case.kind:
            raise Refused(409, "not-possible", "merge into another, living case of the same kind")
        return merge_heads(tx, head, other, who, self._now(), f"merged into {other.case.id} by {who}")

    def _split(self, tx: Tx, head: Head, action: Action, who: str) -> tuple[Head, str]:
        """The named passes become a case of their own; machines keep the two apart from then on."""
        out = [p for p in head.case.passes if p.pass_id in set(action.passes)]
        stay = [p for p in head.case.passes if p.pass_id not in set(action.passes)]
        if not out or not stay:
            raise Refused(409, "not-possible", "some, but not all passes of the case must be named")
        names = ",".join(sorted(p.pass_id for p in out))
        made = hashlib.sha256(f"split {head.case.id} {names}".encode()).hexdigest()[:20]
        tx.lock(f"case {made}")
        if read_head(tx, made) is not None:
            raise Refused(409, "not-possible", "these passes were split off before")
        child = replace(placed(head.case, out), id=made, revision=1, aliases=(), evidence=())
        keep = placed(head.case, stay)
        parent = _told(head, keep, head.decision, head.decided_ns)
        now = self._now()
        write_head(tx, replace(head, case=child, author="", first_ns=now), "split", who, now,
                   {"from": head.case.id})  # fmt: skip
        tx.run("INSERT INTO apart VALUES (?, ?) ON CONFLICT DO NOTHING", tuple(sorted((made, head.case.id))))
        return parent, made


def merge_heads(tx: Tx, gone: Head, kept: Head, who: str, now_ns: int, reason: str) -> Head:
    """Write `kept` united with `gone`; the head of `gone` as merged, which the caller writes. Both must be locked."""
    whole = united(kept.case, gone.case, exact=kept.exact and gone.exact)
    whole = replace(whole, id=kept.case.id, revision=kept.case.revision + 1, merged_into=kept.case.merged_into)
    if kept.decision:
        whole = replace(whole, state=kept.case.state, reason=kept.case.reason)
    after = replace(kept, case=whole, author="")
    write_head(tx, after, "updated", who, now_ns, {"united_with": gone.case.id})
    tx.run(
        """INSERT INTO case_picture SELECT ?, sha256, body FROM case_picture WHERE case_id = ?
           ON CONFLICT DO NOTHING""",
        (kept.case.id, gone.case.id),
    )
    dead = replace(gone.case, state=CaseState.MERGED, merged_into=kept.case.id, reason=reason)
    return _told(gone, dead, MERGED, now_ns)
