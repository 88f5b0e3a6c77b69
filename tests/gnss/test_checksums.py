"""The fast checksums against the definitions, byte by byte."""

from __future__ import annotations

from functools import reduce
from operator import xor as either

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrtcm import calc_crc24q

from gnss.checksums import crc24q, fletcher, xor


@given(st.binary(max_size=1500))
def test_xor_and_crc_are_those_of_the_definition(body: bytes) -> None:
    assert xor(body) == reduce(either, body, 0)
    assert crc24q(body) == calc_crc24q(body)


@given(st.binary(max_size=300))
def test_fletcher_is_that_of_the_definition(body: bytes) -> None:
    a = b = 0
    for byte in body:
        a = (a + byte) & 0xFF
        b = (b + a) & 0xFF
    assert fletcher(body) == bytes((a, b))


@pytest.mark.parametrize("size", [191, 192, 4100, 65_543])
def test_long_messages_do_not_overflow(size: int) -> None:
    assert fletcher(b"\xff" * size)[0] == 255 * size & 0xFF
    assert fletcher(b"\xff" * size)[1] == 255 * size * (size + 1) // 2 & 0xFF


def test_a_message_with_its_crc_is_zero() -> None:
    message = b"\xd3\x00\x04abcd"
    assert crc24q(message + crc24q(message).to_bytes(3, "big")) == 0
