"""Ratings: each side of a job that is done rates the other once, and the technician's mean moves with it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from engine.rules import rating
from engine.store import keys
from engine.types import DEFAULT_ZONE, Role, TechnicianId, UserId
from server.serve import Running
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book, Join

STEPS = ("claim", "depart", "arrive", "start", "complete")


async def rate(who: Client, job: str, stars: int, **more: Any) -> Any:
    """One rating, with a request key where ``key`` is given."""
    key = {"Idempotency_Key": more.pop("key")} if "key" in more else {}
    return await who("POST", f"/v1/jobs/{job}/ratings", {"stars": stars, **more}, **key)


async def taken(customer: Client, technician: Client, book: Book, *steps: str) -> str:
    """A job of the customer's that the technician took as far as ``steps``."""
    job = str((await book(customer))["id"])
    await people.wait_for_offer(technician, job)
    for step in steps:
        answer = await technician("POST", f"/v1/jobs/{job}/{step}", {})
        assert answer.status_code == 200, answer.text
    return job


async def shown(who: Client, technician: Client) -> tuple[float, int]:
    """His rating and the number behind it, as ``who`` sees them."""
    card = (await who("GET", f"/v1/technicians/{technician.user}")).json()["technician"]
    return card["rating"], card["rating_count"]


def test_the_mean_begins_at_the_prior_and_ends_at_his_own() -> None:
    """Nobody's word is the prior; few words move it a little, many leave nothing else."""
    assert rating.bayesian_mean(0, 0) == 4.5
    assert (rating.bayesian_mean(1, 1), rating.bayesian_mean(5, 1)) == (3.92, 4.58)
    assert rating.bayesian_mean(5, 5) == (4.5 + 1) / 2
    assert rating.bayesian_mean(2_000, 1_000) == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize("body", [{}, {"stars": 0}, {"stars": 6}, {"stars": 4.5}, {"stars": "5"}])
async def test_what_are_no_stars(body: dict[str, Any], customer: Client) -> None:
    """Whole stars from 1 to 5."""
    answer = await customer("POST", "/v1/jobs/job_main_01jb4zqk3m8r5t7v9x2c6d8f0g/ratings", body)
    assert pointers(answer) == {"/stars"}


async def test_refused_before_it_is_done(at_work: Client, customer: Client, book: Book) -> None:
    """Nobody rates an open job, one under way, or one that was cancelled."""
    job = await taken(customer, at_work, book)
    assert code_of(await rate(customer, job, 5)) == (409, "illegal_transition")
    assert code_of(await rate(at_work, job, 5)) == (404, "not_found")
    await at_work("POST", f"/v1/jobs/{job}/claim", {})
    for who in (customer, at_work):
        assert code_of(await rate(who, job, 5)) == (409, "illegal_transition")
    await customer("POST", f"/v1/jobs/{job}/cancel", {})
    assert code_of(await rate(customer, job, 1)) == (409, "illegal_transition")
    assert await shown(customer, at_work) == (4.5, 0)


async def test_refused_to_strangers(
    at_work: Client, customer: Client, book: Book, join: Join, staff: dict[Role, Client]
) -> None:
    """To other customers, other technicians and one who lost it the job is not there; staff rate nobody."""
    job = await taken(customer, at_work, book, *STEPS)
    for role in ("customer", "technician"):
        assert code_of(await rate(await join(role), job, 5)) == (404, "not_found")
    for role in ("ops_manager", "service", "mediator"):
        assert code_of(await rate(staff[role], job, 5)) == (403, "forbidden")


async def test_each_side_rates_once(at_work: Client, customer: Client, book: Book) -> None:
    """201 and the rating; the same key again gives the same and moves nothing, another key is `duplicate`."""
    job, key = await taken(customer, at_work, book, *STEPS), str(uuid.uuid4())
    first = await rate(customer, job, 4, comment="On time", key=key)
    assert first.status_code == 201
    told = first.json()["rating"]
    assert (told["job"], told["by"], told["of"]) == (job, customer.user, at_work.user)
    assert (told["stars"], told["comment"]) == (4, "On time")
    again = await rate(customer, job, 4, comment="On time", key=key)
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", first.json())
    assert code_of(await rate(customer, job, 5, key=key)) == (422, "reused_key")
    assert code_of(await rate(customer, job, 5)) == (409, "duplicate")
    assert (await rate(at_work, job, 1)).json()["rating"]["of"] == customer.user
    assert code_of(await rate(at_work, job, 1)) == (409, "duplicate")
    assert await shown(customer, at_work) == (rating.bayesian_mean(4, 1), 1)


async def test_of_many_at_once_one_counts(at_work: Client, customer: Client, book: Book) -> None:
    """Pressed ten times with ten keys, a rating is taken once."""
    job = await taken(customer, at_work, book, *STEPS)
    answers = await asyncio.gather(*(rate(customer, job, 2) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    assert await shown(customer, at_work) == (rating.bayesian_mean(2, 1), 1)


async def test_the_mean_goes_where_it_is_used(site: Running, at_work: Client, customer: Client, book: Book) -> None:
    """When it is answered the hot record has it, from which waves rank; and the next job tells it with its card."""
    for number, stars in enumerate((5, 3), 1):
        job = await taken(customer, at_work, book, *STEPS)
        await rate(customer, job, stars)
        record = keys.technician(DEFAULT_ZONE, TechnicianId(UserId(at_work.user)))
        hot = await site.engine.store.redis.hmget(record, "rating", "rated")
        assert (float(hot[0]), int(hot[1])) == await shown(at_work, at_work)
        assert int(hot[1]) == number
    job = await taken(customer, at_work, book, "claim")
    told = (await customer("GET", f"/v1/jobs/{job}")).json()["job"]["technician"]
    assert told["rating"] == rating.bayesian_mean(8, 2)
