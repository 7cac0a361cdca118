"""Looking at jobs: what one job's history holds, and what it does not."""

from __future__ import annotations

from engine import board
from engine.runtime import Engine
from tests import people


async def test_a_history_is_one_jobs_own(engine: Engine) -> None:
    """A job that only names another in its metadata stays out of that one's history, archived or not."""
    serves, ann, bob = await people.service(engine), await people.customer(engine), await people.customer(engine)
    job = people.id_of(await people.job(engine, ann, serves))
    await people.job(engine, bob, serves, metadata={"follows": job})
    assert [item.actor for item in await board.history(engine, ann, job)] == [f"customer:{ann.id}"]


async def test_a_reference_booked_again_says_what_may_be_done(engine: Engine) -> None:
    """The job that a reference had already comes with the caller's actions, as it would if it were read."""
    serves, ann = await people.service(engine), await people.customer(engine)
    first = await people.job(engine, ann, serves, reference="r-1")
    again = await people.job(engine, ann, serves, reference="r-1")
    assert (again.created, people.id_of(again)) == (False, people.id_of(first))
    assert again.job is not None
    assert bytes(again.job) == await board.read(engine, ann, people.id_of(first))
    assert bytes(again.job).endswith(b'"actions":["cancel"]}')
