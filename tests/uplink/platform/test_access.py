"""Who may do what: enrolled devices sign (RFC 9421), people have tokens, revoked ones get nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gnss.clock import SystemClock
from perception.errors import SetupError
from perception.types import CaseChange
from tests.uplink.builders import opened
from tests.uplink.platform.talk import EPOCH, act, body, problem
from uplink.platform.people import Registry
from uplink.platform.serve import LocalPlatform, serve
from uplink.platform.settings import Settings
from uplink.platform.signatures import SignedRequest, key_id, signature_base
from uplink.transport import content_digest

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
START = Callable[..., LocalPlatform]


def signed(
    platform: LocalPlatform, made: CaseChange, *, key: Ed25519PrivateKey = KEY, keyid: str = "car-1", age_s: int = 0,
    components: tuple[str, ...] = ("@method", "@path", "content-digest"), spoil: bool = False,
) -> requests.Response:  # fmt: skip
    """PUT an event of car-1 with a signature made here, independently of the sender."""
    content = body(made, 1, "car-1")
    path = f"/v1/devices/car-1/events/car-1%3A{EPOCH}%3A1"
    headers = {
        "content-type": "application/json",
        "content-digest": content_digest(hashlib.sha256(content).hexdigest()),
    }
    covered = " ".join(f'"{name}"' for name in components)
    created = SystemClock().utc_ns() // 10**9 - age_s
    parameters = f'({covered});created={created};keyid="{keyid}";nonce="abc123";alg="ed25519"'
    request = SignedRequest("PUT", path, "", "", headers)
    value = base64.b64encode(key.sign(signature_base(request, list(components), parameters))).decode()
    if spoil:
        value = ("A" if value[0] != "A" else "B") + value[1:]
    headers |= {"signature-input": f"sig1={parameters}", "signature": f"sig1=:{value}:"}
    return requests.put(platform.url + path, data=content, headers=headers, timeout=20)


def enrolled(platform: LocalPlatform) -> str:
    """Bring car-1's key with an invitation; the key's id."""
    registry: Registry = platform.app.state.registry
    address = f"{platform.url}/v1/devices/car-1/enrolment"
    order = {"code": registry.invite("car-1"), "public_key": PUBLIC}
    reply = requests.post(address, json=order, timeout=20)
    assert reply.status_code == 201
    assert problem(requests.post(address, json=order, timeout=20)) == (403, "bad-invitation")
    keyid: str = reply.json()["keyid"]
    return keyid


def test_a_device_with_a_key_must_sign(platform: LocalPlatform) -> None:
    keyid = enrolled(platform)
    assert keyid == key_id(PUBLIC)
    made = opened(1)
    unsigned = requests.put(
        f"{platform.url}/v1/devices/car-1/events/car-1:{EPOCH}:1", data=body(made, 1, "car-1"), timeout=20
    )
    assert problem(unsigned) == (401, "bad-signature")
    assert unsigned.json()["server_time"].endswith("Z")
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    for wrong in (
        {"spoil": True}, {"key": other}, {"keyid": "car-2"}, {"age_s": 40 * 86_400}, {"age_s": -40 * 86_400},
        {"components": ("@method", "@path")}, {"components": ("@path", "content-digest")},
        {"components": ("@method", "@path", "content-digest", "@method")},
    ):  # fmt: skip
        assert problem(signed(platform, made, **wrong)) == (401, "bad-signature"), wrong
    assert signed(platform, made).status_code == 201
    assert signed(platform, made, keyid=keyid, age_s=20 * 86_400).status_code == 200


def test_only_enrolled_devices_where_it_is_asked(started: START) -> None:
    platform = started(devices="enrolled")
    reply = requests.head(f"{platform.url}/v1/devices/car-1/blobs/{'0' * 64}", timeout=20)
    assert reply.status_code == 401
    enrolled(platform)
    assert signed(platform, opened(1)).status_code == 201


def test_a_revoked_device_gets_nothing(platform: LocalPlatform) -> None:
    enrolled(platform)
    registry: Registry = platform.app.state.registry
    assert registry.revoke_device("car-1", "stolen")
    refused = signed(platform, opened(1))
    assert problem(refused) == (403, "device-revoked")
    assert refused.json()["detail"] == "stolen"
    assert not registry.revoke_device("car-7", "")
    enrolled(platform)
    assert signed(platform, opened(1)).status_code == 201


def test_people_need_tokens_and_roles(started: START) -> None:
    platform = started(people="tokens")
    registry: Registry = platform.app.state.registry
    tokens = {role: registry.add_person(f"a-{role}", role) for role in ("viewer", "officer", "admin")}
    requests.put(
        f"{platform.url}/v1/devices/car-1/events/car-1:{EPOCH}:1", data=(content := body(opened(1), 1, "car-1")),
        headers={"Content-Type": "application/json",
                 "Content-Digest": content_digest(hashlib.sha256(content).hexdigest())}, timeout=20,
    )  # fmt: skip
    address = f"{platform.url}/v1/cases"
    assert problem(requests.get(address, timeout=20)) == (401, "login-needed")
    assert requests.get(f"{platform.url}/v1/session", timeout=20).json()["person"] is None

    def ask(role: str, path: str) -> int:
        headers = {"Authorization": f"Bearer {tokens[role]}"}
        return requests.get(platform.url + path, headers=headers, timeout=20).status_code

    assert [ask(role, "/v1/cases") for role in tokens] == [200, 200, 200]
    assert [ask(role, "/v1/audit") for role in tokens] == [403, 403, 200]
    order = {"action": "accept"}
    decided = [
        requests.post(f"{address}/case-00001/actions", json=order, headers={"Authorization": f"Bearer {token}"},
                      timeout=20).status_code for token in tokens.values()
    ]  # fmt: skip
    assert decided == [403, 200, 200]
    with requests.Session() as session:
        assert session.post(f"{platform.url}/v1/session", json={"token": tokens["viewer"]}, timeout=20).ok
        assert session.get(address, timeout=20).status_code == 200
        cookie = next(iter(session.cookies))
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert registry.revoke_person("a-viewer")
        assert session.get(address, timeout=20).status_code == 401


def test_guessing_tokens_is_slowed_down(started: START) -> None:
    platform = started(people="tokens")
    codes = [
        requests.get(f"{platform.url}/v1/cases", headers={"Authorization": f"Bearer {'x' * 20}{k}"}, timeout=20)
        for k in range(25)
    ]
    assert [reply.status_code for reply in codes].count(401) == 20
    assert problem(codes[-1]) == (429, "too-many-requests")
    assert int(codes[-1].headers["Retry-After"]) >= 1


def test_an_open_platform_answers_to_this_machines_names_only(embedded: LocalPlatform) -> None:
    foreign = requests.get(f"{embedded.url}/v1/cases", headers={"Host": "evil.example"}, timeout=20)
    assert problem(foreign) == (403, "foreign-host")
    assert requests.get(f"{embedded.url}/v1/cases", headers={"Host": "localhost:1"}, timeout=20).status_code == 200


@pytest.mark.parametrize(
    "settings",
    [
        {"people": "everybody"}, {"devices": "some"}, {"tiles": "ftp://x/{z}/{x}/{y}"}, {"tiles": "https://x/{z}/{x}"},
        {"workers": 2}, {"database_url": "mysql://x"}, {"webhook_origins": ("nowhere",)},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_at_the_start(tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(SetupError):
        serve("127.0.0.1", 0, Settings(tmp_path, **settings))  # type: ignore[arg-type]


def test_an_open_platform_is_not_served_to_others(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="anybody could decide"):
        serve("0.0.0.0", 0, Settings(tmp_path))


def test_actions_need_json_so_that_no_foreign_form_can_send_one(platform: LocalPlatform) -> None:
    form = requests.post(f"{platform.url}/v1/cases/case-a/actions", data={"action": "accept"}, timeout=20)
    assert problem(form) == (415, "unsupported-media-type")
    assert problem(act(platform, "case-a", "accept")) == (404, "no-such-case")
