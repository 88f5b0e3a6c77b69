"""What a reply means, and how long to wait: pure functions (classes OK and A-F, full-jitter back-off of the link).

A reply of 2xx alone is not an acknowledgement: proxies and captive portals give those too. Only a JSON receipt that
echoes the event's uid and digest (or the picture's hash) is one. 401 and 403 never mean "done".
"""

from __future__ import annotations

import enum
import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from perception.types import JsonDict

_SERVER = frozenset({408, 423, 425, 429, 500, 502, 503, 504, 507})
_CONFIG = frozenset({401, 403, 404, 405, 426})
PROBLEM = "urn:qiji:problem:"
_RETRY_AFTER_CAP_S = 3600.0


class RetryClass(enum.StrEnum):
    """OK: acknowledged. PART: a piece of a clip arrived. A link, B server, C identity or configuration, D sync, E this
    item, F gone at the platform."""

    OK = "ok"
    PART = "part"
    LINK = "A"
    SERVER = "B"
    CONFIG = "C"
    SYNC = "D"
    ITEM = "E"
    GONE = "F"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: `status` is None when there was no HTTP reply (then `error` says why).

    `date`, `location` and `offset` are the headers Date, Location and Upload-Offset.
    """

    status: int | None
    body: bytes = b""
    retry_after: str | None = None
    error: str = ""
    date: str | None = None
    location: str | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A judged reply; `after_s` is the server's wish (Retry-After), `receipt` the proof when acknowledged."""

    cls: RetryClass
    reason: str
    status: int | None = None
    after_s: float | None = None
    receipt: JsonDict | None = None


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay before try n + 1 after n failures in a row: uniform in 0 .. min(cap, base * 2^n), "full jitter"."""

    base_s: float = 1.0
    cap_s: float = 300.0

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait; `failures` >= 0."""
        return rng.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(failures, 32)))


def http_time(text: str | None) -> datetime | None:
    """An HTTP date, or None for nonsense."""
    try:
        found = parsedate_to_datetime(text or "")
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def retry_after_s(text: str | None, date: str | None = None) -> float | None:
    """Seconds of a Retry-After, 0 .. 1 h; None for nonsense.

    A date is taken against the Date of the same reply, never against this clock, which may be wrong.
    """
    if text is None:
        return None
    digits = text.strip()
    if digits.isascii() and digits.isdecimal():
        return _RETRY_AFTER_CAP_S if len(digits) > 9 else min(float(digits), _RETRY_AFTER_CAP_S)
    then, now = http_time(digits), http_time(date)
    if then is None or now is None:
        return None
    return min(max(0.0, (then - now).total_seconds()), _RETRY_AFTER_CAP_S)


def json_object(body: bytes) -> JsonDict | None:
    """The body when it is a JSON object, else None."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None


def _problem_type(body: bytes) -> str:
    tree = json_object(body)
    kind = tree.get("type") if tree else None
    return kind.removeprefix(PROBLEM) if isinstance(kind, str) else ""


def classify(reply: Reply, expected: JsonDict) -> Outcome:
    """Judge a reply to a PUT. `expected` are the fields that the receipt must echo exactly, e.g. uid and digest."""
    status = reply.status
    if status is None:
        return Outcome(RetryClass.LINK, reply.error or "no reply")
    if status in (200, 201):
        receipt = json_object(reply.body)
        if (
            receipt is None
            or any(receipt.get(name) != value for name, value in expected.items())
            or not receipt.get("receipt_id")
        ):
            return Outcome(RetryClass.LINK, f"{status} without our receipt", status)
        return Outcome(RetryClass.OK, "acknowledged", status, receipt=receipt)
    problem = _problem_type(reply.body)
    reason = f"{status} {problem}".strip()
    if status in _SERVER:
        return Outcome(RetryClass.SERVER, reason, status, retry_after_s(reply.retry_after, reply.date))
    if status in _CONFIG:
        return Outcome(RetryClass.CONFIG, reason, status)
    return _classify_rest(status, problem, reason)


def _classify_rest(status: int, problem: str, reason: str) -> Outcome:
    if status == 409 and problem != "uid-conflict":
        return Outcome(RetryClass.SYNC, reason, status)
    if status in (400, 409, 413, 415, 422):
        return Outcome(RetryClass.ITEM, reason, status)
    # Gone means that the platform deleted the case; from anybody but the platform it means nothing.
    if status == 410:
        return Outcome(RetryClass.GONE if problem else RetryClass.LINK, reason, status)
    return Outcome(RetryClass.SERVER if status >= 500 and status != 511 else RetryClass.LINK, reason, status)
