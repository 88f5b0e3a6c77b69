"""Fuzz of the platform's published contract: `python -m tests.benchmarks.contract_fuzz [--examples N] [--seed N]`.

Every operation of the OpenAPI document gets generated requests, valid and invalid ones. Checked: no 5xx, no status that
is not declared, declared bodies. Half of the deliveries get the right digest and address, so that they pass the
first door and reach the code behind it; half of the addresses name what exists.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from gnss.clock import SystemClock
from tests.uplink.platform.talk import EPOCH, act, deliver, made_of, photo, sighting
from uplink.platform.limits import Limits, Rate
from uplink.platform.serve import LocalPlatform, serve
from uplink.platform.settings import Settings

_CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
CATALOGUE = Path(__file__).parents[2] / "models"
FREE = Limits(device=Rate(1e6, 1e6), person=Rate(1e6, 1e6), address=Rate(1e6, 1e6), failures=Rate(1e6, 1e6))


@schemathesis.serializer("application/offset+octet-stream", "image/jpeg")
def as_bytes(_: Any, value: Any) -> bytes:
    """Generated content as it is."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@dataclass(slots=True)
class Told:
    """What a fuzz saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    by_operation: dict[str, Counter[int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())


def sow(platform: LocalPlatform) -> None:
    """Some cases, so that generated addresses can hit something."""
    for k in range(3):
        passes = [sighting("p1", 0.0, 30.25 + k * 1e-3, 120.15), sighting("p2", 2.0, 30.25 + k * 1e-3, 120.15)]
        deliver(platform, made_of(f"case-{k}", passes, "car-1"), k + 1)
    act(platform, "case-2", "reject", reason="lawful")


def _mended(tree: Any, key: str = "") -> Any:
    """What JSON Schema cannot say: whole numbers without a point, times of the calendar, covariances."""
    if isinstance(tree, dict):
        return {k: _mended(v, k) for k, v in tree.items()}
    if key.startswith("cov_") or key == "map_cov_m2":
        return [1.0, 0.0, 1.0]
    if isinstance(tree, list):
        return [_mended(v, key) for v in tree]
    if isinstance(tree, str) and key.endswith("utc"):
        return "2026-11-24T10:00:00.000Z"
    return int(tree) if isinstance(tree, float) and tree.is_integer() and abs(tree) < 1e15 else tree


def _aim(case: Any, draw: Any) -> None:
    """Half of the time: names that exist, and what the first checks ask for, around generated content."""
    place = dict(case.path_parameters or {})
    if draw(st.booleans()):
        for name, values in (("case_id", ["case-0", "case-1", "case-2"]), ("device", ["car-1"]), ("number", [1])):
            if name in place:
                place[name] = draw(st.sampled_from(values))
    body = case.body
    if case.method == "PUT" and "uid" in place and isinstance(body, dict) and draw(st.booleans()):
        number = draw(st.integers(1, 50))
        uid = f"car-1:{EPOCH}:{number}"
        place |= {"device": "car-1", "uid": uid}
        case.body = body = {**_mended(body), "device": "car-1", "epoch": EPOCH, "seq": number, "uid": uid}
        if draw(st.booleans()):
            body["case_id"] = draw(st.sampled_from(["case-0", "case-1", "case-2", "case-3"]))
    if "sha256" in place and draw(st.booleans()):
        content = photo(draw(st.integers(0, 9)))
        place["sha256"] = hashlib.sha256(content).hexdigest()
        if case.method == "PUT":
            case.body = body = content
    case.path_parameters = place
    try:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
    except (TypeError, ValueError):
        return
    if case.method == "PUT" and draw(st.booleans()):
        # As bytes, so that what is sent is what the digest is of.
        case.body = content
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        case.headers = {**(case.headers or {}), "Content-Digest": f"sha-256=:{digest}:"}


def fuzz(platform: LocalPlatform, *, examples: int, seed: int) -> Told:
    """Generated requests to every operation, `examples` each in either mode."""
    sow(platform)
    schema = schemathesis.openapi.from_url(f"{platform.url}/v1/openapi.json")
    told = Told()
    for result in schema.get_all_operations():
        if not isinstance(result, Ok):
            raise TypeError(f"the published document is wrong: {result.err()}")
        operation = result.ok()
        # A stream has no end; it is tested by itself.
        if operation.path == "/v1/stream":
            continue
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
                _run(platform, operation.label, strategy, examples, seed, told)
            except Exception as error:
                if "negative" in str(error).lower() or "Unsatisfiable" in type(error).__name__:
                    continue  # nothing about this operation can be made invalid
                raise
    return told


def _run(platform: LocalPlatform, label: str, strategy: Any, examples: int, number: int, told: Told) -> None:
    seen = told.by_operation.setdefault(label, Counter())

    @seed(number)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=strategy, data=st.data())
    def one(case: Any, data: st.DataObject) -> None:
        _aim(case, data.draw)
        response = case.call(base_url=platform.url, timeout=30)
        told.statuses[response.status_code] += 1
        seen[response.status_code] += 1
        try:
            case.validate_response(response, checks=_CHECKS)
        except AssertionError as error:
            told.failures.append(f"{label}: {error}")
        except BaseExceptionGroup as errors:
            told.failures.append(f"{label}: {errors.exceptions}")

    one()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A platform in a process of its own, so that its memory can be told from the fuzzer's."""

    url: str


def resident_mib(process: int) -> float:
    """Resident memory of a process."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def serve_freely(folder: str, port: int, database: str | None) -> None:
    """What the process runs: a platform that limits no rate."""
    serve("127.0.0.1", port, Settings(Path(folder), database, catalogue=CATALOGUE, limits=FREE, merge_every_s=1.0))


def main() -> None:
    """The full form, in four parts: the platform's memory after each says whether it grows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=8678)
    parser.add_argument("--database", help="postgresql://...; default: the embedded database")
    arguments = parser.parse_args()
    whole, memory = Told(), []
    with tempfile.TemporaryDirectory() as folder:
        process = get_context("spawn").Process(target=serve_freely, args=(folder, arguments.port, arguments.database))
        process.start()
        platform = cast(LocalPlatform, Elsewhere(f"http://127.0.0.1:{arguments.port}"))
        wait_until_it_answers(platform)
        for part in range(4):
            told = fuzz(platform, examples=-(-arguments.examples // 4), seed=arguments.seed * 4 + part)
            whole.statuses += told.statuses
            whole.failures += told.failures
            for label, counts in told.by_operation.items():
                whole.by_operation.setdefault(label, Counter()).update(counts)
            memory.append(resident_mib(process.pid or 0))
        process.terminate()
        process.join(60)
    print(f"seed {arguments.seed}: {whole.requests} requests, statuses {dict(sorted(whole.statuses.items()))}")
    print(f"resident memory of the platform after each quarter: {', '.join(f'{m:.0f}' for m in memory)} MiB")
    for label, counts in whole.by_operation.items():
        print(f"  {label}: {dict(sorted(counts.items()))}")
    for text in whole.failures[:20]:
        print("FAILURE", text[:2000])
    print(f"{len(whole.failures)} failures, {sum(n for s, n in whole.statuses.items() if s >= 500)} x 5xx")


def wait_until_it_answers(platform: LocalPlatform) -> None:
    """Raises RuntimeError when it never does."""
    for _ in range(600):
        try:
            if requests.get(f"{platform.url}/readyz", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            SystemClock().sleep(0.05)
    raise RuntimeError("the platform never answered")


if __name__ == "__main__":
    main()
