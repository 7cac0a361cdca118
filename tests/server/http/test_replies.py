"""`actions` in a reply lists only commands that would be accepted now, and `proposal` is the open price proposal."""

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
from server.serve import RunningServer
from tests.server.http import market, people
from tests.server.http.client import Client, code_of
from tests.server.http.conftest import Book, Join
from tests.server.http.test_prices import answer_proposal, create_proposal, propose_price
from tests.support import event_log

ReadCounter = Callable[[], int]


@pytest.fixture
def read_counter(monkeypatch: pytest.MonkeyPatch) -> ReadCounter:
    """Return a function that returns how often Redis was asked for the job's codes and proposal since its last call."""
    count, run = 0, Store.command

    async def count_command(store: Store, *command: Any) -> Any:
        nonlocal count
        count += command[0] == "HMGET" and ":job:" in command[1] and "proposal" in command
        return await run(store, *command)

    def count_and_reset() -> int:
        nonlocal count
        count, previous = 0, count
        return previous

    monkeypatch.setattr(Store, "command", count_command)
    return count_and_reset


async def lock_start_code(customer: Client, technician: Client, job: str) -> None:
    """Send five wrong start codes, so that the code is locked."""
    wrong = market.wrong_code((await market.read_codes(customer, job))["start"])
    for _ in range(5):
        assert code_of(await market.send_command(technician, job, "start", code=wrong)) == (403, "wrong_code")


async def read_from_lists(who: Client, job: str) -> dict[str, Any]:
    """Return the job from the caller's list, and assert that the caller's snapshot contains the same."""
    items = (await who("GET", "/v1/jobs?limit=200")).json()["items"]
    synced = (await who("GET", "/v1/sync")).json()["jobs"]
    [one], [other] = ([each for each in view if each["id"] == job] for view in (items, synced))
    assert one == other
    view: dict[str, Any] = one
    return view


async def test_a_locked_code_removes_its_command(customer: Client, technician: Client, book: Book) -> None:
    """After five wrong codes `actions` has no command that needs a code; new codes add it again."""
    job = await market.book_and_accept(customer, technician, book)
    before = (await market.read_job(technician, job))["actions"]
    assert "start" in before and "unassign" in before
    await lock_start_code(customer, technician, job)
    assert (await market.read_job(technician, job))["actions"] == [name for name in before if name != "start"]
    assert code_of(await market.send_command(technician, job, "start", code="000000")) == (423, "code_locked")
    assert "start" not in (await propose_price(technician, job, 5)).json()["job"]["actions"]
    assert "reissue" in (await market.read_job(customer, job))["actions"]
    await market.run_command(customer, job, "reissue")
    assert (await market.read_job(technician, job))["actions"] == before


async def test_four_wrong_codes_do_not_lock(customer: Client, technician: Client, book: Book) -> None:
    """After four wrong codes `start` is still listed and accepts the right code. The attempts of all codes of a job
    count together, so one wrong completion code locks `complete`.
    """
    job = await market.book_and_accept(customer, technician, book)
    wrong = market.wrong_code((await market.read_codes(customer, job))["start"])
    for _ in range(4):
        await market.send_command(technician, job, "start", code=wrong)
    assert "start" in (await market.read_job(technician, job))["actions"]
    codes = await market.read_codes(customer, job)
    assert "complete" in (await market.run_command(technician, job, "start", code=codes["start"]))["actions"]
    await market.send_command(technician, job, "complete", code=market.wrong_code(codes["completion"]))
    assert "complete" not in (await market.read_job(technician, job))["actions"]


