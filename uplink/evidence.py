"""The signed manifest of one case revision: what was claimed, on which pictures, made by what, when and in which order.

A manifest is canonical JSON (schema evidence.v1) signed with the device's Ed25519 key. It binds the body by its sha256,
and `prev_hash` (the sha256 of the body before it) makes the manifests of an epoch a chain: none can be changed, put
elsewhere, repeated or left out unseen. It is sent beside the body in the header `Evidence-Manifest`.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from perception.serial import canonical_json, case_to_dict, utc_text
from perception.types import CaseChange, JsonDict
from uplink.envelope import digest_of
from uplink.keys import DeviceKey, PublicKey
from uplink.payload import ChainLink, announced_pictures

SCHEMA = "evidence.v1"
HEAD_SCHEMA = "evidence-head.v1"
HEADER = "Evidence-Manifest"
HEADER_CAP = 8192


class BadEvidence(Exception):
    """A manifest that proves nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What the car knows of its receiver and clock when a change is committed; empty where nobody watches.

    `gnss`: e.g. sha256 and number of the fixes since the start; `clock`: e.g. source, spread in ms.
    """

    gnss: JsonDict | None = None
    clock: JsonDict | None = None


def manifest_of(
    change: CaseChange,
    link: ChainLink,
    body: bytes,
    maker: JsonDict,
    key_id: str,
    *,
    memory_lost: bool = False,
    witnessed: Witnessed | None = None,
) -> bytes:
    """Canonical JSON of the manifest of `change`, whose body is `body`; `maker` is `Origin.maker()`."""
    seen = witnessed or Witnessed()
    passes = case_to_dict(change.case)["passes"]
    tree: JsonDict = {
        "schema": SCHEMA,
        **link.fields(),
        "event_sha256": digest_of(body),
        "case_id": change.case.id,
        "revision": change.case.revision,
        "pictures": [picture.sha256 for picture in announced_pictures(change)],
        **maker,
        "gnss": {
            "pass_id": change.pass_id,
            "passes_sha256": digest_of(canonical_json(passes).encode()),
            "record": seen.gnss,
        },
        "clock": {"utc": utc_text(change.utc_ns), "source": "gnss" if change.utc_ns is not None else "none"}
        | ({} if seen.clock is None else {"quality": seen.clock}),
        "memory_lost": memory_lost,
        "key": key_id,
    }
    return canonical_json(tree).encode()


def sign(key: DeviceKey, content: bytes) -> str:
    """Base64 of the signature over `content`."""
    return base64.b64encode(key.sign(content)).decode()


def header_value(manifest: bytes, signature: str) -> str:
    """The header's value: an RFC 9651 byte sequence that holds manifest and signature."""
    text = canonical_json({"manifest": json.loads(manifest), "signature": signature})
    return f":{base64.b64encode(text.encode()).decode()}:"


def read_header(value: str) -> tuple[bytes, str]:
    """Manifest bytes and signature of a header. Raises BadEvidence."""
    if len(value) > HEADER_CAP or len(value) < 2 or value[0] != ":" or value[-1] != ":":
        raise BadEvidence("not a byte sequence of at most 8 KB")
    try:
        tree = json.loads(base64.b64decode(value[1:-1], validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise BadEvidence(f"not base64 of JSON: {error}") from error
    if not isinstance(tree, dict) or set(tree) != {"manifest", "signature"} or not isinstance(tree["signature"], str):
        raise BadEvidence("not a manifest with a signature")
    return canonical_bytes(tree["manifest"]), tree["signature"]


def canonical_bytes(tree: object) -> bytes:
    """The one text of a manifest or body. Raises BadEvidence for what has none (NaN, too deep)."""
    try:
        return canonical_json(tree).encode()
    except (ValueError, RecursionError, UnicodeEncodeError) as error:
        raise BadEvidence(f"not canonical: {error}") from error


def signature_bytes(signature: str) -> bytes:
    """The 64 bytes of a signature written in the one base64 that stands for them. Raises BadEvidence."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadEvidence(f"the signature is not base64: {error}") from error
    # The last digit has unused bits: two texts of one signature would let a changed text pass.
    if len(raw) != 64 or base64.b64encode(raw).decode() != signature:
        raise BadEvidence("the signature is not 64 bytes in plain base64")
    return raw


def check_signed(content: bytes, signature: str, key: PublicKey) -> JsonDict:
    """The tree of `content` when `key` signed exactly these bytes. Raises BadEvidence."""
    if not key.verifies(signature_bytes(signature), content):
        raise BadEvidence("the signature does not fit: changed, or signed with another key")
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadEvidence(f"not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise BadEvidence("not an object")
    return tree


def check_manifest(manifest: bytes, signature: str, key: PublicKey) -> JsonDict:
    """The manifest when it is signed and of the known schema. Raises BadEvidence."""
    tree = check_signed(manifest, signature, key)
    if tree.get("schema") != SCHEMA:
        raise BadEvidence(f"schema {tree.get('schema')!r} is not {SCHEMA}")
    if tree.get("key") != key.id or tree.get("uid") != f"{tree.get('device')}:{tree.get('epoch')}:{tree.get('seq')}":
        raise BadEvidence("names another key, or its uid is not device:epoch:seq")
    return tree


def head_of(device: str, epoch: str, first_seq: int, last_seq: int, chain_head: str, key: DeviceKey) -> JsonDict:
    """A signed statement of where the chain stands, so that missing newest events are seen too."""
    tree = {
        "schema": HEAD_SCHEMA,
        "device": device,
        "epoch": epoch,
        "first_seq": first_seq,
        "last_seq": last_seq,
        "chain_head": chain_head,
        "key": key.public.id,
    }
    return {"head": tree, "signature": sign(key, canonical_json(tree).encode())}
