"""Tests of the start and the completion code: only the customer reads them, each issue of codes allows five attempts,
and the customer can request new codes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

import orjson
import pytest

from engine.domain import codes
from engine.types import Role
from server.serve import RunningServer
from tests.server.http import market
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.support import event_log


async def test_a_command_with_a_code_requires_six_digits(customer: Client, technician: Client, book: Book) -> None:
    """A `start` without a code, or with a code that is not six digits, is refused with `invalid` and does not count as
    an attempt.
    """
    job = await market.book_and_accept(customer, technician, book)
    assert pointers(await market.send_command(technician, job, "start")) == {"/code"}
    for wrong in ("12345", "1234567", "12345x", "²²²²²²", "一二三四五六"):
        assert pointers(await market.send_command(technician, job, "start", code=wrong)) == {"/code"}
    answer = await market.send_command(
        technician, job, "start", code=market.wrong_code((await market.read_codes(customer, job))["start"])
    )
    assert (code_of(answer), answer.json()["attempts_left"]) == ((403, "wrong_code"), 4)


@pytest.mark.parametrize("digits", ["٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "０１２３４５６７８９"])
async def test_a_code_is_accepted_in_the_digits_of_other_scripts(
    digits: str, customer: Client, technician: Client, book: Book
) -> None:
    """A code is accepted in Arabic, Persian and full-width digits, and with white space around it. Under the same key,
    the same code in ASCII digits is a repeat of the request.
    """
    job, key = await market.book_and_accept(customer, technician, book), str(uuid.uuid4())
    code = (await market.read_codes(customer, job))["start"]
    typed = f" {code.translate({ord('0') + n: digit for n, digit in enumerate(digits)})}\n"
    assert (await market.send_command(technician, job, "start", code=typed, key=key)).status_code == 200
    again = await market.send_command(technician, job, "start", code=code, key=key)
    assert again.headers["idempotency-replayed"] == "true"


async def test_the_code_of_one_purpose_is_wrong_for_another(customer: Client, technician: Client, book: Book) -> None:
    """A `start` with the completion code is refused with `wrong_code`, and the job does not change."""
    job = await market.book_and_accept(customer, technician, book)
    job_codes = await market.read_codes(customer, job)
    assert set(job_codes) == {"start", "completion"} and all(
        len(code) == 6 and code.isdigit() for code in job_codes.values()
    )
    assert code_of(await market.send_command(technician, job, "start", code=job_codes["completion"])) == (
        403,
        "wrong_code",
    )
    now = await market.read_job(customer, job)
    assert (now["status"], now["version"]) == ("scheduled", 2)


async def test_a_wrong_code_under_the_same_key_counts_once(
    site: RunningServer, customer: Client, technician: Client, book: Book
) -> None:
    """A repeat of a wrong code under its key returns the first refusal, with the same `attempts_left`. Ops receive one
    `code.failed`.
    """
    job, key = await market.book_and_accept(customer, technician, book), str(uuid.uuid4())
    wrong = market.wrong_code((await market.read_codes(customer, job))["start"])
    answers = [await market.send_command(technician, job, "start", code=wrong, key=key) for _ in range(3)]
    assert [answer.json()["attempts_left"] for answer in answers] == [4, 4, 4]
    assert [answer.json().get("repeated", False) for answer in answers] == [False, True, True]
    [failed] = await market.job_events(site, "code.failed", job)
    assert failed.to == ("role:ops",)
    assert event_log.payload(failed) == {"job": {"id": job}, "technician": {"id": technician.user}, "purpose": "start"}
    again = await market.send_command(technician, job, "start", code=wrong)
    assert again.json()["attempts_left"] == 3


async def test_only_five_of_two_hundred_concurrent_guesses_are_compared(
    site: RunningServer, customer: Client, technician: Client, book: Book
) -> None:
    """Five of 200 concurrent wrong codes are compared, and the others are refused with `code_locked`. The right code is
    then refused too, until the customer requests new codes.
    """
    job = await market.book_and_accept(customer, technician, book)
    right = (await market.read_codes(customer, job))["start"]
    guesses = [f"{(int(right) + n) % 1_000_000:06d}" for n in range(1, 201)]
    answers = await asyncio.gather(*(market.send_command(technician, job, "start", code=guess) for guess in guesses))
    assert Counter(code_of(answer) for answer in answers) == {(403, "wrong_code"): 5, (423, "code_locked"): 195}
    attempts_left = sorted(answer.json()["attempts_left"] for answer in answers if answer.status_code == 403)
    assert attempts_left == [0, 1, 2, 3, 4]
    assert len(await market.job_events(site, "code.failed", job)) == 5
    [locked] = await market.job_events(site, "code.locked", job)
    assert set(locked.to) == {f"user:{customer.user}", "role:ops"}
    assert code_of(await market.send_command(technician, job, "start", code=right)) == (423, "code_locked")
    assert (await market.read_job(customer, job))["status"] == "scheduled"
    fresh = (await market.run_command(customer, job, "reissue"))["codes"]["start"]
    assert (await market.run_command(technician, job, "start", code=fresh))["status"] == "in_progress"


async def test_codes_are_shown_to_the_customer_alone(
    site: RunningServer, customer: Client, technician: Client, book: Book, staff: dict[Role, Client]
) -> None:
    """From the acceptance on, the customer reads the codes in the job, in lists, in `/v1/sync` and in replies to edits.
    No other user reads them, and no event contains them.
    """
    open_job = await market.book_for_technician(customer, technician, book)
    assert "codes" not in open_job and "codes" not in await market.read_job(customer, open_job["id"])
    job = await market.book_and_accept(customer, technician, book)
    job_codes = await market.read_codes(customer, job)
    listed = (await customer("GET", "/v1/jobs?limit=200")).json()["items"]
    synced = (await customer("GET", "/v1/sync")).json()["jobs"]
    edited = (await customer("PATCH", f"/v1/jobs/{job}", {"notes": "Ring twice"})).json()["job"]
    views = [next(each for each in items if each["id"] == job) for items in (listed, synced, [edited])]
    assert [each["codes"] for each in views] == [job_codes] * 3
    for caller in (technician, staff["admin"], staff["ops_manager"], staff["service"]):
        assert "codes" not in await market.read_job(caller, job)
    step = await market.run_command(technician, job, "start", code=job_codes["start"])
    assert "codes" not in step and (await market.read_codes(customer, job)) == job_codes
    await market.run_command(technician, job, "complete", code=job_codes["completion"])
    events = await event_log.events(site.engine, None, job)
    assert events and not any(code.encode() in e.data for e in events for code in (*job_codes.values(), '"codes":{'))


async def test_a_paid_or_reopened_job_has_no_codes(
    customer: Client, technician: Client, book: Book, staff: dict[Role, Client]
) -> None:
    """A job that is paid, or that lost its technician by `unassign`, shows no codes."""
    job = await market.book_and_complete(customer, technician, book)
    assert "codes" in await market.run_command(customer, job, "confirm")
    body = {"reference": "pi_1", "status": "captured", "amount": 9000, "currency": "EUR"}
    assert (await staff["service"]("POST", f"/v1/jobs/{job}/payments", body)).status_code == 201
    assert "codes" not in await market.read_job(customer, job)
    reopened_job = await market.book_and_accept(customer, technician, book)
    assert "codes" not in await market.run_command(customer, reopened_job, "unassign")


async def test_only_the_customer_may_reissue_and_only_three_times(
    site: RunningServer, customer: Client, technician: Client, book: Book, staff: dict[Role, Client]
) -> None:
    """Only the customer may send `reissue`, at most three times for a job. Each reissue makes the old codes wrong, and
    emits a `job.updated` that names `codes` as changed.
    """
    job = await market.book_and_accept(customer, technician, book)
    for caller in (technician, staff["admin"]):
        assert code_of(await market.send_command(caller, job, "reissue")) == (403, "forbidden")
    issued_codes = [await market.read_codes(customer, job)]
    for _ in range(3):
        issued_codes.append((await market.run_command(customer, job, "reissue"))["codes"])
    assert len({each["start"] for each in issued_codes}) == 4
    assert code_of(await market.send_command(customer, job, "reissue")) == (409, "illegal_transition")
    assert await market.read_codes(customer, job) == issued_codes[-1]
    updates = await market.job_events(site, "job.updated", job)
    assert [event_log.payload(event)["changed"] for event in updates] == [["codes"]] * 3
    assert code_of(await market.send_command(technician, job, "start", code=issued_codes[2]["start"])) == (
        403,
        "wrong_code",
    )
    await market.run_command(technician, job, "start", code=issued_codes[3]["start"])


async def test_concurrent_reissues_stay_within_the_limit(customer: Client, technician: Client, book: Book) -> None:
    """Three of ten concurrent `reissue` commands succeed, and seven are refused with 409."""
    job = await market.book_and_accept(customer, technician, book)
    answers = await asyncio.gather(*(market.send_command(customer, job, "reissue") for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [409] * 7


async def test_each_issue_allows_five_attempts_under_concurrent_guesses(
    site: RunningServer, customer: Client, technician: Client, book: Book
) -> None:
    """If new codes are issued during a hundred concurrent guesses, at most five guesses are compared for each issue."""
    job = await market.book_and_accept(customer, technician, book)
    issued_codes = [codes.derive_code(site.engine, job, "start", str(issue)) for issue in range(1, 5)]
    guesses = [guess for n in range(110) if (guess := f"{n:06d}") not in issued_codes][:100]
    calls = [market.send_command(technician, job, "start", code=guess) for guess in guesses]
    for place in (10, 30, 60):
        calls.insert(place, market.send_command(customer, job, "reissue"))
    answers = await asyncio.gather(*calls)
    count_of_status = Counter(answer.status_code for answer in answers)
    assert count_of_status[200] == 3 and set(count_of_status) == {200, 403, 423} and 5 <= count_of_status[403] <= 20
    assert len(await market.job_events(site, "code.failed", job)) == count_of_status[403]
    assert len(await market.job_events(site, "code.locked", job)) <= 4
    assert await market.read_codes(customer, job) == {
        purpose: codes.derive_code(site.engine, job, purpose, "4") for purpose in ("start", "completion")
    }


async def test_a_code_is_compared_again_after_a_reissue(
    site: RunningServer, customer: Client, technician: Client, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If new codes are issued after a code was compared and before its command runs, the code is compared again: the
    old code is now wrong, and the new code is right.
    """
    job = await market.book_and_accept(customer, technician, book)
    old = (await market.read_codes(customer, job))["start"]
    comparisons, compared = 0, codes.compare_code

    async def compare_and_reissue(*args: Any) -> dict[str, str | bool]:
        nonlocal comparisons
        comparison = await compared(*args)
        comparisons += 1
        if comparisons == 1:
            await market.run_command(customer, job, "reissue")
        return comparison

    monkeypatch.setattr(codes, "compare_code", compare_and_reissue)
    assert code_of(await market.send_command(technician, job, "start", code=old)) == (403, "wrong_code")
    assert comparisons == 2
    fresh = (await market.read_codes(customer, job))["start"]
    assert (await market.run_command(technician, job, "start", code=fresh))["status"] == "in_progress"
    assert orjson.loads((await market.job_events(site, "job.started", job))[0].data)["job"]["status"] == "in_progress"
