"""Signed requests: HTTP Message Signatures (RFC 9421) with Ed25519, as far as a receiver of devices needs them.

A signature must cover the method, the path and, with a body, Content-Digest. A wide window of `created` is right: every
request is idempotent, so a replay adds nothing, and vehicles' clocks are wrong at times.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_INPUT = re.compile(r'([a-z*][a-z0-9_.*-]*)=(\(((?:"[^"]{1,100}" ?)*)\)((?:;[a-z]+=(?:"[^"]{0,200}"|-?[0-9]{1,15}))*))')
_VALUE = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]{86}==):")
_PARAMETER = re.compile(r';([a-z]+)=(?:"([^"]*)"|(-?[0-9]+))')
WINDOW_S = 30 * 86_400


class SignatureRefused(Exception):
    """The request is not signed as it must be; the text says why."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature is about. `path` as sent (percent-encoded), `headers` with lower-case names."""

    method: str
    path: str
    query: str
    authority: str
    headers: Mapping[str, str]


def key_id(public_key: str) -> str:
    """What a key is called in `keyid`: sha256 (hex) of its 32 bytes."""
    return hashlib.sha256(base64.b64decode(public_key)).hexdigest()


def signature_base(request: SignedRequest, components: list[str], parameters: str) -> bytes:
    """The signed text (RFC 9421, 2.5); raises SignatureRefused for a component that is not there."""
    derived: dict[str, Callable[[], str]] = {
        "@method": lambda: request.method,
        "@path": lambda: request.path,
        "@query": lambda: "?" + request.query,
        "@authority": lambda: request.authority.lower(),
        "@request-target": lambda: request.path + ("?" + request.query if request.query else ""),
    }
    lines = []
    for name in components:
        if name in derived:
            value = derived[name]()
        elif name in request.headers:
            value = request.headers[name].strip()
        else:
            raise SignatureRefused(f"it covers {name}, which the request does not have")
        lines.append(f'"{name}": {value}')
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode()


def verify(request: SignedRequest, device: str, public_key: str, now_s: int, *, body: bool) -> None:
    """Raises SignatureRefused unless the request carries a good signature of this device's key.

    `keyid` is the device's name or the key's id; `body`: the request has one, so its digest must be covered.
    """
    given, value = (request.headers.get(name, "") for name in ("signature-input", "signature"))
    found, signature = _INPUT.fullmatch(given.strip()), _VALUE.fullmatch(value.strip())
    if found is None or signature is None or found[1] != signature[1]:
        raise SignatureRefused("one Signature-Input and one Signature of the same label are wanted")
    components = re.findall(r'"([^"]+)"', found[3])
    parameters = {name: text or number for name, text, number in _PARAMETER.findall(found[4])}
    wanted = {"@method"} | ({"content-digest"} if body else set())
    missing = sorted(wanted - set(components))
    if missing or not {"@path", "@request-target"} & set(components):
        raise SignatureRefused(f"it must cover {', '.join([*missing, '@path'])}")
    if len(set(components)) != len(components) or parameters.get("alg", "ed25519") != "ed25519":
        raise SignatureRefused("components once each, alg ed25519")
    if parameters.get("keyid") not in (device, key_id(public_key)):
        raise SignatureRefused("keyid is not that of this device")
    created = parameters.get("created", "")
    if not created.isdecimal() or abs(int(created) - now_s) > WINDOW_S:
        raise SignatureRefused("created is missing or too far from the platform's time")
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))
        key.verify(base64.b64decode(signature[2]), signature_base(request, components, found[2]))
    except (InvalidSignature, ValueError, binascii.Error) as error:
        raise SignatureRefused("it does not fit the request and the device's key") from error
