"""Bodies that people and administrators send: actions on cases, keys of devices, uploads, webhooks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from uplink.platform.contract import Count, Device, Name, Sha256, Strict, Text

CaseId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Why = Literal["not_there", "wrong_kind", "lawful", "duplicate", "not_ours", "poor_evidence", "other"]
FALSE_FOR_TRAINERS = ("not_there", "wrong_kind")
"""Reasons that mean the detector was wrong. A lawful car is a car: no false case for a trainer."""

ClipCap = 64 * 1024 * 1024


class Action(Strict):
    """What an officer does to a case. `base_revision` guards against a decision on what has changed meanwhile."""

    action: Literal["accept", "reject", "merge", "split", "assign", "close", "reopen"]
    base_revision: Count | None = None
    reason: Why | None = None
    note: Text = ""
    into: CaseId | None = None
    passes: Annotated[tuple[Name, ...], Field(max_length=128)] = ()
    assignee: Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Action:
        needs = {"reject": self.reason, "merge": self.into, "split": self.passes or None, "assign": self.assignee}
        if self.action in needs and needs[self.action] is None:
            names = {"reject": "reason", "merge": "into", "split": "passes", "assign": "assignee"}
            raise ValueError(f"{self.action} needs {names[self.action]}")
        return self


class ActionReply(BaseModel):
    """The case after the action, and the case that was made by a split."""

    case_id: str
    revision: int
    state: str
    decision: str
    made: str | None = None


class Enrolment(Strict):
    """A device brings its public key (Ed25519, 32 bytes as base64) with the code of its invitation."""

    code: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
    public_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{43}=$")]


class EnrolmentReply(BaseModel):
    """What the platform knows the key by."""

    device: Device
    keyid: str
    server_time: str


class UploadOrder(Strict):
    """A file that is too large to be sent in one go."""

    sha256: Sha256
    size: Annotated[int, Field(ge=1, le=ClipCap)]
    mime: Literal["image/jpeg", "video/mp4"]


class UploadReply(BaseModel):
    """Where to send the bytes, and from which offset."""

    upload: str
    offset: int
    size: int
    server_time: str


class WebhookOrder(Strict):
    """Tell an address of the platform's allow-list about changes; [] means all of them."""

    url: Annotated[str, Field(min_length=8, max_length=500, pattern=r"^https?://[!-~]+$")]
    changes: Annotated[tuple[Name, ...], Field(max_length=32)] = ()


class WebhookReply(BaseModel):
    """The secret is told once; requests are signed with it."""

    id: int
    url: str
    secret: str


class Login(Strict):
    """A person's token, exchanged for a cookie."""

    token: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,128}$")]
