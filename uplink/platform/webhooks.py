"""Webhooks: changes of cases told to addresses on the operator's allow-list, in order, signed, at least once.

The body is signed with HMAC-SHA256 over `timestamp.body` (header Qiji-Signature: t=...,v1=hex). Redirects are not
followed, and no other address that a client names is ever fetched.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

import requests

from perception.errors import SetupError
from perception.types import JsonDict
from uplink.platform.feed import changes_after, newest
from uplink.platform.fleet import Cursor
from uplink.platform.intake import Intake
from uplink.platform.orders import WebhookOrder, WebhookReply
from uplink.platform.problems import Refused
from uplink.platform.storage import Row
from uplink.retry import Backoff

log = logging.getLogger(__name__)
_BATCH = 100
_TIMEOUT_S = (5.0, 10.0)
_MOST_FAILURES = 100
_REPLY_CAP = 4096


def origin_of(url: str) -> str:
    """scheme://host:port of an address; raises ValueError when it has none, or a user in it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ValueError("not an http(s) address")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}".lower()


def signature(secret: str, stamp_s: int, body: bytes) -> str:
    """Value of the header Qiji-Signature."""
    mac = hmac.new(secret.encode(), f"{stamp_s}.".encode() + body, hashlib.sha256)
    return f"t={stamp_s},v1={mac.hexdigest()}"


class Webhooks:
    """Registered addresses and their delivery."""

    def __init__(self, intake: Intake, allowed: Sequence[str], rng: random.Random) -> None:
        """`allowed` are origins such as https://city.example. Raises SetupError for one that is none."""
        try:
            self._allowed = {origin_of(entry) for entry in allowed}
        except ValueError as error:
            raise SetupError(
                f"webhook allow-list {list(allowed)}: {error}", remedy="list origins: https://host"
            ) from error
        self._intake = intake
        self._database = intake.database
        self._rng = rng
        self._backoff = Backoff(base_s=2.0, cap_s=3600.0)
        self._session = requests.Session()
        self._session.trust_env = False

    def add(self, order: WebhookOrder) -> WebhookReply:
        """Register an address from now on; raises Refused 422 when it is not on the allow-list."""
        try:
            known = origin_of(order.url) in self._allowed
        except ValueError:
            known = False
        if not known:
            raise Refused(422, "address-not-allowed", "the operator's allow-list does not have this origin")
        secret, start = secrets.token_urlsafe(32), newest(self._database)
        with self._database.transaction() as tx:
            number = tx.value(
                """INSERT INTO webhook (url, secret, changes, made_ns, cursor_tx, cursor_id, failures, due_ns, stopped)
                   VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0) RETURNING id""",
                (order.url, secret, json.dumps(order.changes), self._intake.clock.utc_ns(), start.tx, start.id),
            )
        return WebhookReply(id=number, url=order.url, secret=secret)

    def remove(self, number: int) -> None:
        """Forget an address; raises Refused 404."""
        with self._database.transaction() as tx:
            if not tx.run("DELETE FROM webhook WHERE id = ?", (number,)):
                raise Refused(404, "no-such-webhook")

    def listed(self) -> list[JsonDict]:
        """All addresses with their state, without their secrets."""
        names = ("id", "url", "failures", "last_status")
        return [
            {**{n: row[n] for n in names}, "changes": json.loads(row["changes"]), "stopped": bool(row["stopped"])}
            for row in self._database.rows("SELECT * FROM webhook ORDER BY id")
        ]

    def deliver(self) -> int:
        """One round over the addresses that are due; how many changes were acknowledged."""
        now = self._intake.clock.utc_ns()
        rows = self._database.rows("SELECT * FROM webhook WHERE stopped = 0 AND due_ns <= ? ORDER BY id", (now,))
        return sum(self._deliver_to(row) for row in rows)

    def _deliver_to(self, row: Row) -> int:
        changes, cursor = changes_after(self._database, Cursor(row["cursor_tx"], row["cursor_id"]), _BATCH)
        chosen = json.loads(row["changes"])
        wanted = [c for c in changes if not chosen or c["change"] in chosen]
        status = self._post(row, wanted) if wanted else 200
        if status is not None and 200 <= status < 300:
            self._note(row, status, cursor, failed=False)
            return len(wanted)
        self._note(row, status, None, failed=True)
        return 0

    def _post(self, row: Row, changes: list[JsonDict]) -> int | None:
        body = json.dumps({"changes": changes}, ensure_ascii=False, sort_keys=True).encode()
        stamp_s = self._intake.clock.utc_ns() // 1_000_000_000
        headers = {
            "Content-Type": "application/json",
            "Qiji-Signature": signature(row["secret"], stamp_s, body),
            "Qiji-Delivery": changes[-1]["cursor"],
        }
        if origin_of(row["url"]) not in self._allowed:
            return None
        try:
            with self._session.post(
                row["url"], data=body, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False, stream=True
            ) as reply:
                reply.raw.read(_REPLY_CAP)
                return reply.status_code
        except requests.RequestException as error:
            log.warning("webhook_failed", extra={"webhook": row["id"], "why": type(error).__name__})
            return None

    def _note(self, row: Row, status: int | None, cursor: Cursor | None, *, failed: bool) -> None:
        failures = row["failures"] + 1 if failed else 0
        delay_s = self._backoff.delay_s(failures, self._rng) if failed else 0.0
        due = self._intake.clock.utc_ns() + round(delay_s * 1e9)
        at = cursor or Cursor(row["cursor_tx"], row["cursor_id"])
        with self._database.transaction() as tx:
            tx.run(
                """UPDATE webhook SET cursor_tx = ?, cursor_id = ?, failures = ?, due_ns = ?, last_status = ?,
                   stopped = ? WHERE id = ?""",
                (at.tx, at.id, failures, due, status, int(failures >= _MOST_FAILURES), row["id"]),
            )
        if failures >= _MOST_FAILURES:
            log.error("webhook_stopped", extra={"webhook": row["id"], "failures": failures})

    def close(self) -> None:
        """Close connections."""
        self._session.close()
