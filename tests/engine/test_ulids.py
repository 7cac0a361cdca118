"""ULIDs: they have the form and the time of the specification, and sort by the order of their creation."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ulid import ULID

from engine.types import UlidGenerator


def test_a_ulid_has_the_time_of_its_creation() -> None:
    """python-ulid reads the time of a new ULID, and writes the same text."""
    before = time.time_ns() // 1_000_000
    text = UlidGenerator().new()
    parsed = ULID.from_str(text.upper())
    assert before <= parsed.milliseconds <= time.time_ns() // 1_000_000
    assert str(parsed).lower() == text


def test_ulids_of_several_threads_differ_and_those_of_one_ascend() -> None:
    """ULIDs of several threads are all different, and those of one thread ascend, even within one millisecond."""
    ulids = UlidGenerator()
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda _: [ulids.new() for _ in range(2_000)], range(4)))
    assert len({text for part in parts for text in part}) == 8_000
    assert all(part == sorted(part) for part in parts)


def test_random_bits_that_are_used_up_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the random bits of a millisecond have reached their highest value, the next ULID draws new random bits. A
    ULID never has more bits than its form allows.
    """
    monkeypatch.setattr("engine.types.time.time_ns", lambda: 1_796_000_000_000_000_000)
    draws = iter((b"\xff" * 10, bytes(10)))
    monkeypatch.setattr("engine.types.os.urandom", lambda _: next(draws))
    ulids = UlidGenerator()
    assert [ulids.new()[10:] for _ in range(3)] == ["z" * 16, "0" * 16, "0" * 15 + "1"]
