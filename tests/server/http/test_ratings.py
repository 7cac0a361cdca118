"""Ratings: after a job is done each side rates the other once, and a rating changes the technician's mean."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from engine.rules import rating
from engine.store import keys
from engine.types import DEFAULT_ZONE, Role, TechnicianId, UserId
from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book, Join

STEPS_TO_DONE = ("claim", "depart", "arrive", "start", "complete")


async def rate_job(who: Client, job: str, stars: int, **more: Any) -> Any:
    """Send a rating, with an idempotency key if ``key`` is given."""
    key = {"Idempotency_Key": more.pop("key")} if "key" in more else {}
    return await who("POST", f"/v1/jobs/{job}/ratings", {"stars": stars, **more}, **key)


async def job_after_steps(customer: Client, technician: Client, book: Book, *steps: str) -> str:
    """Book a job, wait for its offer, send ``steps`` as the technician, and return the job's id."""
    job = str((await book(customer))["id"])
    await people.wait_for_offer(technician, job)
    for step in steps:
        answer = await technician("POST", f"/v1/jobs/{job}/{step}", {})
        assert answer.status_code == 200, answer.text
    return job


async def read_rating(who: Client, technician: Client) -> tuple[float, int]:
    """Return the technician's mean rating and the number of ratings, as ``who`` reads them."""
    card = (await who("GET", f"/v1/technicians/{technician.user}")).json()["technician"]
    return card["rating"], card["rating_count"]


def test_the_mean_moves_from_the_prior_to_the_own_ratings() -> None:
    """Without ratings the mean is the prior, 4.5. A few ratings move the mean a little; after a thousand the prior has
    almost no weight.
    """
    assert rating.bayesian_mean(0, 0) == 4.5
    assert (rating.bayesian_mean(1, 1), rating.bayesian_mean(5, 1)) == (3.92, 4.58)
    assert rating.bayesian_mean(5, 5) == (4.5 + 1) / 2
    assert rating.bayesian_mean(2_000, 1_000) == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize("body", [{}, {"stars": 0}, {"stars": 6}, {"stars": 4.5}, {"stars": "5"}])
async def test_invalid_stars_are_refused(body: dict[str, Any], customer: Client) -> None:
    """Stars must be a whole number from 1 to 5; any other value is refused at `/stars`."""
    answer = await customer("POST", "/v1/jobs/job_main_01jb4zqk3m8r5t7v9x2c6d8f0g/ratings", body)
    assert pointers(answer) == {"/stars"}


async def test_a_rating_before_completion_is_refused(technician: Client, customer: Client, book: Book) -> None:
    """A rating of a job that is open, assigned or cancelled is refused, and the technician's mean remains 4.5."""
    job = await job_after_steps(customer, technician, book)
    assert code_of(await rate_job(customer, job, 5)) == (409, "illegal_transition")
    assert code_of(await rate_job(technician, job, 5)) == (404, "not_found")
    await technician("POST", f"/v1/jobs/{job}/claim", {})
    for who in (customer, technician):
        assert code_of(await rate_job(who, job, 5)) == (409, "illegal_transition")
    await customer("POST", f"/v1/jobs/{job}/cancel", {})
    assert code_of(await rate_job(customer, job, 1)) == (409, "illegal_transition")
    assert await read_rating(customer, technician) == (4.5, 0)


async def test_only_the_two_sides_may_rate(
    technician: Client, customer: Client, book: Book, join: Join, staff: dict[Role, Client]
) -> None:
    """A rating by another customer or technician is refused with 404, and a rating by staff with 403."""
    job = await job_after_steps(customer, technician, book, *STEPS_TO_DONE)
    for role in ("customer", "technician"):
        assert code_of(await rate_job(await join(role), job, 5)) == (404, "not_found")
    for role in ("ops_manager", "service", "mediator"):
        assert code_of(await rate_job(staff[role], job, 5)) == (403, "forbidden")


async def test_each_side_rates_once(technician: Client, customer: Client, book: Book) -> None:
    """A rating returns 201. A repeat with the same key returns the same reply and does not count again; another key is
    refused with `duplicate`.
    """
    job, key = await job_after_steps(customer, technician, book, *STEPS_TO_DONE), str(uuid.uuid4())
    first = await rate_job(customer, job, 4, comment="On time", key=key)
    assert first.status_code == 201
    stored_rating = first.json()["rating"]
    assert (stored_rating["job"], stored_rating["by"], stored_rating["of"]) == (job, customer.user, technician.user)
    assert (stored_rating["stars"], stored_rating["comment"]) == (4, "On time")
    again = await rate_job(customer, job, 4, comment="On time", key=key)
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", first.json())
    assert code_of(await rate_job(customer, job, 5, key=key)) == (422, "reused_key")
    assert code_of(await rate_job(customer, job, 5)) == (409, "duplicate")
    assert (await rate_job(technician, job, 1)).json()["rating"]["of"] == customer.user
    assert code_of(await rate_job(technician, job, 1)) == (409, "duplicate")
    assert await read_rating(customer, technician) == (rating.bayesian_mean(4, 1), 1)


async def test_concurrent_ratings_count_once(technician: Client, customer: Client, book: Book) -> None:
    """Of ten concurrent ratings by one customer with ten keys, one counts and nine are refused with 409."""
    job = await job_after_steps(customer, technician, book, *STEPS_TO_DONE)
    answers = await asyncio.gather(*(rate_job(customer, job, 2) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    assert await read_rating(customer, technician) == (rating.bayesian_mean(2, 1), 1)


async def test_the_mean_is_in_redis_and_in_the_next_job(
    site: RunningServer, technician: Client, customer: Client, book: Book
) -> None:
    """After the reply to a rating Redis has the new mean, by which waves rank technicians. The customer's next job
    shows the same mean.
    """
    for number, stars in enumerate((5, 3), 1):
        job = await job_after_steps(customer, technician, book, *STEPS_TO_DONE)
        await rate_job(customer, job, stars)
        record = keys.technician(DEFAULT_ZONE, TechnicianId(UserId(technician.user)))
        hot = await site.engine.store.redis.hmget(record, "rating", "rated")
        assert (float(hot[0]), int(hot[1])) == await read_rating(technician, technician)
        assert int(hot[1]) == number
    job = await job_after_steps(customer, technician, book, "claim")
    technician_view = (await customer("GET", f"/v1/jobs/{job}")).json()["job"]["technician"]
    assert technician_view["rating"] == rating.bayesian_mean(8, 2)
