"""Who hears of what is agreed and paid, by deed: a job of the marketplace with bids, prices, codes and payments, lived
through with everybody listening. Each event's data is held to the shape that ``/asyncapi.json`` promises, and the job's
history to the log.
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
from server.serve import running
from tests.server.gateway.streams import site_of
from tests.server.gateway.test_entitlement_lived import OPS, TECHNICIANS, Town, heard
from tests.server.http import people
from tests.server.http.client import code_of

PARTIES = {"customer", "holder"} | OPS
PAID = PARTIES | {"service"}
TABLE: dict[str, set[str]] = {
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
    "price.changed": PAID,
    "payment.requested": PAID,
    "payment.failed": PAID,
    "payment.received": PAID,
    "payment.refunded": PAID,
    "code.failed": OPS,
    "code.locked": {"customer"} | OPS,
}
"""Who hears of each type, of the people of the town; offers, notifications and the like are as in any blueprint."""
HISTORY = ("job.", "bid.", "price.", "payment.", "code.")


class Market(Town):
    """The town, with `marketplace` as its blueprint."""

    async def ask(self, name: str, path: str, body: Any = None, method: str = "POST") -> Any:
        """A request that is done; what it answers."""
        answer = await self.all[name](method, path, {} if body is None else body)
        assert answer.is_success, answer.text
        return answer.json()

    async def bid(self, name: str, job: str, amount: int | None) -> str:
        """A bid; its id."""
        told = await self.ask(name, f"/v1/jobs/{job}/bids", {"amount": amount, "note": "by noon"})
        return str(told["bid"]["id"])

    async def award(self, *, amount: int) -> str:
        """A job that is edited, bid for by three of whom one thinks better of it, and given to the holder."""
        job = await self.job(*sorted(TECHNICIANS))
        await self.ask("customer", f"/v1/jobs/{job}", {"notes": "second floor"}, "PATCH")
        mine = await self.bid("holder", job, amount)
        await self.bid("loser", job, None)
        gone = await self.bid("decliner", job, amount - 1)
        await self.ask("decliner", f"/v1/jobs/{job}/bids/{gone}/withdraw")
        await self.ask("customer", f"/v1/jobs/{job}/bids/{mine}/accept")
        return job

    async def haggle(self, job: str) -> None:
        """A price proposed and rejected, another proposed and accepted."""
        for amount, answer in ((9_900, "reject"), (8_800, "accept")):
            proposals = f"/v1/jobs/{job}/price-proposals"
            told = await self.ask("holder", proposals, {"amount": amount, "reason": "more work"})
            await self.ask("customer", f"{proposals}/{told['proposal']['id']}/{answer}")

    async def codes(self, job: str) -> dict[str, str]:
        """What the customer tells at the door."""
        found: dict[str, str] = (await self.ask("customer", f"/v1/jobs/{job}", method="GET"))["job"]["codes"]
        return found

    async def work(self, job: str) -> None:
        """Wrong codes up to the lock, new codes, and the work from start to end."""
        wrong = "000000" if (await self.codes(job))["start"] != "000000" else "000001"
        for _ in range(5):
            answer = await self.all["holder"]("POST", f"/v1/jobs/{job}/start", {"code": wrong})
            assert code_of(answer)[0] in (403, 423)
        await self.step("customer", job, "reissue")
        codes = await self.codes(job)
        for command, purpose in (("start", "start"), ("complete", "completion")):
            await self.ask("holder", f"/v1/jobs/{job}/{command}", {"code": codes[purpose]})

    async def pay(self, job: str, reference: str, *words: str) -> None:
        """What the payment service says of a payment, word by word."""
        payment = {"reference": reference, "amount": 8_800, "currency": "EUR"}
        for status in words:
            await self.ask("service", f"/v1/jobs/{job}/payments", {**payment, "status": status})

    async def live(self) -> None:
        """One job to the end, and one that is given back and called off."""
        for name in sorted(TECHNICIANS):
            await people.approve(self.all[name], self.root, self.service)
        self.done = await self.award(amount=7_000)
        await self.haggle(self.done)
        await self.ask("customer", f"/v1/jobs/{self.done}", {"notes": "third floor"}, "PATCH")
        await self.work(self.done)
        await self.step("customer", self.done, "confirm")
        await self.pay(self.done, "card-1", "failed")
        await self.pay(self.done, "card-2", "captured", "refunded")
        back = await self.award(amount=6_000)
        await self.step("holder", back, "unassign")
        await self.step("customer", back, "cancel")


@pytest.fixture
async def market(settings: Settings) -> AsyncIterator[Market]:
    """A marketplace in which both jobs have been lived through."""
    mine = msgspec.structs.replace(settings, port=0, blueprint="marketplace")
    async with running(mine) as server, site_of(server) as site:
        town = Market(site)
        await town.settle()
        await town.live()
        yield town


async def test_everybody_hears_what_concerns_him_and_nothing_else(market: Market) -> None:
    """Each type reaches exactly those whom the table names, in its promised shape; of bids a bidder hears his own."""
    recipients: dict[str, set[str]] = {kind: set() for kind in TABLE}
    for name in market.all:
        for frame in await heard(market, name):
            recipients.setdefault(frame["type"], set()).add(name)
            if name in TECHNICIANS and frame["type"].startswith("bid."):
                assert frame["data"]["bid"]["technician"]["id"] == market.all[name].user
    assert {kind: recipients[kind] for kind in TABLE} == TABLE
    events = await log.read_range(market.site.gateway.engine.store.redis, DEFAULT_ZONE, 0, 1_000)
    for event in events:
        shape = payloads.shape_of(event.type)
        assert msgspec.json.decode(event.data, type=shape) is not None, event.type


async def test_a_history_holds_every_change_in_the_order_of_the_log(market: Market) -> None:
    """Bids, prices, codes, payments, edits and steps: a line for each event that tells of one, and none besides."""
    events = await log.read_range(market.site.gateway.engine.store.redis, DEFAULT_ZONE, 0, 1_000)
    name = f'"{market.done}"'.encode()
    changes = [e for e in events if e.type.startswith(HISTORY) and name in e.data and e.type != "job.searching"]
    found = (await market.ask("customer", f"/v1/jobs/{market.done}/history", method="GET"))["items"]
    assert [item["seq"] for item in found] == [event.seq for event in changes]
    assert [item["actor"] for item in found] == [event.actor for event in changes]
    lines = [(item["command"], item["from"], item["to"], item["reason"]) for item in found]
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
