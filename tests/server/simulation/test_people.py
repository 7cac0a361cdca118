"""The simulated people of a demo: a driver, a customer and a mediator, with a real server."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from callout_client import Api, Refusal
from engine.clock import now_ms
from engine.events import ms_of, rfc3339_of
from engine.process.signer import sign_token
from engine.types import UserId
from server.serve import RunningServer
from server.simulation import (
    bidding,
    conversations,
    customer,
    dispatcher,
    door_codes,
    driver,
    mediator,
    payer,
    seed,
    talking_customer,
    technician,
)
from server.simulation.account import Operator, sign_in
from server.simulation.cashier import Cashier
from server.simulation.delivery_checker import DeliveryChecker
from server.simulation.dispatcher import Dispatcher
from server.simulation.driver import Driver
from server.simulation.mediator import Mediator
from server.simulation.observer import AdminObserver
from server.simulation.payer import Payer
from server.simulation.person import Pace, Simulation
from server.simulation.talking_customer import TalkingCustomer
from server.simulation.town_builder import build_town
from tests.support.clock import advance
from tests.support.wait import wait_until

CENTRE = (47.37, 8.54)
SHORT_WAIT_S = (0.01, 0.05)
END_WITHIN_S = 30.0


class EventTypes:
    """The types of all events that an admin received, in their order."""

    def __init__(self) -> None:
        self.types: list[str] = []

    def add_event(self, event: dict[str, Any]) -> None:
        """Add the type of an event."""
        self.types.append(event["type"])


class People:
    """A driver, a customer and a mediator, and what an admin sees of them."""

    def __init__(self, simulation: Simulation, operator: Operator) -> None:
        self.simulation, self.operator = simulation, operator
        self.town = build_town(CENTRE, 1)
        self.seen = EventTypes()

    async def connect(self, stack: AsyncExitStack) -> None:
        """Create the accounts and connect all people."""
        tag, api = uuid4().hex[:8], self.simulation.api
        accounts = [
            await seed.approved_technician(
                api, self.operator, [self.simulation.service], seed.registration("technician", 1, tag, "correct horse")
            ),
            await sign_in(api, seed.registration("customer", 1, tag, "correct horse")),
            await sign_in(api, seed.registration("mediator", 1, tag, "correct horse"), self.operator),
            await sign_in(api, seed.registration("service", 1, tag, "correct horse"), self.operator),
            await sign_in(api, seed.registration("ops_manager", 1, tag, "correct horse"), self.operator),
        ]
        self.home = next(iter(self.town.roads))
        self.driver = Driver(self.simulation, accounts[0], self.town, self.home)
        self.customer = TalkingCustomer(self.simulation, accounts[1])
        self.cashier = Cashier(self.simulation, accounts[3])
        self.dispatcher = Dispatcher(self.simulation, accounts[4])
        self.mediator, payer = Mediator(self.simulation, accounts[2]), Payer(self.simulation, accounts[3])
        observer = AdminObserver(self.simulation, self.operator, self.seen)  # type: ignore[arg-type]
        for person in (observer, self.driver, self.customer, self.mediator, payer, self.cashier, self.dispatcher):
            stack.push_async_callback(person.close)
            await person.connect()
        working = asyncio.create_task(self.driver.run())
        stack.callback(working.cancel)

    async def book(self, blueprint: str = "home_service", *, at: str = "") -> str:
        """Book a job a few streets away, and return its id."""
        place = self.town.places[self.home[0] + 3, self.home[1] + 1]
        asked = self.driver.id if blueprint == "direct_booking" else ""
        return await self.customer.book(*place, "3 Elm Street", blueprint=blueprint, technician=asked, at=at)

    async def wait_for_end(self, job: str) -> str:
        """Wait until the job has ended and its messages have arrived. Return its last status."""
        outcomes = self.simulation.checker.outcomes
        await wait_until(lambda: outcomes[job].final_status, within_s=END_WITHIN_S, what="the end of the job")
        return outcomes[job].final_status


@pytest.fixture
async def people(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[People]:
    """Yield simulated people who act and drive fast and always write chat messages. The customer disputes only their
    first direct booking."""
    for module, name, value in (
        (driver, "SPEED_FACTOR_RANGE", (60.0, 60.0)),
        (driver, "AT_THE_PLACE_S", 0.3),
        (conversations, "THINK_S", SHORT_WAIT_S),
        (conversations, "READ_S", SHORT_WAIT_S),
        (conversations, "TYPE_S_PER_CHARACTER", 0.0),
        (conversations, "SPEAK_PROBABILITY", 1.0),
        (talking_customer, "DISPUTE_PROBABILITY", 0.0),
        (talking_customer, "WORK_DISPUTE_PROBABILITY", 0.0),
        (talking_customer, "COMPLAIN_S", SHORT_WAIT_S),
        (customer, "SIGN_S", 0.1),
        (talking_customer, "RATE_PROBABILITY", 1.0),
        (talking_customer, "RATE_S", SHORT_WAIT_S),
        (talking_customer, "STAR_WEIGHTS", (1, 0, 0, 0, 0)),
        (bidding, "BID_PROBABILITY", 1.0),
        (bidding, "CHOOSE_S", SHORT_WAIT_S),
        (door_codes, "FIND_S", SHORT_WAIT_S),
        (dispatcher, "THINK_S", SHORT_WAIT_S),
        (payer, "CAPTURE_S", 0.1),
        (mediator, "REACTION_S", SHORT_WAIT_S),
        (mediator, "TALK_S", (0.5, 0.6)),
        (mediator, "OUTCOMES", {"complete": "The work is done"}),
    ):
        monkeypatch.setattr(module, name, value)
    async with AsyncExitStack() as stack:
        api = Api(server.url)
        stack.push_async_callback(api.close)
        operator = Operator(api, sign_token(server.engine.signer, UserId("cli_admin"), "admin", expires_s=600))
        pace = Pace(reaction_s=SHORT_WAIT_S, work_s=(1.5, 2.0), fix_s=0.1)
        service = await seed.simulation_service(operator)
        new_people = People(Simulation(api, DeliveryChecker(), pace, 3, service), operator)
        await new_people.connect(stack)
        yield new_people


async def succeeds(work: Callable[[], Awaitable[bool]]) -> bool:
    """Return the result of ``work``; False if the server refuses it because an event is not archived yet."""
    try:
        return await work()
    except Refusal:
        return False


async def has_books(cashier: Cashier, people: People) -> bool:
    """Return whether the ledger has all payments."""
    await cashier.read_books([people.driver])
    return people.simulation.proofs.unearned == 0


async def test_a_technician_drives_to_the_place_and_both_sides_talk(people: People) -> None:
    """The technician's fixes show that they are near and have arrived. Both sides send chat messages that fit each
    state, mark messages as read, and receive each message once.
    """
    assert await people.wait_for_end(await people.book()) == "completed"
    messages = people.simulation.messages
    await wait_until(
        lambda: messages.said >= 10 and messages.received >= 2 * messages.said,
        within_s=END_WITHIN_S,
        what="ten messages at both sides",
    )
    assert {"technician.near", "technician.arrived"} <= {*people.seen.types}
    assert (messages.lost(), messages.doubled, messages.received) == (0, 0, 2 * messages.said)


async def test_a_managed_job_is_quoted_assigned_signed_and_paid(people: People) -> None:
    """The customer books at the quoted price, the engine chooses the technician, who accepts and works, the customer
    signs, and the payment service pays.
    """
    job = await people.book("managed")
    assert await people.wait_for_end(job) == "completed"
    checker = people.simulation.checker
    assert checker.outcomes[job].winners == {people.driver.id} and checker.claim_attempts == 1
    assert checker.broken_prices == 0
    paid = (await people.operator.request("GET", f"/v1/jobs/{job}"))["job"]
    assert paid["status"] == "paid" and paid["paid_amount"] == paid["amount"] == paid["quote"]["amount"]
    proofs, cashier = people.simulation.proofs, people.cashier
    assert (proofs.photos, proofs.signed, len(paid["photos"])) == (2, 1, 2)

    async def is_verified() -> bool:
        await cashier.verify_receipts()
        return proofs.verified == 1

    await wait_until(lambda: proofs.paid, what="the payment at the cashier")
    await wait_until(lambda: succeeds(is_verified), what="the receipt")
    await wait_until(lambda: succeeds(lambda: has_books(cashier, people)), what="the books")
    await cashier.pay_out([people.driver])
    assert proofs.unearned == 0 and proofs.paid.total() == proofs.earned + proofs.fees == paid["amount"]
    assert proofs.paid_out == 0, "a day's hold"


async def test_a_marketplace_job_is_bid_for_and_codes_are_said_at_the_door(people: People) -> None:
    """The technician bids and the customer accepts. Each code is asked for and said in the chat. The customer confirms
    and rates, and nobody else ever held the job.
    """
    job = await people.book("marketplace")
    await wait_until(
        lambda: people.simulation.proofs.ratings, within_s=END_WITHIN_S, what="the rating of the marketplace job"
    )
    view = (await people.operator.request("GET", f"/v1/jobs/{job}"))["job"]
    assert view["status"] == "paid" and view["technician"]["id"] == people.driver.id
    said = (await people.operator.request("GET", f"/v1/rooms/{job.replace('job_', 'room_')}/messages"))["items"]
    codes = [
        message["text"] for message in said if "The code to" in message["text"] or "to finish is" in message["text"]
    ]
    assert len(codes) >= 2
    assert people.simulation.holders.claims == 1 and people.simulation.holders.two_holders == 0


async def test_an_order_is_prepared_and_delivered(people: People) -> None:
    """The dispatcher confirms and prepares an order, and the technician who takes it delivers it."""
    job = await people.book("delivery")
    assert await people.wait_for_end(job) == "completed"
    history = (await people.operator.request("GET", f"/v1/jobs/{job}/history"))["items"]
    commands = [entry["command"] for entry in reversed(history)]
    assert [each for each in commands if each in ("confirm", "prepare", "ready", "depart", "deliver")] == [
        "confirm",
        "prepare",
        "ready",
        "depart",
        "deliver",
    ] or commands[0] != "create", commands


async def test_a_booked_job_waits_for_its_time(
    people: People, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The technician accepts a job for later and departs shortly before its time. A step that is too early is tried
    again, and the technician holds the job meanwhile. The time to its claim is not measured.
    """
    checker = people.simulation.checker
    monkeypatch.setattr(technician, "DEPART_BEFORE_S", 2.0)
    soon = await people.book("managed", at=rfc3339_of(now_ms() + 4_000))
    assert await people.wait_for_end(soon) == "completed"
    history = (await people.operator.request("GET", f"/v1/jobs/{soon}/history"))["items"]
    departed = next(entry["at"] for entry in history if entry["command"] == "depart")
    booked = (await people.operator.request("GET", f"/v1/jobs/{soon}"))["job"]["scheduled_for"]
    assert -100 <= ms_of(departed) - (ms_of(booked) - 2_000) <= END_WITHIN_S * 1000

    monkeypatch.setattr(technician, "DEPART_BEFORE_S", 36_000.0)
    monkeypatch.setattr(technician, "TOO_EARLY_RETRY_S", 0.2)
    later = await people.book("managed", at=rfc3339_of(now_ms() + 65 * 60_000))
    await people.operator.request("POST", f"/v1/jobs/{later}/assign", {"technician": people.driver.id})
    await wait_until(lambda: later in people.driver.waiting_jobs, within_s=END_WITHIN_S, what="the refusal too_early")
    assert checker.outcomes[later].winners == {people.driver.id}
    await advance(server.engine, 6 * 60)
    assert await people.wait_for_end(later) == "completed"
    assert (checker.count_jobs("ahead"), checker.time_to_claim_ms()["p50"]) == (2, None)


async def test_a_mediator_resolves_a_dispute(people: People) -> None:
    """The customer disputes their first direct booking; the mediator comes, speaks, and resolves the dispute."""
    job = await people.book("direct_booking")
    assert await people.wait_for_end(job) == "completed"
    said = await people.operator.request("GET", f"/v1/rooms/{job.replace('job_', 'room_')}/messages")
    assert {message["sender"]["role"] for message in said["items"]} == {"customer", "technician", "mediator"}
    assert people.mediator.resolved == 1
    assert people.simulation.checker.claim_attempts == 1
    assert people.driver.is_free


async def test_what_has_not_begun_is_not_left_over(people: People) -> None:
    """Closing a person also closes coroutines that have not started. Otherwise Python would warn about them."""
    work = asyncio.sleep(60)
    people.customer.start(work)
    await people.customer.close()
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
