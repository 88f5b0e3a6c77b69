"""The reply classes of reliability section 10, one by one."""

from __future__ import annotations

import json
import random

import pytest

from uplink.retry import PROBLEM, Backoff, Reply, RetryClass, classify, retry_after_s

EXPECTED = {"uid": "car:0000aaaa:1", "digest": "d" * 64}
RECEIPT = {"receipt_id": "event-1", **EXPECTED}


def body(tree: object) -> bytes:
    return json.dumps(tree).encode()


@pytest.mark.parametrize("status", [200, 201])
def test_only_our_receipt_is_an_acknowledgement(status: int) -> None:
    outcome = classify(Reply(status, body(RECEIPT)), EXPECTED)
    assert outcome.cls is RetryClass.OK
    assert outcome.receipt == RECEIPT


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>hello</html>",
        b'{"receipt_id": "event-1", "uid"',
        b"[]",
        b"null",
        b"[" * 100_000,
        body({**RECEIPT, "uid": "car:0000aaaa:2"}),
        body({**RECEIPT, "digest": "e" * 64}),
        body(EXPECTED),
    ],
)
def test_a_2xx_without_our_receipt_is_a_fault_of_the_link(content: bytes) -> None:
    assert classify(Reply(200, content), EXPECTED).cls is RetryClass.LINK


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, RetryClass.LINK), (202, RetryClass.LINK), (204, RetryClass.LINK), (301, RetryClass.LINK),
        (302, RetryClass.LINK), (307, RetryClass.LINK), (511, RetryClass.LINK),
        (408, RetryClass.SERVER), (423, RetryClass.SERVER), (425, RetryClass.SERVER), (429, RetryClass.SERVER),
        (500, RetryClass.SERVER), (502, RetryClass.SERVER), (503, RetryClass.SERVER), (504, RetryClass.SERVER),
        (507, RetryClass.SERVER), (501, RetryClass.SERVER),
        (401, RetryClass.CONFIG), (403, RetryClass.CONFIG), (404, RetryClass.CONFIG), (405, RetryClass.CONFIG),
        (426, RetryClass.CONFIG),
        (400, RetryClass.ITEM), (413, RetryClass.ITEM), (415, RetryClass.ITEM), (422, RetryClass.ITEM),
        (409, RetryClass.SYNC), (410, RetryClass.LINK),
    ],
)  # fmt: skip
def test_classes_by_status(status: int | None, expected: RetryClass) -> None:
    assert classify(Reply(status, b"{}"), EXPECTED).cls is expected


def test_problem_type_tells_a_conflict_from_an_offset_and_a_real_gone_from_a_strange_one() -> None:
    assert classify(Reply(409, body({"type": PROBLEM + "uid-conflict"})), EXPECTED).cls is RetryClass.ITEM
    assert classify(Reply(409, body({"type": PROBLEM + "offset"})), EXPECTED).cls is RetryClass.SYNC
    assert classify(Reply(410, body({"type": PROBLEM + "withdrawn"})), EXPECTED).cls is RetryClass.GONE


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0), ("7", 7.0), (" 12 ", 12.0), ("1000000000", 3600.0), ("9" * 400, 3600.0), (None, None), ("", None),
        ("-5", None), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", None), ("1.5", None),
    ],
)  # fmt: skip
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(text) == seconds


def test_backoff_is_full_jitter_under_a_growing_cap() -> None:
    backoff = Backoff(base_s=1.0, cap_s=300.0)
    for failures, cap_s in ((0, 1.0), (3, 8.0), (8, 256.0), (9, 300.0), (10_000, 300.0)):
        rng = random.Random(5)
        delays = [backoff.delay_s(failures, rng) for _ in range(2000)]
        assert 0.0 <= min(delays) < 0.02 * cap_s
        assert 0.98 * cap_s < max(delays) <= cap_s
        assert 0.45 * cap_s < sum(delays) / len(delays) < 0.55 * cap_s
