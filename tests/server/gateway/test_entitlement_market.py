"""The recipients of events of bids, prices, codes and payments, tested with real jobs of the blueprint `marketplace`.
Each event's data must fit its schema in ``/asyncapi.json``, and the job's history must match the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from engine.types import DEFAULT_ZONE
from engine.zone import log
from server.schemas import payloads
from server.serve import run_server
from tests.server.gateway.streams import open_event_server
from tests.server.gateway.test_entitlement_lived import OPS, TECHNICIANS, Participants, received_events
from tests.server.http import people
from tests.server.http.client import code_of

PARTIES = {"customer", "holder"} | OPS
PAYMENT_RECIPIENTS = PARTIES | {"service"}
RECIPIENTS: dict[str, set[str]] = {
    "job.created": {"customer"} | OPS,
    "job.updated": PARTIES,
    "job.assigned": PARTIES,
    "job.started": PARTIES,
    "job.completed": PARTIES,
    "job.status": PARTIES,
    "job.unassigned": PARTIES,
    "job.cancelled": {"customer"} | OPS,
    "bid.created": {"customer"} | OPS | TECHNICIANS,
    "bid.accepted": PARTIES,
    "bid.closed": {"customer"} | OPS | TECHNICIANS,
    "price.proposed": PARTIES,
    "price.rejected": PARTIES,
    "price.changed": PAYMENT_RECIPIENTS,
    "payment.requested": PAYMENT_RECIPIENTS,
    "payment.failed": PAYMENT_RECIPIENTS,
    "payment.received": PAYMENT_RECIPIENTS,
    "payment.refunded": PAYMENT_RECIPIENTS,
    "code.failed": OPS,
    "code.locked": {"customer"} | OPS,
}
"""The users who receive each type of event. Offers and notifications have the same recipients in every blueprint and
are tested elsewhere.
"""
HISTORY_TYPES = ("job.", "bid.", "price.", "payment.", "code.")


class Market(Participants):
    """The same participants, with the blueprint `marketplace`."""

    async def request(self, user: str, path: str, body: Any = None, method: str = "POST") -> Any:
        """Send a request as ``user``, assert that it succeeds, and return the body of the response."""
        answer = await self.clients[user](method, path, {} if body is None else body)
        assert answer.is_success, answer.text
        return answer.json()

    async def create_bid(self, user: str, job: str, amount: int | None) -> str:
        """Create a bid and return its id. ``amount`` None bids the amount of the customer."""
        reply = await self.request(user, f"/v1/jobs/{job}/bids", {"amount": amount, "note": "by noon"})
        return str(reply["bid"]["id"])

    async def award_job(self, *, amount: int) -> str:
        """Book and edit a job, create three bids, withdraw one of them, and accept the holder's bid. Return the job's
        id.
        """
        job = await self.book_job(*sorted(TECHNICIANS))
        await self.request("customer", f"/v1/jobs/{job}", {"notes": "second floor"}, "PATCH")
        accepted_bid = await self.create_bid("holder", job, amount)
        await self.create_bid("loser", job, None)
        withdrawn_bid = await self.create_bid("decliner", job, amount - 1)
        await self.request("decliner", f"/v1/jobs/{job}/bids/{withdrawn_bid}/withdraw")
        await self.request("customer", f"/v1/jobs/{job}/bids/{accepted_bid}/accept")
        return job

    async def negotiate_price(self, job: str) -> None:
        """Propose two prices as the holder. The customer rejects the first and accepts the second."""
        for amount, answer in ((9_900, "reject"), (8_800, "accept")):
            proposals = f"/v1/jobs/{job}/price-proposals"
            reply = await self.request("holder", proposals, {"amount": amount, "reason": "more work"})
            await self.request("customer", f"{proposals}/{reply['proposal']['id']}/{answer}")

    async def codes_of(self, job: str) -> dict[str, str]:
        """Return the codes of the job, which the customer shows to the technician."""
        codes: dict[str, str] = (await self.request("customer", f"/v1/jobs/{job}", method="GET"))["job"]["codes"]
        return codes

    async def do_work(self, job: str) -> None:
        """Enter wrong codes until they are locked, issue new codes, then start and complete the job."""
        wrong = "000000" if (await self.codes_of(job))["start"] != "000000" else "000001"
        for _ in range(5):
            answer = await self.clients["holder"]("POST", f"/v1/jobs/{job}/start", {"code": wrong})
            assert code_of(answer)[0] in (403, 423)
        await self.take_step("customer", job, "reissue")
        codes = await self.codes_of(job)
        for command, purpose in (("start", "start"), ("complete", "completion")):
            await self.request("holder", f"/v1/jobs/{job}/{command}", {"code": codes[purpose]})

    async def report_payment(self, job: str, reference: str, *statuses: str) -> None:
        """Send each status of one payment as the payment service."""
        payment = {"reference": reference, "amount": 8_800, "currency": "EUR"}
        for status in statuses:
            await self.request("service", f"/v1/jobs/{job}/payments", {**payment, "status": status})

    async def run_jobs(self) -> None:
        """Run one job until it is paid and refunded. Award another job, which its holder gives up and the customer
        cancels.
        """
        for name in sorted(TECHNICIANS):
            await people.approve(self.clients[name], self.root, self.service)
        self.done = await self.award_job(amount=7_000)
        await self.negotiate_price(self.done)
        await self.request("customer", f"/v1/jobs/{self.done}", {"notes": "third floor"}, "PATCH")
        await self.do_work(self.done)
        await self.take_step("customer", self.done, "confirm")
        await self.report_payment(self.done, "card-1", "failed")
        await self.report_payment(self.done, "card-2", "captured", "refunded")
        job = await self.award_job(amount=6_000)
        await self.take_step("holder", job, "unassign")
        await self.take_step("customer", job, "cancel")


@pytest.fixture
async def market(settings: Settings) -> AsyncIterator[Market]:
    """Run a server with the blueprint `marketplace`, on which both jobs have been run."""
    market_settings = msgspec.structs.replace(settings, port=0, blueprint="marketplace")
    async with run_server(market_settings) as server, open_event_server(server) as site:
        participants = Market(site)
        await participants.create_accounts()
        await participants.run_jobs()
        yield participants


async def test_each_type_of_event_reaches_exactly_its_recipients(market: Market) -> None:
    """Each type of event reaches exactly the users in the table, and its data fits its schema. A technician receives
    only events of the technician's own bids.
    """
    recipients: dict[str, set[str]] = {kind: set() for kind in RECIPIENTS}
    for name in market.clients:
        for frame in await received_events(market, name):
            recipients.setdefault(frame["type"], set()).add(name)
            if name in TECHNICIANS and frame["type"].startswith("bid."):
                assert frame["data"]["bid"]["technician"]["id"] == market.clients[name].user
    assert {kind: recipients[kind] for kind in RECIPIENTS} == RECIPIENTS
    events = await log.read_range(market.site.gateway.engine.store.redis, DEFAULT_ZONE, 0, 1_000)
    for event in events:
        shape = payloads.data_struct_of(event.type)
        assert msgspec.json.decode(event.data, type=shape) is not None, event.type


async def test_a_history_contains_every_change_in_the_order_of_the_log(market: Market) -> None:
    """A job's history has one line for each event of a bid, price, code, payment, edit or step, in the order of the
    log, and no other line.
    """
    events = await log.read_range(market.site.gateway.engine.store.redis, DEFAULT_ZONE, 0, 1_000)
    name = f'"{market.done}"'.encode()
    changes = [e for e in events if e.type.startswith(HISTORY_TYPES) and name in e.data and e.type != "job.searching"]
    items = (await market.request("customer", f"/v1/jobs/{market.done}/history", method="GET"))["items"]
    assert [item["seq"] for item in items] == [event.seq for event in changes]
    assert [item["actor"] for item in items] == [event.actor for event in changes]
    lines = [(item["command"], item["from"], item["to"], item["reason"]) for item in items]
    assert lines[:2] == [("create", None, "open", None), ("edit", "open", "open", None)]
    for line in (
        ("award", "open", "scheduled", None),
        ("propose_price", "scheduled", "scheduled", "more work"),
        ("enter_code", None, None, "start"),
        ("start", "scheduled", "in_progress", None),
        ("capture", "awaiting_confirmation", "paid", None),
    ):
        assert line in lines
    assert lines[-1] == ("refund", "paid", "paid", None)