async def test_reissue_is_listed_until_its_last_use(customer: Client, technician: Client, book: Book) -> None:
    """`reissue` is in `actions` until the job's third reissue. After the third one neither the reply nor a later read
    lists it.
    """
    job = await market.book_and_accept(customer, technician, book)
    action_lists = [(await market.run_command(customer, job, "reissue"))["actions"] for _ in range(3)]
    assert ["reissue" in actions for actions in action_lists] == [True, True, False]
    assert "reissue" not in (await market.read_job(customer, job))["actions"]
    assert code_of(await market.send_command(customer, job, "reissue")) == (409, "illegal_transition")
    edited = (await customer("PATCH", f"/v1/jobs/{job}", {"notes": "Ring twice"})).json()["job"]
    assert "reissue" not in edited["actions"] and "codes" in edited


async def test_only_the_two_sides_see_a_proposal(
    customer: Client, technician: Client, book: Book, join: Join, staff: dict[Role, Client]
) -> None:
    """Only the customer and the holder see an open proposal. Staff who may read the job do not see it, and after
    `unassign` nobody does.
    """
    job = await market.book_and_accept(customer, technician, book)
    await create_proposal(technician, job, 12_000)
    for role in ("admin", "ops_manager", "service"):
        assert "proposal" not in await market.read_job(staff[role], job)
    for role in ("customer", "technician"):
        stranger = await join(role)
        assert code_of(await stranger("GET", f"/v1/jobs/{job}")) == (404, "not_found")
    await market.run_command(customer, job, "unassign")
    for who in (customer, technician):
        answer = await who("GET", f"/v1/jobs/{job}")
        assert "proposal" not in answer.text and "12000" not in answer.text


async def test_a_proposal_with_a_locked_price_is_not_shown(customer: Client, technician: Client, book: Book) -> None:
    """After the start code has locked the price, no reply contains the proposal, and an answer is refused with
    `price_locked`.
    """
    job = await market.book_and_accept(customer, technician, book)
    name = await create_proposal(customer, job, 1)
    code = (await market.read_codes(customer, job))["start"]
    assert "proposal" not in await market.run_command(technician, job, "start", code=code)
    for who in (customer, technician):
        assert "proposal" not in await market.read_job(who, job)
    assert code_of(await answer_proposal(technician, job, name, "accept")) == (409, "price_locked")


async def test_the_price_lock_counts_in_every_state(
    site: RunningServer, customer: Client, technician: Client, book: Book
) -> None:
    """If the price is locked in a state in which the blueprint permits answers, the proposal is still hidden and an
    answer refused.
    """
    job = await market.book_and_accept(customer, technician, book)
    name = await create_proposal(technician, job, 1)
    await site.engine.store.redis.hset(keys.job(DEFAULT_ZONE, JobId(job)), "price_locked", "1")  # type: ignore[misc]
    assert "proposal" not in await market.read_job(customer, job)
    assert code_of(await answer_proposal(customer, job, name, "accept")) == (409, "price_locked")


async def test_a_record_read_for_codes_reveals_no_proposal(
    site: RunningServer, customer: Client, technician: Client, book: Book
) -> None:
    """If a job's record is read for its codes, neither ops nor a former holder receive the proposal in it."""
    job, engine = await market.book_and_accept(customer, technician, book), site.engine
    blueprint = engine.blueprints.by_name["marketplace"]
    assigned_event = (await event_log.events(engine, "job.assigned", job))[-1]
    job_record = event_log.orjson.dumps(event_log.payload(assigned_event)["job"])
    await create_proposal(customer, job, 1)
    holder, ops = Principal(UserId(technician.user), "technician"), Principal(UserId("cli_admin"), "admin")
    assert b'"proposal"' in await job_view.view_job(engine, holder, blueprint, job_record, ["start"])
    assert b'"proposal"' not in await job_view.view_job(engine, ops, blueprint, job_record, ["reissue"])
    record = keys.job(DEFAULT_ZONE, JobId(job))
    text = await engine.store.redis.hget(record, "proposal")  # type: ignore[misc]
    next_one = {"holder": "usr_next", "proposal": text.replace(technician.user.encode(), b"usr_next")}
    await engine.store.redis.hset(record, mapping=next_one)  # type: ignore[misc]
    assert b'"proposal"' not in await job_view.view_job(engine, holder, blueprint, job_record, ["start"])


