"""The published contract against schemathesis: no 5xx, no status or body that the contract does not declare.

A short, seeded form. The full one (>= 10,000 requests) is `python -m tests.benchmarks.contract_fuzz`.
"""

from __future__ import annotations

from tests.benchmarks.contract_fuzz import fuzz
from uplink.platform.serve import LocalPlatform


def test_generated_requests_never_break_the_contract(platform: LocalPlatform) -> None:
    told = fuzz(platform, examples=6, seed=7)
    assert told.failures == []
    assert told.requests >= 200
    assert max(told.statuses) < 500
