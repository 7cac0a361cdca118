"""The last sign of life of each user: written in batches, never moved back, and gone one lease after the sign."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from engine.clock import now_ms
from engine.errors import Unavailable
from engine.identity import signs_of_life
from engine.identity.signs_of_life import SignsOfLife
from engine.runtime import Engine
from engine.store import keys
from engine.types import UserId


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def signs_of(engine: Engine) -> tuple[SignsOfLife, Clock]:
    """Return an empty record of signs of life, as a new process has it, and the clock that it uses."""
    clock = Clock()
    return SignsOfLife(engine, clock), clock


async def test_a_sign_that_cannot_be_written_is_written_later(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Redis refuses the write, the sign of life stays in memory until a later write. Its age counts from the sign,
    not from the write.
    """
    signs, clock = signs_of(engine)
    signs.note("ann")

    async def refuse(*_: object) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(SignsOfLife, "_submit_sign", refuse)
        with pytest.raises(Unavailable):
            await signs.write()
    clock.now += 30
    await signs.write()
    seen = (await signs_of_life.read_signs(engine, ["ann", "bob"]))["ann"]
    assert now_ms() - 31_000 < seen < now_ms() - 29_000


async def test_a_key_ends_one_lease_after_the_sign(engine: Engine) -> None:
    """The key of a user expires one lease after the last sign of life, even if the sign was written late. A sign that
    is older than a lease writes nothing.
    """
    signs, clock = signs_of(engine)
    lease_s = engine.settings.lease_s
    signs.note("ann", clock.now - 20)
    signs.note("bob", clock.now - lease_s - 1)
    await signs.write()
    left_ms = await engine.store.redis.pttl(keys.presence(UserId("ann")))
    assert (lease_s - 21) * 1000 < left_ms <= (lease_s - 20) * 1000
    assert set(await signs_of_life.read_signs(engine, ["ann", "bob"])) == {"ann"}


async def test_the_latest_sign_of_all_devices_counts(engine: Engine) -> None:
    """A sign of another process that is older than the stored one does not move it back."""
    (phone, clock), (laptop, _) = signs_of(engine), signs_of(engine)
    phone.note("ann")
    await phone.write()
    before = await signs_of_life.read_signs(engine, ["ann"])
    laptop.note("ann", clock.now - 40)
    await laptop.write()
    assert await signs_of_life.read_signs(engine, ["ann"]) == before


async def test_a_busy_user_is_written_a_few_times_a_lease(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who gives a sign each second is written once in a ninth of a lease, and the last sign is not lost."""
    signs, clock = signs_of(engine)
    written: list[float] = []
    submit = SignsOfLife._submit_sign

    def count(self: SignsOfLife, user: str, at: float) -> Awaitable[Any]:
        written.append(at)
        return submit(self, user, at)

    monkeypatch.setattr(SignsOfLife, "_submit_sign", count)
    for _ in range(25):
        clock.now += 1
        signs.note("ann")
        await signs.write()
    assert written == [1_001, 1_011, 1_021]
    clock.now += signs.interval_s
    await signs.write()
    assert written[-1] == 1_025 and len(written) == 4


async def test_signs_are_written_after_redis_lost_the_scripts(engine: Engine) -> None:
    """If Redis does not have the scripts, as after its start from an older file, the next turn writes the signs."""
    signs, _ = signs_of(engine)
    signs.note("ann")
    await engine.store.redis.execute_command("FUNCTION", "FLUSH")
    await signs.write()
    await signs.write()
    assert set(await signs_of_life.read_signs(engine, ["ann"])) == {"ann"}