async def test_an_open_proposal_is_in_every_view_of_the_job(customer: Client, technician: Client, book: Book) -> None:
    """Until it is answered, an open proposal is in each read, list, snapshot and command reply of both sides."""
    job = await market.book_and_accept(customer, technician, book)
    reply = (await propose_price(technician, job, 12_000, reason='More "pipes"  than you said')).json()
    assert reply["job"]["proposal"] == reply["proposal"]
    for who in (customer, technician):
        for view in (await market.read_job(who, job), await read_from_lists(who, job)):
            assert view["proposal"] == reply["proposal"]
    edited = (await customer("PATCH", f"/v1/jobs/{job}", {"notes": "x"})).json()["job"]
    assert edited["proposal"] == reply["proposal"] and set(edited["codes"]) == {"start", "completion"}
    last_reply = (await answer_proposal(customer, job, reply["proposal"]["id"], "reject")).json()
    assert last_reply["proposal"]["status"] == "rejected" and "proposal" not in last_reply["job"]
    for who in (customer, technician):
        assert "proposal" not in await market.read_job(who, job) and "proposal" not in await read_from_lists(who, job)
    second = (await propose_price(customer, job, 8_000)).json()["proposal"]
    assert "reason" not in second and (await market.read_job(technician, job))["proposal"] == second
    assert (await answer_proposal(technician, job, second["id"], "accept")).json()["job"]["amount"] == 8_000
    assert "proposal" not in await market.read_job(customer, job)


async def test_a_failed_read_after_a_step_is_indeterminate(
    customer: Client, technician: Client, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Redis fails between a step and the read of its codes, the reply is `indeterminate`, not `unavailable`. A
    repeat with the same key returns the outcome.
    """
    job, key, run = await market.book_and_accept(customer, technician, book), str(uuid.uuid4()), Store.command

    async def fail_read(store: Store, *command: Any) -> Any:
        if command[0] == "HMGET" and "proposal" in command:
            raise Unavailable
        return await run(store, *command)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "command", fail_read)
        assert code_of(await market.send_command(customer, job, "reissue", key=key)) == (504, "indeterminate")
        assert code_of(await customer("GET", f"/v1/jobs/{job}")) == (503, "unavailable")
    again = await market.send_command(customer, job, "reissue", key=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["job"]["codes"] == await market.read_codes(customer, job)


async def test_a_step_without_codes_prices_or_phones_reads_no_record(
    customer: Client, technician: Client, book: Book, read_counter: ReadCounter
) -> None:
    """Booking, offer and claim need no extra read of the job's record. A reply with a phone number needs one."""
    job = str((await book(customer))["id"])
    await people.wait_for_offer(technician, job)
    for who in (customer, technician):
        await market.read_job(who, job)
    await market.run_command(technician, job, "claim")
    assert read_counter() == 0
    await market.run_command(technician, job, "depart")
    assert read_counter() == 1


async def test_a_reply_reads_the_record_once(
    customer: Client, technician: Client, book: Book, staff: dict[Role, Client], read_counter: ReadCounter
) -> None:
    """A reply that may contain a code, a proposal or a command with a code reads the job's record once. Replies to ops
    and services, and the reply to `accept`, do not read it.
    """
    job = str((await market.book_for_technician(customer, technician, book))["id"])
    await market.run_command(technician, job, "accept")
    for role in ("admin", "service"):
        await market.read_job(staff[role], job)
        await staff[role]("GET", "/v1/jobs?limit=200")
    assert read_counter() == 0
    for who in (customer, technician):
        await market.read_job(who, job)
        assert read_counter() == 1
        items = (await who("GET", "/v1/jobs?limit=200")).json()["items"]
        assert (read_counter(), len(items)) == (1, 1)
    code = (await market.read_codes(customer, job))["start"]
    read_counter()
    await market.run_command(technician, job, "start", code=code)
    assert read_counter() == 1
