"""Codes at the door: shown to the customer alone, five tries each issue, new ones on demand."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

import orjson
import pytest

from engine.domain import codes as engine_codes
from engine.types import Role
from server.serve import Running
from tests.server.http import market
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.support import event_log


async def test_a_step_that_asks_for_a_code_needs_one(customer: Client, at_work: Client, book: Book) -> None:
    """None, or what is not six digits, is invalid and counts as no try."""
    job = await market.book_and_accept(customer, at_work, book)
    assert pointers(await market.send_command(at_work, job, "start")) == {"/code"}
    for wrong in ("12345", "1234567", "12345x", "²²²²²²", "一二三四五六"):
        assert pointers(await market.send_command(at_work, job, "start", code=wrong)) == {"/code"}
    answer = await market.send_command(
        at_work, job, "start", code=market.wrong_code((await market.read_codes(customer, job))["start"])
    )
    assert (code_of(answer), answer.json()["attempts_left"]) == ((403, "wrong_code"), 4)


@pytest.mark.parametrize("digits", ["٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "０１２３４５６７８９"])
async def test_a_code_is_taken_in_the_digits_of_any_script(
    digits: str, customer: Client, at_work: Client, book: Book
) -> None:
    """As a keyboard types them, with space around them; the same in other digits is the same request."""
    job, key = await market.book_and_accept(customer, at_work, book), str(uuid.uuid4())
    code = (await market.read_codes(customer, job))["start"]
    typed = f" {code.translate({ord('0') + n: digit for n, digit in enumerate(digits)})}\n"
    assert (await market.send_command(at_work, job, "start", code=typed, key=key)).status_code == 200
    again = await market.send_command(at_work, job, "start", code=code, key=key)
    assert again.headers["idempotency-replayed"] == "true"


async def test_the_code_of_one_purpose_is_wrong_for_another(customer: Client, at_work: Client, book: Book) -> None:
    """The completion code does not start the job, and nothing moves."""
    job = await market.book_and_accept(customer, at_work, book)
    shown = await market.read_codes(customer, job)
    assert set(shown) == {"start", "completion"} and all(len(code) == 6 and code.isdigit() for code in shown.values())
    assert code_of(await market.send_command(at_work, job, "start", code=shown["completion"])) == (403, "wrong_code")
    now = await market.read_job(customer, job)
    assert (now["status"], now["version"]) == ("scheduled", 2)


async def test_a_wrong_code_under_the_same_key_counts_once(
    site: Running, customer: Client, at_work: Client, book: Book
) -> None:
    """The repeat is told what the first was, the tries left too; ops hear of it once."""
    job, key = await market.book_and_accept(customer, at_work, book), str(uuid.uuid4())
    wrong = market.wrong_code((await market.read_codes(customer, job))["start"])
    answers = [await market.send_command(at_work, job, "start", code=wrong, key=key) for _ in range(3)]
    assert [answer.json()["attempts_left"] for answer in answers] == [4, 4, 4]
    assert [answer.json().get("repeated", False) for answer in answers] == [False, True, True]
    [failed] = await market.job_events(site, "code.failed", job)
    assert failed.to == ("role:ops",)
    assert event_log.payload(failed) == {"job": {"id": job}, "technician": {"id": at_work.user}, "purpose": "start"}
    again = await market.send_command(at_work, job, "start", code=wrong)
    assert again.json()["attempts_left"] == 3


async def test_of_two_hundred_guesses_at_once_five_are_looked_at(
    site: Running, customer: Client, at_work: Client, book: Book
) -> None:
    """Five evaluated, the rest locked out; then the right code is locked too, until new ones are issued."""
    job = await market.book_and_accept(customer, at_work, book)
    right = (await market.read_codes(customer, job))["start"]
    guesses = [f"{(int(right) + n) % 1_000_000:06d}" for n in range(1, 201)]
    answers = await asyncio.gather(*(market.send_command(at_work, job, "start", code=guess) for guess in guesses))
    assert Counter(code_of(answer) for answer in answers) == {(403, "wrong_code"): 5, (423, "code_locked"): 195}
    left = sorted(answer.json()["attempts_left"] for answer in answers if answer.status_code == 403)
    assert left == [0, 1, 2, 3, 4]
    assert len(await market.job_events(site, "code.failed", job)) == 5
    [locked] = await market.job_events(site, "code.locked", job)
    assert set(locked.to) == {f"user:{customer.user}", "role:ops"}
    assert code_of(await market.send_command(at_work, job, "start", code=right)) == (423, "code_locked")
    assert (await market.read_job(customer, job))["status"] == "scheduled"
    fresh = (await market.run_command(customer, job, "reissue"))["codes"]["start"]
    assert (await market.run_command(at_work, job, "start", code=fresh))["status"] == "in_progress"


async def test_codes_are_shown_to_the_customer_alone(
    site: Running, customer: Client, at_work: Client, book: Book, staff: dict[Role, Client]
) -> None:
    """With the job, in lists, in a snapshot and in replies to his own steps, while somebody has it; in no event."""
    open_job = await market.book_for_technician(customer, at_work, book)
    assert "codes" not in open_job and "codes" not in await market.read_job(customer, open_job["id"])
    job = await market.book_and_accept(customer, at_work, book)
    shown = await market.read_codes(customer, job)
    listed = (await customer("GET", "/v1/jobs?limit=200")).json()["items"]
    synced = (await customer("GET", "/v1/sync")).json()["jobs"]
    edited = (await customer("PATCH", f"/v1/jobs/{job}", {"notes": "Ring twice"})).json()["job"]
    found = [next(each for each in items if each["id"] == job) for items in (listed, synced, [edited])]
    assert [each["codes"] for each in found] == [shown] * 3
    for who in (at_work, staff["admin"], staff["ops_manager"], staff["service"]):
        assert "codes" not in await market.read_job(who, job)
    step = await market.run_command(at_work, job, "start", code=shown["start"])
    assert "codes" not in step and (await market.read_codes(customer, job)) == shown
    await market.run_command(at_work, job, "complete", code=shown["completion"])
    events = await event_log.events(site.engine, None, job)
    assert events and not any(code.encode() in e.data for e in events for code in (*shown.values(), '"codes":{'))


async def test_over_is_over(customer: Client, at_work: Client, book: Book, staff: dict[Role, Client]) -> None:
    """A job that was paid, or is looked for anew, shows no codes."""
    job = await market.book_and_complete(customer, at_work, book)
    assert "codes" in await market.run_command(customer, job, "confirm")
    body = {"reference": "pi_1", "status": "captured", "amount": 9000, "currency": "EUR"}
    assert (await staff["service"]("POST", f"/v1/jobs/{job}/payments", body)).status_code == 201
    assert "codes" not in await market.read_job(customer, job)
    left = await market.book_and_accept(customer, at_work, book)
    assert "codes" not in await market.run_command(customer, left, "unassign")


async def test_reissue_is_the_customers_and_has_a_limit(
    site: Running, customer: Client, at_work: Client, book: Book, staff: dict[Role, Client]
) -> None:
    """Not the holder's nor ops'; the customer's three times, each told without the codes. The old ones are dead."""
    job = await market.book_and_accept(customer, at_work, book)
    for who in (at_work, staff["admin"]):
        assert code_of(await market.send_command(who, job, "reissue")) == (403, "forbidden")
    seen = [await market.read_codes(customer, job)]
    for _ in range(3):
        seen.append((await market.run_command(customer, job, "reissue"))["codes"])
    assert len({each["start"] for each in seen}) == 4
    assert code_of(await market.send_command(customer, job, "reissue")) == (409, "illegal_transition")
    assert await market.read_codes(customer, job) == seen[-1]
    told = await market.job_events(site, "job.updated", job)
    assert [event_log.payload(event)["changed"] for event in told] == [["codes"]] * 3
    assert code_of(await market.send_command(at_work, job, "start", code=seen[2]["start"])) == (403, "wrong_code")
    await market.run_command(at_work, job, "start", code=seen[3]["start"])


