"""The search of the staff, on both databases."""

from __future__ import annotations

import pytest

from engine.domain import search
from engine.errors import Forbidden
from engine.runtime import Engine
from engine.types import Principal, UserId
from engine.workers import archiver
from tests.support import people

OPS = Principal(UserId("cli_ops"), "ops_manager")
MANAGER = Principal(UserId("cli_onboarding"), "onboarding_manager")


async def test_the_search_finds_people_and_jobs(engine: Engine) -> None:
    """A job is found by id, address, reference and customer, a person by a part of the name in any case. Special
    characters of patterns match only themselves. Customers may not search, and an onboarding manager finds only
    technicians.
    """
    customer = await people.customer(engine, "Grace 100% Hopper")
    service = await people.service(engine)
    job = people.id_of(await people.job(engine, customer, service, address="17 Elm Street", reference="order-4711"))
    await archiver.run_once(engine)
    with pytest.raises(Forbidden):
        await search.search(engine, customer, "Elm")
    for text in (job, "elm STREET", "order-4711", "grace"):
        found = await search.search(engine, OPS, text)
        assert search.Found(kind="job", id=job, title="17 Elm Street", detail="broadcasted") in found, text
    assert [each.id for each in await search.search(engine, OPS, "100% h") if each.kind == "user"] == [customer.id]
    assert await search.search(engine, OPS, "1__%") == []
    assert await search.search(engine, MANAGER, "grace") == []
