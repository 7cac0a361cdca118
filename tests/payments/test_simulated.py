"""The adapter `test` after an outside service: it changes no payment of that service."""

from __future__ import annotations

import msgspec

from engine.domain import jobs, payments
from engine.domain.commands import CommandInput
from engine.domain.payments import Payment
from engine.payments.simulated import SimulatedAdapter
from engine.runtime import Engine
from tests.engine.test_holds import PAYMENT_SERVICE, PRICE, accepted_job, complete, open_market
from tests.payments.test_worker import settings, shown_payments, work

__all__ = ["settings"]


async def test_the_test_adapter_touches_no_hold_of_another_provider(engine: Engine) -> None:
    """An outside service authorized holds, and then the operator chose the adapter `test`. The adapter refuses to
    release such a hold, and captures the price of a job as a payment of its own. The hold is never reported as captured
    or released.
    """
    adapter = SimulatedAdapter()
    carla, service, tom = await open_market(engine)
    job, left = [await accepted_job(engine, carla, service, tom) for _ in range(2)]
    for each in (job, left):
        held = Payment(reference="pi_1", status="authorized", amount=PRICE, currency="USD")
        await payments.put_payment(engine, PAYMENT_SERVICE, each, held)
    await work(engine, adapter)
    await jobs.run_command(engine, carla, left, CommandInput(command="unassign"))
    await complete(engine, carla, tom, job)
    for _ in range(2):  # the capture requests the release of the hold
        await work(engine, adapter)
    assert await shown_payments(engine, left) == [("hold", "authorized", PRICE), ("charge", "failed", PRICE)]
    items = [msgspec.json.decode(item) for item in await payments.find_payments(engine, PAYMENT_SERVICE, job)]
    assert [(item["reference"] == "pi_1", item["status"], item.get("test")) for item in items] == [
        *((True, "authorized", None), (False, "captured", True), (False, "failed", None))
    ]
