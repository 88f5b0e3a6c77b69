"""Signed manifests of events as they arrive: kept as they came, and proven when the device's key is known."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from perception.types import JsonDict
from uplink.evidence import BadEvidence, check_manifest, read_header
from uplink.keys import PublicKey
from uplink.platform.problems import Refused
from uplink.platform.storage import Storage


@dataclass(frozen=True, slots=True)
class Manifest:
    """The header as it came ("" for none), and whether the enrolled key of the device signed it."""

    header: str = ""
    proven: bool = False


def checked(header: str | None, uid: str, digest: str, public_key: str | None) -> Manifest:
    """Raises Refused 422 bad-evidence for a manifest of another event, or one that the device's key did not sign.

    `digest` is the sha256 of the body, `public_key` the device's (base64 of 32 bytes) once it is enrolled.
    """
    if header is None:
        return Manifest()
    try:
        content, signature = read_header(header)
        tree = json.loads(content)
        if not isinstance(tree, dict) or tree.get("uid") != uid or tree.get("event_sha256") != digest:
            raise BadEvidence("it is about another event")
        if public_key is not None:
            key = PublicKey(Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key)))
            check_manifest(content, signature, key)
    except BadEvidence as error:
        raise Refused(422, "bad-evidence", str(error)) from error
    return Manifest(header, public_key is not None)


def evidence_of(storage: Storage, case_id: str) -> list[JsonDict]:
    """What devices signed about a case, in order: manifest, signature, the body as text, and the key it fits."""
    rows = storage.rows(
        """SELECT event.uid, event.device, event.digest, event.body, event.manifest, event.proven, device.public_key
           FROM case_revision JOIN event ON event.id = case_revision.event_id JOIN device ON device.id = event.device
           WHERE case_id = ? ORDER BY event.id""",
        (case_id,),
    )
    found: list[JsonDict] = []
    for row in rows:
        content, signature = read_header(row["manifest"]) if row["manifest"] else (b"null", None)
        found.append(
            {
                "uid": row["uid"], "device": row["device"], "sha256": row["digest"], "proven": bool(row["proven"]),
                "public_key": row["public_key"], "manifest": json.loads(content), "signature": signature,
                "body": bytes(row["body"]).decode(),
            }
        )  # fmt: skip
    return found