async def test_at_once_no_more_are_issued_than_may_be(customer: Client, at_work: Client, book: Book) -> None:
    """Ten at once: three are done."""
    job = await market.book_and_accept(customer, at_work, book)
    answers = await asyncio.gather(*(market.send_command(customer, job, "reissue") for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [409] * 7


async def test_new_codes_amid_guesses_give_five_tries_each(
    site: Running, customer: Client, at_work: Client, book: Book
) -> None:
    """A hundred guesses while codes are issued anew: at most five are looked at for each issue."""
    job = await market.book_and_accept(customer, at_work, book)
    known = [engine_codes.derive_code(site.engine, job, "start", str(issue)) for issue in range(1, 5)]
    guesses = [guess for n in range(110) if (guess := f"{n:06d}") not in known][:100]
    calls = [market.send_command(at_work, job, "start", code=guess) for guess in guesses]
    for place in (10, 30, 60):
        calls.insert(place, market.send_command(customer, job, "reissue"))
    answers = await asyncio.gather(*calls)
    found = Counter(answer.status_code for answer in answers)
    assert found[200] == 3 and set(found) == {200, 403, 423} and 5 <= found[403] <= 20
    assert len(await market.job_events(site, "code.failed", job)) == found[403]
    assert len(await market.job_events(site, "code.locked", job)) <= 4
    assert await market.read_codes(customer, job) == {
        purpose: engine_codes.derive_code(site.engine, job, purpose, "4") for purpose in ("start", "completion")
    }


async def test_a_code_compared_under_an_issue_that_is_past_is_compared_again(
    site: Running, customer: Client, at_work: Client, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New codes between looking and stepping: the right one of before is wrong, and the new one is right."""
    job = await market.book_and_accept(customer, at_work, book)
    old = (await market.read_codes(customer, job))["start"]
    looked, compared = 0, engine_codes.compare_code

    async def overtaken(*args: Any) -> dict[str, str | bool]:
        nonlocal looked
        found = await compared(*args)
        looked += 1
        if looked == 1:
            await market.run_command(customer, job, "reissue")
        return found

    monkeypatch.setattr(engine_codes, "compare_code", overtaken)
    assert code_of(await market.send_command(at_work, job, "start", code=old)) == (403, "wrong_code")
    assert looked == 2
    fresh = (await market.read_codes(customer, job))["start"]
    assert (await market.run_command(at_work, job, "start", code=fresh))["status"] == "in_progress"
    assert orjson.loads((await market.job_events(site, "job.started", job))[0].data)["job"]["status"] == "in_progress"
