"""What stands with a job in replies: only the steps that would be taken now, and the price that waits for an answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from engine.domain import job_view
from engine.errors import Unavailable
from engine.store import keys
from engine.store.connection import Store
from engine.types import DEFAULT_ZONE, JobId, Principal, Role, UserId
from server.serve import Running
from tests.server.http import market, people
from tests.server.http.client import Client, code_of
from tests.server.http.conftest import Book, Join
from tests.server.http.test_prices import answered, propose, proposed
from tests.support import event_log

Reads = Callable[[], int]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """How often the record of a job was read beside the scripts, since it was asked last."""
    count, run = 0, Store.command

    async def counted(store: Store, *command: Any) -> Any:
        nonlocal count
        count += command[0] == "HMGET" and ":job:" in command[1] and "proposal" in command
        return await run(store, *command)

    def since() -> int:
        nonlocal count
        count, found = 0, count
        return found

    monkeypatch.setattr(Store, "command", counted)
    return since


async def lock_out(customer: Client, technician: Client, job: str) -> None:
    """Give five wrong start codes."""
    wrong = market.wrong_code((await market.read_codes(customer, job))["start"])
    for _ in range(5):
        assert code_of(await market.send_command(technician, job, "start", code=wrong)) == (403, "wrong_code")


async def listed(who: Client, job: str) -> dict[str, Any]:
    """The job as the caller's list and his snapshot have it, which are the same."""
    items = (await who("GET", "/v1/jobs?limit=200")).json()["items"]
    synced = (await who("GET", "/v1/sync")).json()["jobs"]
    [one], [other] = ([each for each in found if each["id"] == job] for found in (items, synced))
    assert one == other
    found: dict[str, Any] = one
    return found


async def test_who_is_locked_out_is_not_told_to_try_again(customer: Client, at_work: Client, book: Book) -> None:
    """After five wrong codes no step that needs one is listed, all others are; new codes bring it back."""
    job = await market.book_and_accept(customer, at_work, book)
    before = (await market.read_job(at_work, job))["actions"]
    assert "start" in before and "unassign" in before
    await lock_out(customer, at_work, job)
    assert (await market.read_job(at_work, job))["actions"] == [name for name in before if name != "start"]
    assert code_of(await market.send_command(at_work, job, "start", code="000000")) == (423, "code_locked")
    assert "start" not in (await propose(at_work, job, 5)).json()["job"]["actions"]
    assert "reissue" in (await market.read_job(customer, job))["actions"]
    await market.run_command(customer, job, "reissue")
    assert (await market.read_job(at_work, job))["actions"] == before


async def test_four_wrong_codes_lock_nobody(customer: Client, at_work: Client, book: Book) -> None:
    """Until the fifth the step is listed, and taken with the right code; the tries are those of all its codes."""
    job = await market.book_and_accept(customer, at_work, book)
    wrong = market.wrong_code((await market.read_codes(customer, job))["start"])
    for _ in range(4):
        await market.send_command(at_work, job, "start", code=wrong)
    assert "start" in (await market.read_job(at_work, job))["actions"]
    shown = await market.read_codes(customer, job)
    assert "complete" in (await market.run_command(at_work, job, "start", code=shown["start"]))["actions"]
    await market.send_command(at_work, job, "complete", code=market.wrong_code(shown["completion"]))
    assert "complete" not in (await market.read_job(at_work, job))["actions"]


async def test_new_codes_are_offered_as_long_as_there_are_any(customer: Client, at_work: Client, book: Book) -> None:
    """In the reply to the last that is issued, and in each read afterwards, `reissue` is gone."""
    job = await market.book_and_accept(customer, at_work, book)
    left = [(await market.run_command(customer, job, "reissue"))["actions"] for _ in range(3)]
    assert ["reissue" in actions for actions in left] == [True, True, False]
    assert "reissue" not in (await market.read_job(customer, job))["actions"]
    assert code_of(await market.send_command(customer, job, "reissue")) == (409, "illegal_transition")
    edited = (await customer("PATCH", f"/v1/jobs/{job}", {"notes": "Ring twice"})).json()["job"]
    assert "reissue" not in edited["actions"] and "codes" in edited


async def test_who_may_not_see_a_proposal(
    customer: Client, at_work: Client, book: Book, join: Join, staff: dict[Role, Client]
) -> None:
    """It is between two: nobody else is shown it, not even who may read the job; and nobody once it is of no use."""
    job = await market.book_and_accept(customer, at_work, book)
    await proposed(at_work, job, 12_000)
    for role in ("admin", "ops_manager", "service"):
        assert "proposal" not in await market.read_job(staff[role], job)
    for role in ("customer", "technician"):
        stranger = await join(role)
        assert code_of(await stranger("GET", f"/v1/jobs/{job}")) == (404, "not_found")
    await market.run_command(customer, job, "unassign")
    for who in (customer, at_work):
        answer = await who("GET", f"/v1/jobs/{job}")
        assert "proposal" not in answer.text and "12000" not in answer.text


async def test_what_cannot_be_answered_any_more_is_not_shown(customer: Client, at_work: Client, book: Book) -> None:
    """Once the start code has locked the price."""
    job = await market.book_and_accept(customer, at_work, book)
    name = await proposed(customer, job, 1)
    code = (await market.read_codes(customer, job))["start"]
    assert "proposal" not in await market.run_command(at_work, job, "start", code=code)
    for who in (customer, at_work):
        assert "proposal" not in await market.read_job(who, job)
    assert code_of(await answered(at_work, job, name, "accept")) == (409, "price_locked")


