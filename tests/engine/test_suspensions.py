"""Suspensions while Redis does not answer."""

from __future__ import annotations

from typing import Any

import pytest

from engine.domain import profile
from engine.errors import Forbidden, Indeterminate, Unavailable
from engine.identity import outbox, tokens
from engine.runtime import Engine
from engine.store import keys
from engine.store.pipeline import Pipeline
from engine.types import DEFAULT_ZONE, TechnicianId
from tests.engine import staff
from tests.engine.test_outbox import outbox_size, register_customer, suspend, suspend_by_review
from tests.support import people
from tests.support.people import ADMIN


async def test_a_suspension_waits_for_no_redis(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis does not answer, a review that suspends nobody is refused as `unavailable`, and nothing is done. A
    suspension, by a review or of the account, is committed, and takes effect in Redis when it answers again.
    """
    who = TechnicianId((await staff.create_eligible_technician(engine, await people.service(engine))).id)
    customer = await register_customer(engine)
    await tokens.principal_of(engine, customer.access_token)
    assert await outbox_size(engine) == 0

    async def raise_unavailable(*_: Any, **__: Any) -> Any:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "submit", raise_unavailable)
        with pytest.raises(Unavailable):
            await profile.review_technician(engine, ADMIN, who, kyc="rejected")
        assert await outbox_size(engine) == 0
        with pytest.raises(Indeterminate):
            await suspend_by_review(engine, who)
        with pytest.raises(Indeterminate):
            await suspend(engine, customer)
        assert await outbox_size(engine) == 2
    assert await outbox.run_once(engine) == 2
    assert await engine.store.redis.hget(keys.technician(DEFAULT_ZONE, who), "account") == b"suspended"
    with pytest.raises(Forbidden):
        await tokens.principal_of(engine, customer.access_token)
