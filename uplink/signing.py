"""Signed requests: HTTP Message Signatures (RFC 9421) with Ed25519, label `qiji`.

Covered: @method, @path, @query when there is one, and those of content-digest and evidence-manifest that are sent. A
car's clock may be wrong, so `created` is the platform's time as far as it is known, and the platform takes a wide
window: PUT by uid is idempotent, a replay adds nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence

from uplink.keys import DeviceKey, PublicKey

LABEL = "qiji"
_COVERED = ("content-digest", "evidence-manifest")
_INPUT = re.compile(
    r'qiji=(?P<params>\((?P<names>(?:"[@a-z-]+"(?: "[@a-z-]+")*)?)\);created=(?P<created>\d{1,12});'
    r'nonce="(?P<nonce>[A-Za-z0-9_-]{8,64})";keyid="(?P<keyid>[0-9a-f]{64})";alg="ed25519")'
)
_SIGNATURE = re.compile(r"qiji=:(?P<value>[A-Za-z0-9+/]{86}==):")


class BadSignature(Exception):
    """A request that is not signed as it should be; the text says why and holds nothing secret."""


def signature_base(values: Sequence[tuple[str, str]], params: str) -> bytes:
    """The text that is signed (RFC 9421 section 2.5): one line per component, then the parameters."""
    lines = [f'"{name}": {value}' for name, value in values]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode()


def _values(method: str, target: str, headers: Mapping[str, str], names: Sequence[str]) -> list[tuple[str, str]]:
    path, mark, query = target.partition("?")
    derived = {"@method": method.upper(), "@path": path or "/", "@query": mark + query or "?"}
    lower = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    found = []
    for name in names:
        value = derived.get(name) if name.startswith("@") else lower.get(name)
        if value is None:
            raise BadSignature(f"covered component {name} is not there")
        found.append((name, value))
    return found


def _names(target: str, headers: Mapping[str, str]) -> list[str]:
    sent = {name.lower() for name in headers}
    return ["@method", "@path", *(["@query"] if "?" in target else []), *(n for n in _COVERED if n in sent)]


def signed_headers(
    key: DeviceKey, method: str, target: str, headers: Mapping[str, str], *, created_s: int, nonce: str
) -> dict[str, str]:
    """Signature-Input and Signature for a request; `target` is path and query as they go over the wire."""
    names = _names(target, headers)
    listed = " ".join(f'"{name}"' for name in names)
    params = f'({listed});created={created_s:d};nonce="{nonce}";keyid="{key.public.id}";alg="ed25519"'
    signature = key.sign(signature_base(_values(method, target, headers, names), params))
    return {
        "Signature-Input": f"{LABEL}={params}",
        "Signature": f"{LABEL}=:{base64.b64encode(signature).decode()}:",
    }


def signer_of(headers: Mapping[str, str]) -> str:
    """The key id that a request claims. Raises BadSignature when it is not signed."""
    return _parsed(headers).group("keyid")


def _parsed(headers: Mapping[str, str]) -> re.Match[str]:
    lower = {name.lower(): value for name, value in headers.items()}
    match = _INPUT.fullmatch(lower.get("signature-input", "").strip())
    if match is None:
        raise BadSignature("no Signature-Input of this form")
    return match


def verify_request(
    method: str, target: str, headers: Mapping[str, str], key: PublicKey, *, now_s: float, window_s: float
) -> str:
    """The nonce of a request that `key` signed; every header that matters must be covered.

    Raises BadSignature. The body is covered by content-digest: comparing it with the bytes is the caller's part.
    """
    match = _parsed(headers)
    names = [name.strip('"') for name in match.group("names").split()]
    if names != _names(target, headers):
        raise BadSignature("other components are covered than those that matter")
    if match.group("keyid") != key.id:
        raise BadSignature("signed with another key")
    lower = {name.lower(): value for name, value in headers.items()}
    value = _SIGNATURE.fullmatch(lower.get("signature", "").strip())
    if value is None:
        raise BadSignature("no Signature of this form")
    base = signature_base(_values(method, target, headers, names), match.group("params"))
    if not key.verifies(base64.b64decode(value.group("value")), base):
        raise BadSignature("the signature does not fit the request")
    if abs(int(match.group("created")) - now_s) > window_s:
        raise BadSignature("created too long ago or in the future")
    return match.group("nonce")