async def test_a_locked_price_is_not_answered_in_its_state_either(
    site: Running, customer: Client, at_work: Client, book: Book
) -> None:
    """Where a blueprint locks it in a state in which it may be talked of, the lock counts."""
    job = await market.book_and_accept(customer, at_work, book)
    name = await proposed(at_work, job, 1)
    await site.engine.store.redis.hset(keys.job(DEFAULT_ZONE, JobId(job)), "price_locked", "1")  # type: ignore[misc]
    assert "proposal" not in await market.read_job(customer, job)
    assert code_of(await answered(customer, job, name, "accept")) == (409, "price_locked")


async def test_whose_record_is_read_for_another_reason_is_shown_no_proposal(
    site: Running, customer: Client, at_work: Client, book: Book
) -> None:
    """Ops whom a blueprint lets ask for new codes; and a former holder, whose answer tells the job as he had it."""
    job, engine = await market.book_and_accept(customer, at_work, book), site.engine
    blueprint = engine.blueprints.by_name["marketplace"]
    told = (await event_log.events(engine, "job.assigned", job))[-1]
    shown = event_log.orjson.dumps(event_log.payload(told)["job"])
    await proposed(customer, job, 1)
    his, ops = Principal(UserId(at_work.user), "technician"), Principal(UserId("cli_admin"), "admin")
    assert b'"proposal"' in await job_view.view_job(engine, his, blueprint, shown, ["start"])
    assert b'"proposal"' not in await job_view.view_job(engine, ops, blueprint, shown, ["reissue"])
    record = keys.job(DEFAULT_ZONE, JobId(job))
    text = await engine.store.redis.hget(record, "proposal")  # type: ignore[misc]
    next_one = {"holder": "usr_next", "proposal": text.replace(at_work.user.encode(), b"usr_next")}
    await engine.store.redis.hset(record, mapping=next_one)  # type: ignore[misc]
    assert b'"proposal"' not in await job_view.view_job(engine, his, blueprint, shown, ["start"])


async def test_who_comes_back_finds_the_proposal(customer: Client, at_work: Client, book: Book) -> None:
    """Both sides, in a read, a list, a snapshot and the replies to commands, until it is answered."""
    job = await market.book_and_accept(customer, at_work, book)
    told = (await propose(at_work, job, 12_000, reason='More "pipes"  than you said')).json()
    assert told["job"]["proposal"] == told["proposal"]
    for who in (customer, at_work):
        for shown in (await market.read_job(who, job), await listed(who, job)):
            assert shown["proposal"] == told["proposal"]
    edited = (await customer("PATCH", f"/v1/jobs/{job}", {"notes": "x"})).json()["job"]
    assert edited["proposal"] == told["proposal"] and set(edited["codes"]) == {"start", "completion"}
    done = (await answered(customer, job, told["proposal"]["id"], "reject")).json()
    assert done["proposal"]["status"] == "rejected" and "proposal" not in done["job"]
    for who in (customer, at_work):
        assert "proposal" not in await market.read_job(who, job) and "proposal" not in await listed(who, job)
    second = (await propose(customer, job, 8_000)).json()["proposal"]
    assert "reason" not in second and (await market.read_job(at_work, job))["proposal"] == second
    assert (await answered(at_work, job, second["id"], "accept")).json()["job"]["amount"] == 8_000
    assert "proposal" not in await market.read_job(customer, job)


async def test_a_step_that_was_done_is_not_called_undone(
    customer: Client, at_work: Client, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis goes away between the step and the look at its codes: unknown, not `unavailable`; the same key tells."""
    job, key, run = await market.book_and_accept(customer, at_work, book), str(uuid.uuid4()), Store.command

    async def gone(store: Store, *command: Any) -> Any:
        if command[0] == "HMGET" and "proposal" in command:
            raise Unavailable
        return await run(store, *command)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "command", gone)
        assert code_of(await market.send_command(customer, job, "reissue", key=key)) == (504, "indeterminate")
        assert code_of(await customer("GET", f"/v1/jobs/{job}")) == (503, "unavailable")
    again = await market.send_command(customer, job, "reissue", key=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["job"]["codes"] == await market.read_codes(customer, job)


async def test_a_step_without_codes_prices_or_phones_reads_no_record(
    customer: Client, at_work: Client, book: Book, reads: Reads
) -> None:
    """Booking, offer and claim: what none can stand with is not looked for; a phone costs one read."""
    job = str((await book(customer))["id"])
    await people.wait_for_offer(at_work, job)
    for who in (customer, at_work):
        await market.read_job(who, job)
    await market.run_command(at_work, job, "claim")
    assert reads() == 0
    await market.run_command(at_work, job, "depart")
    assert reads() == 1


async def test_what_is_needed_is_read_once(
    customer: Client, at_work: Client, book: Book, staff: dict[Role, Client], reads: Reads
) -> None:
    """One read of the record for each answer that may hold a code, a proposal or a step that needs a code; none for
    who has only just taken the job, and none for ops and services.
    """
    job = str((await market.book_for_technician(customer, at_work, book))["id"])
    await market.run_command(at_work, job, "accept")
    for role in ("admin", "service"):
        await market.read_job(staff[role], job)
        await staff[role]("GET", "/v1/jobs?limit=200")
    assert reads() == 0
    for who in (customer, at_work):
        await market.read_job(who, job)
        assert reads() == 1
        items = (await who("GET", "/v1/jobs?limit=200")).json()["items"]
        assert (reads(), len(items)) == (1, 1)
    code = (await market.read_codes(customer, job))["start"]
    reads()
    await market.run_command(at_work, job, "start", code=code)
    assert reads() == 1
