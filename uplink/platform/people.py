"""Who may ask: devices with enrolled keys, people with tokens; and the audit log of everything that was decided.

Tokens and codes are random; the database keeps only their hashes (sha256 is enough for 256 random bits).
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass

from gnss.clock import Clock
from perception.errors import SetupError
from perception.serial import utc_text
from perception.types import JsonDict
from uplink.envelope import DEVICE
from uplink.platform.problems import Refused
from uplink.platform.signatures import SignatureRefused, SignedRequest, key_id, verify
from uplink.platform.storage import Storage, Tx

ROLES = ("viewer", "officer", "admin")
_INVITATION_S = 7 * 86_400


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may read (viewer), decide on cases (officer), or manage devices and webhooks too (admin)."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Does this person's role include that one?"""
        return ROLES.index(self.role) >= ROLES.index(role)


class Registry:
    """Devices, people and the audit log."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._database = storage
        self._clock = clock

    def add_person(self, name: str, role: str) -> str:
        """Enter or renew a person; the token, which is told this once. Raises SetupError for a bad name or role."""
        if DEVICE.fullmatch(name) is None or role not in ROLES:
            raise SetupError(f"person {name!r} with role {role!r}", remedy=f"a plain name, and one of {ROLES}")
        token = secrets.token_urlsafe(32)
        with self._database.transaction() as tx:
            tx.run(
                """INSERT INTO person (name, role, token_hash, added_ns) VALUES (?, ?, ?, ?)
                   ON CONFLICT (name) DO UPDATE SET role = excluded.role, token_hash = excluded.token_hash,
                   added_ns = excluded.added_ns, revoked_ns = NULL""",
                (name, role, _hash(token), self._clock.utc_ns()),
            )
            self.audit(tx, "setup", "", "add person", name, "done", {"role": role})
        return token

    def revoke_person(self, name: str) -> bool:
        """End a person's access; False when there is no such person."""
        with self._database.transaction() as tx:
            done = tx.run(
                "UPDATE person SET revoked_ns = ? WHERE name = ? AND revoked_ns IS NULL", (self._clock.utc_ns(), name)
            )
            self.audit(tx, "setup", "", "revoke person", name, "done" if done else "unknown", {})
        return bool(done)

    def person_of(self, token: str) -> Person | None:
        """Whose token this is, or None."""
        rows = self._database.rows(
            "SELECT name, role FROM person WHERE token_hash = ? AND revoked_ns IS NULL", (_hash(token),)
        )
        return Person(rows[0]["name"], rows[0]["role"]) if rows else None

    def people(self) -> int:
        """How many people have access."""
        return int(self._database.value("SELECT count(*) FROM person WHERE revoked_ns IS NULL"))

    def invite(self, device: str) -> str:
        """A code with which this device may bring its key once, within a week. Raises SetupError for a bad name."""
        if DEVICE.fullmatch(device) is None:
            raise SetupError(f"device name {device!r}", remedy="1-64 letters, digits, '.', '_' or '-'")
        code = secrets.token_urlsafe(24)
        expires = self._clock.utc_ns() + _INVITATION_S * 1_000_000_000
        with self._database.transaction() as tx:
            tx.run(
                """INSERT INTO invitation VALUES (?, ?, ?) ON CONFLICT (device) DO UPDATE
                   SET code_hash = excluded.code_hash, expires_ns = excluded.expires_ns""",
                (device, _hash(code), expires),
            )
            self.audit(tx, "setup", "", "invite device", device, "done", {})
        return code

    def accept_key(self, device: str, code: str, public_key: str, address: str) -> str:
        """Enter the key that a device brings with its code; the key's id. Raises Refused 403."""
        now = self._clock.utc_ns()
        with self._database.transaction() as tx:
            used = tx.run(
                "DELETE FROM invitation WHERE device = ? AND code_hash = ? AND expires_ns > ?",
                (device, _hash(code), now),
            )
            if used:
                self.enter_key(tx, device, public_key)
            self.audit(tx, device, address, "enrol", device, "done" if used else "refused", {})
        if not used:
            raise Refused(403, "bad-invitation", "unknown, used or expired code")
        return key_id(public_key)

    def enter_key(self, tx: Tx, device: str, public_key: str) -> None:
        """Bind a key to a device; an earlier key and a revocation end."""
        now = self._clock.utc_ns()
        tx.run(
            """INSERT INTO device (id, first_seen_ns, last_seen_ns, public_key, enrolled_ns) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET public_key = excluded.public_key, enrolled_ns = excluded.enrolled_ns,
               revoked_ns = NULL, revoked_why = NULL""",
            (device, now, now, public_key, now),
        )

    def revoke_device(self, device: str, why: str) -> bool:
        """Refuse everything of a device from now on; False when it is unknown."""
        with self._database.transaction() as tx:
            done = tx.run(
                "UPDATE device SET revoked_ns = ?, revoked_why = ? WHERE id = ?", (self._clock.utc_ns(), why, device)
            )
            self.audit(tx, "setup", "", "revoke device", device, "done" if done else "unknown", {"why": why})
        return bool(done)

    def check_device(self, device: str, request: SignedRequest, *, body: bool, strict: bool) -> None:
        """Raises Refused 401 or 403 unless this device may send this.

        A device with a key must sign; `strict`: so must all others, which cannot. 401 tells the platform's time.
        """
        rows = self._database.rows("SELECT public_key, revoked_ns, revoked_why FROM device WHERE id = ?", (device,))
        row = rows[0] if rows else None
        if row is not None and row["revoked_ns"] is not None:
            raise Refused(403, "device-revoked", row["revoked_why"] or "")
        key = None if row is None else row["public_key"]
        if key is None:
            if strict:
                raise Refused(401, "unknown-device", "enrol first", {"server_time": self._now()})
            return
        try:
            verify(request, device, key, self._clock.utc_ns() // 1_000_000_000, body=body)
        except SignatureRefused as error:
            raise Refused(401, "bad-signature", str(error), {"server_time": self._now()}) from error

    def _now(self) -> str:
        return utc_text(self._clock.utc_ns()) or ""

    def audit(self, tx: Tx, actor: str, address: str, action: str, target: str, outcome: str, detail: JsonDict) -> None:
        """Write a line of the log inside the transaction of what it is about."""
        tx.run(
            """INSERT INTO audit (at_ns, actor, address, action, target, outcome, detail)
               VALUES (?, ?, ?, ?, ?, ?, ?)""",
            (self._clock.utc_ns(), actor, address, action, target, outcome, json.dumps(detail, ensure_ascii=False)),
        )

    def log(self, limit: int, before: int | None = None) -> list[JsonDict]:
        """The newest lines of the audit log, those before the line `before`."""
        rows = self._database.rows(
            "SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?", (before or 2**62, limit)
        )
        names = ("id", "actor", "address", "action", "target", "outcome", "detail")
        return [{"at": utc_text(row["at_ns"]), **{name: row[name] for name in names}} for row in rows]
